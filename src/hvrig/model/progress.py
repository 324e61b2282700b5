"""What a run tells while it goes on: to the terminal, to timeline.jsonl, to whoever listens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from hvrig.model.evidence import MemtestRun, RungResult
from hvrig.model.finding import Alarm, Finding
from hvrig.model.layout import LayoutReport, Look
from hvrig.model.phase import Phase


@dataclass(frozen=True)
class PhaseBegan:
    """A phase has begun; `uart_offset` is how many bytes the board had sent until then."""

    phase: Phase
    uart_offset: int


@dataclass(frozen=True)
class PhaseEnded:
    """A phase has ended as it should."""

    phase: Phase
    seconds: float


@dataclass(frozen=True)
class Step:
    """Something worth a line: an image loaded, a command retried, memory read."""

    text: str


@dataclass(frozen=True)
class Asked(Step):
    """A person is asked to do something by hand. `shown` is called by whoever has put it on the person's terminal."""

    shown: Callable[[], object] = field(default=lambda: None, compare=False)


@dataclass(frozen=True)
class RungBegan:
    """Rung `index` (from 0) of `of`, `size` as in the ladder."""

    size: str
    index: int
    of: int


@dataclass(frozen=True)
class RungProgress:
    """memtester has gone on. fraction: of this rung, 0 to 1. left_s: estimate for the whole ladder, or None."""

    size: str
    run: MemtestRun
    fraction: float
    left_s: float | None


@dataclass(frozen=True)
class RungEnded:
    """A rung has a result."""

    result: RungResult


@dataclass(frozen=True)
class FaultSeen:
    """The watch raised an alarm, or a fault's report is complete."""

    fault: Alarm | Finding


@dataclass(frozen=True)
class Abandoned:
    """memtester was abandoned because of a fault, `after_s` seconds after the fault's line."""

    after_s: float


@dataclass(frozen=True)
class LayoutChecked:
    """The memory layout was checked, in the files or on the board."""

    look: Look
    report: LayoutReport


Event = PhaseBegan | PhaseEnded | Step | RungBegan | RungProgress | RungEnded | FaultSeen | Abandoned | LayoutChecked
Observer = Callable[[Event], None]
