"""What a lab host gets from lab/exporter: each file is read by the program it is for, or by its rules."""

from __future__ import annotations

import configparser
from pathlib import Path

import pytest
from labgrid.remote.config import ResourceConfig

from hvrig.lab.places import load_place, place_names

LAB = Path(__file__).parents[3] / "lab"
SETUP = (LAB.parent / "docs/lab-setup.md").read_text(encoding="utf-8")
FILES = sorted(path.name for path in (LAB / "exporter").iterdir())


def test_the_exporter_brings_what_the_place_needs() -> None:
    groups = ResourceConfig(str(LAB / "exporter/exporter.yaml")).data
    assert list(groups) == ["x3300"]
    assert set(groups["x3300"]) == {"USBSerialPort", "NetworkPowerPort", "NetworkService"}
    assert groups["x3300"]["USBSerialPort"]["speed"] == 1500000
    assert groups["x3300"]["NetworkService"]["address"] == "192.168.255.2"


@pytest.mark.parametrize("unit", ["labgrid-coordinator.service", "labgrid-exporter.service"])
def test_a_unit_starts_the_labgrid_that_the_guide_installs(unit: str) -> None:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string((LAB / "exporter" / unit).read_text(encoding="utf-8"))
    command = parser["Service"]["ExecStart"].split()
    assert command[0] == f"/opt/labgrid/bin/{unit.removesuffix('.service')}"
    assert "python3 -m venv /opt/labgrid" in SETUP
    assert "127.0.0.1:20408" in command


def test_the_board_and_its_server_are_on_one_cable() -> None:
    uboot = load_place(LAB / "places.yaml", "x3300").uboot
    assert "setenv serverip 192.168.255.1" in uboot.setup
    assert "Address=192.168.255.1/30" in (LAB / "exporter/20-x3300.network").read_text()
    assert 'TFTP_ADDRESS="192.168.255.1:69"' in (LAB / "exporter/tftpd-hpa").read_text()


def test_the_rule_names_the_desks_port() -> None:
    assert 'SYMLINK+="ttyX3300"' in (LAB / "exporter/70-x3300.rules").read_text()
    assert "/dev/ttyX3300" in (LAB / "places.yaml").read_text()


@pytest.mark.parametrize("name", FILES)
def test_every_file_is_explained(name: str) -> None:
    assert f"lab/exporter/{name}" in SETUP


def test_the_x3300s_places_are_the_books() -> None:
    assert {"x3300", "desk"} <= set(place_names(LAB / "places.yaml"))
    for name in ("x3300", "desk"):
        place = load_place(LAB / "places.yaml", name)
        assert place.gate.ladder == ("1G", "2G", "4G", "12G")
        assert [(key, image.address) for key, image in place.images.items()] == [
            ("board_dtb", 0x00400000),
            ("hvisor", 0x00500000),
            ("kernel", 0x09400000),
            ("zone0_dtb", 0x10000000),
        ]
        assert place.uboot.boot == "bootm 0x00500000 - 0x00400000"
        assert place.rack is None
