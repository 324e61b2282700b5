"""The memory map: what each stretch of addresses is for, and who says so."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass

from hvrig.model.memory import Range


class Use(enum.Enum):
    """What a region is for.

    `ZONE_*` are the zone's regions as the hypervisor maps them (board.rs, zone JSON). `TREE_*`, `RESERVED` and
    `REUSABLE` are what the zone's device tree tells its kernel; REUSABLE is a reservation whose pages the kernel hands
    out all the same until their owner asks for them (`reusable`, Linux: CMA).
    """

    HYPERVISOR = "hypervisor"
    HYPERVISOR_PART = "hypervisor-part"
    ZONE_RAM = "zone-ram"
    ZONE_DEVICE = "zone-device"
    ZONE_VIRTIO = "zone-virtio"
    ZONE_OTHER = "zone-other"
    TREE_MEMORY = "tree-memory"
    TREE_DEVICE = "tree-device"
    RESERVED = "reserved"
    REUSABLE = "reusable"
    IMAGE = "image"


# How the hypervisor maps a zone's addresses, as opposed to what the zone's kernel believes of them.
ZONE_USES = frozenset({Use.ZONE_RAM, Use.ZONE_DEVICE, Use.ZONE_VIRTIO, Use.ZONE_OTHER})


@dataclass(frozen=True)
class Region:
    """A named stretch of physical addresses.

    source: the file and line, or the node, that gives it. zone: whose it is, where it is a zone's.
    guest_start: where the zone sees it, if not at its physical address.
    """

    name: str
    use: Use
    range: Range
    source: str
    zone: int | None = None
    guest_start: int | None = None

    @property
    def guest(self) -> Range:
        """Its addresses as its zone sees them."""
        if self.guest_start is None:
            return self.range
        return Range(self.guest_start, self.guest_start + self.range.size)


@dataclass(frozen=True)
class MemoryMap:
    """All regions that are known, from however many sources; they may overlap, and sources may disagree.

    notes: what could not be known, and where sources disagree, a sentence each.
    """

    regions: tuple[Region, ...] = ()
    notes: tuple[str, ...] = ()

    def __add__(self, other: MemoryMap) -> MemoryMap:
        return MemoryMap(self.regions + other.regions, self.notes + other.notes)

    def of(self, *uses: Use, zone: int | None = None) -> tuple[Region, ...]:
        """The regions of these uses; with `zone`, only that zone's."""
        return tuple(r for r in self.regions if r.use in uses and (zone is None or r.zone == zone))

    def at(self, address: int) -> tuple[Region, ...]:
        """The regions that hold a physical address."""
        return tuple(r for r in self.regions if address in r.range)

    def seen_by(self, zone: int, address: int) -> tuple[Region, ...]:
        """The zone's own regions that hold an address as the zone sees it."""
        return tuple(r for r in self.regions if r.zone == zone and address in r.guest)

    def physical(self, zone: int, address: int) -> int:
        """The physical address behind an address that the zone sees; the same one where the zone has no region."""
        for region in self.seen_by(zone, address):
            if region.use in ZONE_USES:
                return region.range.start + address - region.guest.start
        return address

    @property
    def hypervisor(self) -> Region | None:
        """All that the hypervisor occupies, from the source that counts most: the first."""
        return next(iter(self.of(Use.HYPERVISOR)), None)


def parts_outside(whole: Range, others: Iterable[Range]) -> tuple[Range, ...]:
    """The parts of `whole` that lie in none of `others`, ascending."""
    left: list[Range] = []
    start = whole.start
    for other in sorted(others):
        if start >= whole.end:
            break
        if other.start > start and other.size:
            left.append(Range(start, min(other.start, whole.end)))
        start = max(start, other.end if other.size else start)
    if start < whole.end:
        left.append(Range(start, whole.end))
    return tuple(left)


@dataclass(frozen=True)
class Explanation:
    """Why a fault's address was no surprise, or was one.

    what: what lies at the address, a clause. cause: what most likely happened, and what to check.
    """

    address: int
    what: str
    cause: str

    def __str__(self) -> str:
        return f"{self.address:#x} is {self.what}. {self.cause}"
