from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvrig.layout.reservation import GRID, Reservation, parent_of, reservation_for, reserved_range
from hvrig.model.errors import UsageError
from hvrig.model.memory import PAGE_SIZE, Range


def test_the_x3300s_node_is_the_published_one() -> None:
    reservation = reservation_for(Range(0x500000, 0x4AE6000))
    assert reservation.range == Range(0x500000, 0x4B00000)
    assert reservation.node == "hvisor@500000 { no-map; reg = <0x0 0x500000 0x0 0x4600000>; };"


@pytest.mark.parametrize(
    ("cells", "reg"),
    [
        ((1, 1), "<0x40400000 0x4600000>"),
        ((2, 1), "<0x0 0x40400000 0x4600000>"),
        ((1, 2), "<0x40400000 0x0 0x4600000>"),
    ],
)
def test_cells(cells: tuple[int, int], reg: str) -> None:
    assert f"reg = {reg};" in reservation_for(Range(0x40400000, 0x449E6000), *cells).node


def test_both_cells_of_a_high_address_are_used() -> None:
    assert "<0x90 0x1000 0x1 0x0>" in reservation_for(Range(0x90_0000_1000, 0x91_0000_1000)).node


def test_a_node_of_its_own_parent() -> None:
    text = reservation_for(Range(0x500000, 0x4AE6000), 1, 1).parent
    assert text.startswith("reserved-memory {\n\t#address-cells = <1>;\n\t#size-cells = <1>;\n\tranges;\n")
    assert "\thvisor@500000 { no-map; reg = <0x500000 0x4600000>; };\n" in text


@pytest.mark.parametrize("cells", [(1, 2), (2, 0), (3, 2)])
def test_numbers_that_do_not_fit_are_refused(cells: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="does not fit"):
        reservation_for(Range(0x90_0000_0000, 0x90_0000_1000), *cells)


@given(st.integers(0, 1 << 48), st.integers(1, 1 << 32))
def test_it_covers_what_is_needed_and_little_more(start: int, size: int) -> None:
    needed = Range(start, start + size)
    reserved = reservation_for(needed).range
    assert reserved.start <= needed.start < reserved.start + PAGE_SIZE
    assert reserved.end >= needed.end
    assert reserved.start % PAGE_SIZE == reserved.size % GRID == 0
    assert reserved.size < needed.size + PAGE_SIZE + GRID


def test_at_the_end_of_64_bits_there_is_no_block_more() -> None:
    last = (1 << 64) - 0x1FFFFF
    assert reserved_range(Range(0, last)) == Range(0, (1 << 64) - PAGE_SIZE)
    assert reservation_for(Range(PAGE_SIZE, 1 << 64)).range == Range(PAGE_SIZE, 1 << 64)
    assert "reg = <0x0 0x0 0xffffffff 0xfffff000>" in reservation_for(Range(0, 1 << 64)).node


def test_nodes_of_one_parent_have_its_cells() -> None:
    text = parent_of([Reservation(Range(0x500000, 0x700000), 1, 1), Reservation(Range(0x1_0000_0000, 0x1_0020_0000))])
    assert "hvisor@500000 { no-map; reg = <0x0 0x500000 0x0 0x200000>; };" in text
    assert "hvisor@100000000 { no-map; reg = <0x1 0x0 0x0 0x200000>; };" in text
    assert text.count("#address-cells = <2>;") == text.count("ranges;") == 1
