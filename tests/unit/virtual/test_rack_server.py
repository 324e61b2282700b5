"""The rack as a process, with a small program in QEMU's place: it answers on the same two sockets and talks back."""

import contextlib
import http.client
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from labgrid.driver.power import rest

from hvrig.model.deadline import Deadline
from hvrig.virtual.rack_process import Rack, RackEndpoints
from hvrig.virtual.rack_server import BACKLOG, qemu_command

# Stands for qemu-system-aarch64. It says its banner before anything else, as U-Boot does, binds the SSH port as QEMU
# does, answers on the control socket, and then obeys lines on its UART: `off` (the guest's power-off), `flood N`,
# `deaf` (reads nothing any more); any other line is echoed. With a firmware named mute.bin it never comes up. Like
# QEMU, it goes on when the other end of its UART is closed.
FAKE_BOARD = f"""#!{sys.executable} -ISS
import re, socket, sys, time
arguments = " ".join(sys.argv)
def inherited(name):
    return socket.socket(fileno=int(re.search(f"id={{name}},fd=([0-9]+)", arguments)[1]))
uart, control = inherited("uart"), inherited("control")
uart.sendall(b"U-Boot on the fake board\\r\\n")
ssh = socket.socket()
ssh.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
try:
    ssh.bind(("127.0.0.1", int(re.search("hostfwd=tcp:127.0.0.1:([0-9]+)-:22", arguments)[1])))
    ssh.listen()
except OSError:
    sys.exit("Could not set up host forwarding rule")
if "mute.bin" in arguments:
    time.sleep(60)
control.sendall(b'{{"QMP": {{}}}}\\r\\n{{"return": {{}}}}\\r\\n{{"return": {{}}, "id": "up"}}\\r\\n')
for line in uart.makefile("rb"):
    word, *values = line.split()
    if word == b"off":
        sys.exit(0)
    if word == b"flood":
        uart.sendall(b"x" * int(values[0]))
    elif word == b"deaf":
        time.sleep(60)
    else:
        uart.sendall(b"[" + word + b"]\\r\\n")
time.sleep(60)
"""


@dataclass(frozen=True)
class Bench:
    """A rack that runs, and its clients."""

    rack: Rack
    ends: RackEndpoints
    folder: Path

    def http(self, method: str, path: str, body: str | None = None) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.ends.outlet_port, timeout=20)
        with contextlib.closing(connection):
            connection.request(method, path, body)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def power(self, state: str) -> None:
        assert self.http("PUT", "/outlet/1", state) == (200, state)

    def bench(self, fault: str, body: str | None = None) -> None:
        assert self.http("POST", f"/bench/{fault}", body)[0] == 200

    def status(self) -> dict[str, object]:
        found: dict[str, object] = json.loads(self.http("GET", "/status")[1])
        return found

    def uart(self) -> socket.socket:
        """A client that the rack knows of: what the board sends from now on, it gets."""
        before = self.status()["uart_clients"]
        client = socket.create_connection(("127.0.0.1", self.ends.uart_port), timeout=10)
        wait_until(lambda: self.status()["uart_clients"] != before)
        return client


def wait_until(condition: object, seconds: float = 20.0) -> None:
    deadline = Deadline(seconds)
    while not condition():  # type: ignore[operator]
        assert not deadline.expired, "did not become true"
        os.sched_yield()


def read_until(client: socket.socket, end: bytes) -> bytes:
    got = b""
    while not got.endswith(end):
        block = client.recv(65536)
        assert block, f"the UART hung up after {got[-100:]!r}"
        got += block
    return got


def runs(pid: int) -> bool:
    """Zombies do not run: nobody may be there to reap an orphan."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the fake board stands in the search path, and its firmware."""
    program = tmp_path / "bin" / "qemu-system-aarch64"
    program.parent.mkdir()
    program.write_text(FAKE_BOARD)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    for firmware in ("u-boot.bin", "mute.bin"):
        (tmp_path / firmware).touch()
    return tmp_path


@pytest.fixture
def bench(folder: Path, request: pytest.FixtureRequest) -> Iterator[Bench]:
    firmware = folder / getattr(request, "param", "u-boot.bin")
    with Rack(uboot=firmware, tftp=folder, uart_times=folder / "times", log=folder / "rack.log") as rack:
        yield Bench(rack, rack.start(Deadline(20)), folder)


def test_the_outlet_is_one_that_labgrid_can_switch(bench: Bench) -> None:
    host = f"http://127.0.0.1:{bench.ends.outlet_port}/outlet/{{index}}"
    assert rest.power_get(host, None, "1") is False
    rest.power_set(host, None, "1", True)
    assert rest.power_get(host, None, "1") is True
    pid = bench.status()["qemu_pid"]
    assert isinstance(pid, int)
    assert runs(pid)
    rest.power_set(host, None, "1", True)
    assert bench.status()["qemu_pid"] == pid, "on was not idempotent"
    rest.power_set(host, None, "1", False)
    assert not runs(pid)
    rest.power_set(host, None, "1", False)
    assert rest.power_get(host, None, "1") is False


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("PUT", "/outlet/1", "2", 400),
        ("PUT", "/outlet/1", "1" * 100, 413),
        ("GET", "/outlet/2", None, 404),
        ("POST", "/bench/gremlins", None, 404),
        ("POST", "/bench/freeze", None, 409),
        ("POST", "/bench/uart-disconnect", "soon", 400),
    ],
)
def test_what_the_rack_cannot_do_is_refused(
    bench: Bench, method: str, path: str, body: str | None, status: int
) -> None:
    assert bench.http(method, path, body)[0] == status
    assert bench.status()["on"] is False


def test_a_client_from_before_power_on_gets_the_first_byte_of_every_boot(bench: Bench) -> None:
    with bench.uart() as client:
        for _ in range(5):
            bench.power("1")
            assert read_until(client, b"\n") == b"U-Boot on the fake board\r\n"
            bench.power("0")


def test_every_client_gets_every_byte_and_any_of_them_types(bench: Bench) -> None:
    with bench.uart() as one, bench.uart() as two:
        bench.power("1")
        for client, word in ((one, b"first"), (two, b"second")):
            client.sendall(word + b"\n")
            for each in (one, two):
                assert read_until(each, b"]\r\n").endswith(b"[" + word + b"]\r\n")
        two.close()
        wait_until(lambda: bench.status()["uart_clients"] == 1)
        one.sendall(b"third\n")
        assert read_until(one, b"]\r\n") == b"[third]\r\n"


def test_what_is_typed_while_the_board_is_off_is_lost(bench: Bench) -> None:
    with bench.uart() as client:
        client.sendall(b"lost\n")
        bench.power("1")
        read_until(client, b"\n")
        client.sendall(b"heard\n")
        assert read_until(client, b"]\r\n") == b"[heard]\r\n"


def test_a_client_that_does_not_read_loses_its_own_bytes_and_holds_up_nobody(bench: Bench) -> None:
    with bench.uart() as asleep, bench.uart() as awake:
        bench.power("1")
        read_until(awake, b"\n")
        for _ in range(10):  # piece by piece, so that a busy machine does not make the reader too slow as well
            awake.sendall(b"flood %d\n" % BACKLOG)
            got = 0
            while got < BACKLOG:
                block = awake.recv(1 << 20)
                assert block.count(b"x") == len(block)
                got += len(block)
        overruns = bench.status()["overruns"]
        assert isinstance(overruns, int)
        assert overruns > BACKLOG
        asleep.settimeout(1)
        kept = 0
        with contextlib.suppress(TimeoutError):
            while block := asleep.recv(1 << 20):
                kept += len(block)
        assert kept >= BACKLOG
        assert kept + overruns == bench.status()["uart_bytes"]
        awake.sendall(b"again\n")
        assert read_until(asleep, b"]\r\n") == b"[again]\r\n"


def test_typing_at_a_board_that_does_not_listen_does_not_block_the_rack(bench: Bench) -> None:
    with bench.uart() as client:
        bench.power("1")
        client.sendall(b"deaf\n")
        client.sendall(b"\x03" * (8 << 20))
        assert bench.status()["on"] is True
        bench.power("0")


def test_a_board_that_switches_itself_off_stays_off_until_the_outlet_is_cycled(bench: Bench) -> None:
    with bench.uart() as client:
        bench.power("1")
        client.sendall(b"off\n")
        wait_until(lambda: bench.status()["qemu_pid"] is None)
        assert bench.http("GET", "/outlet/1") == (200, "1")
        bench.power("1")
        assert bench.status()["qemu_pid"] is None
        bench.power("0")
        bench.power("1")
        assert isinstance(bench.status()["qemu_pid"], int)


def test_a_board_that_does_not_start_answers_500_in_qemus_words_and_leaves_the_outlet_off(bench: Bench) -> None:
    with socket.socket() as thief:
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        thief.bind(("127.0.0.1", bench.ends.ssh_port))
        thief.listen()
        connection = http.client.HTTPConnection("127.0.0.1", bench.ends.outlet_port, timeout=20)
        with contextlib.closing(connection):
            connection.request("PUT", "/outlet/1", "1")
            answer = connection.getresponse()
            assert answer.status == 500
            assert "Could not set up host forwarding rule" in answer.reason, "all that labgrid's user gets to see"
    assert bench.http("GET", "/outlet/1") == (200, "0")
    assert "Could not set up" in str(bench.status()["last_words"])
    bench.power("1")


@pytest.mark.parametrize("bench", ["mute.bin"], indirect=True)
def test_a_board_can_be_switched_off_while_it_starts(bench: Bench) -> None:
    answers: list[tuple[int, str]] = []
    starter = threading.Thread(target=lambda: answers.append(bench.http("PUT", "/outlet/1", "1")))
    starter.start()
    wait_until(lambda: bench.status()["qemu_pid"] is not None)
    bench.power("0")
    starter.join(10)
    assert answers[0][0] == 500
    assert "switched off meanwhile" in answers[0][1]
    assert bench.http("GET", "/outlet/1") == (200, "0")


def test_the_ssh_port_is_kept_from_others_while_the_board_is_off(bench: Bench) -> None:
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", bench.ends.ssh_port))


def test_times_tell_when_each_byte_left_the_board(bench: Bench) -> None:
    before = time.monotonic()
    with bench.uart() as client:
        bench.power("1")
        said = read_until(client, b"\n")
        client.sendall(b"more\n")
        said += read_until(client, b"]\r\n")
    bench.rack.stop()
    assert (bench.folder / "times.raw").read_bytes() == said
    rows = [line.split() for line in (bench.folder / "times").read_text().splitlines()]
    times, offsets = [float(row[0]) for row in rows], [int(row[1]) for row in rows]
    assert offsets[-1] == len(said)
    assert offsets == sorted(offsets)
    assert before <= times[0] <= times[-1] <= time.monotonic()


# Faults of the lab.


def test_fault_outlet_silent_takes_the_request_and_never_answers(bench: Bench) -> None:
    bench.bench("outlet-silent")
    connection = http.client.HTTPConnection("127.0.0.1", bench.ends.outlet_port, timeout=0.3)
    with contextlib.closing(connection):
        connection.request("PUT", "/outlet/1", "1")
        with pytest.raises(TimeoutError):
            connection.getresponse()
    assert bench.status()["on"] is False
    bench.bench("none")
    bench.power("1")


def test_fault_relay_dead_says_ok_and_gives_no_power(bench: Bench) -> None:
    bench.bench("relay-dead")
    bench.power("1")
    assert bench.http("GET", "/outlet/1") == (200, "1")
    assert bench.status()["qemu_pid"] is None
    bench.bench("none")
    bench.power("0")
    bench.power("1")
    assert isinstance(bench.status()["qemu_pid"], int)


def test_fault_uart_cut_leaves_the_connection_and_passes_nothing(bench: Bench) -> None:
    with bench.uart() as client:
        bench.bench("uart-cut")
        bench.power("1")
        client.sendall(b"unheard\n")
        wait_until(lambda: bench.status()["uart_bytes"] == len(b"U-Boot on the fake board\r\n"))
        bench.bench("none")
        client.sendall(b"heard\n")
        assert read_until(client, b"]\r\n") == b"[heard]\r\n"


def test_fault_uart_disconnect_drops_refuses_and_then_accepts_again(bench: Bench) -> None:
    bench.power("1")
    with bench.uart() as client:
        bench.bench("uart-disconnect", "9999")
        assert client.recv(1) == b""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", bench.ends.uart_port))
    began = time.monotonic()
    bench.bench("uart-disconnect", "0.5")
    wait_until(lambda: _connects(bench.ends.uart_port))
    assert time.monotonic() - began >= 0.5
    wait_until(lambda: bench.status()["uart_clients"] == 0)  # the one that tried has gone
    with bench.uart() as client:
        client.sendall(b"back\n")
        assert read_until(client, b"]\r\n") == b"[back]\r\n"


def _connects(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return False
    return True


def test_fault_freeze_stops_the_board_until_cleared_or_cut(bench: Bench) -> None:
    with bench.uart() as client:
        bench.power("1")
        read_until(client, b"\n")
        bench.bench("freeze")
        client.sendall(b"ice\n")
        client.settimeout(0.2)
        with pytest.raises(TimeoutError):
            client.recv(1)
        client.settimeout(10)
        bench.bench("none")
        assert read_until(client, b"]\r\n") == b"[ice]\r\n"
        bench.bench("freeze")
        bench.power("0")
        bench.power("1")
        assert read_until(client, b"\n").startswith(b"U-Boot")


# Nobody is left behind.


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_the_board_dies_with_the_rack(bench: Bench, number: signal.Signals) -> None:
    bench.power("1")
    pid = bench.status()["qemu_pid"]
    assert isinstance(pid, int)
    os.kill(bench.ends.pid, number)
    wait_until(lambda: not runs(bench.ends.pid) and not runs(pid))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_rack_and_board_die_with_the_process_that_started_them(folder: Path, number: signal.Signals) -> None:
    code = f"""
import pathlib, time, urllib.request
from hvrig.model.deadline import Deadline
from hvrig.virtual.rack_process import Rack
folder = pathlib.Path({str(folder)!r})
rack = Rack(uboot=folder / "u-boot.bin", tftp=folder, log=folder / "rack.log")
ends = rack.start(Deadline(20))
url = f"http://127.0.0.1:{{ends.outlet_port}}"
urllib.request.urlopen(urllib.request.Request(url + "/outlet/1", b"1", method="PUT"))
status = urllib.request.urlopen(url + "/status").read().decode()
print(ends.pid, status, flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        rack, _, status = parent.stdout.readline().partition(" ")
        pids = [int(rack), json.loads(status)["qemu_pid"]]
        assert all(runs(pid) for pid in pids)
        parent.send_signal(number)
        wait_until(lambda: not any(runs(pid) for pid in pids))


def test_ctrl_c_in_the_terminal_does_not_reach_rack_or_board(bench: Bench) -> None:
    bench.power("1")
    pid = bench.status()["qemu_pid"]
    assert isinstance(pid, int)
    assert os.getpgid(bench.ends.pid) == os.getpgid(pid) == bench.ends.pid
    assert os.getpgid(0) != bench.ends.pid


# QEMU's command line.


def test_a_comma_in_the_tftp_folder_does_not_end_its_option() -> None:
    command = qemu_command(
        machine=["-M", "virt"], network="nic", tftp=Path("/a,b"), ssh_port=2222, uart_descriptor=7, control_descriptor=8
    )
    assert "user,id=n0,tftp=/a,,b,hostfwd=tcp:127.0.0.1:2222-:22" in command


@pytest.fixture
def adapter(folder: Path) -> Iterator[tuple[Bench, Path]]:
    """A rack whose UART has a device node, under a name of this test's own."""
    link = Path(f"/dev/shm/hvrig-test-{os.getpid()}-ttyUSB0")
    with Rack(uboot=folder / "u-boot.bin", tftp=folder, uart_pty=link, log=folder / "rack.log") as rack:
        yield Bench(rack, rack.start(Deadline(20)), folder), link
    assert not link.is_symlink(), "the device node outlived the rack"


def read_device(fd: int, end: bytes) -> bytes:
    got, deadline = b"", Deadline(20)
    while not got.endswith(end):
        assert not deadline.expired, f"only {got[-100:]!r} came"
        ready, _, _ = select.select([fd], [], [], deadline.remaining)
        got += os.read(fd, 65536) if ready else b""
    return got


def test_the_uart_is_found_behind_an_adapter_too(adapter: tuple[Bench, Path]) -> None:
    bench, link = adapter
    device = os.open(link, os.O_RDWR | os.O_NOCTTY)
    bench.power("1")
    read_device(device, b"U-Boot on the fake board\r\n")
    os.write(device, b"hello\n")
    read_device(device, b"[hello]\r\n")
    os.close(device)


def test_what_comes_while_nobody_has_the_adapter_open_is_lost(adapter: tuple[Bench, Path]) -> None:
    bench, link = adapter
    os.close(os.open(link, os.O_RDWR | os.O_NOCTTY))
    bench.power("1")
    with bench.uart() as uart:
        uart.sendall(b"lost\n")
        read_until(uart, b"[lost]\r\n")
        device = os.open(link, os.O_RDWR | os.O_NOCTTY)
        uart.sendall(b"heard\n")
        assert read_device(device, b"[heard]\r\n") == b"[heard]\r\n"
        os.close(device)


def test_a_slow_reader_of_the_adapter_gets_all_of_a_burst(adapter: tuple[Bench, Path]) -> None:
    bench, link = adapter
    device = os.open(link, os.O_RDWR | os.O_NOCTTY)
    bench.power("1")
    read_device(device, b"board\r\n")
    before = bench.status()["uart_bytes"]
    assert isinstance(before, int)
    os.write(device, b"flood 500000\nend\n")
    wait_until(lambda: int(str(bench.status()["uart_bytes"])) >= before + 500_000)
    assert len(read_device(device, b"[end]\r\n")) == 500_000 + len(b"[end]\r\n")
    assert bench.status()["overruns"] == 0
    os.close(device)


def test_an_adapter_pulled_out_hangs_up_and_comes_back_as_another_device(adapter: tuple[Bench, Path]) -> None:
    bench, link = adapter
    device = os.open(link, os.O_RDWR | os.O_NOCTTY)
    bench.power("1")
    read_device(device, b"board\r\n")
    bench.bench("adapter-out", "9999")
    assert not link.is_symlink()
    select.select([device], [], [], 20)
    with contextlib.suppress(OSError):
        assert os.read(device, 100) == b""
    os.close(device)
    bench.bench("adapter-out", "0.2")
    wait_until(link.is_symlink)
    device = os.open(link, os.O_RDWR | os.O_NOCTTY)
    os.write(device, b"again\n")
    read_device(device, b"[again]\r\n")
    os.close(device)


def test_without_an_adapter_there_is_nothing_to_pull_out(bench: Bench) -> None:
    assert bench.http("POST", "/bench/adapter-out", "1")[0] == 409
