"""`hvrig scan` as a command: exit status, standard input, options."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterator
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


def test_a_file_that_is_given_twice_is_told_twice() -> None:
    document = json.loads(scan(ISSUE_221, ISSUE_221, "--json").stdout)
    assert len(document["findings"]) == sum(file["findings"] for file in document["files"]) == 8


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


def test_a_file_that_cannot_be_read_does_not_hide_the_others(tmp_path: Path) -> None:
    done = scan("missing.log", ISSUE_221, str(tmp_path), "--json")
    assert done.exit_code == 2
    document = json.loads(done.stdout)
    assert [file["findings"] for file in document["files"]] == [0, 4, 0]
    assert len(document["findings"]) == 4
    assert [file["error"] is None for file in document["files"]] == [False, True, False]
    assert document["files"][0]["notes"] == []
    assert "missing.log cannot be read: No such file" in done.stderr
    assert str(tmp_path) in done.stderr


def test_what_was_read_of_a_broken_file_is_told(tmp_path: Path) -> None:
    text = Path(ISSUE_221).read_bytes() + bytes(random.Random(1).randbytes(200_000))
    whole = gzip.compress(text)
    broken = tmp_path / "uart.log.gz"
    broken.write_bytes(whole[: len(whole) // 2])
    done = scan(str(broken), ISSUE_221)
    assert done.exit_code == 2
    assert f"{broken}:13: unhandled-mmio-fault" in done.stdout
    assert f"{broken}: 4 findings in " in done.stdout
    assert f"{ISSUE_221}: 4 findings in " in done.stdout
    assert f"{broken} cannot be read to its end" in done.stderr
    github = scan(str(broken), "--format", "github").stdout
    assert f"::error file={broken},title=hvisor console::{broken} cannot be read to its end" in github


@pytest.mark.parametrize("form", ["text", "json", "github"])
def test_an_interrupted_scan_tells_what_it_has(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def blocks(_file: str) -> Iterator[bytes]:
        yield Path(ISSUE_221).read_bytes()[:-40]
        raise KeyboardInterrupt

    monkeypatch.setattr("hvrig.cli.blocks_of", blocks)
    done = scan("-", GOOD, "--format", form)
    assert done.exit_code == 130
    assert "unhandled-mmio-fault" in done.stdout
    assert "hypervisor-panic" in done.stdout
    assert GOOD not in done.stdout
    assert "interrupted" in done.stderr
    if form == "json":
        (file,) = json.loads(done.stdout)["files"]
        assert (file["findings"], file["error"]) == (4, "the scan was interrupted")


def test_boots_expected() -> None:
    boot = Path(GOOD).read_bytes()
    twice = boot + b"\r\n" + boot
    assert scan("-", stdin=twice).exit_code == 1
    done = scan("-", "--boots-expected", stdin=twice)
    assert done.exit_code == 0
    assert ", 2 boots, " in done.stdout
    assert "1 as expected" in done.stdout
