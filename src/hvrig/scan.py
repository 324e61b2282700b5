"""A console log that somebody has already, through the same watch as a running board's UART.

Puts the watch and the memory map together: each finding gets its line, and its address an explanation. Memory is
bounded however large the log is.
"""

from __future__ import annotations

import bz2
import codecs
import enum
import gzip
import lzma
import re
import sys
import zlib
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from io import BufferedReader, RawIOBase
from pathlib import Path
from typing import BinaryIO, cast

from hvrig.explain import explain
from hvrig.layout.hypervisor import printed_map
from hvrig.model.errors import UsageError
from hvrig.model.finding import Alarm, Finding, Mark, Milestone, Severity, WatchEvent
from hvrig.model.memory import Range
from hvrig.model.memory_map import Explanation, MemoryMap
from hvrig.model.phase import Phase
from hvrig.watch import Watch
from hvrig.watch.catalogue import UNEXPECTED_RESET

STDIN = "-"

_BLOCK_BYTES = 1 << 16
# By these first bytes a packed log is known, whatever its name: RFC 1952, bzip2's and xz's own formats; RFC 8878.
_PACKED: Mapping[bytes, Callable[[BufferedReader], gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile]] = {
    b"\x1f\x8b": lambda raw: gzip.GzipFile(fileobj=raw),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\0": lzma.LZMAFile,
}
_ZSTD = b"\x28\xb5\x2f\xfd"
_HEAD_BYTES = 512
# How far back a line's number can still be told. A report is at most some kilobytes long; escape sequences, which the
# watch leaves out, can stretch it.
_WINDOW_BYTES = 1 << 20
# Lines of findings that are kept for those that name them later: panics tied to a fault, and repeats.
_LINES_KEPT = 4096

# Of many boots with layouts of their own, so many are noted.
_NOTES_KEPT = 8

# How far before a boot's first line it is looked for who asked for it. Firmware says little between the two.
_SHUTDOWN_WITHIN = 2048
# What Linux (`kernel/reboot.c`, `drivers/tty/sysrq.c`) and U-Boot's command `reset` say last.
_SHUTDOWN = re.compile(
    rb"reboot: (?:Restarting system|Power down|System halted|machine restart)|sysrq: Resetting|^resetting \.\.\.",
    re.MULTILINE,
)
_ESCAPE = re.compile(rb"\x1b\[[0-?]*[ -/]*[@-~]")
# By these a boot is known that has begun.
_BOOT_MARKS = frozenset({Mark.SPL, Mark.UBOOT_BANNER, Mark.STARTING_KERNEL, Mark.HYPERVISOR_HELLO, Mark.LINUX_BOOTING})
_BEFORE_HYPERVISOR = frozenset(phase.value for phase in Phase if not phase.silence_is_hang)

# Levels of hvisor's LOG= at which the report of an MMIO fault is not printed.
_QUIET_LEVELS = frozenset({"off", "error"})


class Ended(enum.Enum):
    """Why a boot ended before the next one began, where that is no fault of its own."""

    SHUT_DOWN = "after a shutdown, a reboot or a reset that was asked for"
    EARLY = "before the hypervisor had started"
    BROKEN = "after a fault that leaves nothing to do but to begin anew"
    EXPECTED = "as expected"


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
    """What a whole file came to.

    boots: how often the board was started in it. notes: what a person should know before believing it. error: why it
    was not read to its end.
    """

    file: str
    bytes: int
    lines: int
    faults: int
    boots: int
    log_level: str | None
    hypervisor: Range | None
    notes: tuple[str, ...]
    error: str | None = None


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

    def before(self, offset: int, count: int) -> bytes:
        """At most `count` bytes before `offset`, as far as they are within the window."""
        found: list[bytes] = []
        for start, _, block in reversed(self._blocks):
            if start < offset and start + len(block) > offset - count:
                found.append(block[max(0, offset - count - start) : offset - start])
        return b"".join(reversed(found))

    def line_of(self, offset: int) -> int | None:
        """The line, from 1, of the byte at `offset`; None where it is outside the window."""
        for start, newlines, block in reversed(self._blocks):
            if start <= offset:
                return newlines + block.count(b"\n", 0, offset - start) + 1 if offset <= start + len(block) else None
        return None


class Scan:
    """One file's scan: feed it, then `finish`. A finding is given out when complete, and again if it was repeated.

    A log may have many boots. One that begins anew is a fault (`unexpected-reset`) only where nothing says why:
    `Ended` lists what is no reset. boots_expected: no boot in the log is one.
    """

    def __init__(self, file: str, memory: MemoryMap, *, boots_expected: bool = False) -> None:
        self._file = file
        self._boots_expected = boots_expected
        self._given = memory
        self._memory = memory
        self._watch = Watch()
        self._index = LineIndex()
        self._lines: dict[int, int | None] = {}
        self._faults = 0
        self._hypervisor_spoke = False
        self._booted = False
        self._broken = False  # this boot has met a fault that is fatal
        self._resets = 0
        self._ended: Counter[Ended] = Counter()
        self._log_level: str | None = None
        self._notes: list[str] = []

    def feed(self, block: bytes) -> list[Scanned]:
        """Take the next bytes of the file."""
        self._index.feed(block)
        return self._take(self._watch.feed(block, 0.0))

    def finish(self) -> list[Scanned]:
        """The end of the file: reports that are open, and findings that came more than once."""
        return self._take(self._watch.flush(0.0))

    def summary(self, error: str | None = None) -> ScannedFile:
        """The file as a whole, after `finish`; `error` says why it was not read to its end."""
        notes = list(self._notes)
        if self._ended:
            why = "; ".join(f"{count} {ended.value}" for ended, count in self._ended.items())
            notes.append(f"boots that are no fault of their own: {why}")
        if self._resets:
            notes.append(
                "the log does not say who asked for a boot that is called unexpected-reset; "
                "if somebody did, --boots-expected leaves them out"
            )
        if not self._faults and not self._hypervisor_spoke and self._index.offset:
            notes.append("hvisor's boot is not in it: that nothing was found may mean that nothing was looked at")
        if self._log_level is not None and self._log_level.lower() in _QUIET_LEVELS:
            notes.append(f"hvisor was built with log_level {self._log_level}: it does not print every fault")
        hypervisor = self._memory.hypervisor
        return ScannedFile(
            file=self._file,
            bytes=self._index.offset,
            lines=self._index.lines,
            faults=self._faults,
            boots=self._booted + self._resets + sum(self._ended.values()),
            log_level=self._log_level,
            hypervisor=hypervisor.range if hypervisor is not None else None,
            notes=tuple(notes),
            error=error,
        )

    def _take(self, events: list[WatchEvent]) -> list[Scanned]:
        found: list[Scanned] = []
        for event in events:
            if isinstance(event, Alarm):
                self._remember(event.offset)
            elif isinstance(event, Milestone):
                self._hypervisor_spoke |= event.mark is Mark.HYPERVISOR_HELLO
                self._booted |= event.mark in _BOOT_MARKS
            elif event.kind != UNEXPECTED_RESET or self._is_fault(event):
                if not event.is_fault:
                    self._fact(event)
                elif event.count == 1:  # given again with its count, it was there before
                    self._faults += 1
                    self._broken |= event.kind != UNEXPECTED_RESET and event.severity is Severity.FATAL
                found.append(self._scanned(event))
        return found

    def _is_fault(self, reset: Finding) -> bool:
        """Whether nothing says why a boot began anew; counts it in any case."""
        before = _ESCAPE.sub(b"", self._index.before(reset.offset, _SHUTDOWN_WITHIN))
        ended = None
        if self._boots_expected:
            ended = Ended.EXPECTED
        elif reset.fields.get("phase") in _BEFORE_HYPERVISOR:
            ended = Ended.EARLY
        elif _SHUTDOWN.search(before):
            ended = Ended.SHUT_DOWN
        elif self._broken:
            ended = Ended.BROKEN
        self._broken = False
        if ended is None:
            self._resets += 1
            return True
        self._ended[ended] += 1
        return False

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
    """The bytes of a log, as they come: `-` is standard input; what gzip, bzip2 or xz packed is unpacked.

    Raises UsageError, naming the file, where it cannot be read, has no bytes, or is no console log by its first ones.
    """
    seen = False
    try:
        with _opened(file) as stream:
            while block := stream.read1(_BLOCK_BYTES):
                seen = True
                yield block
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        why = getattr(error, "strerror", None) or error
        raise UsageError(
            f"{file} cannot be read{' to its end' if seen else ''}: {why}.",
            "What came before that was looked at." if seen else "Give a console log, a .gz of one, or - for stdin.",
        ) from error
    if not seen:
        raise UsageError(
            f"{file} is empty: there is nothing in it to look at.", "Check that this is the log that was meant."
        )


@contextmanager
def _opened(file: str) -> Iterator[BufferedReader | gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile]:
    if file == STDIN and sys.stdin is None:
        raise UsageError("- is standard input, which is closed.", "Give a file, or let a program write into a pipe.")
    with nullcontext(_buffered(sys.stdin.buffer)) if file == STDIN else Path(file).open("rb") as raw:
        head = raw.peek(_HEAD_BYTES)[:_HEAD_BYTES]
        unpack = next((unpack for magic, unpack in _PACKED.items() if head.startswith(magic)), None)
        if unpack is None:
            _require_log(file, head)
            yield raw
        else:
            with unpack(raw) as unpacked:
                yield unpacked


def _buffered(stream: BinaryIO) -> BufferedReader:
    return stream if isinstance(stream, BufferedReader) else BufferedReader(cast(RawIOBase, stream))


def _require_log(file: str, head: bytes) -> None:
    """Refuse what would be scanned without a finding, whatever is in it. Raises UsageError."""
    even, odd = (head[first::2].count(0) / max(1, len(head[first::2])) for first in (0, 1))
    wide = head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or (len(head) > 64 and abs(even - odd) > 0.8)
    for what, convert in (("zstd", "zstd -dc"), ("UTF-16", "iconv -f UTF-16 -t UTF-8")):
        if wide if what == "UTF-16" else head.startswith(_ZSTD):
            raise UsageError(
                f"{file} is {what}: no word in it would be found.",
                "Convert it first, in the shell: " + (f"{convert} {file} | hvrig scan -" if file != STDIN else convert),
            )
