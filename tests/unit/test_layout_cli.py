"""`hvrig layout` as a command: what it prints, and its exit status."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from hvrig.cli import cli
from hvrig.model.errors import UsageError

DATA = Path(__file__).parents[1] / "data" / "layout"
BOARD, CONSTS, DTB = (str(DATA / name) for name in ("x3300-board.rs", "consts.rs", "zone0.dtb"))


def check(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["layout", "check", *arguments])


@pytest.fixture
def elf(tmp_path: Path, make_elf: Callable[..., bytes]) -> str:
    path = tmp_path / "hvisor"
    path.write_bytes(make_elf({"skernel": 0x500000, "__core_end": 0x6E6000}))
    return str(path)


def test_the_x3300_breaks_rules_1_to_3(elf: str) -> None:
    done = check("--elf", elf, "--dtb", DTB, "--board-rs", BOARD, "--consts-rs", CONSTS)
    assert done.exit_code == 1
    assert "rule 1, hypervisor-unreserved" in done.stdout
    assert "0x880000 - 0x4ae6000" in done.stdout
    assert "hvisor@500000 { no-map; reg = <0x0 0x500000 0x0 0x4600000>; };" in done.stdout


def test_what_is_missing_is_listed_and_no_pass() -> None:
    done = check("--dtb", DTB)
    assert done.exit_code == 4
    assert "not checked: rules 1, 2, 3, 4: " not in done.stdout
    assert "not checked: rules 1, 2, 3: The hypervisor's range is not known." in done.stdout


def test_the_range_alone_is_enough_for_the_tree() -> None:
    done = check("--range", "0x0050_0000-0x4ae6000", "--dtb", DTB)
    assert done.exit_code == 1
    assert "hvisor@500000 { no-map; reg = <0x0 0x500000 0x0 0x4600000>; };" in done.stdout


@pytest.mark.parametrize("text", ["", "5", "0x10-0x10", "0x20-0x10", "-1-5", "a-b", "0-0x1ffffffffffffffff"])
def test_a_range_that_is_none(text: str) -> None:
    done = check("--range", text)
    assert done.exit_code == 2
    assert "such as 0x500000-0x4ae6000" in done.output


def test_without_inputs_it_says_which_there_are() -> None:
    done = check()
    assert isinstance(done.exception, UsageError)
    assert "--board-rs" in done.exception.remedy
