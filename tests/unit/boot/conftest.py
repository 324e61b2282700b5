"""A fake U-Boot that talks back, and a tap over a socketpair, for tests of the dialogue.

It is a fake: a line editor, a handful of commands and a memory, enough to be lied to, flooded, reset and
interrupted. What a real U-Boot prints is in tests/virtual.
"""

from __future__ import annotations

import random
import re
import socket
import threading
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

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


class SocketTap:
    """A ConsoleTap over one end of a socketpair."""

    def __init__(self, end: socket.socket) -> None:
        self.end = end
        self.typed = bytearray()

    def read(self, deadline: Deadline) -> bytes:
        self.end.settimeout(max(0.0005, deadline.remaining))
        try:
            return self.end.recv(65536)
        except (TimeoutError, BlockingIOError):
            return b""

    def write(self, data: bytes) -> None:
        self.typed += data
        self.end.sendall(data)


@dataclass
class FakeUBoot:
    """A board with U-Boot, in a thread of its own from `power_on` to `close`.

    autoboot_s: how long a Ctrl-C is awaited (0: only what has come already). late_s: silence after the key.
    lose: probability that a typed character is lost. noise: probability of a burst with each line printed.
    fifo: bytes that survive when more come at once. cut_power: the command at which the board resets itself.
    corrupt: files that arrive with a flipped bit. line_full: CONFIG_SYS_CBSIZE. guest: what bootm prints.
    """

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
        board, host = socket.socketpair()
        self.tap = SocketTap(host)
        self.ran: list[str] = []
        self.env: dict[str, str] = {}
        self.memory: dict[int, bytes] = {}
        self._board = board
        self._random = random.Random(self.seed)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._live, daemon=True)

    def power_on(self) -> SocketTap:
        self._thread.start()
        return self.tap

    def power_on_shell(self, said: bytes) -> SocketTap:
        """Nothing but root-linux's shell, which has said `said` and waits."""
        self._thread = threading.Thread(target=self._live_in_shell, args=(said,), daemon=True)
        return self.power_on()

    def close(self) -> None:
        self._over.set()
        self._board.shutdown(socket.SHUT_RDWR)
        if self._thread.is_alive():
            self._thread.join()
        self._board.close()
        self.tap.end.close()

    def _live(self) -> None:
        try:
            while not self._over.is_set():
                self._boot()
        except OSError:
            pass

    def _live_in_shell(self, said: bytes) -> None:
        try:
            self._board.sendall(said)
            self._shell()
        except OSError:
            pass

    def _boot(self) -> None:
        self.env.clear()
        self.memory.clear()
        self._say(SPL)
        self._say(self.decoy)
        self._over.wait(0.03)
        self._say(BANNER)
        self._say(b"Hit key to stop autoboot('CTRL+C'):  0")
        if b"\x03" not in self._hear(self.autoboot_s):
            self._say(b"\r\nStarting kernel ...\r\n")
            self._over.wait()
            return
        self._over.wait(self.late_s)
        self._say(b"\r\n")
        while not self._over.is_set():
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

    def _hear(self, seconds: float | None) -> bytes:
        self._board.settimeout(max(0.0005, seconds) if seconds is not None else None)
        try:
            heard = self._board.recv(4096)
        except (TimeoutError, BlockingIOError):
            return b""
        if not heard:
            self._over.set()
            raise OSError("the tap is gone")
        return heard[: self.fifo]

    def _say(self, data: bytes) -> None:
        if self.noise and self._random.random() < self.noise:
            at = self._random.randrange(len(data) + 1)
            # Never a digit: a wrong number would rightly be believed.
            burst = bytes(b | 0x80 if b & 3 else 0 for b in self._random.randbytes(self._random.randint(1, 6)))
            data = data[:at] + burst + data[at:]
        self._board.sendall(data)

    def _edit(self) -> str:
        """A line, edited as cread_line() does."""
        self._say(b"=> ")
        line = bytearray()
        while True:
            for byte in self._hear(None):
                if self._random.random() < self.lose:
                    continue
                if byte == 3:
                    line.clear()
                    self._board.sendall(b"<INTERRUPT>\r\n=> ")
                elif self.dead_prompt:
                    continue
                elif byte == 13:
                    self._board.sendall(b"\r\n")
                    return line.decode("latin-1")
                elif len(line) >= self.line_full:
                    self._board.sendall(b"\x07")
                else:
                    line.append(byte)
                    self._board.sendall(bytes([byte]))

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
            while b"\x03" not in self._hear(None):
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
        while not self._over.is_set():
            for byte in self._hear(None):
                if not self.shell:
                    continue
                if byte == 0x15:
                    line.clear()
                elif byte == 13:
                    found = re.fullmatch(rb"echo (.*)", bytes(line))
                    said = b"\r\n" + found[1].replace(b'"', b"") if found else b""
                    self._board.sendall(said + self.shell)
                    line.clear()
                else:
                    line.append(byte)
                    self._board.sendall(bytes([byte]))


@pytest.fixture
def fake_uboot() -> Iterator[Callable[..., FakeUBoot]]:
    """Makes fake boards, and ends them."""
    made: list[FakeUBoot] = []

    def make(**how: object) -> FakeUBoot:
        made.append(FakeUBoot(**how))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for board in made:
        board.close()
