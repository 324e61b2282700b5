from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from hvrig.model.memory import Range
from hvrig.model.memory_map import MemoryMap, Region, Use, parts_outside

LOW = Region("RAM", Use.ZONE_RAM, Range(0x1000, 0x3000), "a:1", zone=0)
MOVED = Region("RAM", Use.ZONE_RAM, Range(0x5000, 0x6000), "a:2", zone=1, guest_start=0x1000)
HYPERVISOR = Region("hypervisor", Use.HYPERVISOR, Range(0x2000, 0x4000), "elf")
OTHER_WORD = Region("hypervisor", Use.HYPERVISOR, Range(0x2000, 0x5000), "place")
MAP = MemoryMap((LOW, MOVED), ("one",)) + MemoryMap((HYPERVISOR, OTHER_WORD), ("two",))


def test_lookup_by_physical_address_and_as_a_zone_sees_it() -> None:
    assert MAP.at(0x2000) == (LOW, HYPERVISOR, OTHER_WORD)
    assert MAP.at(0x3000) == (HYPERVISOR, OTHER_WORD), "an end is outside"
    assert MAP.seen_by(0, 0x1000) == (LOW,)
    assert MAP.seen_by(1, 0x1000) == (MOVED,)
    assert MAP.seen_by(1, 0x5000) == ()
    assert (MAP.physical(1, 0x1234), MAP.physical(0, 0x1234), MAP.physical(1, 0x9000)) == (0x5234, 0x1234, 0x9000)


def test_regions_by_use_and_the_first_word_on_the_hypervisor_counts() -> None:
    assert MAP.of(Use.ZONE_RAM) == (LOW, MOVED)
    assert MAP.of(Use.ZONE_RAM, zone=1) == (MOVED,)
    assert MAP.hypervisor is HYPERVISOR
    assert MemoryMap().hypervisor is None
    assert MAP.notes == ("one", "two")


_RANGES = st.tuples(st.integers(0, 40), st.integers(0, 40)).map(lambda pair: Range(min(pair), max(pair)))


@given(_RANGES, st.lists(_RANGES, max_size=6))
def test_parts_outside_agree_with_every_single_address(whole: Range, others: list[Range]) -> None:
    left = parts_outside(whole, others)
    inside = {address for part in left for address in range(part.start, part.end)}
    assert inside == {a for a in range(whole.start, whole.end) if not any(a in other for other in others)}
    assert all(part.size for part in left)
    assert all(one.end < two.start for one, two in pairwise(left)), "ascending and apart"
