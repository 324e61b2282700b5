"""Is the hypervisor's memory its own? The rules on a memory map, each finding with its mend. Pure.

The rules are those of docs/memory-layout.md; rule 9 needs a running board.
"""

from __future__ import annotations

from collections.abc import Callable

from hvrig.layout.board_facts import BoardFacts, Outcome
from hvrig.layout.rules_hypervisor import unreserved, wrong_reservation, zone_maps_hypervisor
from hvrig.model.layout import LayoutReport
from hvrig.model.memory_map import MemoryMap

_RULES: tuple[Callable[[MemoryMap, BoardFacts], Outcome], ...] = (
    unreserved,
    wrong_reservation,
    zone_maps_hypervisor,
)


def check(board: str, memory: MemoryMap, facts: BoardFacts | None = None) -> LayoutReport:
    """Every static rule on `memory`, named `board` in the report.

    A rule whose inputs are missing is listed as unchecked, one that was checked in part both as checked and unchecked.
    """
    known = facts if facts is not None else BoardFacts()
    outcomes = [rule(memory, known) for rule in _RULES]
    return LayoutReport(
        board=board,
        memory=memory,
        checked=tuple(outcome.rule for outcome in outcomes if outcome.checked),
        findings=tuple(finding for outcome in outcomes for finding in outcome.findings),
        unchecked=(*known.missing, *(one for outcome in outcomes for one in outcome.unchecked)),
    )
