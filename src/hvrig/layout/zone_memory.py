"""What a zone's kernel may hand out, and what lies behind it. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from hvrig.layout.addresses import Addresses, minus, union, whole_pages
from hvrig.model.memory import Range
from hvrig.model.memory_map import ZONE_USES, MemoryMap, Region, Use


@dataclass(frozen=True)
class Piece:
    """Addresses as a zone sees them, and the physical ones behind them. region: what maps them, None for nothing."""

    guest: Range
    physical: Range
    region: Region | None


def zones_with(memory: MemoryMap, *uses: Use) -> tuple[int, ...]:
    """The zones that have regions of these uses, ascending."""
    return tuple(sorted({region.zone for region in memory.of(*uses) if region.zone is not None}))


def handed_out(memory: MemoryMap, zone: int) -> Addresses:
    """The pages that the zone's kernel takes for its own, by its device tree: guest addresses.

    Linux hands out whole pages only, and none that is reserved in part; what is `reusable` it does hand out.
    """
    banks = (region.range for region in memory.of(Use.TREE_MEMORY, zone=zone))
    reserved = (region.range for region in memory.of(Use.RESERVED, zone=zone))
    return whole_pages(minus(banks, reserved))


def pieces(memory: MemoryMap, zone: int, guest: Iterable[Range]) -> tuple[Piece, ...]:
    """What lies behind guest addresses; where several regions have them, the first counts.

    What no region has is taken to lie at its physical address.
    """
    found: list[Piece] = []
    left = union(guest)
    for region in memory.of(*ZONE_USES, zone=zone):
        shift = region.range.start - region.guest.start
        for stretch in left:
            if part := stretch.overlap(region.guest):
                found.append(Piece(part, Range(part.start + shift, part.end + shift), region))
        left = minus(left, [region.guest])
    found += [Piece(stretch, stretch, None) for stretch in left]
    return tuple(sorted(found, key=lambda piece: piece.guest))


def seen_at(memory: MemoryMap, zone: int, physical: Range) -> Addresses:
    """Where the zone sees physical addresses: through its regions, and at the same place where it has none."""
    seen: list[Range] = []
    for region in memory.of(*ZONE_USES, zone=zone):
        if part := physical.overlap(region.range):
            shift = region.guest.start - region.range.start
            seen.append(Range(part.start + shift, part.end + shift))
    guests = [region.guest for region in memory.of(*ZONE_USES, zone=zone)]
    return union([*seen, *minus([physical], guests)])
