"""Is the hypervisor's memory its own? The rules, and what checking them came to."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from hvrig.model.memory import Range
from hvrig.model.memory_map import MemoryMap


class Look(enum.Enum):
    """What a layout check looked at: the files from which the board boots, or the board that runs."""

    STATIC = "static"
    LIVE = "live"


class Rule(enum.Enum):
    """What must hold between the places that describe one board's memory, in the order of their numbers."""

    UNRESERVED = "hypervisor-unreserved"
    WRONG_RESERVATION = "wrong-reservation"
    ZONE_MAPS_HYPERVISOR = "zone-maps-hypervisor"
    UNMAPPED_MEMORY = "unmapped-memory"
    IMAGE_OVERLAP = "image-overlap"
    ZONES_OVERLAP = "zones-overlap"
    PHYSICAL_MEMORY_LIST = "physical-memory-list"
    REGION_CONFLICT = "region-conflict"
    LIVE_SYSTEM_RAM = "live-system-ram"

    @property
    def number(self) -> int:
        """1 to 9."""
        return list(Rule).index(self) + 1


@dataclass(frozen=True)
class Stretch:
    """One of the ranges that a finding is about. source: the file and line, or the node, that gives it."""

    name: str
    range: Range
    source: str


@dataclass(frozen=True)
class Mend:
    """What to do: a sentence, and the text to paste, where there is such. file: what it is pasted into."""

    what: str
    text: str = ""
    file: str = ""


@dataclass(frozen=True)
class LayoutFinding:
    """One break of a rule.

    what: a sentence with the numbers. stretches: the ranges that do not agree, the one to be mended first.
    wrong: the addresses at fault, ascending. consequence: what will happen on the board.
    zone: whose memory, where it is a zone's.
    """

    rule: Rule
    what: str
    stretches: tuple[Stretch, ...]
    wrong: tuple[Range, ...]
    consequence: str
    mend: Mend
    zone: int | None = None


@dataclass(frozen=True)
class Unchecked:
    """A rule that could not be checked, or not wholly. why: what was missing; remedy: what to give."""

    rule: Rule
    why: str
    remedy: str


@dataclass(frozen=True)
class LayoutReport:
    """What was checked of one board's memory map, and what came of it. board: its name, or what was given."""

    board: str
    memory: MemoryMap
    checked: tuple[Rule, ...]
    findings: tuple[LayoutFinding, ...]
    unchecked: tuple[Unchecked, ...]

    @property
    def certain(self) -> LayoutFinding | None:
        """The finding that the running kernel itself proves (rule 9), if there is one."""
        return next((finding for finding in self.findings if finding.rule is Rule.LIVE_SYSTEM_RAM), None)

    @property
    def exit_status(self) -> int:
        """0 all checked and clean, 1 findings, 4 clean but incomplete."""
        if self.findings:
            return 1
        return 4 if self.unchecked else 0
