"""A console log that somebody has already, through the same watch as a running board's UART.

Puts the watch and the memory map together: each finding gets its line, and its address an explanation. Memory is
bounded however large the log is.
"""

from __future__ import annotations

import gzip
import sys
import zlib
from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import cast

from hvrig.explain import explain
from hvrig.layout.hypervisor import printed_map
from hvrig.model.errors import UsageError
from hvrig.model.finding import Alarm, Finding, Mark, Milestone, WatchEvent
from hvrig.model.memory import Range
from hvrig.model.memory_map import Explanation, MemoryMap
from hvrig.watch import Watch

STDIN = "-"

_BLOCK_BYTES = 1 << 16
# How far back a line's number can still be told. A report is at most some kilobytes long; escape sequences, which the
# watch leaves out, can stretch it.
_WINDOW_BYTES = 1 << 20
# Lines of findings that are kept for those that name them later: panics tied to a fault, and repeats.
_LINES_KEPT = 4096

# Of many boots with layouts of their own, so many are noted.
_NOTES_KEPT = 8

# Levels of hvisor's LOG= at which the report of an MMIO fault is not printed.
_QUIET_LEVELS = frozenset({"off", "error"})


@dataclass(frozen=True)
class Scanned:
    """A finding in its file. line: of its first byte, from 1; None where too far back. tied_line: of `tied_to`."""

    file: str
    line: int | None
    finding: Finding
    tied_line: int | None
    explanation: Explanation | None


@dataclass(frozen=True)
class ScannedFile:
    """What a whole file came to. notes: what a person should know before believing that nothing was found."""

    file: str
    bytes: int
    lines: int
    faults: int
    log_level: str | None
    hypervisor: Range | None
    notes: tuple[str, ...]


class LineIndex:
    """Line numbers of the last megabyte of a stream."""

    def __init__(self, window: int = _WINDOW_BYTES) -> None:
        self._window = window
        self._blocks: deque[tuple[int, int, bytes]] = deque()  # offset, newlines before, bytes
        self._in_line = False
        self.offset = 0
        self.newlines = 0

    @property
    def lines(self) -> int:
        """How many lines have come, an unfinished one among them."""
        return self.newlines + self._in_line

    def feed(self, block: bytes) -> None:
        """Take the next bytes."""
        if not block:
            return
        self._blocks.append((self.offset, self.newlines, block))
        self.offset += len(block)
        self.newlines += block.count(b"\n")
        self._in_line = not block.endswith(b"\n")
        while len(self._blocks) > 1 and self._blocks[1][0] <= self.offset - self._window:
            self._blocks.popleft()

    def line_of(self, offset: int) -> int | None:
        """The line, from 1, of the byte at `offset`; None where it is outside the window."""
        for start, newlines, block in reversed(self._blocks):
            if start <= offset:
                return newlines + block.count(b"\n", 0, offset - start) + 1 if offset <= start + len(block) else None
        return None


class Scan:
    """One file's scan: feed it, then `finish`. A finding is given out when complete, and again if it was repeated."""

    def __init__(self, file: str, memory: MemoryMap) -> None:
        self._file = file
        self._given = memory
        self._memory = memory
        self._watch = Watch()
        self._index = LineIndex()
        self._lines: dict[int, int | None] = {}
        self._faults = 0
        self._hypervisor_spoke = False
        self._log_level: str | None = None
        self._notes: list[str] = []

    def feed(self, block: bytes) -> list[Scanned]:
        """Take the next bytes of the file."""
        self._index.feed(block)
        return self._take(self._watch.feed(block, 0.0))

    def finish(self) -> list[Scanned]:
        """The end of the file: reports that are open, and findings that came more than once."""
        return self._take(self._watch.flush(0.0))

    def summary(self) -> ScannedFile:
        """The file as a whole, after `finish`."""
        notes = list(self._notes)
        if not self._faults and not self._hypervisor_spoke:
            notes.append("hvisor's boot is not in it: that nothing was found may mean that nothing was looked at")
        if self._log_level is not None and self._log_level.lower() in _QUIET_LEVELS:
            notes.append(f"hvisor was built with log_level {self._log_level}: it does not print every fault")
        hypervisor = self._memory.hypervisor
        return ScannedFile(
            file=self._file,
            bytes=self._index.offset,
            lines=self._index.lines,
            faults=self._faults,
            log_level=self._log_level,
            hypervisor=hypervisor.range if hypervisor is not None else None,
            notes=tuple(notes),
        )

    def _take(self, events: list[WatchEvent]) -> list[Scanned]:
        found: list[Scanned] = []
        for event in events:
            if isinstance(event, Alarm):
                self._remember(event.offset)
            elif isinstance(event, Milestone):
                self._hypervisor_spoke |= event.mark is Mark.HYPERVISOR_HELLO
            else:
                if not event.is_fault:
                    self._fact(event)
                elif event.count == 1:  # given again with its count, it was there before
                    self._faults += 1
                found.append(self._scanned(event))
        return found

    def _scanned(self, finding: Finding) -> Scanned:
        tied = self._lines.get(finding.tied_to) if finding.tied_to is not None else None
        return Scanned(self._file, self._remember(finding.offset), finding, tied, explain(self._memory, finding))

    def _remember(self, offset: int) -> int | None:
        if offset not in self._lines:
            self._lines[offset] = self._index.line_of(offset)
            if len(self._lines) > _LINES_KEPT:
                del self._lines[next(iter(self._lines))]
        return self._lines[offset]

    def _fact(self, fact: Finding) -> None:
        """What the hypervisor says of itself counts more than what was given."""
        self._hypervisor_spoke = True
        level = fact.fields.get("log_level")
        if level is not None:
            self._log_level = str(level)
        start, end = _number(fact, "skernel"), _number(fact, "hv_end")
        if start is None or end is None or start > end:
            return
        source = f"printed at byte {fact.offset}"
        said = printed_map(start, _number(fact, "core_end"), _number(fact, "mem_pool_start"), end, source)
        self._memory = said + self._given
        given = self._given.hypervisor
        if given is not None and given.range != Range(start, end):
            note = f"{given.source} gives the hypervisor {given.range}, but it printed {Range(start, end)}"
            if note not in self._notes and len(self._notes) < _NOTES_KEPT:
                self._notes.append(note)


def _number(fact: Finding, name: str) -> int | None:
    value = fact.fields.get(name)
    return value if isinstance(value, int) else None


def blocks_of(file: str) -> Iterator[bytes]:
    """The bytes of a log, as they come: `-` is standard input, `*.gz` is unpacked.

    Raises UsageError, naming the file, where it cannot be read, or has no bytes.
    """
    seen = False
    try:
        with _opened(file) as stream:
            while block := stream.read1(_BLOCK_BYTES):
                seen = True
                yield block
    except (OSError, EOFError, zlib.error) as error:
        why = getattr(error, "strerror", None) or error
        raise UsageError(
            f"{file} cannot be read: {why}.", "Give a console log, a .gz of one, or - for stdin."
        ) from error
    if not seen:
        raise UsageError(
            f"{file} is empty: there is nothing in it to look at.", "Check that this is the log that was meant."
        )


def _opened(file: str) -> AbstractContextManager[BufferedReader | gzip.GzipFile]:
    if file == STDIN:
        return nullcontext(cast(BufferedReader, sys.stdin.buffer))
    if file.endswith(".gz"):
        return gzip.open(file, "rb")
    return Path(file).open("rb")
