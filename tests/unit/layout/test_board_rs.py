from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvrig.layout.board_rs import Board, LoadAddress, read_board
from hvrig.layout.rust_source import RustSource
from hvrig.model.errors import UsageError
from hvrig.model.memory import Range
from hvrig.model.memory_map import Use

DATA = Path(__file__).parents[2] / "data" / "layout"


def board(text: str, *others: str) -> Board:
    sources = [RustSource(other.encode(), "consts.rs") for other in others]
    return read_board(RustSource(text.encode(), "board.rs"), sources)


def entry(kind: str = "MEM_TYPE_RAM", start: str = "0x1000", guest: str = "0x1000", size: str = "0x1000") -> str:
    return (
        f"HvConfigMemoryRegion {{ mem_type: {kind}, physical_start: {start}, virtual_start: {guest}, size: {size}, }}"
    )


def table(*entries: str) -> str:
    return f"pub const ROOT_ZONE_MEMORY_REGIONS: &[HvConfigMemoryRegion] = &[\n{', '.join(entries)}\n];\n"


def test_the_x3300s_board() -> None:
    read = read_board(RustSource((DATA / "x3300-board.rs").read_bytes(), "x3300-board.rs"))
    ram = read.map.of(Use.ZONE_RAM, zone=0)
    assert len(read.map.regions) == 16
    assert len(ram) == 9
    assert ram[0].range == Range(0x200000, 0x8400000)
    assert Range(0x9400000, 0x10000000) in [region.range for region in ram], "the commented entry does not count"
    assert sum(region.range.size for region in ram) == 0x3FE8F0000
    assert read.cpus == 8
    assert read.kernel == LoadAddress(0x10400000, "x3300-board.rs:23")
    assert read.dtb == LoadAddress(0x10000000, "x3300-board.rs:22")
    assert [(s.range, s.kind) for s in read.physical_memory][-2:] == [
        (Range(0x3FC400000, 0x400000000), "Normal"),
        (Range(0x4F0000000, 0x500000000), "Normal"),
    ]


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("&[HvConfigMemoryRegion]", f"&[{entry()}]"),
        ("[HvConfigMemoryRegion; 1]", f"[{entry()}]"),
        ("[HvConfigMemoryRegion; 1]", f"[{entry()}; 1]"),
        ("&'static [HvConfigMemoryRegion]", f"&[ /* {entry(size='0x9000')}, */ {entry()}, // {entry()}\n]"),
        ("[HvConfigMemoryRegion; 1]", "[ONE]"),
        ("[HvConfigMemoryRegion; 1]", "[crate::platform::ONE]"),
    ],
)
def test_arrays_slices_comments_and_named_entries(kind: str, value: str) -> None:
    text = f"const ONE: HvConfigMemoryRegion = {entry()};\npub static ROOT_ZONE_MEMORY_REGIONS: {kind} = {value};"
    (region,) = board(text).map.regions
    assert (region.use, region.range, region.guest_start) == (Use.ZONE_RAM, Range(0x1000, 0x2000), None)


def test_an_array_of_one_entry_many_times() -> None:
    text = f"const N: usize = 3;\nconst ROOT_ZONE_MEMORY_REGIONS: [HvConfigMemoryRegion; 3] = [{entry()}; N];"
    assert len(board(text).map.regions) == 3
    with pytest.raises(UsageError, match="too many entries"):
        board(text.replace("3;", "1_000_000_000;"))


def test_kinds_guest_addresses_and_lines() -> None:
    read = board(
        table(
            entry("MEM_TYPE_RAM", "0x500_0000", "0x0"),
            "\n" + entry("MEM_TYPE_IO"),
            "\n" + entry("crate::config::MEM_TYPE_VIRTIO"),
            "\n" + entry("MEM_TYPE_ROM"),
        )
    )
    assert [(r.use, r.source) for r in read.map.regions] == [
        (Use.ZONE_RAM, "board.rs:2"),
        (Use.ZONE_DEVICE, "board.rs:3"),
        (Use.ZONE_VIRTIO, "board.rs:4"),
        (Use.ZONE_OTHER, "board.rs:5"),
    ]
    assert read.map.regions[0].guest == Range(0, 0x1000)
    assert "MEM_TYPE_ROM" in read.map.regions[3].name


def test_sizes_are_computed_with_the_constants_of_other_files() -> None:
    text = table(entry(size="crate::consts::PAGE * 4", start="BASE + (1 << 12)", guest="BASE"))
    read = board(text + "const BASE: u64 = 0x4000_0000;", "pub const PAGE: usize = 0x1000;")
    assert read.map.regions[0].range == Range(0x40001000, 0x40005000)


def test_an_entry_that_cfg_may_leave_out_is_noted() -> None:
    read = board(table(entry(), f'\n#[cfg(feature = "x")]\n{entry(start="0x9000", guest="0x9000")}'))
    assert len(read.map.regions) == 2
    assert read.map.notes[0].startswith("board.rs:3: ")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("pub const BOARD_NCPUS: usize = 8;", "board.rs: it should have one ROOT_ZONE_MEMORY_REGIONS, and has none"),
        (table(entry()) * 2, "has several"),
        (table(entry(size="size_of()")), "board.rs:2: not a constant that can be computed"),
        (table(entry(size="SIZE")), "board.rs:2: a constant that none"),
        (table(entry(start="u64::MAX")), "board.rs:2: a region that ends beyond 64 bits"),
        (table("region(0x1000)"), "board.rs:2: not an HvConfigMemoryRegion"),
        (table("NOWHERE"), "board.rs:2: not a region that one of the given files defines"),
        (table("HvConfigMemoryRegion { size: 0x1000, ..BASE }"), "board.rs:2: not a field"),
        (table("HvConfigMemoryRegion { size: 0x1000 }"), "without mem_type and physical_start and virtual_start"),
        ("const ROOT_ZONE_MEMORY_REGIONS: [R; 1] = regions();", "board.rs:1: ROOT_ZONE_MEMORY_REGIONS is not an array"),
        (table(entry()) + "const BOARD_PHYSMEM_LIST: &[(u64, u64)] = &[(1, 2)];", "BOARD_PHYSMEM_LIST"),
        (table(entry()) + "const BOARD_PHYSMEM_LIST: &[(u64, u64, M)] = &[(2, 1, M::N)];", "ends before it begins"),
        (table(entry()) + "const BOARD_NCPUS: usize = ncpus();", "can be computed here"),
    ],
)
def test_what_is_not_understood_is_refused_and_never_passed_over(text: str, said: str) -> None:
    with pytest.raises(UsageError) as refused:
        board(text)
    assert said in refused.value.message


@given(st.data())
def test_a_damaged_board_is_read_or_refused(data: st.DataObject) -> None:
    text = bytearray((DATA / "x3300-board.rs").read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text) - 1))
        text[at : at + data.draw(st.integers(0, 20))] = data.draw(st.binary(max_size=3))
    refused = None
    try:
        read_board(RustSource(bytes(text), "board.rs"))
    except UsageError as error:
        refused = error.message
    assert refused is None or refused.startswith("board.rs:")
