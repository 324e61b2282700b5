"""What a picture of a memory map shows: which stretches, in which columns, and on which part of memory it looks closer.

Pure; `picture_text` and `picture_svg` draw it. A board has gigabytes and the hypervisor some megabytes, so that there
are two scales: all memory, and the part around the hypervisor. Each is true to itself.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass

from hvrig.layout.addresses import union
from hvrig.layout.reservation import GRID
from hvrig.model.layout import LayoutReport, Rule
from hvrig.model.memory import Range
from hvrig.model.memory_map import MemoryMap, Region, Use

# Findings that say the same of the same addresses: the zone's kernel may hand them out.
UNCOVERED = (Rule.UNRESERVED, Rule.WRONG_RESERVATION, Rule.LIVE_SYSTEM_RAM)

# On each side of what is looked at more closely, as a share of it.
_MARGIN = 8


class Kind(enum.Enum):
    """What a box stands for."""

    HYPERVISOR = "hypervisor"
    MEMORY = "memory of the device tree"
    RESERVED = "reservation"
    REUSABLE = "reservation that the kernel uses until it is wanted"
    RAM = "RAM of a zone"
    IMAGE = "image"
    UNCOVERED = "of the hypervisor and not reserved"
    WRONG = "another finding"


@dataclass(frozen=True)
class Box:
    """One stretch of physical addresses."""

    name: str
    range: Range
    kind: Kind


@dataclass(frozen=True)
class Column:
    """Boxes of one sort, in the order in which they are drawn: later ones lie on earlier ones."""

    title: str
    boxes: tuple[Box, ...]


@dataclass(frozen=True)
class Picture:
    """whole: from the first to the last address of anything. close: the part to look at, None where that is all."""

    board: str
    whole: Range
    close: Range | None
    columns: tuple[Column, ...]

    @property
    def detail(self) -> Range:
        """What the detailed part shows."""
        return self.close or self.whole

    @property
    def uncovered(self) -> tuple[Range, ...]:
        """The hypervisor's addresses that are not kept from the zone's kernel."""
        return union(box.range for column in self.columns for box in column.boxes if box.kind is Kind.UNCOVERED)


def picture_of(report: LayoutReport) -> Picture | None:
    """The picture of a checked map; None where no address is known."""
    memory = report.memory
    columns = (
        Column("hypervisor", tuple(_hypervisor(memory))),
        Column(
            "device tree",
            (
                *_boxes(memory.of(Use.TREE_MEMORY, zone=0), Kind.MEMORY),
                *_boxes(memory.of(Use.REUSABLE, zone=0), Kind.REUSABLE),
                *_boxes(memory.of(Use.RESERVED, zone=0), Kind.RESERVED),
                *_uncovered(report),
            ),
        ),
        Column("zones' RAM", tuple(_rams(memory))),
        Column("images", tuple(_boxes(memory.of(Use.IMAGE), Kind.IMAGE))),
        Column("other findings", tuple(_others(report))),
    )
    shown = [box.range for column in columns for box in column.boxes if box.range.size]
    if not shown:
        return None
    whole = Range(min(r.start for r in shown), max(r.end for r in shown))
    close = _close(memory, columns, whole)
    return Picture(report.board, whole, close, tuple(column for column in columns if column.boxes))


def _hypervisor(memory: MemoryMap) -> Iterable[Box]:
    """Its parts, of the source that counts most; the whole where there are none, or where they leave some out."""
    whole = memory.hypervisor
    parts = memory.of(Use.HYPERVISOR_PART)
    first = [part for part in parts if part.source == parts[0].source]
    covered = union(part.range for part in first)
    if whole is not None and covered != (whole.range,):
        yield Box("hypervisor", whole.range, Kind.HYPERVISOR)
    for part in first:
        yield Box(part.name, part.range, Kind.HYPERVISOR)


def _rams(memory: MemoryMap) -> Iterable[Box]:
    for region in memory.of(Use.ZONE_RAM):
        yield Box(f"zone {region.zone}: {region.name}", region.range, Kind.RAM)


def _uncovered(report: LayoutReport) -> Iterable[Box]:
    uncovered = union(part for finding in report.findings if finding.rule in UNCOVERED for part in finding.wrong)
    for part in uncovered:
        yield Box("NOT RESERVED", part, Kind.UNCOVERED)


def _others(report: LayoutReport) -> Iterable[Box]:
    for finding in report.findings:
        if finding.rule not in UNCOVERED:
            for part in finding.wrong:
                yield Box(finding.rule.value, part, Kind.WRONG)


def _boxes(regions: tuple[Region, ...], kind: Kind) -> Iterable[Box]:
    return (Box(region.name.partition(" (")[0], region.range, kind) for region in regions)


def _close(memory: MemoryMap, columns: tuple[Column, ...], whole: Range) -> Range | None:
    """The hypervisor, what is reserved for it, and what is at fault with it, with a margin; on the 2 MiB grid."""
    hypervisor = memory.hypervisor
    if hypervisor is None:
        return None
    near = [hypervisor.range]
    for column in columns:
        near += [
            box.range
            for box in column.boxes
            if box.kind in (Kind.RESERVED, Kind.REUSABLE) and box.range.overlap(hypervisor.range)
        ]
    start, end = min(r.start for r in near), max(r.end for r in near)
    margin = max((end - start) // _MARGIN, GRID)
    start = max(start - margin, 0) // GRID * GRID
    end = -(-(end + margin) // GRID) * GRID
    if end - start >= whole.size // 2:
        return None
    return Range(start, end)
