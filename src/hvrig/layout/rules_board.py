"""Rules 5 and 7: where images are loaded, and the board's list of physical memory. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, pairwise

from hvrig.layout.addresses import minus, union
from hvrig.layout.board_facts import BoardFacts, PhysicalStretch
from hvrig.layout.reservation import GRID
from hvrig.layout.rule_parts import (
    HYPERVISOR_REMEDY,
    HYPERVISORS_NAME,
    ROOT_ZONE,
    Outcome,
    bound_unchecked,
    not_checked,
    stretch_of,
)
from hvrig.layout.zone_memory import handed_out
from hvrig.model.layout import LayoutFinding, Mend, Rule, Stretch, Unchecked
from hvrig.model.memory import Range
from hvrig.model.memory_map import MemoryMap, Region, Use
from hvrig.model.source_text import file_of

_SIZES_REMEDY = "Give the place that loads it (--place), with its image files there."
_IMAGES_REMEDY = "Give the place that loads them (--place), with its image files there, or board.rs (--board-rs)."


def image_overlap(memory: MemoryMap, facts: BoardFacts) -> Outcome:
    """Rule 5: at boot time no image lies in the hypervisor's memory, nor over another image.

    The hypervisor's own image is staged anywhere, and moved by `bootm`: it may lie in the hypervisor's memory. What a
    zone's start loads goes into that zone's RAM, which rule 6 looks at: here only where it begins is looked at.
    """
    rule = Rule.IMAGE_OVERLAP
    images = memory.of(Use.IMAGE)
    if not images and not facts.loads:
        return not_checked(rule, "No image's load address is known.", _IMAGES_REMEDY)
    points = tuple(
        Region(f"image {load.name}", Use.IMAGE, Range(load.address, load.address + 1), load.source, zone=load.zone)
        for load in facts.loads
        if not any(image.range.start == load.address for image in images)
    )
    unchecked = [
        Unchecked(rule, f"How large {point.name} is, loaded at {point.range.start:#x}, is not known.", _SIZES_REMEDY)
        for point in points
        if point.zone is None
    ]
    hypervisor = memory.hypervisor
    findings: list[LayoutFinding] = []
    if hypervisor is None:
        unchecked.append(Unchecked(rule, "The hypervisor's range is not known.", HYPERVISOR_REMEDY))
    else:
        unchecked += bound_unchecked(rule, facts, hypervisor)
        for image in (*images, *points):
            overlap = image.range.overlap(hypervisor.range)
            if overlap is not None and not HYPERVISORS_NAME.search(image.name.lower()):
                findings.append(_image_finding(image, hypervisor, overlap, memory, facts))
    for first, second in combinations((*images, *points), 2):
        if (overlap := first.range.overlap(second.range)) and _at_the_same_time(first, second):
            findings.append(_image_finding(second, first, overlap, memory, facts))
    return Outcome(rule, True, tuple(findings), tuple(unchecked))


def _at_the_same_time(first: Region, second: Region) -> bool:
    """What boot loads is used up when a zone is started; and of a zone's configurations, only one is started."""
    return first.zone == second.zone and (first.zone is None or file_of(first.source) == file_of(second.source))


def _image_finding(image: Region, other: Region, overlap: Range, memory: MemoryMap, facts: BoardFacts) -> LayoutFinding:
    over_hypervisor = other.use is Use.HYPERVISOR
    free = _free_for(image.range.size, memory, facts)
    suggestion = f", at {free:#x} for example" if free is not None else ""
    return LayoutFinding(
        Rule.IMAGE_OVERLAP,
        f"{image.name} {image.range} is loaded over "
        + ("the hypervisor's memory." if over_hypervisor else f"{other.name} {other.range}."),
        (stretch_of(image), stretch_of(other)),
        (overlap,),
        "The hypervisor overwrites it before zone 0 starts, or zone 0's kernel overwrites the hypervisor."
        if over_hypervisor
        else "The one that is loaded last overwrites the other.",
        Mend(
            f"Load {image.name.removeprefix('image ')} elsewhere{suggestion}, in the place and in board.rs alike.",
            "",
            file_of(image.source),
        ),
        image.zone,
    )


def _free_for(size: int, memory: MemoryMap, facts: BoardFacts) -> int | None:
    """The lowest address on the 2 MiB grid, above all that is loaded, where an image fits into zone 0's memory."""
    taken = [region.range for region in memory.of(Use.IMAGE)]
    if memory.hypervisor is not None:
        taken.append(facts.reserved(memory.hypervisor.range))
    lowest = max((stretch.end for stretch in taken), default=0)
    for part in handed_out(memory, ROOT_ZONE):
        start = -(-max(part.start, lowest) // GRID) * GRID
        if start + size <= part.end:
            return start
    return None


def physical_memory_list(memory: MemoryMap, facts: BoardFacts) -> Outcome:
    """Rule 7: BOARD_PHYSMEM_LIST ascends, is on the 2 MiB grid, and has every RAM region in it.

    The hypervisor's own page table is made from it; hvisor's boards say of it that it must ascend and be aligned.
    """
    rule = Rule.PHYSICAL_MEMORY_LIST
    if facts.physical_memory is None:
        return not_checked(rule, "BOARD_PHYSMEM_LIST is not known.", "Give the board's board.rs (--board-rs).")
    stretches = facts.physical_memory
    if not stretches:
        return Outcome(rule, True)
    findings = [*_out_of_order(stretches), *_off_the_grid(stretches), *_uncovered(memory, stretches)]
    return Outcome(rule, True, tuple(findings))


def _out_of_order(stretches: tuple[PhysicalStretch, ...]) -> Iterator[LayoutFinding]:
    for previous, current in pairwise(stretches):
        if current.range.start < previous.range.end:
            overlap = previous.range.overlap(current.range)
            yield LayoutFinding(
                Rule.PHYSICAL_MEMORY_LIST,
                f"BOARD_PHYSMEM_LIST does not ascend: {current.range} follows {previous.range}.",
                (_stretch(current), _stretch(previous)),
                (overlap if overlap is not None else current.range,),
                "The hypervisor maps memory twice or with the wrong type, or stops while it builds its page table.",
                Mend("Put the entries into ascending order, without overlap.", "", file_of(current.source)),
            )


def _off_the_grid(stretches: tuple[PhysicalStretch, ...]) -> Iterator[LayoutFinding]:
    for one in stretches:
        if one.range.start % GRID or one.range.end % GRID:
            text = _entry(_on_grid(one.range), one.kind)
            yield LayoutFinding(
                Rule.PHYSICAL_MEMORY_LIST,
                f"BOARD_PHYSMEM_LIST has {one.range}, which is not on the 2 MiB grid.",
                (_stretch(one),),
                (one.range,),
                "The hypervisor maps blocks of 2 MiB: the edge is mapped wrongly, or it stops at boot.",
                Mend("Align both ends to 2 MiB, and mind the neighbours.", text, file_of(one.source)),
            )


def _uncovered(memory: MemoryMap, stretches: tuple[PhysicalStretch, ...]) -> Iterator[LayoutFinding]:
    listed = [one.range for one in stretches]
    for region in memory.of(Use.ZONE_RAM):
        wrong = minus([region.range], listed)
        if not wrong:
            continue
        missing = minus(union(_on_grid(part) for part in wrong), listed)
        whole = Range(min(listed).start, max(one.end for one in listed))
        yield LayoutFinding(
            Rule.PHYSICAL_MEMORY_LIST,
            f"Zone {region.zone}'s {region.name} {region.range} is not wholly in BOARD_PHYSMEM_LIST.",
            (Stretch("BOARD_PHYSMEM_LIST", whole, stretches[0].source), stretch_of(region)),
            wrong,
            "The hypervisor faults when it reads or loads the zone's memory there.",
            Mend(
                "Add the missing stretch at its place, in ascending order.",
                "\n".join(_entry(part, "Normal") for part in missing),
                file_of(stretches[0].source),
            ),
            region.zone,
        )


def _on_grid(stretch: Range) -> Range:
    return Range(stretch.start - stretch.start % GRID, -(-stretch.end // GRID) * GRID)


def _entry(stretch: Range, kind: str) -> str:
    return f"({stretch.start:#x}, {stretch.end:#x}, MemoryType::{kind}),"


def _stretch(one: PhysicalStretch) -> Stretch:
    return Stretch(f"BOARD_PHYSMEM_LIST {one.kind}", one.range, one.source)
