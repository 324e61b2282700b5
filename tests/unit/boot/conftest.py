"""A fake U-Boot that talks back over a line whose time is made up, for tests of the dialogue.

It is a fake: a line editor, a handful of commands and a memory, enough to be lied to, flooded, reset and
interrupted. What a real U-Boot prints is in tests/virtual.
"""

from __future__ import annotations

import math
import random
import re
import threading
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace

import pytest

from hvrig.model.deadline import Deadline

BANNER = b"\r\n\r\nU-Boot 2017.09-fake (Nov 22 2026 - 08:38:07 +0000)\r\n\r\nDRAM:  4 GiB\r\n"
SPL = b"DDR V1.12 52218f4949 cym 23/07/06-19:46:50\r\nU-Boot SPL board init\r\n"
HVISOR = b"".join(
    [
        b"## Booting kernel from Legacy Image at 4c000000 ...\r\n\r\nStarting kernel ...\r\n\r\n",
        *(b"Hello, start HVISOR at 0x40400000!\r\nBooting CPU %d: 0x405b0000\r\n" % cpu for cpu in (0, 3, 1, 2)),
        b"Primary CPU 0 has entered.\r\nSecondary CPU 2 has entered.\r\n",
        b"Secondary CPU 1 has entered.\r\nSecondary CPU 3 has entered.\r\n",
        b"\x1b[m[    0.000000] Booting Linux on physical CPU 0x0000000000 [0x410fd083]\r\n",
    ]
)


READ_S = 1e-6  # what a read takes at the least, so that whoever polls gets on


class Line:
    """A serial line with a clock of its own: a ConsoleTap at one end, a board's thread at the other.

    The two take turns: the board runs while the host reads, and time passes only while both of them wait. So a
    deadline ends because the other side was silent, never because the machine was busy.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self.typed = bytearray()
        self._to_host = bytearray()
        self._to_board = bytearray()
        self._wakes_at = math.inf
        self._hears = False
        self._over = False
        self._thread: threading.Thread | None = None
        self._boards_turn = threading.Semaphore(0)
        self._hosts_turn = threading.Semaphore(0)

    def clock(self) -> float:
        """Seconds since the test began, by this line's time."""
        return self.now

    def deadline(self, seconds: float) -> Deadline:
        """A deadline by this line's time."""
        return Deadline(seconds, self.clock)

    # The host's end.

    def read(self, deadline: Deadline) -> bytes:
        # TapSpawn makes the deadline for this read, by the machine's clock: its length is what counts.
        until = self.now + max(READ_S, deadline.seconds)
        while True:
            if self._thread is not None and ((self._hears and self._to_board) or self._wakes_at <= self.now):
                self._boards_turn.release()
                self._hosts_turn.acquire()
            if self._to_host:
                data = bytes(self._to_host)
                self._to_host.clear()
                return data
            if self._wakes_at > until:
                self.now = until
                return b""
            self.now = self._wakes_at

    def write(self, data: bytes) -> None:
        self.typed += data
        self._to_board += data

    # The board's end.

    def power_on(self, live: Callable[[], None]) -> None:
        """Run the board, which lives until it leaves `live`; `_PowerCutError` ends it."""

        def work() -> None:
            try:
                self._take_turn()
                live()
            except _PowerCutError:
                pass
            self._wakes_at, self._hears = math.inf, False
            self._over = True
            self._hosts_turn.release()

        self._wakes_at = self.now
        self._thread = threading.Thread(target=work, daemon=True)
        self._thread.start()

    def cut_power(self) -> None:
        if self._thread is not None and not self._over:
            self._over = True
            self._boards_turn.release()
            self._thread.join()

    def say(self, data: bytes) -> None:
        self._to_host += data

    def hear(self, seconds: float = math.inf) -> bytes:
        """What was typed, all of it; waits until something is, or `seconds`."""
        if not self._to_board:
            self._wait(seconds, hears=True)
        data = bytes(self._to_board)
        self._to_board.clear()
        return data

    def be_silent(self, seconds: float = math.inf) -> None:
        self._wait(seconds, hears=False)

    def _wait(self, seconds: float, *, hears: bool) -> None:
        self._wakes_at, self._hears = self.now + seconds, hears
        self._hosts_turn.release()
        self._take_turn()
        self._wakes_at, self._hears = math.inf, False

    def _take_turn(self) -> None:
        self._boards_turn.acquire()
        if self._over:
            raise _PowerCutError


class _PowerCutError(Exception):
    """Ends the board's thread."""


@dataclass
class FakeUBoot:
    """A board with U-Boot, from `power_on` to the end of the test.

    autoboot_s: how long a Ctrl-C is awaited (0: only what has come already). late_s: silence after the key.
    lose: probability that a typed character is lost. noise: probability of a burst with each line printed.
    fifo: bytes that survive when more come at once. cut_power: the command at which the board resets itself.
    corrupt: files that arrive with a flipped bit. line_full: CONFIG_SYS_CBSIZE. guest: what bootm prints.
    """

    line: Line
    seed: int = 0
    files: dict[str, bytes] = field(default_factory=dict)
    autoboot_s: float = 0.05
    late_s: float = 0.0
    lose: float = 0.0
    noise: float = 0.0
    fifo: int = 16
    cut_power: str = ""
    corrupt: tuple[str, ...] = ()
    line_full: int = 256
    dead_prompt: bool = False
    silent_server: bool = False
    answers: dict[str, bytes] = field(default_factory=dict)
    decoy: bytes = b"SPL: a line with => in it\r\n=> no prompt, either\r\n"
    guest: bytes = HVISOR
    shell: bytes = b"\r\n/ # \x1b[6n"

    def __post_init__(self) -> None:
        self.ran: list[str] = []
        self.env: dict[str, str] = {}
        self.memory: dict[int, bytes] = {}
        self._random = random.Random(self.seed)

    def power_on(self) -> Line:
        self.line.power_on(self._live)
        return self.line

    def power_on_shell(self, said: bytes) -> Line:
        """Nothing but root-linux's shell, which has said `said` and waits."""
        self.line.say(said)
        self.line.power_on(self._shell)
        return self.line

    def _live(self) -> None:
        while True:
            self._boot()

    def _boot(self) -> None:
        self.env.clear()
        self.memory.clear()
        self._say(SPL)
        self._say(self.decoy)
        self.line.be_silent(0.03)
        self._say(BANNER)
        self._say(b"Hit key to stop autoboot('CTRL+C'):  0")
        if b"\x03" not in self._hear(self.autoboot_s):
            self._say(b"\r\nStarting kernel ...\r\n")
            self.line.be_silent()
        self.line.be_silent(self.late_s)
        self._say(b"\r\n")
        while True:
            line = self._edit()
            if self.cut_power and self.cut_power in line:
                self.cut_power = ""
                self._say(b"half an ans")
                return
            if line.startswith("bootm"):
                self.ran.append(line)
                self._say(self.guest)
                self._say(self.shell)
                self._shell()
                return
            self._run(line)

    def _hear(self, seconds: float = math.inf) -> bytes:
        return self.line.hear(seconds)[: self.fifo]

    def _say(self, data: bytes) -> None:
        if self.noise and self._random.random() < self.noise:
            at = self._random.randrange(len(data) + 1)
            # Never a digit: a wrong number would rightly be believed.
            burst = bytes(b | 0x80 if b & 3 else 0 for b in self._random.randbytes(self._random.randint(1, 6)))
            data = data[:at] + burst + data[at:]
        self.line.say(data)

    def _edit(self) -> str:
        """A line, edited as cread_line() does."""
        self._say(b"=> ")
        line = bytearray()
        while True:
            for byte in self._hear():
                if self._random.random() < self.lose:
                    continue
                if byte == 3:
                    line.clear()
                    self.line.say(b"<INTERRUPT>\r\n=> ")
                elif self.dead_prompt:
                    continue
                elif byte == 13:
                    self.line.say(b"\r\n")
                    return line.decode("latin-1")
                elif len(line) >= self.line_full:
                    self.line.say(b"\x07")
                else:
                    line.append(byte)
                    self.line.say(bytes([byte]))

    def _run(self, line: str) -> None:
        status = 0
        for part in line.split(";"):
            words = [word.replace('"', "") for word in part.split()]
            if not words:
                continue
            if words[0].startswith("hvrig="):
                self.env["hvrig"] = str(status)
                continue
            if words[0] != "echo":
                self.ran.append(part.strip())
            status = self._command(words)

    def _command(self, words: list[str]) -> int:
        match words:
            case ["echo", *rest]:
                self._say(
                    " ".join(self.env.get(w[1:], "") if w.startswith("$") else w for w in rest).encode() + b"\r\n"
                )
            case ["setenv", name, value]:
                self.env[name] = value
            case ["version"]:
                self._say(BANNER.strip() + b"\r\n")
            case ["tftp", address, name]:
                return self._tftp(int(address, 16), name)
            case ["crc32", address, size]:
                start, length = int(address, 16), int(size, 16)
                crc = zlib.crc32(self.memory.get(start, b"")[:length].ljust(length, b"\0"))
                self._say(b"crc32 for %08x ... %08x ==> %08x\r\n" % (start, start + length - 1, crc))
            case _ if " ".join(words) in self.answers:
                self._say(self.answers[" ".join(words)])
            case ["true"]:
                pass
            case _:
                self._say(b"Unknown command '%s' - try 'help'\r\n" % words[0].encode())
                return 1
        return 0

    def _tftp(self, address: int, name: str) -> int:
        self._say(b"Using eth0 device\r\nFilename '%s'.\r\nLoading: *\x08" % name.encode())
        if self.silent_server:
            self._say(b"T T T ")
            while b"\x03" not in self._hear():
                pass
            self._say(b"\r\nAbort\r\n")
            return 1
        if name not in self.files:
            self._say(b"\r\nTFTP error: 'File not found' (1)\r\nNot retrying...\r\n")
            return 1
        data = self.files[name]
        if name in self.corrupt:
            data = data[:-1] + bytes([data[-1] ^ 4])
        self.memory[address] = data
        self._say(b"#####\r\n\t 23.2 MiB/s\r\ndone\r\nBytes transferred = %d (%x hex)\r\n" % (len(data), len(data)))
        return 0

    def _shell(self) -> None:
        """root-linux's shell; an empty `shell` is a root-linux that hangs."""
        line = bytearray()
        while True:
            for byte in self._hear():
                if not self.shell:
                    continue
                if byte == 0x15:
                    line.clear()
                elif byte == 13:
                    found = re.fullmatch(rb"echo (.*)", bytes(line))
                    said = b"\r\n" + found[1].replace(b'"', b"") if found else b""
                    self.line.say(said + self.shell)
                    line.clear()
                else:
                    line.append(byte)
                    self.line.say(bytes([byte]))


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Iterator[Line]:
    """The test's line; its time is pexpect's, too."""
    made = Line()
    monkeypatch.setattr("pexpect.expect.time", SimpleNamespace(time=made.clock))
    yield made
    made.cut_power()


@pytest.fixture
def deadline(line: Line) -> Callable[[float], Deadline]:
    """Makes deadlines by the line's time."""
    return line.deadline


@pytest.fixture
def fake_uboot(line: Line) -> Callable[..., FakeUBoot]:
    """Makes a fake board at the line."""
    return partial(FakeUBoot, line)
