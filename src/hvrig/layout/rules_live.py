"""Rule 9: what the running kernel hands out is not the hypervisor's. Pure."""

from __future__ import annotations

from hvrig.layout.addresses import minus, total, union, whole_pages
from hvrig.layout.board_facts import BoardFacts
from hvrig.layout.iomem import KernelMemory
from hvrig.layout.rule_parts import ROOT_ZONE, Outcome, no_hypervisor, not_checked, overlapping, shown, stretch_of
from hvrig.layout.rules_hypervisor import reserve_mend, unreserved_consequence
from hvrig.layout.zone_memory import pieces, seen_at
from hvrig.model.layout import LayoutFinding, Rule, Stretch
from hvrig.model.memory import Range
from hvrig.model.memory_map import MemoryMap, Use
from hvrig.model.size import format_size

BOOTED_TREE = "the device tree that root-linux is booted with"


def live_system_ram(memory: MemoryMap, kernel: KernelMemory, source: str, facts: BoardFacts) -> Outcome:
    """Rule 9: none of the kernel's System RAM that is not marked reserved is the hypervisor's.

    memory: with the tree that the kernel runs with, where it is known. source: where `kernel` was read.
    """
    rule, hypervisor = Rule.LIVE_SYSTEM_RAM, memory.hypervisor
    if hypervisor is None:
        return no_hypervisor(rule)
    handed_out = kernel.handed_out
    if not kernel.reserved:  # a kernel that does not show what it keeps inside System RAM: its tree says it
        handed_out = minus(handed_out, (region.range for region in memory.of(Use.RESERVED, zone=ROOT_ZONE)))
    behind = pieces(memory, ROOT_ZONE, whole_pages(handed_out))
    taken = [(piece, part) for piece in behind if (part := piece.physical.overlap(hypervisor.range)) is not None]
    wrong = union(part for _, part in taken)
    if not wrong:
        return Outcome(rule, True)
    if not kernel.reserved and not memory.of(Use.TREE_MEMORY, zone=ROOT_ZONE):
        return not_checked(
            rule,
            f"{source} does not show what this kernel reserves inside System RAM, and its device tree is not known.",
            "Make /sys/firmware/fdt readable: log in as root.",
        )
    regions_known = bool(memory.of(Use.ZONE_RAM, zone=ROOT_ZONE))
    unmapped = union(part for piece, part in taken if piece.region is None) if regions_known else ()
    seen = union(Range(part.start + (d := p.guest.start - p.physical.start), part.end + d) for p, part in taken)
    banks = [Stretch("System RAM", bank, source) for bank in kernel.system_ram if any(bank.overlap(s) for s in seen)]
    held = overlapping(
        memory.of(Use.RESERVED, Use.REUSABLE, zone=ROOT_ZONE), seen_at(memory, ROOT_ZONE, hypervisor.range)
    )
    finding = LayoutFinding(
        rule,
        f"The running kernel has {format_size(total(wrong))} of the hypervisor's "
        f"{format_size(hypervisor.range.size)} as System RAM that is not reserved: {shown(wrong)}.",
        (*banks, *map(stretch_of, held), stretch_of(hypervisor)),
        wrong,
        unreserved_consequence(memory, wrong, unmapped),
        reserve_mend(memory, facts, hypervisor.range, ROOT_ZONE, BOOTED_TREE, held),
        ROOT_ZONE,
    )
    return Outcome(rule, True, (finding,))
