"""The check of a running board: its own device tree and memory, and the hypervisor's own word.

`ask_board` reads, through any `Shell`; `check_live` is pure. What the board says is untrusted: it is parsed, and an
answer that makes no sense is a rule that could not be checked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from hvrig.layout.board_facts import BoardFacts
from hvrig.layout.device_tree import read_device_tree
from hvrig.layout.iomem import read_iomem
from hvrig.layout.rule_parts import Outcome, not_checked
from hvrig.layout.rules_hypervisor import unreserved, wrong_reservation, zone_maps_hypervisor
from hvrig.layout.rules_live import BOOTED_TREE, live_system_ram
from hvrig.layout.rules_zones import unmapped_memory
from hvrig.model.deadline import Deadline
from hvrig.model.errors import HvrigError, LabError
from hvrig.model.layout import LayoutFinding, LayoutReport, Rule
from hvrig.model.memory_map import MemoryMap, Use
from hvrig.model.protocols import Shell
from hvrig.model.source_text import file_of

IOMEM = "/proc/iomem"
TREE = "/sys/firmware/fdt"

# A board's own are some kilobytes, and 300 KB at most.
_MAX_ANSWER = 16 << 20
_LOG_IN_AS_ROOT = "Let the place's NetworkService log in as root."

_Rule = Callable[[MemoryMap, BoardFacts], Outcome]
_OF_THE_TREE: tuple[_Rule, ...] = (unreserved, wrong_reservation)
# Stage 2 cannot be read on the board: these need the zone's regions from a file.
_OF_THE_REGIONS: tuple[_Rule, ...] = (zone_maps_hypervisor, unmapped_memory)


@dataclass(frozen=True)
class Answer:
    """What a file on the board held, or why it could not be read (then `data` is None), and what to do about it."""

    data: bytes | None
    why: str = ""
    remedy: str = _LOG_IN_AS_ROOT


@dataclass(frozen=True)
class BoardAnswers:
    """What the running board told of itself."""

    iomem: Answer
    tree: Answer


def ask_board(shell: Shell, deadline: Deadline) -> BoardAnswers:
    """Read the two files. Raises LabError where the connection is lost or the deadline expires."""
    return BoardAnswers(_read(shell, IOMEM, deadline), _read(shell, TREE, deadline))


def _read(shell: Shell, path: str, deadline: Deadline) -> Answer:
    result = shell.run(f"cat {path}", deadline)
    if result.status != 0:
        said = result.stderr.decode("utf-8", "replace").strip().splitlines()
        return Answer(None, f"`cat {path}` on the board ended with status {result.status}: {' '.join(said[:1])}")
    if len(result.stdout) > _MAX_ANSWER:
        return Answer(None, f"{path} on the board has {len(result.stdout)} bytes, more than can be meant.")
    return Answer(result.stdout)


def check_live(board: str, known: MemoryMap, facts: BoardFacts, answers: BoardAnswers) -> LayoutReport:
    """Rules 1 and 2 on the tree that the kernel runs with, rule 9 on its memory; 3 and 4 where `known` has regions.

    known: the hypervisor, as far as it is known, and zone 0's regions; what files say of zone 0's tree in it is
    left out, and compared with the board's own.
    """
    filed = known.of(Use.TREE_MEMORY, Use.TREE_DEVICE, Use.RESERVED, Use.REUSABLE, zone=0)
    memory = MemoryMap(tuple(region for region in known.regions if region not in filed), known.notes)
    outcomes: list[Outcome] = []
    try:
        tree = read_device_tree(_data(answers.tree), TREE)
        memory += tree.map
        facts = facts.with_tree(tree)
        memory += MemoryMap((), _differences(MemoryMap(filed), tree.map))
        outcomes += [rule(memory, facts) for rule in _OF_THE_TREE]
    except HvrigError as error:
        outcomes += [
            not_checked(rule, error.message, error.remedy) for rule in (Rule.UNRESERVED, Rule.WRONG_RESERVATION)
        ]
    if memory.of(Use.ZONE_RAM, zone=0):
        outcomes += [rule(memory, facts) for rule in _OF_THE_REGIONS]
    try:
        kernel = read_iomem(_data(answers.iomem).decode("ascii", "replace"))
        outcomes.append(live_system_ram(memory, kernel, IOMEM, facts))
    except HvrigError as error:
        outcomes.append(not_checked(Rule.LIVE_SYSTEM_RAM, error.message, error.remedy))
    return LayoutReport(
        board=board,
        memory=memory,
        checked=tuple(outcome.rule for outcome in outcomes if outcome.checked),
        findings=tuple(_mendable(finding) for outcome in outcomes for finding in outcome.findings),
        unchecked=tuple(one for outcome in outcomes for one in outcome.unchecked),
    )


def _mendable(finding: LayoutFinding) -> LayoutFinding:
    """On the board itself nothing can be mended: its tree was loaded from a file."""
    if finding.mend.file not in (TREE, IOMEM):
        return finding
    return replace(finding, mend=replace(finding.mend, file=BOOTED_TREE))


def _data(answer: Answer) -> bytes:
    if answer.data is None:
        raise LabError(answer.why, answer.remedy)
    return answer.data


def _differences(filed: MemoryMap, running: MemoryMap) -> tuple[str, ...]:
    """Where the board runs with another tree than the file at hand, as far as memory goes."""
    notes: list[str] = []
    for what, uses in (("memory", (Use.TREE_MEMORY,)), ("reservations", (Use.RESERVED, Use.REUSABLE))):
        in_file, on_board = filed.of(*uses), running.of(*uses)
        if filed.regions and {r.range for r in in_file} != {r.range for r in on_board}:
            said = [", ".join(str(r.range) for r in regions) or "none" for regions in (on_board, in_file)]
            file = file_of(filed.regions[0].source)
            notes.append(f"The running kernel's tree has other {what} than {file}: {said[0]}, not {said[1]}.")
    return tuple(notes)
