"""`hvrig layout reserve`, with the real dtc: what it prints, what it writes, what it refuses."""

from __future__ import annotations

import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hvrig.cli import cli
from hvrig.model.errors import UsageError

DATA = Path(__file__).parents[1] / "data" / "layout"
RANGE = ("--range", "0x500000-0x4ae6000")
REG = "<0x0 0x500000 0x0 0x4600000>"

BARE = """\
/dts-v1/;
/ {
	#address-cells = <2>;
	#size-cells = <2>;
	memory@200000 { device_type = "memory"; reg = <0x0 0x200000 0x0 0x8200000>; };
%s};
"""


def reserve(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, ["layout", "reserve", *map(str, arguments)])


def check(path: Path) -> Result:
    return CliRunner().invoke(cli, ["layout", "check", *RANGE, "--dts", str(path)])


def refusal(*arguments: str | Path) -> UsageError:
    done = reserve(*arguments)
    assert isinstance(done.exception, UsageError), done.output
    return done.exception


@pytest.fixture
def source(tmp_path: Path) -> Callable[[str], Path]:
    def write(inside: str, text: str = BARE) -> Path:
        path = tmp_path / "zone0.dts"
        path.write_text(text % inside, encoding="utf-8")
        return path

    return write


def reserved(inside: str) -> str:
    return f"\treserved-memory {{\n\t\t#address-cells = <2>;\n\t\t#size-cells = <2>;\n\t\tranges;\n{inside}\t}};\n"


def test_the_x3300s_arithmetic(tmp_path: Path, make_elf: Callable[..., bytes]) -> None:
    elf = tmp_path / "hvisor"
    elf.write_bytes(make_elf({"skernel": 0x500000, "__core_end": 0x6E6000}))
    done = reserve("--elf", elf, "--board-rs", DATA / "x3300-board.rs", "--consts-rs", DATA / "consts.rs")
    assert done.exit_code == 0
    for line in (
        "binary, 1.9 MiB, to           0x6e6000",
        "per-CPU areas, 4 MiB, to      0xae6000",
        "frame pool, 64 MiB, to       0x4ae6000",
        "size 0x45e6000, up to whole blocks of 2 MiB: 35 x 0x200000 = 0x4600000",
        "to reserve: 0x500000 - 0x4b00000, 70 MiB",
        f"    reg = {REG};",
    ):
        assert line in done.stdout.splitlines()


def test_where_the_binarys_size_is_not_known_it_says_what_it_allows(tmp_path: Path) -> None:
    linker = tmp_path / "linker.ld"
    linker.write_text("BASE_ADDRESS = 0x500000;\nSECTIONS { . = BASE_ADDRESS; skernel = .; }\n")
    done = reserve("--linker-ld", linker, "--board-rs", DATA / "x3300-board.rs", "--consts-rs", DATA / "consts.rs")
    assert done.exit_code == 0, done.exception
    assert "at the earliest" in done.stdout
    assert "allowed for its static binary, 4 MiB" in done.stdout
    assert "0x500000 - 0x4d00000, 72 MiB" in done.stdout


def test_without_the_hypervisor_there_is_nothing_to_reserve() -> None:
    assert "range is not known" in refusal("--dtb", DATA / "zone0.dtb").message


def test_the_x3300s_tree_is_mended_and_the_rest_of_it_left(tmp_path: Path) -> None:
    path = tmp_path / "zone0.dts"
    shutil.copy(DATA / "zone0.dts", path)
    path.chmod(0o640)
    (tmp_path / "link.dts").symlink_to(path)
    assert check(path).exit_code == 1
    before = path.read_bytes()
    done = reserve(*RANGE, "--write", tmp_path / "link.dts")
    assert done.exit_code == 0, done.exception
    assert "changed hvisor@480000; compiled and checked" in done.stdout
    after = path.read_bytes()
    assert after == before.replace(b"hvisor@480000", b"hvisor@500000").replace(
        b"<0x0 0x480000 0x0 0x400000>", REG.encode()
    )
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert (tmp_path / "link.dts").is_symlink()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link.dts", "zone0.dts"]
    assert "rule 1" not in check(path).stdout.replace("rules", "")
    assert check(path).exit_code == 4
    again = reserve(*RANGE, "--write", path)
    assert (again.exit_code, path.read_bytes()) == (0, after)
    assert "reserved already; nothing was changed" in again.stdout


@pytest.mark.parametrize(
    "inside",
    ["", reserved(""), reserved("\t\tramoops@8000000 { reg = <0x0 0x8000000 0x0 0x10000>; };\n")],
    ids=["none", "empty", "other"],
)
def test_it_is_added_where_there_was_none(source: Callable[[str], Path], inside: str) -> None:
    path = source(inside)
    done = reserve(*RANGE, "--write", path)
    assert done.exit_code == 0, done.exception
    assert REG in path.read_text(encoding="utf-8")
    assert check(path).exit_code == 4


def test_what_an_included_file_reserves_stays(tmp_path: Path, source: Callable[..., Path]) -> None:
    (tmp_path / "soc.dtsi").write_text(
        BARE.replace("/dts-v1/;", "") % reserved("\t\tother@8000000 { reg = <0 0x8000000 0 0x1000>; };\n")
    )
    path = source("", '/dts-v1/;\n#include "soc.dtsi"\n/ { model = "100%% %s"; };\n')
    done = reserve(*RANGE, "--write", path)
    assert done.exit_code == 0, done.exception
    assert check(path).exit_code == 4
    assert "100%" in path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("inside", "said"),
    [
        (reserved("\t\tramoops@4000000 { reg = <0x0 0x4000000 0x0 0x10000>; };\n"), "ramoops@4000000"),
        ("\treserved-memory { };\n", "Linux ignores"),
        (reserved("\t\thvisor@480000 { reg = <0x0 0x480000 0x0 0x400000>; reusable; };\n"), "has reusable"),
        (
            reserved("\t\thv: hvisor@480000 { reg = <0x0 0x480000 0x0 0x400000>; };\n")
            + "};\n&hv { reg = <0 1 0 1>; };\n/ {\n",
            "still not right",
        ),
        (
            reserved("\t\thvisor@480000 { reg = <0x0 0x480000 0x0 0x400000>; };\n")
            + "\tx { y = <&{/reserved-memory/hvisor@480000}>; };\n",
            "With the reservation written",
        ),
    ],
    ids=["overlap", "ignored", "reusable", "changed elsewhere", "named by its path"],
)
def test_what_is_not_safe_is_refused_and_the_file_left(source: Callable[[str], Path], inside: str, said: str) -> None:
    path = source(inside)
    before = path.read_bytes()
    error = refusal(*RANGE, "--write", path)
    assert said in error.message
    assert str(path) in error.message
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["zone0.dts"]


def test_memory_that_memreserve_keeps_is_not_written_over(tmp_path: Path) -> None:
    path = tmp_path / "zone0.dts"
    path.write_text((BARE % "").replace("/ {", "/memreserve/ 0x600000 0x1000;\n/ {", 1))
    assert "/memreserve/ 0x600000 - 0x601000 would overlap" in refusal(*RANGE, "--write", path).message


def test_without_dtc_it_writes_and_says_that_it_did_not_check(
    monkeypatch: pytest.MonkeyPatch, source: Callable[[str], Path]
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    path = source(reserved(""))
    done = reserve(*RANGE, "--write", path)
    assert done.exit_code == 0, done.exception
    assert "not checked: dtc is not installed" in done.stdout
    assert REG in path.read_text(encoding="utf-8")


def test_bytes_that_are_no_text_stay(source: Callable[[str], Path]) -> None:
    path = source("")
    path.write_bytes(b"/* \xff\xfe */\n" + path.read_bytes())
    assert reserve(*RANGE, "--write", path).exit_code == 0
    assert path.read_bytes().startswith(b"/* \xff\xfe */\n/dts-v1/;\n")


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    start=st.integers(0x200, 0x8000).map(lambda page: page << 12),
    size=st.integers(1, 0x5000).map(lambda page: page << 12),
    theirs=st.one_of(st.none(), st.tuples(st.integers(0, 0x9000), st.integers(1, 0x800))),
    cells=st.sampled_from([1, 2]),
)
def test_after_it_the_check_is_clean(
    tmp_path: Path, start: int, size: int, theirs: tuple[int, int] | None, cells: int
) -> None:
    zero = "0x0 " * (cells - 1)
    inside = ""
    if theirs is not None:
        node = f"\t\thvisor@{theirs[0] << 12:x} {{ reg = <{zero}{theirs[0] << 12:#x} {zero}{theirs[1] << 12:#x}>; }};\n"
        inside = reserved(node)
    text = (BARE % inside).replace("0x0 0x200000 0x0 0x8200000", f"{zero}0x200000 {zero}0x8200000")
    path = tmp_path / "random.dts"
    path.write_text(text.replace("-cells = <2>", f"-cells = <{cells}>"))
    hypervisor = ("--range", f"{start:#x}-{start + size:#x}")
    done = reserve(*hypervisor, "--write", path)
    assert done.exit_code == 0, done.exception
    assert CliRunner().invoke(cli, ["layout", "check", *hypervisor, "--dts", str(path)]).exit_code == 4
