"""What a lab host gets from lab/exporter: each file is read by the program it is for, or by its rules."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

import pytest
from labgrid.remote.config import ResourceConfig

from hvrig.cli import cli
from hvrig.lab.labgrid_coordinator import RELEASE_S
from hvrig.lab.places import load_place, place_names
from hvrig.pipeline import CATCH_UP_S

LAB = Path(__file__).parents[3] / "lab"
SETUP = (LAB.parent / "docs/lab-setup.md").read_text(encoding="utf-8")
FILES = sorted(path.name for path in (LAB / "exporter").iterdir())


def test_the_exporter_brings_what_the_place_needs() -> None:
    groups = ResourceConfig(str(LAB / "exporter/exporter.yaml")).data
    assert list(groups) == ["x3300"]
    assert set(groups["x3300"]) == {"USBSerialPort", "NetworkPowerPort", "NetworkService"}
    assert groups["x3300"]["USBSerialPort"]["speed"] == 1500000
    assert groups["x3300"]["NetworkService"]["address"] == "192.168.255.2"


def unit_file(name: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string((LAB / "exporter" / name).read_text(encoding="utf-8"))
    return parser


@pytest.mark.parametrize("unit", ["labgrid-coordinator.service", "labgrid-exporter.service"])
def test_a_unit_starts_the_labgrid_that_the_guide_installs(unit: str) -> None:
    command = unit_file(unit)["Service"]["ExecStart"].split()
    assert command[0] == f"/opt/labgrid/bin/{unit.removesuffix('.service')}"
    assert "python3 -m venv /opt/labgrid" in SETUP
    assert "127.0.0.1:20408" in command


def test_the_nightly_unit_is_a_run_that_ends_in_order() -> None:
    service = unit_file("hvrig-nightly@.service")["Service"]
    program, command, *options = service["ExecStart"].split()
    assert program == f"{service['WorkingDirectory']}/.venv/bin/hvrig"
    assert service["Type"] == "oneshot"  # no time limit of systemd's own
    assert service["KillMode"] == "mixed"
    run = cli.commands[command]
    context = run.make_context(command, [option.replace("%i", "x3300") for option in options])
    assert (context.params["place"], context.params["wait_s"]) == ("x3300", 3600)
    deadlines = load_place(LAB / "places.yaml", "x3300").deadlines
    assert int(service["TimeoutStopSec"]) > deadlines.power_s + CATCH_UP_S + RELEASE_S


def test_the_nightly_timer_starts_the_unit_of_its_name_after_a_reboot_too() -> None:
    timer = unit_file("hvrig-nightly@.timer")
    assert "Unit" not in timer["Timer"]
    assert re.fullmatch(r"\*-\*-\* \d\d:\d\d:\d\d", timer["Timer"]["OnCalendar"])
    assert timer["Install"]["WantedBy"] == "timers.target"
    assert "systemctl enable --now hvrig-nightly@x3300.timer" in SETUP


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
