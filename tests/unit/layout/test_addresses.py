from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from hvrig.layout.addresses import Addresses, common, minus, total, union, whole_pages
from hvrig.model.memory import Range

_TOP = 40
RANGES = st.lists(
    st.tuples(st.integers(0, _TOP), st.integers(0, _TOP)).map(lambda pair: Range(min(pair), max(pair))), max_size=6
)


def members(ranges: Addresses | list[Range]) -> set[int]:
    return {address for current in ranges for address in range(current.start, current.end)}


def is_tidy(ranges: Addresses) -> bool:
    return all(r.size for r in ranges) and all(a.end < b.start for a, b in itertools.pairwise(ranges))


@given(RANGES, RANGES)
def test_sets_of_addresses(some: list[Range], others: list[Range]) -> None:
    for result, expected in (
        (union(some), members(some)),
        (common(some, others), members(some) & members(others)),
        (minus(some, others), members(some) - members(others)),
    ):
        assert members(result) == expected
        assert is_tidy(result)
        assert total(result) == len(expected)


def test_whole_pages_only() -> None:
    assert whole_pages([Range(0x1001, 0x3000), Range(0x3000, 0x4FFF), Range(0x5001, 0x5FFF)]) == (
        Range(0x2000, 0x4000),
    )
