"""What a run has seen, and what is judged by it."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from hvrig.model.finding import Finding
from hvrig.model.layout import LayoutReport, Look
from hvrig.model.memory import Range
from hvrig.model.memory_map import Explanation
from hvrig.model.phase import Phase


class Outcome(enum.Enum):
    """What a run, or a rung, came to. INFRA: we could not look."""

    PASS = "pass"
    FAIL = "fail"
    INFRA = "infra"


class Cause(enum.Enum):
    """Why a run did not pass."""

    HYPERVISOR_FAULT = "hypervisor-fault"
    KERNEL_FAULT = "kernel-fault"
    MEMORY_ERROR = "memory-error"
    HANG = "hang"
    UNEXPECTED_RESET = "unexpected-reset"
    LAYOUT = "layout"
    LAB = "lab"
    USAGE = "usage"
    INTERRUPTED = "interrupted"
    NO_EVIDENCE = "no-evidence"


@dataclass(frozen=True)
class PhaseRecord:
    """One phase: when it began and ended (monotonic seconds), and the UART offset at its beginning."""

    phase: Phase
    t_start: float
    t_end: float | None
    uart_offset: int


@dataclass(frozen=True)
class Gap:
    """A stretch of time in which the UART was not recorded: bytes may be missing at `offset`."""

    offset: int
    t_start: float
    t_end: float | None
    reason: str


@dataclass(frozen=True)
class BankShare:
    """How many pages of one bank of RAM a rung held, of how many the bank has."""

    bank: Range
    pages_held: int
    pages: int


@dataclass(frozen=True)
class Coverage:
    """Where a rung's memory really was, from /proc/PID/pagemap.

    pages: present pages of its buffer. banks: shares of each bank of System RAM. hypervisor_range: what was
    compared with, None if unknown. hypervisor_pages: how many pages lay inside it.
    hypervisor_stretches: those pages as ranges, the first 20.
    """

    pages: int
    banks: tuple[BankShare, ...]
    hypervisor_range: Range | None
    hypervisor_pages: int
    hypervisor_stretches: tuple[Range, ...] = ()


@dataclass(frozen=True)
class MemtestRun:
    """What memtester itself said, parsed from its output.

    wanted_bytes, got_bytes: of its `want` and `got` lines. locked: `locked.` was printed.
    failures: the first 20 FAILURE lines; failure_count: all of them.
    """

    wanted_bytes: int | None = None
    got_bytes: int | None = None
    locked: bool = False
    loop: int = 0
    loops: int = 0
    test: str = ""
    tests_done: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()
    failure_count: int = 0
    done: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class RungResult:
    """One rung of the ladder.

    exit_status: memtester's, None if it did not end by itself. marker_seen: the marker sent through the
    board's console during the rung was seen by the watch. reason: one sentence, why it is not a pass.
    """

    size: str
    outcome: Outcome
    cause: Cause | None
    reason: str
    run: MemtestRun
    exit_status: int | None
    seconds: float
    coverage: Coverage | None
    marker_seen: bool


@dataclass(frozen=True)
class BootedFile:
    """One image as the board had it: bytes and CRC-32 proven on the board, SHA-256 of the local copy."""

    name: str
    path: str
    address: int
    size: int
    crc32: int
    sha256: str


@dataclass(frozen=True)
class Problem:
    """Why the run stopped early, where it did: an error caught by the pipeline."""

    cause: Cause
    phase: Phase | None
    message: str
    remedy: str
    tail: str = ""


@dataclass(frozen=True)
class Evidence:
    """All that a run has seen. `judge` turns it into a Verdict; nothing else decides.

    board: the name under which labgrid's coordinator lends out the board that it was; empty where none does.
    explanations: what the faults' addresses mean, by the finding's offset, where the memory map told.
    layout: what the checks of the memory layout came to, as far as they were made.
    """

    place: str
    ladder: tuple[str, ...]
    phases: tuple[PhaseRecord, ...] = ()
    findings: tuple[Finding, ...] = ()
    rungs: tuple[RungResult, ...] = ()
    gaps: tuple[Gap, ...] = ()
    booted: tuple[BootedFile, ...] = ()
    problem: Problem | None = None
    log_level: str | None = None
    fault_to_abort_s: float | None = None
    explanations: Mapping[int, Explanation] = field(default_factory=dict)
    layout: Mapping[Look, LayoutReport] = field(default_factory=dict)
    board: str = ""

    @property
    def where(self) -> str:
        """The place, and which board it was where the place does not say."""
        return f"{self.place} ({self.board})" if self.board not in ("", self.place) else self.place


@dataclass(frozen=True)
class Verdict:
    """What a person reads at 7 a.m.

    summary: one sentence. remedy: what to do next. cause: None only with PASS.
    """

    outcome: Outcome
    cause: Cause | None
    summary: str
    remedy: str
    phase: Phase | None
    evidence: Evidence
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def exit_status(self) -> int:
        """0 pass, 1 fail, 2 usage, 3 infra (decision 8)."""
        if self.outcome is Outcome.PASS:
            return 0
        if self.outcome is Outcome.FAIL:
            return 1
        return 2 if self.cause is Cause.USAGE else 3
