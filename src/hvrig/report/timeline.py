"""A run's events as they happen, one JSON object a line: `timeline.jsonl`, described by docs/verdict.md."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import assert_never

from hvrig.model.deadline import Clock
from hvrig.model.finding import Alarm, Finding
from hvrig.model.harmless import harmless_tree
from hvrig.model.progress import (
    Abandoned,
    Event,
    FaultSeen,
    LayoutChecked,
    PhaseBegan,
    PhaseEnded,
    RungBegan,
    RungEnded,
    RungProgress,
    Step,
)
from hvrig.report.findings import finding_fields
from hvrig.report.layout import layout_fields

PROGRESS_INTERVAL_S = 1.0
_MICROSECOND_DIGITS = 6


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Timeline:
    """An observer that hands each event to `append` as one line; any thread may call it.

    `t` is CLOCK_MONOTONIC itself, not a difference, so that another process on the same machine can compare it
    with its own times. Of memtester's progress at most one line a second is kept. What `append` raises
    (LabError for a full disk) comes out at the caller.
    """

    def __init__(
        self, append: Callable[[bytes], None], clock: Clock = time.monotonic, utc: Callable[[], datetime] = _utc_now
    ) -> None:
        self._append = append
        self._clock = clock
        self._utc = utc
        self._lock = threading.Lock()
        self._progress_at: float | None = None

    def __call__(self, event: Event) -> None:
        """Record `event` with the time at which it is handed in."""
        with self._lock:
            t = self._clock()
            if isinstance(event, RungProgress):
                if self._progress_at is not None and t - self._progress_at < PROGRESS_INTERVAL_S:
                    return
                self._progress_at = t
            head = {"t": round(t, _MICROSECOND_DIGITS), "utc": self._utc().isoformat(timespec="milliseconds")}
            # ASCII only: whoever prints a line prints nothing that acts.
            self._append(json.dumps(harmless_tree({**head, **_fields(event)})).encode("ascii") + b"\n")


def _fields(event: Event) -> dict[str, object]:
    """The event's name and what belongs to it."""
    match event:
        case PhaseBegan(phase, offset):
            return {"event": "phase-began", "phase": phase.value, "uart_offset": offset}
        case PhaseEnded(phase, seconds):
            return {"event": "phase-ended", "phase": phase.value, "seconds": round(seconds, _MICROSECOND_DIGITS)}
        case Step(text):
            return {"event": "step", "text": text}
        case RungBegan(size, index, of):
            return {"event": "rung-began", "size": size, "index": index, "of": of}
        case RungProgress(size, run, fraction, left_s):
            return {
                "event": "rung-progress",
                "size": size,
                "loop": run.loop,
                "loops": run.loops,
                "test": run.test,
                "fraction": round(fraction, 4),
                "left_s": None if left_s is None else round(left_s, 1),
            }
        case RungEnded(result):
            return {
                "event": "rung-ended",
                "size": result.size,
                "outcome": result.outcome.value,
                "cause": result.cause.value if result.cause else None,
                "reason": result.reason,
                "seconds": round(result.seconds, _MICROSECOND_DIGITS),
            }
        case FaultSeen(fault):
            return _fault(fault)
        case Abandoned(after_s):
            return {"event": "abandoned", "after_s": round(after_s, _MICROSECOND_DIGITS)}
        case LayoutChecked(look, report):
            return {"event": "layout-checked", "look": look.value, **layout_fields(report)}
        case _:
            assert_never(event)


def _fault(fault: Alarm | Finding) -> dict[str, object]:
    """`alarm` when its first line is there, `fault` (or `fact`) when its report is complete.

    uart_t: when the bytes that told it came in, on the same clock as `t`.
    """
    uart_t = round(fault.t, _MICROSECOND_DIGITS)
    if isinstance(fault, Alarm):
        return {
            "event": "alarm",
            "uart_t": uart_t,
            "kind": fault.kind,
            "origin": fault.origin.value,
            "uart_offset": fault.offset,
        }
    fields = finding_fields(fault)
    del fields["excerpt"]  # it is in verdict.json and uart.log
    return {"event": "fault" if fault.is_fault else "fact", "uart_t": uart_t, **fields}
