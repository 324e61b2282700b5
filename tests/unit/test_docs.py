"""The docs say what is there: every setting of a place is described."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from hvrig.model import place

DOCS = Path(__file__).parents[2] / "docs"

SECTIONS = {
    "images": place.Image,
    "uboot": place.UBootSettings,
    "uart": place.UartSettings,
    "hypervisor": place.HypervisorSettings,
    "root_linux": place.RootLinuxSettings,
    "ssh": place.SshSettings,
    "gate": place.GateSettings,
    "deadlines": place.DeadlineSettings,
    "lab": place.LabSettings,
    "rack": place.RackSettings,
    "tftp": place.TftpSettings,
    "zones": place.ZoneSettings,
}


def test_every_group_of_settings_has_a_section() -> None:
    fields = {field.name for field in dataclasses.fields(place.Place)} - {"name"}
    assert "\n## `boards`\n" in (DOCS / "places.md").read_text(encoding="utf-8")
    fields -= {"boards"}  # any of the others, by a board's name
    assert fields == set(SECTIONS)


@pytest.mark.parametrize("section", SECTIONS)
def test_every_setting_is_described_in_its_section(section: str) -> None:
    text = (DOCS / "places.md").read_text(encoding="utf-8")
    part = text.split(f"## `{section}`\n")[1].split("\n## ")[0]
    described = {
        word for line in part.splitlines() if line.startswith("| `") for word in line.split("|")[1].split("`")[1::2]
    }
    assert described == {field.name for field in dataclasses.fields(SECTIONS[section])}
