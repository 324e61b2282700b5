"""`hvrig layout` as a command: what it prints, and its exit status."""

from __future__ import annotations

import json
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


GARBAGE = b"\x7fELF\xd0\x0d\xfe\xed{ /* pub const \xff = ;\n/ {"


@pytest.mark.parametrize(
    "option", ["--elf", "--uimage", "--linker-ld", "--dtb", "--dts", "--board-rs", "--consts-rs", "--zone-json"]
)
@pytest.mark.parametrize("form", ["text", "json", "sarif", "github"])
def test_garbage_in_any_input_is_2_with_the_file_named_and_no_traceback(tmp_path: Path, option: str, form: str) -> None:
    path = tmp_path / "garbage"
    path.write_bytes(GARBAGE)
    done = check(option, str(path), "--format", form)
    assert isinstance(done.exception, SystemExit)
    assert done.exit_code == 2
    assert f"hvrig: {path}" in done.stderr
    if form in ("json", "sarif"):
        json.loads(done.stdout)


def test_both_kinds_of_device_tree_at_once_are_refused() -> None:
    done = check("--dtb", DTB, "--dts", str(DATA / "zone0.dts"))
    assert isinstance(done.exception, UsageError)


def test_folders_of_included_files(tmp_path: Path) -> None:
    (tmp_path / "made-up").mkdir()
    (tmp_path / "made-up" / "base.h").write_text("#define BASE 0x200000\n")
    tree = tmp_path / "zone0.dts"
    memory = 'memory@0 { device_type = "memory"; reg = <BASE 0x8000000>; };'
    cells = "#address-cells = <1>; #size-cells = <1>;"
    tree.write_text(f"/dts-v1/;\n#include <base.h>\n/ {{ {cells} {memory} }};\n")
    inputs = ("--dts", str(tree), "--range", "0x500000-0x4ae6000")
    assert check(*inputs).exit_code == 2
    done = check(*inputs, "-I", str(tmp_path / "made-up"))
    assert done.exit_code == 1
    assert "hvisor@500000 { no-map; reg = <0x500000 0x4600000>; };" in done.stdout


def test_the_linker_scripts_range_is_said_to_be_a_bound(tmp_path: Path) -> None:
    script = tmp_path / "linker.ld"
    script.write_text("SECTIONS { . = 0x500000; skernel = .; }")
    done = check("--linker-ld", str(script), "--dtb", DTB, "--board-rs", BOARD, "--consts-rs", CONSTS)
    assert done.exit_code == 1
    assert "note: " in done.stdout
    said = " ".join(done.stdout.split())
    assert "the hypervisor ends at 0x4900000 or later: a bound" in said
    assert "with 4 MiB allowed for the static binary, whose size is not known: hvisor's ELF gives it" in said
    assert "not checked: rules 1, 2, 3, 5: The hypervisor ends at 0x4900000 or later" in said
