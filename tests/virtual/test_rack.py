"""The rack with a real QEMU and a real U-Boot; nothing is booted after it."""

import json
import os
import re
import signal
import socket
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest

from hvrig.model.deadline import Deadline
from hvrig.virtual.rack_process import Rack, RackEndpoints

pytestmark = pytest.mark.virtual_board

UBOOT = Path("/usr/lib/u-boot/qemu_arm64/u-boot.bin")
BOOTS = 20


@dataclass(frozen=True)
class Bench:
    """A rack that runs, and a client that listens since before power-on."""

    ends: RackEndpoints
    uart: socket.socket
    folder: Path

    def power(self, state: str) -> None:
        url = f"http://127.0.0.1:{self.ends.outlet_port}/outlet/1"
        with urllib.request.urlopen(urllib.request.Request(url, state.encode(), method="PUT"), timeout=20) as answer:
            assert answer.read().decode() == state

    @property
    def qemu(self) -> int | None:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ends.outlet_port}/status", timeout=20) as answer:
            found: int | None = json.load(answer)["qemu_pid"]
        return found

    def read_until(self, pattern: bytes) -> bytes:
        """Everything up to the end of what matches; what came after it is gone."""
        got = b""
        while re.search(pattern, got) is None:
            block = self.uart.recv(65536)
            assert block, f"the UART hung up after {got[-200:]!r}"
            got += block
        return got

    def to_prompt(self) -> None:
        self.read_until(b"Hit any key")
        self.uart.sendall(b" ")
        self.read_until(b"\r\n=> ")

    def command(self, text: str) -> bytes:
        self.uart.sendall(f"{text}; echo ended-$?\n".encode())
        said = self.read_until(rb"\nended-[0-9]+\r\n=> ")
        assert b"\nended-0\r\n" in said, said
        return said


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with Rack(uboot=UBOOT, tftp=tmp_path, log=tmp_path / "rack.log") as rack:
        ends = rack.start(Deadline(20))
        with socket.create_connection(("127.0.0.1", ends.uart_port), timeout=20) as uart:
            yield Bench(ends, uart, tmp_path)


def test_the_banner_is_complete_at_every_power_on(bench: Bench) -> None:
    for _ in range(BOOTS):
        bench.power("1")
        assert bench.read_until(b"DRAM:").startswith(b"\r\n\r\nU-Boot 20")
        bench.power("0")
        bench.uart.setblocking(False)
        while True:  # what came between the banner and the power cut
            try:
                bench.uart.recv(65536)
            except BlockingIOError:
                break
        bench.uart.settimeout(20)


def test_uboot_has_a_network_and_loads_by_tftp_what_lies_in_the_folder(bench: Bench) -> None:
    image = Random(1).randbytes(4 << 20)
    (bench.folder / "image.bin").write_bytes(image)
    bench.power("1")
    bench.to_prompt()
    bench.command("setenv autoload no; dhcp")
    bench.command("setenv serverip 10.0.2.2; tftp 0x50000000 image.bin")
    assert f"{zlib.crc32(image):08x}".encode() in bench.command("crc32 0x50000000 ${filesize}")


def test_a_reset_happens_inside_qemu_and_a_poweroff_ends_it(bench: Bench) -> None:
    bench.power("1")
    bench.to_prompt()
    pid = bench.qemu
    bench.uart.sendall(b"reset\n")
    bench.to_prompt()
    assert bench.qemu == pid
    bench.uart.sendall(b"poweroff\n")
    deadline = Deadline(10)
    while bench.qemu is not None:
        assert not deadline.expired
    bench.power("1")
    assert bench.qemu is None, "the outlet was not cycled"
    bench.power("0")
    bench.power("1")
    bench.to_prompt()


def test_qemus_own_words_say_that_the_ssh_port_was_taken(bench: Bench) -> None:
    with socket.socket() as thief:
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        thief.bind(("127.0.0.1", bench.ends.ssh_port))
        thief.listen()
        with pytest.raises(urllib.error.HTTPError, match="Could not set up host forwarding rule"):
            bench.power("1")
    bench.power("1")
    bench.to_prompt()


def test_qemu_dies_with_a_killed_rack(bench: Bench) -> None:
    bench.power("1")
    pid = bench.qemu
    assert pid is not None
    os.kill(bench.ends.pid, signal.SIGKILL)
    deadline = Deadline(10)
    while _runs(pid):
        assert not deadline.expired


def _runs(pid: int) -> bool:
    """Zombies do not run: nobody may be there to reap an orphan."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
