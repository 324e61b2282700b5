"""The console against real sockets on loopback, a pseudo-terminal, and pyserial's RFC 2217 server."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import random
import socket
import struct
import termios
import threading
import time
import tty
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import serial
from serial.rfc2217 import PortManager

from hvrig.board import console as console_module
from hvrig.board.console import Console, Sink, Tap
from hvrig.board.uart_port import _FdReader
from hvrig.model.bench import SerialEndpoint
from hvrig.model.deadline import Deadline
from hvrig.model.errors import LabError, UsageError

TIOCGEXCL = 0x80045440  # not in Python's termios


class Uart:
    """A raw UART server with one client at a time, as a lab's."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(5)
        self.endpoint = SerialEndpoint("raw", 115200, "127.0.0.1", self._listener.getsockname()[1])

    def accept(self) -> socket.socket:
        client, _ = self._listener.accept()
        client.settimeout(5)
        return client

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def uart() -> Iterator[Uart]:
    made = Uart()
    yield made
    made.close()


def wait_for(condition: Callable[[], object], what: str, seconds: float = 5.0) -> None:
    deadline = Deadline(seconds)
    while not condition():
        assert not deadline.expired, f"{what} did not come"
        time.sleep(0.001)


def opened(uart: Uart, folder: Path, *sinks: Sink) -> tuple[Console, socket.socket]:
    console = Console(uart.endpoint, folder, sinks)
    console.open(Deadline(5))
    return console, uart.accept()


def read_all(tap: Tap, count: int) -> bytes:
    data, deadline = b"", Deadline(5)
    while len(data) < count and not deadline.expired:
        data += tap.read(deadline)
    return data


def test_every_byte_is_recorded_and_heard(uart: Uart, tmp_path: Path) -> None:
    sent = random.Random(1).randbytes(3_000_000)
    heard = bytearray()
    times: list[float] = []

    def sink(block: bytes, t: float) -> None:
        heard.extend(block)
        times.append(t)

    began = time.monotonic()
    console, board = opened(uart, tmp_path, sink)
    with console, board:
        board.sendall(sent)
        wait_for(lambda: console.offset == len(sent), "all bytes")
    assert (tmp_path / "uart.log").read_bytes() == sent == bytes(heard)
    assert times == sorted(times)
    assert began <= times[0] <= times[-1] <= time.monotonic()
    assert console.gaps == ()
    console.check()
    lines = [line.split(" ", 3) for line in (tmp_path / "uart.times").read_text().splitlines()[1:]]
    assert [line[2] for line in lines if not line[2].isdigit()] == ["open", "closed"]
    blocks = [(int(line[1]), int(line[2])) for line in lines if line[2].isdigit()]
    assert [offset for offset, _ in blocks] == [sum(size for _, size in blocks[:n]) for n in range(len(blocks))]
    assert sum(size for _, size in blocks) == len(sent)


def test_what_came_before_close_is_recorded(uart: Uart, tmp_path: Path) -> None:
    for number in range(20):
        console, board = opened(uart, tmp_path / str(number))
        with board:
            board.sendall(b"last words" * 10_000)
            console.close()
        assert (tmp_path / str(number) / "uart.log").read_bytes() == b"last words" * 10_000
        console.close()  # a second time does nothing


def test_close_ends_while_the_board_babbles(uart: Uart, tmp_path: Path) -> None:
    console, board = opened(uart, tmp_path)
    over = threading.Event()

    def babble() -> None:
        try:
            while not over.is_set():
                board.sendall(b"x" * 65536)
        except OSError:
            pass

    thread = threading.Thread(target=babble)
    thread.start()
    wait_for(lambda: console.offset > 1_000_000, "babble")
    within = Deadline(10)
    console.close()
    assert within.elapsed < 3
    over.set()
    thread.join()
    board.close()


def test_close_gives_up_on_a_listener_that_stands_still(
    uart: Uart, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console_module, "CLOSE_S", 0.05)
    stands_still, go_on = threading.Event(), threading.Event()

    def stuck(_data: bytes, _t: float) -> None:
        stands_still.set()
        go_on.wait(30)

    console, board = opened(uart, tmp_path, stuck)
    with board:
        board.sendall(b"a")
        assert stands_still.wait(5)
        console.close()
        assert console.error is not None
        assert "did not stop within" in console.error.message
        assert (tmp_path / "uart.log").read_bytes() == b"a"
        go_on.set()


def test_a_tap_talks(uart: Uart, tmp_path: Path) -> None:
    console, board = opened(uart, tmp_path)
    with console, board:
        board.sendall(b"before")
        wait_for(lambda: console.offset == 6, "bytes")
        with console.tap() as tap:
            assert tap.read(Deadline(0)) == b""
            tap.write(b"\x03")
            assert board.recv(10) == b"\x03"
            board.sendall(b"=> ")
            assert read_all(tap, 3) == b"=> "
            within = Deadline(0.05)
            assert tap.read(within) == b""
            assert within.expired
        with pytest.raises(RuntimeError, match="over"):
            tap.read(Deadline(1))


def test_a_tap_that_was_handed_over_raises(uart: Uart, tmp_path: Path) -> None:
    console, board = opened(uart, tmp_path)
    with console, board, console.tap() as old, console.tap() as new:
        with pytest.raises(RuntimeError, match="handed over"):
            old.read(Deadline(1))
        with pytest.raises(RuntimeError, match="handed over"):
            old.write(b"x")
        board.sendall(b"new")
        assert read_all(new, 3) == b"new"


def test_a_tap_wakes_when_the_console_closes(uart: Uart, tmp_path: Path) -> None:
    console, board = opened(uart, tmp_path)
    with board, console.tap() as tap:
        closer = threading.Thread(target=console.close)
        closer.start()
        with pytest.raises(RuntimeError, match="closed"):
            tap.read(Deadline(10))
        closer.join()


def test_a_slow_dialogue_loses_the_oldest_and_is_told(
    uart: Uart, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console_module, "TAP_BYTES", 1000)
    console, board = opened(uart, tmp_path)
    with console, board, console.tap() as tap:
        board.sendall(b"a" * 500 + b"b" * 1000)
        wait_for(lambda: console.offset == 1500, "bytes")
        wait_for(lambda: tap._dropped == 500, "the drop")
        with pytest.raises(LabError, match="500 bytes more"):
            tap.read(Deadline(1))
        assert tap.read(Deadline(1)) == b"b" * 1000
    assert (tmp_path / "uart.log").stat().st_size == 1500


def test_a_lost_connection_is_a_gap_and_comes_back(uart: Uart, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console_module, "RECONNECT_S", 0.01)
    console, board = opened(uart, tmp_path)
    with console, console.tap() as tap:
        board.sendall(b"one")
        assert read_all(tap, 3) == b"one"
        board.close()
        with uart.accept() as again:
            wait_for(lambda: console.gaps and console.gaps[-1].t_end, "the port's return")
            again.sendall(b"two")
            assert read_all(tap, 3) == b"two"
            tap.write(b"typed")
            assert again.recv(10) == b"typed"
            console.close()
    (gap,) = console.gaps
    assert gap.offset == 3
    assert "closed the connection" in gap.reason
    assert gap.t_end is not None
    assert gap.t_start < gap.t_end
    assert (tmp_path / "uart.log").read_bytes() == b"onetwo"
    words = [line.split()[2] for line in (tmp_path / "uart.times").read_text().splitlines()[1:]]
    assert words == ["open", "3", "gap", "reconnected", "3", "closed"]
    console.check()


def test_while_the_port_is_away_a_dialogue_is_told(uart: Uart, tmp_path: Path) -> None:
    console, board = opened(uart, tmp_path)
    with console, console.tap() as tap:
        uart.close()
        board.close()
        wait_for(lambda: console.gaps, "the gap")
        with pytest.raises(LabError, match="is lost: the other side closed"):
            tap.read(Deadline(0.01))
        with pytest.raises(LabError, match="is lost"):
            tap.write(b"x")
        within = Deadline(5)
    assert within.elapsed < 3
    assert console.gaps[-1].t_end is None


def test_a_port_that_drops_us_again_and_again_is_one_gap(
    uart: Uart, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console_module, "RECONNECT_S", 0.001)
    console, board = opened(uart, tmp_path)
    with console:
        board.close()
        for _ in range(20):
            uart.accept().close()
    assert len(console.gaps) == 1


def test_a_sink_that_raises_does_not_end_the_recording(uart: Uart, tmp_path: Path) -> None:
    heard = bytearray()

    def bad(_block: bytes, _t: float) -> None:
        raise ValueError("a mistake of the watch")

    console, board = opened(uart, tmp_path, bad, lambda block, _: heard.extend(block))
    with console, board:
        board.sendall(b"one")
        wait_for(lambda: len(heard) == 3, "bytes")
        board.sendall(b"two")
        wait_for(lambda: len(heard) == 6, "bytes")
    assert (tmp_path / "uart.log").read_bytes() == b"onetwo"
    assert console.error is not None
    assert isinstance(console.error.__cause__, ValueError)
    with pytest.raises(LabError, match="a mistake of the watch"):
        console.check()


def test_a_full_disk_does_not_end_the_watch(uart: Uart, tmp_path: Path) -> None:
    (tmp_path / "uart.log").symlink_to("/dev/full")
    heard = bytearray()
    console, board = opened(uart, tmp_path, lambda block, _: heard.extend(block))
    with console, board:
        board.sendall(b"one")
        wait_for(lambda: len(heard) == 3, "bytes")
        board.sendall(b"two")
        wait_for(lambda: len(heard) == 6, "bytes")
        with pytest.raises(LabError, match=r"uart\.log: No space left"):
            console.check()


def test_a_mistake_in_the_reader_is_not_silence(uart: Uart, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_data: bytes, _t: float) -> None:
        raise MemoryError("no more")

    console, board = opened(uart, tmp_path)
    with console, board, console.tap() as tap:
        assert console._recording is not None
        monkeypatch.setattr(console._recording, "block", broken)
        board.sendall(b"x")
        wait_for(lambda: console.error, "the error")
        with pytest.raises(LabError, match="the reader has stopped"):
            tap.read(Deadline(0))
        with pytest.raises(LabError, match="reader has stopped"):
            console.check()


def test_a_port_said_to_be_ready_that_has_nothing_is_not_lost(
    uart: Uart, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said, wait = threading.Event(), _FdReader.wait

    def ready_too_soon(self: _FdReader) -> bool:
        if said.is_set():
            return wait(self)
        said.set()
        return True

    monkeypatch.setattr(_FdReader, "wait", ready_too_soon)
    console, board = opened(uart, tmp_path)
    with console, board, console.tap() as tap:
        assert said.wait(5)
        board.sendall(b"on")
        assert read_all(tap, 2) == b"on"
        assert console.gaps == ()


def test_the_tail_is_harmless(uart: Uart, tmp_path: Path) -> None:
    console, board = opened(uart, tmp_path)
    with console, board:
        board.sendall(b"one\r\n\r\n\x1b[31mtwo\x1b[m\r\n::error::three\xff\x07")
        wait_for(lambda: console.tail(2) == "two\n: :error::three\ufffd\\x07", "the tail")


def test_a_port_that_is_not_there(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    for endpoint, word in (
        (SerialEndpoint("raw", 1, "127.0.0.1", port), "ser2net"),
        (SerialEndpoint("rfc2217", 115200, "127.0.0.1", port), "exporter"),
        (SerialEndpoint("local", 115200, device=str(tmp_path / "ttyUSB7")), "adapter plugged in"),
    ):
        with pytest.raises(LabError, match="cannot be opened") as raised:
            Console(endpoint, tmp_path / "run", []).open(Deadline(2))
        assert word in raised.value.remedy
    with pytest.raises(UsageError, match="'telnet' is unknown"):
        Console(SerialEndpoint("telnet", 1), tmp_path / "run", []).open(Deadline(2))
    assert not (tmp_path / "run").exists()


def test_typing_into_a_console_that_is_not_open(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="is not open"):
        Console(SerialEndpoint("raw", 1, "127.0.0.1", 1), tmp_path, []).write(b"x")


def test_a_local_port(tmp_path: Path) -> None:
    board, device = os.openpty()
    tty.setraw(board)
    console = Console(SerialEndpoint("local", 1500000, device=os.ttyname(device)), tmp_path, [])
    console.open(Deadline(5))
    sent = random.Random(2).randbytes(50_000)
    with console, console.tap() as tap:
        os.close(device)
        tap.write(b"typed\x03\n")
        assert os.read(board, 100) == b"typed\x03\n"
        left = memoryview(sent)
        while left:
            left = left[os.write(board, left) :]
        assert read_all(tap, len(sent)) == sent
        os.close(board)  # unplugged
        wait_for(lambda: console.gaps, "the gap")
    assert (tmp_path / "uart.log").read_bytes() == sent


def test_a_local_port_has_the_settings_that_matter(tmp_path: Path) -> None:
    board, device = os.openpty()
    before = termios.tcgetattr(device)
    before[0] |= termios.BRKINT | termios.IXON | termios.IGNPAR
    before[2] |= termios.HUPCL
    termios.tcsetattr(device, termios.TCSANOW, before)
    with Console(SerialEndpoint("local", 1500000, device=os.ttyname(device)), tmp_path, []) as console:
        console.open(Deadline(5))
        iflag, _, cflag, lflag, _, speed, _ = termios.tcgetattr(device)
        assert not iflag & (termios.BRKINT | termios.IXON | termios.IXOFF | termios.ICRNL | termios.IGNPAR)
        assert not cflag & (termios.CRTSCTS | termios.HUPCL)
        assert not lflag & (termios.ICANON | termios.ECHO)
        assert speed == termios.B1500000
        exclusive = fcntl.ioctl(device, TIOCGEXCL, struct.pack("i", 0))
        assert struct.unpack("i", exclusive) == (1,)
        with pytest.raises(LabError, match="exclusively lock"):
            Console(SerialEndpoint("local", 1500000, device=os.ttyname(device)), tmp_path / "2", []).open(Deadline(5))
    os.close(device)
    os.close(board)


def test_a_local_port_that_another_program_has_for_itself_is_not_taken_for_unplugged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the kernel answers any user but root, whom it does not hold back."""
    opened = os.open

    def busy(path: str, *given: int) -> int:
        if path == "/dev/ttyX":
            raise OSError(errno.EBUSY, "Device or resource busy", path)
        return opened(path, *given)

    monkeypatch.setattr(os, "open", busy)
    with pytest.raises(LabError, match="cannot be opened") as refused:
        Console(SerialEndpoint("local", 1500000, device="/dev/ttyX"), tmp_path, []).open(Deadline(5))
    assert refused.value.remedy == "Another program has /dev/ttyX open: fuser /dev/ttyX names it."


def test_a_port_that_was_let_go_is_free_for_others_who_have_it_open(tmp_path: Path) -> None:
    board, device = os.openpty()
    console = Console(SerialEndpoint("local", 1500000, device=os.ttyname(device)), tmp_path, [])
    with console:
        console.open(Deadline(5))
        assert struct.unpack("i", fcntl.ioctl(device, TIOCGEXCL, struct.pack("i", 0))) == (1,)
    assert struct.unpack("i", fcntl.ioctl(device, TIOCGEXCL, struct.pack("i", 0))) == (0,)
    os.close(device)
    os.close(board)


def test_an_adapter_that_does_not_take_the_speed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    board, device = os.openpty()
    set_all = termios.tcsetattr

    def slow_adapter(fd: int, when: int, attributes: list[Any]) -> None:
        """As a driver does that rounds: it takes the call, and another speed."""
        set_all(fd, when, [*attributes[:4], termios.B115200, termios.B115200, attributes[6]])

    monkeypatch.setattr(termios, "tcsetattr", slow_adapter)
    with pytest.raises(LabError, match="does not take 1500000 baud") as refused:
        Console(SerialEndpoint("local", 1500000, device=os.ttyname(device)), tmp_path, []).open(Deadline(5))
    assert "another adapter" in refused.value.remedy
    os.close(device)
    os.close(board)


def test_an_adapter_that_comes_back_under_another_name_is_found(tmp_path: Path) -> None:
    board, device = os.openpty()
    tty.setraw(device)
    where: list[SerialEndpoint | None] = [None]
    console = Console(SerialEndpoint("local", 1500000, device=os.ttyname(device)), tmp_path, [], again=lambda: where[0])
    console.open(Deadline(5))
    os.close(device)
    with console, console.tap() as tap:
        os.write(board, b"before")
        assert read_all(tap, 6) == b"before"
        os.close(board)
        wait_for(lambda: console.gaps, "the gap")
        board, device = os.openpty()
        tty.setraw(device)
        where[0] = SerialEndpoint("local", 1500000, device=os.ttyname(device))
        wait_for(lambda: console.gaps[0].t_end is not None, "the port's return")
        os.write(board, b"after")
        assert read_all(tap, 5) == b"after"
    os.close(device)
    os.close(board)
    assert (tmp_path / "uart.log").read_bytes() == b"beforeafter"
    assert [gap.offset for gap in console.gaps] == [6]


@pytest.mark.filterwarnings("ignore::DeprecationWarning:serial.rfc2217")
def test_what_came_before_an_rfc2217_server_hung_up_is_recorded(tmp_path: Path) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    endpoint = SerialEndpoint("rfc2217", 1500000, "127.0.0.1", listener.getsockname()[1])
    port = serial.serial_for_url("loop://", timeout=0)
    sent = random.Random(4).randbytes(200_000)
    started = threading.Event()

    def serve() -> None:
        connection, _ = listener.accept()

        class Client:
            def write(self, data: bytes) -> None:
                connection.sendall(data)

        manager = PortManager(port, Client())  # type: ignore[arg-type]
        connection.settimeout(0.05)
        while not started.is_set():
            with contextlib.suppress(TimeoutError):
                list(manager.filter(connection.recv(4096)))
        connection.sendall(b"".join(manager.escape(sent)))
        connection.shutdown(socket.SHUT_WR)
        listener.close()

    threading.Thread(target=serve, daemon=True).start()
    with Console(endpoint, tmp_path, []) as console:
        console.open(Deadline(5))
        started.set()
        wait_for(lambda: console.gaps, "the gap")
    assert (tmp_path / "uart.log").read_bytes() == sent
    assert console.gaps[0].offset == len(sent)
    assert "hung up" in console.gaps[0].reason


@pytest.mark.filterwarnings("ignore::DeprecationWarning:serial.rfc2217")
def test_an_rfc2217_server_whose_port_has_another_speed_is_the_labs(tmp_path: Path) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    port = serial.serial_for_url("loop://", timeout=0)

    def serve() -> None:
        connection, _ = listener.accept()

        class SlowPort:
            """As a server's whose adapter takes no speed but its own."""

            def __getattr__(self, name: str) -> object:
                return 115200 if name == "baudrate" else getattr(port, name)

            def __setattr__(self, name: str, value: object) -> None:
                pass

        class Client:
            def write(self, data: bytes) -> None:
                connection.sendall(data)

        manager = PortManager(SlowPort(), Client())  # type: ignore[arg-type]
        while data := connection.recv(4096):
            list(manager.filter(data))
        connection.close()

    server = threading.Thread(target=serve, daemon=True)
    server.start()
    endpoint = SerialEndpoint("rfc2217", 1500000, "127.0.0.1", listener.getsockname()[1])
    with pytest.raises(LabError, match="does not take 1500000 baud, 8N1: remote rejected value") as refused:
        Console(endpoint, tmp_path, []).open(Deadline(5))
    assert "speed" in refused.value.remedy
    server.join(5)
    listener.close()


@pytest.mark.parametrize("protocol", ["local", "rfc2217", "raw"])
@pytest.mark.parametrize("speed", [-1, 0, 1 << 40])
def test_a_speed_that_is_none_is_a_mistake_of_the_place(tmp_path: Path, protocol: str, speed: int) -> None:
    endpoint = SerialEndpoint(protocol, speed, "127.0.0.1", 1, device="/dev/null")
    with pytest.raises(UsageError, match=f"a speed of {speed} baud") as refused:
        Console(endpoint, tmp_path, []).open(Deadline(1))
    assert "speed" in refused.value.remedy


@pytest.mark.filterwarnings("ignore::DeprecationWarning:serial.rfc2217")
def test_an_rfc2217_port(tmp_path: Path) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    endpoint = SerialEndpoint("rfc2217", 1500000, "127.0.0.1", listener.getsockname()[1])
    port = serial.serial_for_url("loop://", timeout=0)
    sent = random.Random(3).randbytes(20_000)  # IAC (0xff) among them
    typed = bytearray()
    started = threading.Event()

    def serve() -> None:
        connection, _ = listener.accept()
        lock = threading.Lock()

        class Client:
            def write(self, data: bytes) -> None:
                with lock:
                    connection.sendall(data)

        manager = PortManager(port, Client())  # type: ignore[arg-type]

        def send() -> None:
            started.wait(5)
            Client().write(b"".join(manager.escape(sent)))

        threading.Thread(target=send, daemon=True).start()
        while data := connection.recv(4096):
            typed.extend(b"".join(manager.filter(data)))
        connection.close()

    server = threading.Thread(target=serve, daemon=True)
    server.start()
    console = Console(endpoint, tmp_path, [])
    console.open(Deadline(5))
    with console, console.tap() as tap:
        started.set()
        assert read_all(tap, len(sent)) == sent
        tap.write(b"a\xffb")
        wait_for(lambda: typed == b"a\xffb", "what was typed")
        assert port.baudrate == 1500000
    server.join(5)
    listener.close()
    assert (tmp_path / "uart.log").read_bytes() == sent
    assert console.gaps == ()
