"""memtester's output, parsed while it comes.

memtester 4.5 and 4.6 overwrite their progress with backspaces (`setting  12`, `testing   3`, a turning wheel)
and print no newline for minutes. The bytes go through a one-line terminal, whose line is read at any moment.
Texts and tests are those of memtester.c and tests.c, 4.5.1 and 4.6.0.
"""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass, field

from hvrig.model.evidence import MemtestRun

_KEPT_FAILURES = 20
_KEPT_OTHER_LINES = 5
_MAX_LINE = 256

EXIT_NOT_STARTED = 0x01
EXIT_ADDRESS_LINES = 0x02
EXIT_OTHER_TEST = 0x04


@dataclass(frozen=True)
class _Test:
    """One test: how many numbered passes it has (0: no numbers), and its share of the time.

    weight: in passes of `Solid Bits`, measured with memtester 4.6.0 on an x86-64 PC, except Stuck Address and
    Random Value, whose ratio differs between machines (rand() is slow on a PC, writes are slow on a board).
    wheel: it shows a turning wheel, one step every 2500 words of its `wheel` passes over the buffer.
    """

    name: str
    passes: int
    weight: float
    wheel: int = 0


_STUCK_ADDRESS = _Test("Stuck Address", 16, 48)

# In the order of memtester's table: the index is the test's bit in MEMTESTER_TEST_MASK.
_MASKED = (
    _Test("Random Value", 0, 32, wheel=1),
    _Test("Compare XOR", 0, 1),
    _Test("Compare SUB", 0, 1),
    _Test("Compare MUL", 0, 4),
    _Test("Compare DIV", 0, 1),
    _Test("Compare OR", 0, 1),
    _Test("Compare AND", 0, 1),
    _Test("Sequential Increment", 0, 1),
    _Test("Solid Bits", 64, 64),
    _Test("Block Sequential", 256, 220),
    _Test("Checkerboard", 64, 64),
    _Test("Bit Spread", 128, 128),
    _Test("Bit Flip", 512, 500),
    _Test("Walking Ones", 128, 110),
    _Test("Walking Zeroes", 128, 110),
    _Test("8-bit Writes", 0, 128, wheel=2),
    _Test("16-bit Writes", 0, 128, wheel=2),
)

_WORDS_A_WHEEL_STEP = 2500
_WORD = 8  # bytes, on a 64-bit board

_TOKEN = re.compile(rb"[^\x08\r\n]+|\x08+|\r|\n")
_WHEEL = frozenset(b"-\\|/")

_PAGE_SIZE = re.compile(r"pagesize is (\d{1,9})$")
_WANT = re.compile(r"want +\d+MB \((\d{1,20}) bytes\)")
_GOT = re.compile(r"got +\d+MB \((\d{1,20}) bytes\)(?:, trying mlock \.\.\.(.*))?")
_LOOP = re.compile(r"Loop (\d{1,12})(?:/(\d{1,12}))?:")
_TEST = re.compile(r"  ([0-9A-Z][0-9A-Za-z -]{0,19}?) *: ?(.*)")
_PASS_NUMBER = re.compile(rb"(setting|testing) ([ \d]{2}\d)")
_PASS_NUMBER_LENGTH = 11
_FAILURE = re.compile(r"FAILURE: .*")
_EXPECTED = re.compile(
    r"memtester version |Copyright |Licensed under |pagesizemask is |using testmask "
    r"|Continuing with unlocked memory|Trying again, unlocked:|Skipping to next test\.\.\."
)


def work(test_mask: int | None) -> float:
    """How much one loop has to do for each byte, in passes over the buffer: an estimate, to compare masks with."""
    return sum(test.weight for test in _planned(test_mask))


def describe_exit(status: int | None) -> str:
    """What memtester's exit status says, in words. None: it did not end by itself."""
    if status is None:
        return "did not end by itself"
    if status == 0:
        return "passed"
    if status in (126, 127):
        return f"exit status {status}: the board could not start memtester"
    if status > 128:
        return f"exit status {status}: killed by signal {status - 128}"
    words = {
        EXIT_NOT_STARTED: "could not allocate or lock its memory, or was called wrongly",
        EXIT_ADDRESS_LINES: "the Stuck Address test failed",
        EXIT_OTHER_TEST: "another test failed",
    }
    said = [text for bit, text in words.items() if status & bit]
    return f"exit status {status}: {', '.join(said) or 'not one that memtester gives'}"


class MemtesterOutput:
    """What memtester has said so far, from its output in any pieces.

    `run` and `fraction` depend on the bytes alone, not on how they were cut, and can be read at any time.
    Memory is bounded: one line of 256 characters, the first 20 failures, the first 5 lines that are not
    memtester's own. `tests_done` holds the tests of the current loop.
    """

    def __init__(self, test_mask: int | None = None) -> None:
        self._planned = _planned(test_mask)
        self._lines = _Lines()
        self._line = bytearray()
        self._cursor = 0
        self._wheel_steps = 0
        self._half_passes = 0
        self._after_backspace = False

    def feed(self, data: bytes) -> None:
        """Take the next bytes. Never raises, whatever they are."""
        for token in _TOKEN.findall(data):
            first = token[0]
            if first == 0x08:
                self._half_passes = self._read_half_passes()
                self._cursor = max(0, self._cursor - len(token))
            elif first == 0x0D:
                self._cursor = 0
            elif first == 0x0A:
                self._lines.take(_harmless(self._line), complete=True)
                self._line.clear()
                self._cursor = 0
                self._wheel_steps = self._half_passes = 0
            else:
                if self._after_backspace and first in _WHEEL:
                    self._wheel_steps += 1
                room = _MAX_LINE - self._cursor
                self._line[self._cursor : self._cursor + min(len(token), room)] = token[:room]
                self._cursor = min(_MAX_LINE, self._cursor + len(token))
            self._after_backspace = first == 0x08

    @property
    def run(self) -> MemtestRun:
        """What memtester has said so far, the line that it is writing included."""
        lines = self._with_open_line()
        return MemtestRun(
            wanted_bytes=lines.wanted,
            got_bytes=lines.got,
            locked=lines.locked,
            loop=lines.loop,
            loops=lines.loops,
            test=lines.test,
            tests_done=tuple(lines.tests_done),
            failures=tuple(lines.failures),
            failure_count=lines.failure_count,
            done=lines.done,
            notes=tuple(lines.notes()),
        )

    @property
    def page_size(self) -> int | None:
        """The board's page size in bytes, None before memtester has printed it."""
        return self._lines.page_size

    @property
    def fraction(self) -> float:
        """How much of the rung is done, 0 to 1, estimated from loop, test and pass."""
        lines = self._with_open_line()
        if lines.done:
            return 1.0
        if lines.loop == 0 or lines.loops == 0:
            return 0.0
        done = 0.0
        for test in self._planned:
            if test.name == lines.test:
                done += test.weight * (1.0 if lines.test_over else self._portion(test, lines.got))
                break
            done += test.weight
        else:
            done = 0.0
        of_loop = done / sum(test.weight for test in self._planned)
        return min(1.0, (min(lines.loop, lines.loops) - 1 + of_loop) / lines.loops)

    def _portion(self, test: _Test, got: int | None) -> float:
        if test.passes:
            return min(1.0, self._read_half_passes() / (2 * test.passes))
        if test.wheel and got:
            words = got / 2 / _WORD * test.wheel
            return min(1.0, self._wheel_steps * _WORDS_A_WHEEL_STEP / words)
        return 0.0

    def _read_half_passes(self) -> int:
        """Settings and testings begun in this line: of the number that ends at the cursor, if it stands complete."""
        if self._cursor == len(self._line):
            number = _PASS_NUMBER.fullmatch(self._line[-_PASS_NUMBER_LENGTH:])
            if number is not None:
                return 2 * int(number[2]) + (1 if number[1] == b"testing" else 0)
        return self._half_passes

    def _with_open_line(self) -> _Lines:
        lines = copy.copy(self._lines)
        if self._line:
            lines.take(_harmless(self._line), complete=False)
        return lines


@dataclass
class _Lines:
    """All lines so far. A line that is not complete changes numbers only, never the lists, which copies share."""

    page_size: int | None = None
    wanted: int | None = None
    got: int | None = None
    locked: bool = False
    loop: int = 0
    loops: int = 0
    test: str = ""
    test_over: bool = False
    done: bool = False
    failure_count: int = 0
    reductions: int = 0
    lock_failures: list[str] = field(default_factory=list)
    tests_done: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)

    def take(self, line: str, *, complete: bool) -> None:
        """Read one line, or the beginning of one."""
        failure = _FAILURE.search(line)
        if failure and complete:
            self.failure_count += 1
            if len(self.failures) < _KEPT_FAILURES:
                self.failures.append(failure[0].rstrip())
        if found := _TEST.match(line):
            self._take_test(found[1], found[2], complete)
        elif failure:
            return
        elif found := _GOT.match(line):
            self._take_got(int(found[1]), (found[2] or "").strip(), complete)
        elif found := _LOOP.match(line):
            if int(found[1]) != self.loop:
                self.tests_done = []
                self.test = ""
            self.loop, self.loops = int(found[1]), int(found[2] or 0)
        elif found := _WANT.match(line):
            self.wanted = int(found[1])
        elif found := _PAGE_SIZE.match(line):
            self.page_size = int(found[1]) if complete else self.page_size
        elif line.strip() == "Done.":
            self.done = True
        elif complete and line.strip() and not _EXPECTED.match(line) and len(self.others) < _KEPT_OTHER_LINES:
            self.others.append(line.strip())

    def notes(self) -> list[str]:
        """What a person should know besides the numbers."""
        notes = list(self.lock_failures)
        if self.reductions:
            notes.append(f"memtester reduced its size {self.reductions} times")
        if self.wanted is not None and self.got is not None and self.got < self.wanted:
            notes.append(f"memtester wanted {self.wanted} bytes and got {self.got}")
        if self.loop and not self.locked:
            notes.append("memtester ran on unlocked memory")
        return notes + [f"memtester printed: {line}" for line in self.others]

    def _take_test(self, name: str, rest: str, complete: bool) -> None:
        self.test = name
        self.test_over = complete
        if complete and rest.strip() == "ok" and name not in self.tests_done:
            self.tests_done.append(name)

    def _take_got(self, got: int, lock: str, complete: bool) -> None:
        self.got = got
        self.locked = lock == "locked."
        if not complete or self.locked or not lock:
            return
        if lock.endswith("reducing..."):
            self.reductions += 1
            lock = lock.removesuffix(", reducing...")
        said = f"mlock: {lock.rstrip('.')}"
        if said not in self.lock_failures and len(self.lock_failures) < _KEPT_OTHER_LINES:
            self.lock_failures.append(said)


def _planned(test_mask: int | None) -> tuple[_Test, ...]:
    masked = tuple(test for bit, test in enumerate(_MASKED) if not test_mask or test_mask >> bit & 1)
    return (_STUCK_ADDRESS, *masked)


def _harmless(line: bytearray) -> str:
    return "".join(chr(byte) if 0x20 <= byte < 0x7F else "?" for byte in line)
