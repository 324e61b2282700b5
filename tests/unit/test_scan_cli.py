"""`hvrig scan` as a command: exit status, standard input, options."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from hvrig.cli import cli
from hvrig.model.errors import UsageError

REPOSITORY = Path(__file__).parents[2]
DATA = REPOSITORY / "tests" / "data"
GOOD = str(DATA / "uart" / "hvisor-qemu-ok.raw.log")
ISSUE_221 = str(DATA / "uart" / "uart-issue221.log")
BOARD = str(DATA / "layout" / "x3300-board.rs")


def scan(*arguments: str, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(cli, ["scan", *arguments], input=stdin)


@pytest.mark.parametrize("name", ["hvisor-qemu-ok.raw.log", "hvisor-qemu-stock-ok.raw.log", "uart-rk3588-boot.log"])
def test_nothing_found_is_0(name: str) -> None:
    done = scan(str(DATA / "uart" / name))
    assert done.exit_code == 0
    assert ": 0 findings in " in done.stdout


@pytest.mark.parametrize(
    "name", ["uart-issue221.log", "hvisor-qemu-fault.raw.log", "hvisor-qemu-fault-log-error.raw.log"]
)
def test_found_is_1(name: str) -> None:
    assert scan(str(DATA / "uart" / name)).exit_code == 1


def test_issue_221_with_its_boards_regions() -> None:
    done = scan(ISSUE_221, "--board-rs", BOARD, "--json")
    assert done.exit_code == 1
    faults = [f for f in json.loads(done.stdout)["findings"] if f["kind"] == "unhandled-mmio-fault"]
    assert [(f["cpu"], f["address"]) for f in faults] == [(1, "0xb600000"), (0, "0x3ec045a08")]
    assert all(f["explanation"]["what"].startswith("RAM of zone 0, ") for f in faults)


def test_several_files_packed_files_and_standard_input(tmp_path: Path) -> None:
    packed = tmp_path / "uart.log.gz"
    packed.write_bytes(gzip.compress(Path(ISSUE_221).read_bytes()))
    done = scan(GOOD, str(packed), "-", "--format", "github", stdin=Path(ISSUE_221).read_bytes())
    assert done.exit_code == 1
    lines = done.stdout.splitlines()
    assert len(lines) == 8
    assert f"file={packed}," in lines[0]
    assert lines[4].startswith("::error title=")


def test_a_place_gives_the_hypervisors_range() -> None:
    done = scan(ISSUE_221, "--place", "virtual", "--places", str(REPOSITORY / "lab" / "places.yaml"))
    assert "outside the hypervisor's own memory, 0x40400000 - 0x449e6000 (place virtual)" in done.stdout.replace(
        "\n    ", " "
    )


def test_notes_on_the_map_go_to_stderr() -> None:
    done = scan(GOOD, "--dtb", str(DATA / "layout" / "zone0.dtb"))
    assert done.exit_code == 0
    assert "/reserved-memory/cma: reserves memory without saying where" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("missing.log",),
        (GOOD, "--board-rs", "missing.rs"),
        (GOOD, "--board-rs", GOOD),
        (GOOD, "--elf", GOOD),
        (GOOD, "--dtb", GOOD),
        (GOOD, "--place", "nowhere", "--places", str(REPOSITORY / "lab" / "places.yaml")),
    ],
)
def test_what_cannot_be_read_is_usage(arguments: tuple[str, ...]) -> None:
    error = scan(*arguments).exception
    assert isinstance(error, UsageError), "which the console script turns into exit status 2"
    assert error.remedy


@pytest.mark.parametrize("arguments", [(), (GOOD, "--format", "xml"), (GOOD, "--nonsense")])
def test_a_wrong_call_is_2(arguments: tuple[str, ...]) -> None:
    assert scan(*arguments).exit_code == 2
