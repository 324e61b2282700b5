"""Is the hypervisor's memory its own? Rules 1 to 8 on a memory map, each finding with its mend. Pure.

Rule 9, what a running board's kernel takes for its own, is not among them.
"""

from __future__ import annotations

from collections.abc import Callable

from hvrig.layout.board_facts import BoardFacts
from hvrig.layout.rule_parts import Outcome
from hvrig.layout.rules_board import image_overlap, physical_memory_list
from hvrig.layout.rules_hypervisor import unreserved, wrong_reservation, zone_maps_hypervisor
from hvrig.layout.rules_zones import region_conflict, unmapped_memory, zones_overlap
from hvrig.model.layout import LayoutReport, Rule, Unchecked
from hvrig.model.memory_map import MemoryMap

_RULES: tuple[Callable[[MemoryMap, BoardFacts], Outcome], ...] = (
    unreserved,
    wrong_reservation,
    zone_maps_hypervisor,
    unmapped_memory,
    image_overlap,
    zones_overlap,
    physical_memory_list,
    region_conflict,
)
# What a device tree has to say. A zone without one takes its RAM regions for its memory, so that rule 3 covers it.
_OF_THE_TREE = frozenset({Rule.UNRESERVED, Rule.WRONG_RESERVATION, Rule.UNMAPPED_MEMORY})


def nothing_checked(board: str, why: str, remedy: str) -> LayoutReport:
    """The report where the inputs could not be read: no rule could be checked."""
    rules = [rule for rule in Rule if rule is not Rule.LIVE_SYSTEM_RAM]
    return LayoutReport(board, MemoryMap(), (), (), tuple(Unchecked(rule, why, remedy) for rule in rules))


def check(board: str, memory: MemoryMap, facts: BoardFacts | None = None) -> LayoutReport:
    """Every static rule on `memory`, named `board` in the report.

    A rule whose inputs are missing is listed as unchecked, one that was checked in part both as checked and unchecked.
    """
    known = facts if facts is not None else BoardFacts()
    outcomes = [rule(memory, known) for rule in _RULES]
    if not known.has_device_tree:
        outcomes = [outcome for outcome in outcomes if outcome.rule not in _OF_THE_TREE]
    return LayoutReport(
        board=board,
        memory=memory,
        checked=tuple(outcome.rule for outcome in outcomes if outcome.checked),
        findings=tuple(finding for outcome in outcomes for finding in outcome.findings),
        unchecked=(*known.missing, *(one for outcome in outcomes for one in outcome.unchecked)),
    )
