"""What a person, or a CI service's log, sees while a run goes on."""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self, assert_never

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from hvrig.model.deadline import Clock
from hvrig.model.evidence import Outcome, RungResult
from hvrig.model.finding import Alarm, Finding, Origin
from hvrig.model.harmless import harmless
from hvrig.model.layout import Look
from hvrig.model.progress import (
    Abandoned,
    Asked,
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
from hvrig.report.layout import LOOKS, finding_line, layout_summary, unchecked_line
from hvrig.report.text import duration, fault_line

# A CI service's log is read afterwards: enough to see that it lives, not so much that it hides the rest.
PLAIN_PROGRESS_INTERVAL_S = 10.0
_REFRESH_PER_S = 4
_BAR_WIDTH = 16
_BAR_NEEDS_WIDTH = 80

_STYLE = {Outcome.PASS: "green", Outcome.FAIL: "bold red", Outcome.INFRA: "bold yellow"}


@dataclass(frozen=True)
class _Status:
    """All that the live lines show. Replaced as a whole, so that the refresh thread needs no lock."""

    began: float
    phase: str = ""
    phase_began: float = 0.0
    rung: str = ""
    test: str = ""
    fraction: float = 0.0
    left_s: float | None = None
    left_told: float = 0.0
    faults: int = 0


@dataclass(frozen=True)
class _Line:
    text: str
    style: str = ""


# Every event but LayoutChecked, which has as many lines as findings and changes no status.
_StatusEvent = PhaseBegan | PhaseEnded | Step | RungBegan | RungProgress | RungEnded | FaultSeen | Abandoned


class Terminal:
    """An observer that shows progress on `console`; any thread may call it, inside its `with`.

    On a terminal, finished phases and rungs are lines above a live status. Elsewhere every event is a plain line,
    written at once, and memtester's progress comes at most every ten seconds; these lines go to the console's file
    without a detour through rich, whose answer to a closed pipe is to end the process. A terminal or a pipe that
    goes away never ends a run: the evidence matters more than the picture of it.
    """

    def __init__(self, console: Console, clock: Clock = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._lock = threading.Lock()
        self._status = _Status(began=clock())
        self._fault_offsets: set[int] = set()
        self._progress_at = 0.0
        # rich takes any file for a terminal when FORCE_COLOR is set, as CI services do.
        self._is_live = console.is_terminal and console.file.isatty() and not console.is_dumb_terminal
        self._live = Live(
            get_renderable=self._live_lines,
            console=console,
            refresh_per_second=_REFRESH_PER_S,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> Self:
        self._status = replace(self._status, began=self._clock())
        if self._is_live:
            self._live.start(refresh=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._is_live:
            with contextlib.suppress(OSError):
                self._live.stop()

    def __call__(self, event: Event) -> None:
        """Show `event`."""
        with self._lock:
            now = self._clock()
            lines = _layout_lines(event) if isinstance(event, LayoutChecked) else [self._take(event, now)]
            for line in lines:
                if line is not None:
                    self._print(line, now)
            if isinstance(event, Asked) and self._console.file.isatty():
                event.shown()

    def _take(self, event: _StatusEvent, now: float) -> _Line | None:
        """Bring the status up to date; the line to print for `event`, if it deserves one."""
        status = self._status
        match event:
            case PhaseBegan(phase, offset):
                self._status = replace(status, phase=phase.value, phase_began=now)
                return None if self._is_live else _Line(f"{phase.value}: began, byte {offset} of the UART")
            case PhaseEnded(phase, seconds):
                return _Line(f"{phase.value}: done in {duration(seconds)}")
            case Step(text):
                return _Line(f"  {text}", "dim")
            case RungBegan(size, index, of):
                rung = f"rung {index + 1}/{of} {size}"
                self._status = replace(status, rung=rung, test="", fraction=0.0, left_s=None)
                self._progress_at = now
                return None if self._is_live else _Line(f"{rung}: began")
            case RungProgress():
                return self._progress(event, now)
            case RungEnded(result):
                self._status = replace(status, rung="")
                return _Line(f"{status.rung or result.size}: {_rung_result(result)}", _STYLE[result.outcome])
            case FaultSeen(fault):
                return self._fault(fault)
            case Abandoned(after_s):
                return _Line(f"memtester abandoned {duration(after_s)} after the fault", "bold red")
            case _:
                assert_never(event)

    def _progress(self, event: RungProgress, now: float) -> _Line | None:
        loops = f" (loop {event.run.loop}/{event.run.loops})" if event.run.loops > 1 else ""
        test = harmless(event.run.test, keep_newlines=False) or "starting"
        status = replace(self._status, test=test + loops, fraction=event.fraction, left_s=event.left_s, left_told=now)
        self._status = status
        if self._is_live or now - self._progress_at < PLAIN_PROGRESS_INTERVAL_S:
            return None
        self._progress_at = now
        return _Line(f"{status.rung or event.size}: {status.test}, {_how_far(status, now)}, faults: {status.faults}")

    def _fault(self, fault: Alarm | Finding) -> _Line | None:
        """An alarm and, at the same offset, its complete report count as one fault; a fact is none."""
        if fault.origin is Origin.FACT:
            return None
        if fault.offset in self._fault_offsets:
            return _Line(f"  its report: {fault_line(fault)}", "red")
        self._fault_offsets.add(fault.offset)
        self._status = replace(self._status, faults=len(self._fault_offsets))
        return _Line(f"FAULT {fault_line(fault)}", "bold red")

    def _print(self, line: _Line, now: float) -> None:
        elapsed = _clock_face(now - self._status.began)
        # All of it, whoever wrote it: much of it was said by the board.
        text = self._encodable(harmless(line.text, keep_newlines=False))
        with contextlib.suppress(OSError, ValueError):
            if self._is_live:
                self._console.print(Text.assemble((f"{elapsed}  ", "dim"), (text, line.style)))
                return
            # The time stands before what the board says, so that a CI service sees no command at a line's start.
            self._console.file.write(f"[{elapsed}] {text}\n")
            self._console.file.flush()

    def _encodable(self, text: str) -> str:
        """`text` without the characters that the terminal's encoding does not have."""
        encoding = self._console.encoding
        return text.encode(encoding, "backslashreplace").decode(encoding)

    def _live_lines(self) -> Group:
        """The status as of now: time, phase and faults, and below it the rung, where there is one."""
        status, now = self._status, self._clock()
        first = Text(no_wrap=True, overflow="crop").append(_clock_face(now - status.began), "dim")
        if status.phase:
            first.append(f"  {status.phase} {duration(now - status.phase_began)}", "bold")
        first.append(f"  faults: {status.faults}", "bold red" if status.faults else "")
        if not status.rung:
            return Group(first)
        cells: list[Text | ProgressBar] = [Text(f"         {status.rung}", "bold"), Text(self._encodable(status.test))]
        if self._console.width >= _BAR_NEEDS_WIDTH:
            cells.append(ProgressBar(completed=100 * status.fraction, width=_BAR_WIDTH))
        cells.append(Text(_how_far(status, now)))
        second = Table.grid(padding=(0, 2, 0, 0))
        for _ in cells:
            second.add_column(no_wrap=True, overflow="crop")
        second.add_row(*cells)
        return Group(first, second)


def _layout_lines(event: LayoutChecked) -> list[_Line]:
    look, report = event.look, event.report
    lines = [_Line(f"  {LOOKS[look]}: {layout_summary(report)}", "red" if report.findings else "dim")]
    lines += [_Line(f"  LAYOUT {finding_line(finding)}", "bold red") for finding in report.findings]
    if look is Look.LIVE:
        lines += [_Line(f"  {unchecked_line(one)}", "yellow") for one in report.unchecked]
    return lines


def _how_far(status: _Status, now: float) -> str:
    percent = f"{100 * status.fraction:3.0f}%"
    if status.left_s is None:
        return percent
    return f"{percent}, {_clock_face(status.left_s - (now - status.left_told))} left"


def _clock_face(seconds: float) -> str:
    """Hours, minutes and seconds: `0:01:05`."""
    minutes, rest = divmod(max(0, int(seconds)), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def _rung_result(result: RungResult) -> str:
    if result.outcome is Outcome.PASS:
        held = "" if result.coverage is None else f", {result.coverage.pages} pages seen"
        return f"pass in {duration(result.seconds)}, locked{held}"
    cause = f" ({result.cause.value})" if result.cause else ""
    return f"{result.outcome.value}{cause} after {duration(result.seconds)}: {result.reason}"
