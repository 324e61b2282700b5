"""Plays the sysoul-x3300's UART on a pty: DDR and SPL, U-Boot 2017.09, hvisor, the vendor's Linux with a shell.

A fake that talks back, for the tests of tests/pty and for `boot_pty.py`. What makes the real board hard is in it:

- the line is 1,500,000 baud, 8N1: 6.7 us a byte, both ways,
- the UART has a receive FIFO of 16 bytes, which U-Boot empties slowly at its prompt and not at all while it works;
  what finds no room is lost. Each initialisation of the UART (DDR, SPL, U-Boot) empties the FIFO,
- autoboot has no delay: one look into the FIFO, once, a moment after U-Boot's own initialisation,
- `ctrlc()`, which U-Boot calls while it works, swallows any key,
- framing noise at power-on, a character lost now and then, kernel messages after the prompt.

The words of DDR init and SPL are from tests/data/uart/uart-rk3588-boot.log; those of U-Boot 2017.09 are as its sources
print them; timings are shorter than the board's, except for the line's own.
"""

from __future__ import annotations

import contextlib
import os
import pty
import random
import re
import select
import termios
import threading
import time
import tty
import zlib
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

BYTE_S = 10 / 1_500_000
FIFO = 16
SPL_LOG = Path(__file__).parents[1] / "tests" / "data" / "uart" / "uart-rk3588-boot.log"
AUTOBOOT = b"Hit key to stop autoboot('CTRL+C'):  0 "
CTRL_C, RETURN, LINE_KILL = 0x03, 0x0D, 0x15
_TX_CHUNK = 64
_ADAPTER_BYTES = 64 << 10
_LAG_S = 0.002  # a late timer may be made up for by so much of a burst


class _PowerCut(Exception):  # noqa: N818 - no error: the plug was pulled
    """The board has no power any more."""


class Receiver:
    """The board's receive line and FIFO. `polling` while U-Boot reads keys at its prompt, one each `read_s`.

    In model time: a burst is laid out on the line at its pace, however late this thread came to read it.
    """

    def __init__(self, read_s: float, lose: float, chance: random.Random) -> None:
        self._read_s, self._lose, self._chance = read_s, lose, chance
        self._changed = threading.Condition()
        self._fifo: deque[tuple[float, int]] = deque()
        self._taken: deque[int] = deque()
        self._line_free = self._next_read = 0.0
        self._polling = False
        self._interrupts = False
        self._powered = False
        self.overrun = 0

    def power(self, on: bool) -> None:
        """On or off: nothing of before is left."""
        with self._changed:
            self._powered = on
            self._forget()
            self._changed.notify_all()

    def initialise(self) -> None:
        """What a driver's set-up does to the FIFO."""
        with self._changed:
            self._forget()

    def use_interrupts(self) -> None:
        """From now on an operating system empties the FIFO as bytes come, and keeps them."""
        with self._changed:
            self._forget()
            self._interrupts = self._polling = True

    def _forget(self) -> None:
        self._fifo.clear()
        self._taken.clear()
        self._polling = self._interrupts = False

    def arrive(self, data: bytes) -> None:
        """`data` was typed just now, back to back."""
        with self._changed:
            t = max(time.monotonic(), self._line_free)
            for byte in data:
                t += BYTE_S
                self._drain(t)
                if not self._powered or (self._lose and byte != CTRL_C and self._chance.random() < self._lose):
                    continue
                if len(self._fifo) >= FIFO:
                    self.overrun += 1
                else:
                    self._fifo.append((t, byte))
            self._line_free = t
            self._changed.notify_all()

    def _drain(self, until: float) -> None:
        """What the reader at the prompt has taken out of the FIFO by `until`; the end of the line ends its reading."""
        while self._polling and self._fifo:
            at = max(self._next_read, self._fifo[0][0])
            if at > until:
                return
            self._next_read = at + (0 if self._interrupts else self._read_s)
            byte = self._fifo.popleft()[1]
            self._taken.append(byte)
            self._polling = self._interrupts or byte != RETURN

    def key(self) -> int:
        """The next key, waiting for it at the prompt. Raises _PowerCut."""
        with self._changed:
            if not self._taken:
                self._polling = True
                self._next_read = max(self._next_read, time.monotonic())
            while not self._taken:
                if not self._powered:
                    raise _PowerCut
                self._drain(time.monotonic())
                if not self._taken:
                    self._changed.wait(self._read_s if self._fifo else 1.0)
            return self._taken.popleft()

    def ctrlc(self) -> bool:
        """U-Boot's `ctrlc()`: takes one key, whatever it is; True for Ctrl-C."""
        with self._changed:
            return bool(self._fifo) and self._fifo.popleft()[1] == CTRL_C


@dataclass(frozen=True, kw_only=True)
class Board:
    """How a board behaves. seed: decides all that is left to chance.

    files: what tftp and fatload find. read_s: one key at U-Boot's prompt. lose: a key's chance to get lost.
    window_s: from U-Boot's start of the UART to its one look for Ctrl-C, drawn between the two. console: root-linux's.
    corrupt: a file that arrives with one bit flipped. cpus: how many enter hvisor. autologin: or a login prompt.
    """

    files: Mapping[str, bytes]
    seed: int = 0
    read_s: float = 0.0001
    lose: float = 0.001
    window_s: tuple[float, float] = (0.03, 0.3)
    console: str = "ttyFIQ0"
    corrupt: str = ""
    cpus: int = 8
    autologin: bool = True


class X3300:
    """The board behind a pty. `device` is what a USB adapter would be; it stays when the board is off."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._chance = random.Random(board.seed)
        self._receiver = Receiver(board.read_s, board.lose, random.Random(board.seed + 1))
        self._master, self._slave = pty.openpty()  # the slave is kept open, or the master would hang up in between
        tty.setraw(self._slave, termios.TCSANOW)
        os.set_blocking(self._master, False)
        self.device = os.ttyname(self._slave)
        self._room = select.poll()
        self._room.register(self._master, select.POLLOUT)
        self._over = threading.Event()
        self._off = threading.Event()
        self._cpu: threading.Thread | None = None
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        self._tx_free = 0.0
        self._env: dict[str, str] = {}
        self._memory: dict[int, bytes] = {}
        self.ran: list[str] = []
        self.unheard = 0

    @property
    def overrun(self) -> int:
        """Bytes typed that found the FIFO full."""
        return self._receiver.overrun

    def power_on(self) -> None:
        """Plug it in."""
        self._off.clear()
        self._receiver.power(True)
        self._cpu = threading.Thread(target=self._run, daemon=True)
        self._cpu.start()

    def power_off(self) -> None:
        """Pull the plug."""
        self._off.set()
        self._receiver.power(False)
        if self._cpu is not None:
            self._cpu.join()
            self._cpu = None

    def close(self) -> None:
        """Board and adapter are gone."""
        self.power_off()
        self._over.set()
        self._listener.join()
        os.close(self._master)
        os.close(self._slave)

    def __enter__(self) -> X3300:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _listen(self) -> None:
        poll = select.poll()
        poll.register(self._master, select.POLLIN)
        while not self._over.is_set():
            if poll.poll(100):
                with contextlib.suppress(BlockingIOError):
                    self._receiver.arrive(os.read(self._master, 4096))

    # The line to the host.

    def _say(self, data: bytes) -> None:
        for start in range(0, len(data), _TX_CHUNK):
            chunk = data[start : start + _TX_CHUNK]
            now = time.monotonic()
            if self._tx_free > now:
                self._wait(self._tx_free - now)
            self._tx_free = max(self._tx_free, time.monotonic() - _LAG_S) + len(chunk) * BYTE_S
            # A pty holds 12 KB for a reader that is late, the driver of a USB adapter 64 KiB: as much time is given.
            self._room.poll(_ADAPTER_BYTES * BYTE_S * 1000)
            try:
                self.unheard += len(chunk) - os.write(self._master, chunk)
            except BlockingIOError:
                self.unheard += len(chunk)

    def _line(self, text: str) -> None:
        self._say(text.encode() + b"\r\n")

    def _wait(self, seconds: float) -> None:
        """The board works for so long."""
        if self._off.wait(seconds):
            raise _PowerCut

    # The board's life from power-on.

    def _run(self) -> None:
        with contextlib.suppress(_PowerCut):
            self._env.clear()
            self._memory.clear()
            self._noise()
            self._spl()
            if self._uboot():
                self._shell()
            self._off.wait()

    def _noise(self) -> None:
        """What a receiver makes of a line that is just being driven: breaks and framing errors."""
        self._say(bytes(self._chance.choice((0x00, 0xFF, 0xFE, 0xF8, 0xC0, 0x80)) for _ in range(self._upto(40))))
        self._wait(0.001 * self._upto(20))

    def _upto(self, most: int) -> int:
        return self._chance.randint(0, most)

    def _spl(self) -> None:
        for number, line in enumerate(SPL_LOG.read_bytes().splitlines()):
            if line.startswith(b"Hit key"):
                break
            if number == 0 or line.startswith(b"U-Boot SPL board"):
                self._receiver.initialise()
            self._say(line + b"\r\n")
            self._wait(0.0005 * self._upto(10))

    def _uboot(self) -> bool:
        """True when root-linux was reached."""
        self._receiver.initialise()
        self._say(b"\r\n\r\nU-Boot 2017.09-g5f53abfa1e-221223 #zzz (Dec 26 2022 - 09:10:09 +0800)\r\n\r\n")
        for line in (
            "Model: Rockchip RK3588 board",
            "PreSerial: 2, raw, 0xfeb50000",
            "DRAM:  16 GiB",
            "Relocation Offset: edc32000",
            "Using default environment",
            "In:    serial@feb50000",
            "Out:   serial@feb50000",
            "Err:   serial@feb50000",
            "Net:   eth1: ethernet@fe1c0000",
        ):
            self._line(line)
        self._wait(self._chance.uniform(*self._board.window_s))
        self._say(AUTOBOOT)
        if not self._receiver.ctrlc():
            self._line("\r\nStarting kernel ...\r\n")
            self._line("[    0.000000] Booting Linux on physical CPU 0x0000000000 [0x412fd050]")
            return False
        self._say(b"\r\n")
        while True:
            line = self._edit()
            if line.startswith("bootm"):
                self.ran.append(line)
                if self._bootm(line):
                    return True
            else:
                self._commands(line)

    def _edit(self) -> str:
        """One line, as U-Boot's cread_line() takes it."""
        self._say(b"=> ")
        line = bytearray()
        while True:
            key = self._receiver.key()
            if key == CTRL_C:
                line.clear()
                self._say(b"<INTERRUPT>\r\n=> ")
            elif key == RETURN:
                self._say(b"\r\n")
                return line.decode("latin-1")
            elif key == LINE_KILL:
                self._say(b"\b \b" * len(line))
                line.clear()
            else:
                line.append(key)
                self._say(bytes([key]))

    def _commands(self, line: str) -> None:
        status = 0
        for part in line.split(";"):
            words = [word.replace('"', "") for word in part.split()]
            if not words:
                continue
            if words[0].startswith("hvrig="):
                self._env["hvrig"] = str(status)
                continue
            if words[0] != "echo":
                self.ran.append(part.strip())
            status = self._command(words)

    def _command(self, words: list[str]) -> int:
        words = [re.sub(r"\$\{?(\w+)\}?", lambda name: self._env.get(name[1], ""), word) for word in words]
        match words:
            case ["echo", *rest]:
                self._line(" ".join(rest))
            case ["setenv", name, *rest]:
                self._env[name] = " ".join(rest)
            case ["tftp", address, name]:
                return self._tftp(int(address, 16), name)
            case ["fatload", "mmc", "0:1", address, name]:
                return self._fatload(int(address, 16), name)
            case ["crc32", address, size]:
                start, length = int(address, 16), int(size, 16)
                crc = zlib.crc32(self._memory.get(start, b"")[:length].ljust(length, b"\0"))
                self._wait(length / 400e6)
                self._line(f"crc32 for {start:08x} ... {start + length - 1:08x} ==> {crc:08x}")
            case _:
                self._line(f"Unknown command '{words[0]}' - try 'help'")
                return 1
        return 0

    def _arrived(self, address: int, name: str) -> int:
        data = self._board.files[name]
        if name == self._board.corrupt:
            middle = len(data) // 2
            data = data[:middle] + bytes([data[middle] ^ 0x10]) + data[middle + 1 :]
        self._memory[address] = data
        self._env["filesize"] = f"{len(data):x}"
        return len(data)

    def _tftp(self, address: int, name: str) -> int:
        self._line("ethernet@fe1c0000 Waiting for PHY auto negotiation to complete. done")
        self._line("Speed: 1000, full duplex\r\nUsing ethernet@fe1c0000 device")
        self._line(f"TFTP from server {self._env.get('serverip')}; our IP address is {self._env.get('ipaddr')}")
        self._line(f"Filename '{name}'.\r\nLoad address: {address:#x}")
        self._say(b"Loading: *\x08")
        if name not in self._board.files:
            self._line("\r\nTFTP error: 'File not found' (1)\r\nNot retrying...")
            return 1
        size = len(self._board.files[name])
        for number in range(-(-size // (10 * 1468))):
            self._say(b"#" + (b"\r\n\t " if number % 65 == 64 else b""))
            self._wait(10 * 1468 / 30e6)
            if self._receiver.ctrlc():
                self._line("\r\nAbort")
                return 1
        self._line("\r\n\t 23.2 MiB/s\r\ndone")
        self._line(f"Bytes transferred = {self._arrived(address, name)} ({size:x} hex)")
        return 0

    def _fatload(self, address: int, name: str) -> int:
        self._line(f"reading {name}")
        if name not in self._board.files:
            self._line(f"** Unable to read file {name} **")
            return 1
        self._wait(len(self._board.files[name]) / 40e6)
        self._line(f"{self._arrived(address, name)} bytes read in 85 ms (22.7 MiB/s)")
        return 0

    def _bootm(self, line: str) -> bool:
        hvisor, _, tree = line.split()[1:]
        if int(hvisor, 16) not in self._memory or int(tree, 16) not in self._memory:
            self._line("Wrong Image Format for bootm command\r\nERROR: can't get kernel image!")
            return False
        self._line(f"## Booting kernel from Legacy Image at {int(hvisor, 16):08x} ...")
        self._line("   Image Name:   hvisor_img\r\n   Image Type:   AArch64 Linux Kernel Image (uncompressed)")
        self._line("   Load Address: 00500000\r\n   Entry Point:  00500000\r\n   Verifying Checksum ... OK")
        self._line(f"## Flattened Device Tree blob at {int(tree, 16):08x}\r\n   XIP Kernel Image ... OK")
        self._line("\r\nStarting kernel ...\r\n")
        for cpu in self._chance.sample(range(self._board.cpus), self._board.cpus):
            self._line("Hello, start HVISOR at 0x500000!")
            self._line(f"Booting CPU {cpu}: {0x6E6000 + cpu * 0x80000:#x} arch:0x500000, DTB: 0x400000")
        self._line("Primary CPU 0 has entered.")
        for cpu in self._chance.sample(range(1, self._board.cpus), self._board.cpus - 1):
            self._line(f"Secondary CPU {cpu} has entered.")
        self._record("hvisor:116", "__core_end = 0x6e6000")
        self._record("hvisor:117", "mem_pool_start = 0xae6000")
        self._record("hvisor:118", "hv_end = 0x4ae6000")
        self._record("hvisor:121", "build_mode: release, log_level: info, arch: aarch64, stats: off")
        return True

    def _record(self, target: str, message: str) -> None:
        self._line(
            f"\x1b[37m[\x1b[92mINFO \x1b[m \x1b[37m0\x1b[m] \x1b[37m({target})\x1b[m \x1b[32m{message}\x1b[m\r\n\x1b[m"
        )

    # root-linux.

    def _shell(self) -> None:
        self._receiver.use_interrupts()
        console = self._board.console
        lines = [
            "Booting Linux on physical CPU 0x0000000000 [0x412fd050]",
            "Linux version 5.10.160 (vendor) #1 SMP",
            f"Kernel command line: earlycon=uart8250,mmio32,0xfeb50000 console={console} rootwait rw",
            "fiq_debugger fiq_debugger.0: IRQ fiq not found" if console == "ttyFIQ0" else "Serial: 8250/16550 driver",
            f"printk: console [{console}] enabled",
            *(f"rockchip-pm-domain fd8d8000.power-management: domain {n} has no parent" for n in range(400)),
        ]
        for number, message in enumerate(lines):
            self._line(f"[{number * 0.004:12.6f}] {message}")
        for unit in ("Journal Service", "Network Name Resolution", "OpenBSD Secure Shell server"):
            self._line(f"[\x1b[0;32m  OK  \x1b[0m] Started \x1b[0;1;39m{unit}\x1b[0m.")
        self._say(f"\r\nDebian GNU/Linux 11 linaro-alip {console}\r\n\r\nlinaro-alip login: ".encode())
        if not self._board.autologin:
            self._off.wait()
        self._line("root (automatic login)\r\n")
        prompt = b"\x1b[?2004hroot@linaro-alip:/# "
        self._say(prompt)
        if self._chance.random() < 0.5:
            self._line("[   12.345678] rk_gmac-dwmac fe1c0000.ethernet eth1: Link is Up - 1Gbps/Full")
        line = bytearray()
        while True:
            key = self._receiver.key()
            if key == RETURN:
                found = re.fullmatch(rb"echo (.*)", bytes(line))
                self._say(b"\r\n\x1b[?2004l\r" + (found[1].replace(b'"', b"") + b"\r\n" if found else b"") + prompt)
                line.clear()
            elif key == LINE_KILL:
                self._say(b"\b\x1b[K" * len(line))
                line.clear()
            else:
                line.append(key)
                self._say(bytes([key]))


@contextlib.contextmanager
def powered(board: Board) -> Iterator[X3300]:
    """A board that will be taken away at the end."""
    with X3300(board) as player:
        yield player
