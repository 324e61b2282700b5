"""Rules 4, 6 and 8: what the zones are given agrees with their device trees, and with each other. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

from hvrig.layout.addresses import Addresses, common, minus, total, union
from hvrig.layout.board_facts import BoardFacts, Controller
from hvrig.layout.region_text import entries, split_around
from hvrig.layout.rule_parts import (
    HYPERVISOR_REMEDY,
    MAPPED,
    REGIONS_REMEDY,
    ROOT_ZONE,
    TREE_REMEDY,
    Outcome,
    bound_unchecked,
    not_checked,
    overlapping,
    shown,
    stretch_of,
)
from hvrig.layout.rules_hypervisor import reserve_mend
from hvrig.layout.zone_memory import handed_out, pieces, seen_at, zones_with
from hvrig.model.layout import LayoutFinding, Mend, Rule, Unchecked
from hvrig.model.memory import Range
from hvrig.model.memory_map import ZONE_USES, MemoryMap, Region, Use
from hvrig.model.size import format_size
from hvrig.model.source_text import file_of

_ZONES_REMEDY = "Give the JSON of each other zone that runs (--zone-json), or say that there is none (--all-zones)."


@dataclass(frozen=True)
class _Configuration:
    """A zone's regions from one file. Several files for one zone are alternatives: only one of them runs."""

    zone: int
    file: str
    regions: tuple[Region, ...]

    def of(self, *uses: Use) -> tuple[Region, ...]:
        return tuple(region for region in self.regions if region.use in uses)


def unmapped_memory(memory: MemoryMap, facts: BoardFacts) -> Outcome:
    """Rule 4: what a device tree gives its kernel, stage 2 maps. The hypervisor's own memory is rule 1's.

    What lies behind the hypervisor, within the whole blocks that its reservation should have, goes with it.
    """
    rule = Rule.UNMAPPED_MEMORY
    findings = [finding for one in facts.zone_trees for finding in _unmapped_of_zone(one, memory)]
    unchecked: list[Unchecked] = []
    if not memory.of(Use.ZONE_RAM, zone=ROOT_ZONE):
        unchecked.append(Unchecked(rule, "Zone 0's regions are not known.", REGIONS_REMEDY))
    elif not memory.of(Use.TREE_MEMORY, zone=ROOT_ZONE):
        unchecked.append(Unchecked(rule, "The memory that zone 0's device tree gives is not known.", TREE_REMEDY))
    if unchecked:
        return Outcome(rule, bool(facts.zone_trees), tuple(findings), tuple(unchecked))
    for zone in zones_with(memory, Use.TREE_MEMORY):
        ram = memory.of(Use.ZONE_RAM, zone=zone)
        if not ram:
            unchecked.append(Unchecked(rule, f"Zone {zone}'s regions are not known.", REGIONS_REMEDY))
            continue
        hypervisor = memory.hypervisor.range if memory.hypervisor is not None else Range(0, 0)
        own = seen_at(memory, zone, hypervisor)
        wrong = minus(handed_out(memory, zone), [*(region.guest for region in ram), *own])
        behind = minus(seen_at(memory, zone, facts.reserved(hypervisor)), own) if own else ()
        if with_hypervisor := common(wrong, behind):
            banks = overlapping(memory.of(Use.TREE_MEMORY, zone=zone), with_hypervisor)
            mend = reserve_mend(memory, facts, hypervisor, zone, file_of(banks[0].source))
            findings.append(_unmapped(memory, zone, with_hypervisor, ram, mend))
        if elsewhere := minus(wrong, behind):
            findings.append(_unmapped(memory, zone, elsewhere, ram))
    return Outcome(rule, True, tuple(findings), tuple(unchecked))


def _unmapped_of_zone(one: MemoryMap, everything: MemoryMap) -> Iterator[LayoutFinding]:
    """The same for another zone by itself: one of its configurations, with the tree that goes with it."""
    for zone in zones_with(one, Use.TREE_MEMORY):
        ram = one.of(Use.ZONE_RAM, zone=zone)
        wrong = minus(handed_out(one, zone), (region.guest for region in ram))
        if wrong and ram:
            banks = overlapping(one.of(Use.TREE_MEMORY, zone=zone), wrong)
            yield _unmapped(one, zone, wrong, ram, _unmapped_mend(everything, zone, wrong, ram, banks))


def _unmapped(
    memory: MemoryMap, zone: int, wrong: Addresses, ram: tuple[Region, ...], mend: Mend | None = None
) -> LayoutFinding:
    banks = overlapping(memory.of(Use.TREE_MEMORY, zone=zone), wrong)
    return LayoutFinding(
        Rule.UNMAPPED_MEMORY,
        f"Zone {zone}'s device tree gives its kernel {format_size(total(wrong))} that no RAM region of the zone has: "
        f"{shown(wrong)}.",
        (*map(stretch_of, banks), *map(stretch_of, _beside(ram, wrong))),
        wrong,
        "The first touch is a fault that the hypervisor takes for an access to no device: the zone stops.",
        mend or _unmapped_mend(memory, zone, wrong, ram, banks),
        zone,
    )


def _unmapped_mend(
    memory: MemoryMap, zone: int, wrong: Addresses, ram: tuple[Region, ...], banks: tuple[Region, ...]
) -> Mend:
    others = (region.range for region in memory.of(Use.ZONE_RAM) if region.zone != zone)
    if not all(region.guest == region.range for region in ram) or common(wrong, others):
        return Mend(
            "Take these addresses out of the device tree's memory, or reserve them with no-map.",
            "",
            file_of(banks[0].source),
        )
    return Mend(
        "Add these addresses to the zone's regions, if they are its own memory; else take them out of the device "
        "tree's memory, or reserve them with no-map.",
        "\n".join(entries(ram[0], (part,)) for part in wrong),
        file_of(ram[0].source),
    )


def _beside(regions: tuple[Region, ...], wrong: Addresses) -> tuple[Region, ...]:
    """The regions that end or begin where the gap does; the first of all where none does."""
    edges = {part.start for part in wrong} | {part.end for part in wrong}
    touching = tuple(r for r in regions if r.guest.end in edges or r.guest.start in edges)
    return touching or regions[:1]


def zones_overlap(memory: MemoryMap, facts: BoardFacts) -> Outcome:
    """Rule 6: another zone's memory is not zone 0's free memory, not the hypervisor's, and not a third zone's."""
    rule = Rule.ZONES_OVERLAP
    others = [one for one in _configurations(memory) if one.zone != ROOT_ZONE]
    unchecked: list[Unchecked] = []
    if not facts.all_zones:
        unchecked.append(
            Unchecked(rule, "Whether other zones than those given run on this board is not known.", _ZONES_REMEDY)
        )
    if not others:
        return Outcome(rule, facts.all_zones, (), tuple(unchecked))
    hypervisor, free = memory.hypervisor, _root_memory(memory, facts)
    if hypervisor is None:
        unchecked.append(Unchecked(rule, "The hypervisor's range is not known.", HYPERVISOR_REMEDY))
    else:
        unchecked += bound_unchecked(rule, facts, hypervisor)
    if free is None:
        unchecked.append(Unchecked(rule, "What zone 0's kernel hands out is not known.", TREE_REMEDY))
    findings: list[LayoutFinding] = []
    for one in others:
        if hypervisor is not None:
            findings += _over_hypervisor(one, hypervisor, facts)
        if free is not None:
            findings += _over_root(one, free, memory, facts)
    for one, another in combinations(others, 2):
        if one.zone != another.zone:
            findings += _over_each_other(one, another)
    return Outcome(rule, True, tuple(findings), tuple(unchecked))


def _root_memory(memory: MemoryMap, facts: BoardFacts) -> Addresses | None:
    """The physical addresses that zone 0's kernel hands out; None where that is not known."""
    if not facts.has_device_tree:
        ram = memory.of(Use.ZONE_RAM, zone=ROOT_ZONE)
        return union(region.range for region in ram) if ram else None
    if not memory.of(Use.TREE_MEMORY, zone=ROOT_ZONE):
        return None
    return union(piece.physical for piece in pieces(memory, ROOT_ZONE, handed_out(memory, ROOT_ZONE)))


def _over_hypervisor(one: _Configuration, hypervisor: Region, facts: BoardFacts) -> Iterator[LayoutFinding]:
    for region in one.of(*MAPPED):
        if overlap := region.range.overlap(hypervisor.range):
            yield LayoutFinding(
                Rule.ZONES_OVERLAP,
                f"Zone {one.zone}'s {region.name} {region.range} holds {overlap} of the hypervisor.",
                (stretch_of(region), stretch_of(hypervisor)),
                (overlap,),
                f"Zone {one.zone} reads and writes the hypervisor's own memory there.",
                Mend(
                    f"Move zone {one.zone}'s memory out of the hypervisor's.",
                    split_around(region, facts.reserved(hypervisor.range)),
                    one.file,
                ),
                one.zone,
            )


def _over_root(one: _Configuration, free: Addresses, memory: MemoryMap, facts: BoardFacts) -> Iterator[LayoutFinding]:
    for region in one.of(Use.ZONE_RAM):
        wrong = common([region.range], free)
        if not wrong:
            continue
        seen = union(part for stretch in wrong for part in seen_at(memory, ROOT_ZONE, stretch))
        theirs = overlapping(memory.of(Use.TREE_MEMORY, zone=ROOT_ZONE), seen) or overlapping(
            memory.of(Use.ZONE_RAM, zone=ROOT_ZONE), wrong
        )
        file = file_of(theirs[0].source)
        yield LayoutFinding(
            Rule.ZONES_OVERLAP,
            f"Zone {one.zone}'s {region.name} {region.range} is memory that zone 0's kernel hands out: {shown(wrong)}.",
            (*map(stretch_of, theirs), stretch_of(region)),
            wrong,
            f"As soon as zone {one.zone} runs, the two overwrite each other's memory.",
            Mend(
                f"Reserve zone {one.zone}'s memory in zone 0's device tree.",
                "\n".join(facts.reservation(part, f"zone{one.zone}").node for part in seen),
                file,
            )
            if facts.has_device_tree
            else Mend(f"Take zone {one.zone}'s memory out of zone 0's regions.", "", file),
            ROOT_ZONE,
        )


def _over_each_other(one: _Configuration, another: _Configuration) -> Iterator[LayoutFinding]:
    for mine in one.of(Use.ZONE_RAM):
        for theirs in another.of(Use.ZONE_RAM):
            if overlap := mine.range.overlap(theirs.range):
                yield LayoutFinding(
                    Rule.ZONES_OVERLAP,
                    f"Zone {one.zone} and zone {another.zone} both have {overlap} as RAM.",
                    (stretch_of(theirs), stretch_of(mine)),
                    (overlap,),
                    "When both run, they overwrite each other, unless this is meant to be shared.",
                    Mend("Move one of the two.", "", another.file),
                    another.zone,
                )


def region_conflict(memory: MemoryMap, facts: BoardFacts) -> Outcome:
    """Rule 8: in a zone, RAM is not at a device's address, and no region lies over the interrupt controller."""
    rule = Rule.REGION_CONFLICT
    configurations = list(_configurations(memory))
    if not any(one.zone == ROOT_ZONE for one in configurations):
        return not_checked(rule, "Zone 0's regions are not known.", REGIONS_REMEDY)
    findings: list[LayoutFinding] = []
    for one in configurations:
        findings += _kinds_mixed(one)
        for controller in facts.controllers or ():
            if controller.zone == one.zone:
                findings += _over_controller(one, controller)
    unchecked = Unchecked(
        rule,
        "Where the interrupt controller is, is not known.",
        "Give a board.rs that has ROOT_ARCH_ZONE_CONFIG (--board-rs).",
    )
    return Outcome(rule, True, tuple(findings), (unchecked,) if facts.controllers is None else ())


def _kinds_mixed(one: _Configuration) -> Iterator[LayoutFinding]:
    """Overlaps between a zone's RAM, devices and virtio devices, at the addresses that the zone sees."""
    for first, second in combinations((Use.ZONE_RAM, Use.ZONE_DEVICE, Use.ZONE_VIRTIO), 2):
        for region in one.of(first):
            for other in one.of(second):
                if overlap := region.guest.overlap(other.guest):
                    yield LayoutFinding(
                        Rule.REGION_CONFLICT,
                        f"Zone {one.zone} has {overlap} both as {region.name} and as {other.name}.",
                        (stretch_of(region), stretch_of(other)),
                        (overlap,),
                        "Stage 2 has one entry for an address: one of the two regions is not there, or hvisor refuses "
                        "the zone.",
                        _split(region, overlap, f"Split the {region.name} entry around the other one.", one.file),
                        one.zone,
                    )


def _over_controller(one: _Configuration, controller: Controller) -> Iterator[LayoutFinding]:
    registers = controller.stretch
    for region in one.of(*MAPPED):
        if overlap := region.guest.overlap(registers.range):
            yield LayoutFinding(
                Rule.REGION_CONFLICT,
                f"Zone {one.zone}'s {region.name} {region.guest} lies over {registers.name}, {registers.range}.",
                (stretch_of(region), registers),
                (overlap,),
                "The zone reaches the real interrupt controller, past the one that the hypervisor shows it: interrupts "
                "of other zones are lost or misdirected.",
                _split(region, overlap, "Split the entry around the interrupt controller.", one.file),
                one.zone,
            )


def _split(region: Region, guest: Range, what: str, file: str) -> Mend:
    shift = region.range.start - region.guest.start
    return Mend(what, split_around(region, Range(guest.start + shift, guest.end + shift)), file)


def _configurations(memory: MemoryMap) -> Iterator[_Configuration]:
    """The zones' regions by zone and file."""
    grouped: dict[tuple[int, str], list[Region]] = {}
    for region in memory.of(*ZONE_USES):
        if region.zone is not None:
            grouped.setdefault((region.zone, file_of(region.source)), []).append(region)
    for (zone, file), regions in sorted(grouped.items()):
        yield _Configuration(zone, file, tuple(regions))
