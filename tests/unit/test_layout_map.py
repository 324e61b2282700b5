from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from hvrig.layout.rules import check
from hvrig.layout_map import print_map, write_svg
from hvrig.model.errors import UsageError
from hvrig.model.memory import Range
from hvrig.model.memory_map import MemoryMap, Region, Use

REPORT = check("b", MemoryMap((Region("hypervisor", Use.HYPERVISOR, Range(0x500000, 0x4AE6000), "hvisor"),)))
NOTHING = check("b", MemoryMap())


@pytest.mark.parametrize(("encoding", "bar"), [("utf-8", "█"), ("ascii", "#")])
def test_no_colours_and_80_columns_where_there_is_no_terminal(
    monkeypatch: pytest.MonkeyPatch, encoding: str, bar: str
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    raw = io.BytesIO()
    console = Console(file=io.TextIOWrapper(raw, encoding=encoding))
    print_map(REPORT, console)
    console.file.flush()
    said = raw.getvalue().decode(encoding)
    assert "\x1b" not in said
    assert bar * 20 in said
    assert max(map(len, said.splitlines())) <= 80
    assert said.endswith("0x500000-0x4ae6000\n\n")


def test_nothing_is_drawn_of_nothing(tmp_path: Path) -> None:
    out = io.StringIO()
    print_map(NOTHING, Console(file=out))
    assert out.getvalue() == ""
    with pytest.raises(UsageError, match="nothing to draw"):
        write_svg(NOTHING, tmp_path / "map.svg")


def test_svg_goes_to_a_file(tmp_path: Path) -> None:
    write_svg(REPORT, tmp_path / "map.svg")
    assert (tmp_path / "map.svg").read_text(encoding="utf-8").startswith("<?xml")
    with pytest.raises(UsageError, match="cannot be written"):
        write_svg(REPORT, tmp_path)
