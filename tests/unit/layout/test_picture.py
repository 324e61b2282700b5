from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvrig.layout.picture import Kind, Picture, picture_of
from hvrig.layout.picture_svg import picture_svg
from hvrig.layout.picture_text import picture_lines
from hvrig.layout.rules import check
from hvrig.model.memory import Range
from hvrig.model.memory_map import MemoryMap, Region, Use

SVG = "{http://www.w3.org/2000/svg}"
X3300 = (
    Region("hypervisor", Use.HYPERVISOR, Range(0x500000, 0x4AE6000), "hvisor"),
    Region("binary", Use.HYPERVISOR_PART, Range(0x500000, 0x6E6000), "hvisor"),
    Region("per-CPU areas", Use.HYPERVISOR_PART, Range(0x6E6000, 0xAE6000), "hvisor"),
    Region("frame pool", Use.HYPERVISOR_PART, Range(0xAE6000, 0x4AE6000), "hvisor"),
    Region("memory@200000", Use.TREE_MEMORY, Range(0x200000, 0x8400000), "z.dts /memory@200000", zone=0),
    Region("memory@200000", Use.TREE_MEMORY, Range(0x9400000, 0x400000000), "z.dts /memory@200000", zone=0),
    Region("hvisor@480000 (no-map)", Use.RESERVED, Range(0x480000, 0x880000), "z.dts /reserved-memory/x", zone=0),
    Region("RAM", Use.ZONE_RAM, Range(0x200000, 0x400000000), "board.rs:7", zone=0),
    Region("image kernel", Use.IMAGE, Range(0x9400000, 0xB400000), "place desk"),
)


def drawn(*regions: Region) -> Picture:
    picture = picture_of(check("b", MemoryMap(regions)))
    assert picture is not None
    return picture


def rows(picture: Picture, width: int = 80, *, plain: bool = False) -> list[str]:
    return [line.plain for line in picture_lines(picture, width, plain=plain)]


def test_what_nothing_is_known_of_has_no_picture() -> None:
    assert picture_of(check("b", MemoryMap())) is None


def test_the_x3300_has_two_scales_and_the_uncovered_stretch() -> None:
    picture = drawn(*X3300)
    assert picture.whole == Range(0x200000, 0x400000000)
    assert picture.close is not None
    assert picture.close.start <= 0x480000
    assert 0x4AE6000 <= picture.close.end < 0x6000000
    assert picture.uncovered == (Range(0x880000, 0x4AE6000),)
    assert [column.title for column in picture.columns] == [
        *("hypervisor", "device tree", "zones' RAM", "images"),
        "other findings",
    ]


def test_a_map_in_which_the_hypervisor_is_large_needs_one_scale() -> None:
    assert drawn(*X3300[:4]).close is None
    assert drawn(X3300[4]).close is None, "no hypervisor, nothing to look closer at"


def test_each_stretch_is_a_line_and_its_bar_is_where_it_is() -> None:
    said = rows(drawn(*X3300))
    assert max(map(len, said)) <= 80
    line = {row[:18].strip(): row for row in said[said.index("") :]}
    bar = {name: row[19:].rpartition(" ")[0].rstrip() for name, row in line.items()}
    pool, uncovered = bar["frame pool"], bar["NOT RESERVED"]
    assert set(uncovered.strip()) == {"!"}
    assert len(uncovered) == len(pool), "both end at 0x4ae6000"
    assert bar["binary"].index("█") < pool.index("█")
    assert line["NOT RESERVED"].endswith("0x880000-0x4ae6000")
    assert bar["memory@200000"].endswith(">"), "it goes on"
    assert said[-1] == "!!! 66.4 MiB of the hypervisor not kept from zone 0's kernel"


def test_a_bar_is_to_scale() -> None:
    row = next(r for r in rows(drawn(*X3300)) if r.startswith("frame pool"))
    title = next(r for r in rows(drawn(*X3300)) if r.startswith("around"))
    each = re.search(r"([\d.]+) MiB a character", title)
    assert each is not None
    assert abs(row.count("█") * float(each[1]) - 64) <= 2 * float(each[1])


def test_plain_is_ascii_and_still_tells_everything_apart() -> None:
    said = rows(drawn(*X3300), plain=True)
    assert all(row.isascii() for row in said)
    bars = {row[:18].strip(): set(row[19:].rpartition(" ")[0]) - set(" <>") for row in said[said.index("") :]}
    wanted = {"binary": "#", "memory@200000": ".", "hvisor@480000": "=", "zone 0: RAM": ":", "NOT RESERVED": "!"}
    assert {name: bars[name] for name in wanted} == {name: {character} for name, character in wanted.items()}


@pytest.mark.parametrize("width", [10, 60, 80, 200])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    assert max(map(len, rows(drawn(*X3300), width))) <= max(width, 60)


def test_many_regions_are_counted_and_not_drawn_for_ever() -> None:
    many = [Region(f"r{n}", Use.ZONE_RAM, Range(n << 21, (n << 21) + 4096), "b.rs:1", zone=0) for n in range(5000)]
    picture = drawn(*X3300[:4], *many)
    assert len(rows(picture)) < 150
    svg = picture_svg(picture)
    assert len(svg) < 2_000_000
    assert " more not named" in svg


def texts(svg: str) -> list[ET.Element]:
    return list(ET.fromstring(svg.encode()).iter(f"{SVG}text"))


def test_svg_says_it_all() -> None:
    said = [" ".join("".join(text.itertext()).split()) for text in texts(picture_svg(drawn(*X3300)))]
    for wanted in (
        "b: memory layout",
        "NOT RESERVED 66.4 MiB",
        "0x880000 - 0x4ae6000",
        "frame pool 64 MiB",
        "0xae6000",
    ):
        assert wanted in said
    red = [r for r in ET.fromstring(picture_svg(drawn(*X3300))).iter(f"{SVG}rect") if r.get("fill") == "#e03131"]
    assert len(red) == 3, "in all memory, in the detail, in the legend"


def test_svg_boxes_are_to_scale() -> None:
    svg = ET.fromstring(picture_svg(drawn(*X3300)))
    boxes = {
        rect.get("fill"): float(rect.get("height", "0"))
        for rect in svg.iter(f"{SVG}rect")
        if rect.get("width") == "44.0"
    }
    assert boxes["#e03131"] / boxes["#2f9e44"] == pytest.approx(
        (0x4AE6000 - 0x880000) / (0x880000 - 0x480000), rel=0.02
    )


def test_svg_labels_do_not_overlap() -> None:
    """Where each text begins, those of one column are a line apart."""
    columns: dict[str, list[float]] = {}
    for text in texts(picture_svg(drawn(*X3300))):
        columns.setdefault(f"{text.get('x')}{text.get('text-anchor')}", []).append(float(text.get("y", "0")))
    for ys in columns.values():
        ys.sort()
        assert all(b - a >= 11.9 for a, b in pairwise(ys)), ys


def test_names_do_not_act() -> None:
    evil = Region("<script>alert(1)</script>\x1b[2J\x00 &amp;", Use.TREE_MEMORY, Range(0, 1 << 20), "x /y", zone=0)
    picture = drawn(evil)
    svg = picture_svg(picture)
    assert "<script" not in svg
    assert "\x1b" not in svg
    ET.fromstring(svg)
    assert "\x1b" not in "".join(rows(picture))


stretches = st.tuples(st.integers(0, 1 << 60), st.integers(0, 1 << 60)).map(lambda ends: Range(min(ends), max(ends)))
regions = st.builds(
    Region,
    st.text(max_size=40),
    st.sampled_from(list(Use)),
    stretches.filter(lambda r: r.size > 0),
    st.just("f /n"),
    zone=st.sampled_from([0, 1]),
)


@given(st.lists(regions, min_size=1, max_size=12))
def test_any_map_can_be_drawn(some: list[Region]) -> None:
    picture = picture_of(check("b", MemoryMap(tuple(some))))
    if picture is None:
        return
    assert max(map(len, rows(picture))) <= 80
    assert all(row.isascii() for row in rows(picture, plain=True)) or not all(r.name.isascii() for r in some)
    ET.fromstring(picture_svg(picture).encode())
    for column in picture.columns:
        for box in column.boxes:
            assert picture.whole.start <= box.range.start
            assert box.range.end <= picture.whole.end
    assert Kind.UNCOVERED not in {box.kind for box in picture.columns[0].boxes}
