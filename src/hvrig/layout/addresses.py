"""Sets of addresses, as ranges: union, intersection, difference. Pure; results are ascending and do not touch."""

from __future__ import annotations

from collections.abc import Iterable

from hvrig.model.memory import PAGE_SIZE, Range
from hvrig.model.memory_map import parts_outside

Addresses = tuple[Range, ...]


def union(ranges: Iterable[Range]) -> Addresses:
    """The addresses that lie in any of `ranges`."""
    merged: list[Range] = []
    for current in sorted(r for r in ranges if r.size):
        if merged and current.start <= merged[-1].end:
            merged[-1] = Range(merged[-1].start, max(merged[-1].end, current.end))
        else:
            merged.append(current)
    return tuple(merged)


def common(some: Iterable[Range], others: Iterable[Range]) -> Addresses:
    """The addresses that lie in both."""
    found: list[Range] = []
    left, right = list(union(some)), list(union(others))
    while left and right:
        if overlap := left[-1].overlap(right[-1]):
            found.append(overlap)
        (left if left[-1].start >= right[-1].start else right).pop()
    return tuple(reversed(found))


def minus(some: Iterable[Range], others: Iterable[Range]) -> Addresses:
    """The addresses of `some` that lie in none of `others`."""
    taken = union(others)
    return tuple(part for whole in union(some) for part in parts_outside(whole, taken))


def whole_pages(ranges: Iterable[Range]) -> Addresses:
    """The pages of 4 KiB that lie wholly in `ranges`."""
    found: list[Range] = []
    for current in union(ranges):
        start, end = -(-current.start // PAGE_SIZE) * PAGE_SIZE, current.end // PAGE_SIZE * PAGE_SIZE
        if start < end:
            found.append(Range(start, end))
    return tuple(found)


def total(ranges: Addresses) -> int:
    """Bytes in ranges that do not overlap."""
    return sum(r.size for r in ranges)
