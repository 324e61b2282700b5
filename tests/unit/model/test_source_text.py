from __future__ import annotations

import pytest

from hvrig.model.source_text import SourcePlace, file_of, place_of


@pytest.mark.parametrize(
    ("source", "file", "line", "node"),
    [
        ("board.rs:27", "board.rs", 27, ""),
        ("zone0.dtb /memory@200000", "zone0.dtb", None, "/memory@200000"),
        ("zone0.dts:10 /reserved-memory/a@1", "zone0.dts", 10, "/reserved-memory/a@1"),
        ("zone1.json:9 /memory_regions/0", "zone1.json", 9, "/memory_regions/0"),
        ("a b/c:d.dts:3 /m", "a b/c:d.dts", 3, "/m"),
        ("place desk", "place desk", None, ""),
        ("--range", "--range", None, ""),
        (":5", ":5", None, ""),
        ("x:²", "x:²", None, ""),
    ],
)
def test_parts(source: str, file: str, line: int | None, node: str) -> None:
    assert place_of(source) == SourcePlace(file, line, node)
    assert file_of(source) == file
