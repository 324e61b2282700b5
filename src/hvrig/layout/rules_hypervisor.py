"""Rules 1 to 3: the hypervisor's memory is its own. Pure."""

from __future__ import annotations

from hvrig.layout.addresses import Addresses, common, minus, total, union
from hvrig.layout.board_facts import BINARY_ALLOWANCE, BoardFacts
from hvrig.layout.region_text import split_around
from hvrig.layout.reservation import parent_of, reserved_range
from hvrig.layout.rule_parts import (
    HYPERVISORS_NAME,
    MAPPED,
    REGIONS_REMEDY,
    ROOT_ZONE,
    TREE_REMEDY,
    Outcome,
    bound_unchecked,
    no_hypervisor,
    not_checked,
    overlapping,
    shown,
    stretch_of,
)
from hvrig.layout.zone_memory import handed_out, pieces, seen_at, zones_with
from hvrig.model.layout import LayoutFinding, Mend, Rule
from hvrig.model.memory import Range
from hvrig.model.memory_map import MemoryMap, Region, Use
from hvrig.model.size import format_size
from hvrig.model.source_text import file_of


def unreserved(memory: MemoryMap, facts: BoardFacts) -> Outcome:
    """Rule 1: no zone's kernel hands out the hypervisor's memory."""
    rule, hypervisor = Rule.UNRESERVED, memory.hypervisor
    if hypervisor is None:
        return no_hypervisor(rule)
    zones = zones_with(memory, Use.TREE_MEMORY)
    if ROOT_ZONE not in zones:
        return not_checked(rule, _no_memory_node(memory), TREE_REMEDY)
    findings: list[LayoutFinding] = []
    for zone in zones:
        open_to_linux = pieces(memory, zone, handed_out(memory, zone))
        taken = [(p, part) for p in open_to_linux if (part := p.physical.overlap(hypervisor.range)) is not None]
        wrong = union(part for _, part in taken)
        if not wrong:
            continue
        unmapped = union(part for piece, part in taken if piece.region is None)
        seen = union(Range(part.start + (d := p.guest.start - p.physical.start), part.end + d) for p, part in taken)
        banks = overlapping(memory.of(Use.TREE_MEMORY, zone=zone), seen)
        held = overlapping(memory.of(Use.RESERVED, Use.REUSABLE, zone=zone), seen_at(memory, zone, hypervisor.range))
        regions_known = bool(memory.of(Use.ZONE_RAM, zone=zone))
        findings.append(
            LayoutFinding(
                rule,
                f"{format_size(total(wrong))} of the hypervisor's {format_size(hypervisor.range.size)} are memory that "
                f"zone {zone}'s kernel hands out: {shown(wrong)}.",
                (*map(stretch_of, banks), *map(stretch_of, held), stretch_of(hypervisor)),
                wrong,
                unreserved_consequence(memory, wrong, unmapped if regions_known else ()),
                reserve_mend(memory, facts, hypervisor.range, zone, file_of(banks[0].source)),
                zone,
            )
        )
    return Outcome(rule, True, tuple(findings), bound_unchecked(rule, facts, hypervisor))


def wrong_reservation(memory: MemoryMap, facts: BoardFacts) -> Outcome:
    """Rule 2: a reservation that is meant for the hypervisor holds all of it that would be handed out otherwise."""
    rule, hypervisor = Rule.WRONG_RESERVATION, memory.hypervisor
    if hypervisor is None:
        return no_hypervisor(rule)
    zones = zones_with(memory, Use.TREE_MEMORY, Use.RESERVED, Use.REUSABLE, Use.TREE_DEVICE)
    if ROOT_ZONE not in zones and not facts.ignored:
        return not_checked(rule, _no_tree(), TREE_REMEDY)
    findings: list[LayoutFinding] = []
    for zone in zones:
        needed = seen_at(memory, zone, hypervisor.range)
        banks = memory.of(Use.TREE_MEMORY, zone=zone)
        matters = common(needed, (bank.range for bank in banks)) if banks else needed
        lacking = minus(matters, (r.range for r in memory.of(Use.RESERVED, zone=zone)))
        ignored = tuple(r for r in facts.ignored if r.zone == zone)
        present = (*memory.of(Use.RESERVED, Use.REUSABLE, zone=zone), *ignored)
        meant = _meant_for_hypervisor(present, needed)
        if not meant or not lacking:
            continue
        why_not = f", which Linux ignores: {facts.reserved_memory_fault}"
        ranges = ", ".join(f"{r.name} is {r.range}{why_not if r in ignored else _reusable(r)}" for r in meant)
        findings.append(
            LayoutFinding(
                rule,
                f"The reservation for the hypervisor does not fit: {ranges}, the hypervisor is {hypervisor.range}.",
                (*map(stretch_of, meant), stretch_of(hypervisor)),
                lacking,
                f"{format_size(total(lacking))} of the hypervisor stay open to zone {zone}'s kernel.",
                reserve_mend(memory, facts, hypervisor.range, zone, file_of(meant[0].source), instead_of=meant),
                zone,
            )
        )
    return Outcome(rule, True, tuple(findings), bound_unchecked(rule, facts, hypervisor))


def zone_maps_hypervisor(memory: MemoryMap, facts: BoardFacts) -> Outcome:
    """Rule 3: stage 2 gives zone 0 nothing of the hypervisor."""
    rule, hypervisor = Rule.ZONE_MAPS_HYPERVISOR, memory.hypervisor
    if hypervisor is None:
        return no_hypervisor(rule)
    if not memory.of(Use.ZONE_RAM, zone=ROOT_ZONE):
        return not_checked(rule, "Zone 0's regions are not known.", REGIONS_REMEDY)
    around = facts.reserved(hypervisor.range)
    reserved = [r.range for r in memory.of(Use.RESERVED, zone=ROOT_ZONE)]
    findings: list[LayoutFinding] = []
    for region in memory.of(*MAPPED, zone=ROOT_ZONE):
        overlap = region.range.overlap(hypervisor.range)
        if overlap is None:
            continue
        told = memory.of(Use.TREE_MEMORY, zone=ROOT_ZONE) and not minus([overlap], reserved)
        findings.append(
            LayoutFinding(
                rule,
                f"Zone 0's {region.name} {region.range} holds "
                + (
                    f"all of the hypervisor, {overlap}."
                    if overlap == hypervisor.range
                    else f"{overlap} of the hypervisor, {hypervisor.range}."
                ),
                (stretch_of(region), stretch_of(hypervisor)),
                (overlap,),
                f"Stage 2 lets zone 0 read and write {_parts(memory, (overlap,))} there"
                + (": its kernel is told to keep away, and nothing holds it to that." if told else "."),
                Mend(
                    "Split the entry around the hypervisor's reservation"
                    f"{_allowance(facts)}; the device tree has to reserve the same range.",
                    split_around(region, around),
                    file_of(region.source),
                ),
                ROOT_ZONE,
            )
        )
    return Outcome(rule, True, tuple(findings), bound_unchecked(rule, facts, hypervisor))


def _no_tree() -> str:
    return "Zone 0's device tree is not known."


def _no_memory_node(memory: MemoryMap) -> str:
    if memory.of(Use.RESERVED, Use.REUSABLE, Use.TREE_DEVICE, zone=ROOT_ZONE):
        return "Zone 0's device tree has no memory node: what memory its kernel gets is not known."
    return _no_tree()


def _parts(memory: MemoryMap, wrong: Addresses) -> str:
    names = [r.name for r in memory.of(Use.HYPERVISOR_PART) if common([r.range], wrong)]
    unique = list(dict.fromkeys(names))
    return f"the hypervisor's {' and '.join(unique)}" if unique else "the hypervisor's memory"


def unreserved_consequence(memory: MemoryMap, wrong: Addresses, unmapped: Addresses) -> str:
    """What happens when the kernel uses `wrong`, of which no region of its zone has `unmapped`."""
    said: list[str] = []
    writable = minus(wrong, unmapped)
    if writable:
        said.append(
            f"A program that takes much memory gets these pages and overwrites {_parts(memory, writable)}: a false "
            "MMIO fault or a panic, now and then nothing that shows."
        )
    if unmapped:
        said.append(f"No region of the zone has {shown(unmapped)}: the first touch is a fault that stops the zone.")
    return " ".join(said)


def _meant_for_hypervisor(reservations: tuple[Region, ...], needed: Addresses) -> tuple[Region, ...]:
    """Reservations that lie in the hypervisor; without any, those that have its name."""

    def named(region: Region) -> bool:
        return HYPERVISORS_NAME.search(region.name.lower()) is not None

    touching = overlapping(reservations, needed)
    meant = tuple(r for r in touching if r.use is Use.RESERVED or named(r))
    return meant or tuple(r for r in reservations if named(r))


def _reusable(region: Region) -> str:
    return ", which the kernel uses until a driver asks for it" if region.use is Use.REUSABLE else ""


def reserve_mend(
    memory: MemoryMap, facts: BoardFacts, hypervisor: Range, zone: int, file: str, instead_of: tuple[Region, ...] = ()
) -> Mend:
    """What to write into the zone's tree, at the addresses at which the zone sees the hypervisor."""
    seen = seen_at(memory, zone, hypervisor)
    if zone == ROOT_ZONE and seen == (hypervisor,):
        wanted = [facts.reservation(facts.reserved(hypervisor))]
    else:
        wanted = [facts.reservation(reserved_range(part)) for part in seen]
    place = "in /reserved-memory"
    text = "\n".join(one.node for one in wanted)
    if zone == ROOT_ZONE and facts.reserved_memory_fault:
        place = f"in a /reserved-memory that Linux does not ignore ({facts.reserved_memory_fault})"
        text = parent_of(wanted)
    elif instead_of:
        names = " and ".join(r.name.partition(" (")[0] for r in instead_of)
        place = f"instead of {names}, in /reserved-memory"
    elif zone == ROOT_ZONE and not facts.has_reserved_memory:
        place = "in the root node, which has no /reserved-memory yet"
        text = parent_of(wanted)
    return Mend(f"Reserve the hypervisor's whole range {place}{_allowance(facts)}.", text, file)


def _allowance(facts: BoardFacts) -> str:
    if facts.hypervisor_exact:
        return ""
    return (
        f", with {format_size(BINARY_ALLOWANCE)} allowed for the static binary, whose size is not known: "
        "hvisor's ELF gives it"
    )
