"""Makes the clean logs again: `.venv/bin/python tests/data/uart/clean/make.py [board] [host] [made]`.

`board` boots the virtual board (place `virtual`) four times and types at its console; `host` runs commands of this
machine in a terminal. What is written is what came, gzip-compressed, not edited. `made` weaves a log that no board
printed, by seed.
"""

from __future__ import annotations

import gzip
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hvrig.board.console import Console
from hvrig.boot.console_pexpect import TapSpawn
from hvrig.boot.sequence import bring_up
from hvrig.boot.uboot import pieces
from hvrig.boot.uboot_dialogue import UBoot
from hvrig.lab.labgrid_bench import LabgridBench
from hvrig.lab.labgrid_power import LabgridPower
from hvrig.lab.places import load_place, with_rack
from hvrig.model.bench import RackPorts
from hvrig.model.deadline import Deadline
from hvrig.model.evidence import BootedFile
from hvrig.model.phase import Phase
from hvrig.model.place import Place
from hvrig.model.protocols import ConsoleTap
from hvrig.virtual.images import default_cache, ensure_images
from hvrig.virtual.rack_process import Rack

HERE = Path(__file__).parent
SOURCES = HERE / "sources"
REPOSITORY = HERE.parents[3]

# What a developer does at the board's console, with the words of faults in it.
SHELL = (
    "uname -a",
    "cat /proc/cmdline",
    "dmesg",
    "dmesg | grep panic",
    "dmesg | grep -i -e oops -e bug: -e 'unable to handle'",
    "cat /proc/sys/kernel/panic /proc/sys/kernel/panic_on_oops",
    "cd /tmp; for f in notes.txt mmio.c mmio.h mmio.rs old-uart.log u-boot.bin config.gz; do "
    "tftp -g -r $f 10.0.2.2; done",
    "zcat config.gz | grep -i -e oops -e panic -e bug -e softlockup -e hung_task",
    "grep -ri 'unhandled mmio fault' /tmp /etc",
    'grep -rin "panic occurred" /tmp/old-uart.log /tmp/notes.txt',
    "grep -n -e 'Kernel panic' -e mmio_handle_access -e 'Hello, start' notes.txt mmio.rs old-uart.log",
    "grep -c 'panic occurred: PanicInfo {' old-uart.log",
    "cat notes.txt",
    "cat mmio.h mmio.c",
    "cat mmio.rs",
    "strings u-boot.bin | grep -i -e u-boot -e abort -e handler -e autoboot -e 'starting kernel'",
    "echo unhandled mmio fault",
    "echo Zone 0 unhandled mmio fault MMIOAccess {",
    "echo panic occurred: PanicInfo {",
    "echo Kernel panic - not syncing",
    "# struct MMIOAccess { and panic occurred: PanicInfo { are what to look for",
    "dd if=/dev/zero of=/tmp/zero bs=1M count=32; sync; ls -la /tmp; top -b -n 1 | head -n 12",
    "for i in 1 2 3 4 5 6 7 8; do printf '\\r%d%% unhandled mmio fault? no' $i; done; echo",
    "memtester 4M 1 2>&1 | cat",
)
UBOOT = (
    "version",
    "help",
    "printenv",
    "bdinfo",
    "md.b 0x40000000 0x80",
    "strings 0x60000000 16",
    "echo unhandled mmio fault",
)

# The same on a host, as over a serial console; each is one log.
HOST = {
    "host-compile": "cd sources && make && make clean && grep -n MMIOAccess *.[ch] && git grep --no-index -n PanicInfo",
    "host-packages": (
        "apt-get -q -s install texlive-base emacs-nox 2>&1; dpkg -l | head -n 300; "
        "dpkg-deb --build -Zgzip {folder}/package {folder}/hello.deb; "
        "dpkg -i {folder}/hello.deb; dpkg --purge hvrig-hello"
    ),
    "host-strings": (
        "strings /usr/lib/u-boot/qemu_arm64/u-boot.bin; "
        "strings {kernel} | grep -E 'panic|Oops|BUG|oops|bug:|unhandled|blocked for more' | head -n 2000"
    ),
}


class _Quiet:
    """A boot's steps, of which nobody wants to hear."""

    def entered(self, phase: Phase) -> None:
        """A phase begins."""

    def loaded(self, file: BootedFile) -> None:
        """An image is in the board's memory."""


class Board:
    """The virtual board with its console recorded."""

    def __init__(self, place: Place, power: LabgridPower, console: Console, tap: ConsoleTap) -> None:
        self._place = place
        self._power = power
        self._console = console
        self._tap = tap

    def boot(self, commands: tuple[str, ...] = ()) -> None:
        """Power on; type `commands` at U-Boot's prompt and `reset`, if there are any; up to root-linux's shell."""
        self._power.on(Deadline(10))
        if commands:
            spawn = TapSpawn(self._tap)
            with UBoot(spawn, self._place.uboot) as uboot:
                uboot.interrupt(Deadline(20))
                for command in commands:
                    print(f"=> {command}")
                    uboot.run(command, Deadline(20))
                spawn.type(b"reset\r")
        bring_up(self._tap, self._place, _Quiet())

    def type(self, line: str) -> None:
        """Type a line as hvrig does: in pieces, each after something came back."""
        print(f"# {line}")
        for piece in pieces(line, 8):
            self._tap.write(piece)
            self._tap.read(Deadline(0.5))
        self._tap.write(b"\r")

    def run(self, command: str, seconds: float = 120) -> None:
        """Type a command at the shell's prompt and wait until the next one stands."""
        self.type(command)
        deadline, last = Deadline(seconds), b""
        while not deadline.expired:
            if more := self._tap.read(Deadline(0.5)):
                last = (last + more)[-200:]
            elif re.search(rb"\n[^\n]*# \Z", last):
                return
        raise SystemExit(f"no prompt after {command!r}: {last!r}")

    def until_quiet(self, seconds: float) -> None:
        """Wait until nothing has come for so long."""
        offset = -1
        while offset != self._console.offset:
            offset = self._console.offset
            time.sleep(seconds)


@contextmanager
def powered(log: str) -> Iterator[Board]:
    """A board on a rack of its own; what its console said becomes the log."""
    images = ensure_images(default_cache(), print)
    images.zone0_dtb(None)
    place = with_rack(load_place(REPOSITORY / "lab/places.yaml", "virtual"), images.folder)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tftp = folder / "tftp"
        shutil.copytree(images.tftp, tftp)
        served_files(tftp)
        with Rack(uboot=images.uboot, tftp=tftp, log=folder / "rack.log") as rack:
            ends = rack.start(Deadline(15))
            ports = RackPorts(ends.outlet_port, ends.uart_port, ends.ssh_port)
            with LabgridBench(REPOSITORY / "lab/places.yaml", "virtual", ports) as bench:
                with Console(bench.serial, folder, []) as console:
                    console.open(Deadline(10))
                    with console.tap() as tap:
                        yield Board(place, bench.power, console, tap)
                    bench.power.off(Deadline(10))
                keep(log, (folder / "uart.log").read_bytes())


def served_files(folder: Path) -> None:
    """What the shell session fetches besides the board's images."""
    for source in SOURCES.iterdir():
        shutil.copy(source, folder)
    shutil.copy(HERE.parent / "hvisor-qemu-fault.raw.log", folder / "old-uart.log")
    shutil.copy("/usr/lib/u-boot/qemu_arm64/u-boot.bin", folder)
    config = next(default_cache().glob("packages/*/root/boot/config-*"))
    (folder / "config.gz").write_bytes(gzip.compress(config.read_bytes()))


def keep(log: str, data: bytes) -> None:
    """Write a log where the tests find it."""
    path = HERE / f"{log}.log.gz"
    path.write_bytes(gzip.compress(data, 9, mtime=0))
    print(f"{path.name}: {len(data)} bytes, {path.stat().st_size} compressed")


def make_board_logs() -> None:
    """Boots, a shell session, U-Boot's prompt, a shutdown and a reboot that were asked for."""
    with powered("virtual-shell-session") as board:
        board.boot()
        for command in SHELL:
            board.run(command)
    with powered("virtual-uboot-session") as board:
        board.boot(UBOOT)
        board.run("uname -a")
    with powered("virtual-poweroff") as board:
        board.boot()
        board.type("poweroff")
        board.until_quiet(3)
    with powered("virtual-reboot") as board:
        board.boot()
        board.type("reboot")
        board.until_quiet(8)  # U-Boot counts down, finds nothing to boot and gives its prompt


def make_host_logs() -> None:
    """A compile, packages, strings of binaries, a test run, in a terminal of `script`."""
    kernel = next(default_cache().glob("packages/*/root/boot/vmlinuz-*"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        control = folder / "package" / "DEBIAN" / "control"
        control.parent.mkdir(parents=True)
        control.write_text(
            "Package: hvrig-hello\nVersion: 1\nArchitecture: all\nMaintainer: hvrig <hvrig@example.org>\n"
            "Description: nothing, to see dpkg say: panic occurred: PanicInfo {\n"
        )
        for log, command in HOST.items():
            where = HERE if "sources" in command else REPOSITORY
            said = subprocess.run(
                ["script", "-qec", command.format(folder=folder, kernel=kernel), "/dev/null"],
                cwd=where, capture_output=True, stdin=subprocess.DEVNULL, check=False,
            ).stdout  # fmt: skip
            keep(log, said.replace(str(folder).encode(), b"/tmp/made").replace(str(REPOSITORY).encode(), b"/src/hvrig"))


# Accesses that hvisor handles, as its sources print them with LOG=trace, and at other levels while somebody debugs.
TRACED = (
    ("TRACE", "hvisor::arch::aarch64::trap:240", "handle_dabt: "),
    ("TRACE", "hvisor::device::irqchip::gicv3::vgic:40", "gicd mmio = "),
    ("DEBUG", "hvisor::device::irqchip::gicv3::vgic:131", "gicr(1) mmio = "),
    ("INFO", "hvisor::device::virtio_trampoline:88", "mmio virtio handler: "),
)


def make_made_logs() -> None:
    """A boot of hvisor and root-linux with an access told between its lines, or in one, every few lines."""
    rng = random.Random(240)
    said: list[bytes] = []
    for line in (HERE.parent / "hvisor-qemu-ok.raw.log").read_bytes().splitlines(keepends=True):
        if b"Hello" in b"".join(said[-200:]) and rng.random() < 0.4:
            access = traced(rng)
            if rng.random() < 0.3:  # in memtester's progress
                spins = [rng.randrange(len(access)) for _ in range(8)]
                spun = (access[at : at + 1] + (b"\x08|\x08/" if at in spins else b"") for at in range(len(access)))
                access = b"".join(spun)
            if rng.random() < 0.3 and b"\x1b" not in line:  # in the middle of a guest's line
                at = rng.randrange(len(line))
                said += [line[:at], access, line[at:]]
                continue
            said.append(access)
        said.append(line)
    keep("made-trace", b"".join(said))


def traced(rng: random.Random) -> bytes:
    """One access, in either log shape, with or without colours."""
    level, source, text = rng.choice(TRACED)
    cpu, write = rng.randrange(4), rng.choice(("true", "false"))
    if rng.random() < 0.5:
        head = f"<37>[<96>{level:5}<> <37>{cpu}<>] <37>({source})<> <36>"
    else:
        head = f"<37>[<97>{rng.uniform(1, 99):12.6f}<>] <96>{level:5}<> <92>CPU{cpu}<> hvisor: <37>({source})<> <36>"
    access = (
        f"{head}{text}MMIOAccess {{\r\n    address: {rng.randrange(0x10000):#x},\r\n"
        f"    size: {rng.choice((1, 4, 8)):#x},\r\n    is_write: {write},\r\n"
        f"    value: {rng.getrandbits(32):#x},\r\n}}<>\r\n<>"
    )
    colours = rng.random() < 0.5
    return re.sub(r"<(\d*)>", lambda code: f"\x1b[{code[1]}m" if colours else "", access).encode()


if __name__ == "__main__":
    wanted = sys.argv[1:] or ["board", "host", "made"]
    if "board" in wanted:
        make_board_logs()
    if "host" in wanted:
        make_host_logs()
    if "made" in wanted:
        make_made_logs()
