"""The lab hardware around a virtual board: an HTTP outlet and a UART that stays when the board is off.

`python -m hvrig.virtual.rack_server` runs one board until its stdin ends, or SIGTERM or SIGINT comes; QEMU never
outlives it. When it is ready it prints one line of JSON: `outlet_port`, `uart_port`, `ssh_port`, `pid`. All ports
are on 127.0.0.1.

Outlet (labgrid's power model `rest`)
    `GET /outlet/1` answers `0` or `1`: the switch. `PUT /outlet/1` with body `0` or `1` answers when it is done.
    1 starts a fresh QEMU, 0 kills it. A board that switched itself off stays off until the outlet is cycled; a board
    that resets itself does so inside QEMU. 500, with QEMU's words, when it does not start.
UART
    A raw TCP port for any number of clients. Each gets what the board sends from then on; what any of them types
    goes to the board. Nobody listening, or the board off: the bytes are lost. A client that does not read loses what
    exceeds its BACKLOG and holds up nobody.
    With `--uart-pty LINK` it is also found behind a USB serial adapter, whose device node LINK is (`uart_pty`).
`GET /status`
    JSON: `on` (the switch), `qemu_pid` (null: the board is off), `uart_clients`, `uart_bytes` (sent by the board
    since the rack started), `overruns` (bytes lost because a reader was too slow), `last_words` (QEMU's stderr).
`POST /bench/<fault>`
    What breaks in labs, for tests and benchmarks. See `Fault`; a new one ends the one before.
"""

from __future__ import annotations

import argparse
import contextlib
import enum
import json
import os
import queue
import re
import selectors
import shutil
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TypeVar

from hvrig.model.deadline import Deadline
from hvrig.model.errors import HvrigError, LabError
from hvrig.virtual.machine import QEMU, VIRTUAL, Machine
from hvrig.virtual.uart_pty import UartPty

HOST = "127.0.0.1"
OUTLET = "/outlet/1"
BACKLOG = 4 << 20  # bytes kept for a UART client that does not read, beside what the kernel's socket buffers hold
BLOCK = 64 << 10
START_S = 10.0  # QEMU answers its control socket 0.1 s after its start on an idle machine
END_S = 5.0  # a killed QEMU gives back its memory first, which takes some 10 ms
ANSWER_S = START_S + END_S
REQUEST_S = 10.0  # for a client to send its request
LOOK_S = 0.05  # how often a closed adapter is looked at: the kernel does not tell that somebody opens it
WORDS = 4096  # bytes of QEMU's stderr that are kept

_T = TypeVar("_T")


class Fault(enum.Enum):
    """A fault of the lab; the values are the names under `/bench/`."""

    NONE = "none"
    """Clears the fault. A board that got no power meanwhile gets it when the outlet is cycled."""
    OUTLET_SILENT = "outlet-silent"
    """The outlet takes the connection and never answers it."""
    RELAY_DEAD = "relay-dead"
    """The outlet says ok and `1`, but switching on brings no power to the board."""
    UART_CUT = "uart-cut"
    """The UART's connections stay and nothing passes, either way: the cable is pulled."""
    UART_DISCONNECT = "uart-disconnect"
    """Drops the UART's clients and refuses new ones for as many seconds as the body says, then accepts again."""
    ADAPTER_OUT = "adapter-out"
    """The USB serial adapter is pulled out, and put back after as many seconds as the body says."""
    FREEZE = "freeze"
    """The board stands still (SIGSTOP), until the fault is cleared or the power is cut. 409 when it is off."""


def qemu_command(
    *, machine: list[str], network: str, tftp: Path, ssh_port: int, uart_descriptor: int, control_descriptor: int
) -> list[str]:
    """The command line of one board.

    UART and control (QMP) are sockets that QEMU inherits: they are connected before its CPUs run, so that not even
    the first byte is lost. `setpriv` has the kernel kill QEMU when the rack's main thread ends, however it ends.
    One thread runs all CPUs in turn: each character of memtester's progress wakes the SSH server on the other CPU, and
    to wake a thread for it costs more than its work. A 64M rung takes 5.3 s of the host's CPU time this way, and 8.8
    with a thread for each CPU.
    """
    directory = str(tftp).replace(",", ",,")  # QEMU's way to write a comma in a value
    return [
        *("setpriv", "--pdeathsig", "KILL", QEMU, "-no-user-config"),
        *("-accel", "tcg,thread=single"),
        *machine,
        *("-display", "none", "-monitor", "none", "-parallel", "none"),
        *("-chardev", f"socket,id=uart,fd={uart_descriptor}", "-serial", "chardev:uart"),
        *("-chardev", f"socket,id=control,fd={control_descriptor}", "-mon", "chardev=control,mode=control"),
        *("-netdev", f"user,id=n0,tftp={directory},hostfwd=tcp:{HOST}:{ssh_port}-:22"),
        *("-device", network),
    ]


@dataclass(frozen=True)
class Answer:
    """What an HTTP request gets."""

    status: HTTPStatus
    body: str


@dataclass(frozen=True)
class _Ask:
    """An HTTP request on its way to the loop, and the way back for its answer; None: never answer."""

    method: str
    path: str
    body: str
    answers: queue.SimpleQueue[Answer | None]

    def ok(self, body: str) -> None:
        self.answers.put(Answer(HTTPStatus.OK, body))

    def refuse(self, status: HTTPStatus, why: str) -> None:
        self.answers.put(Answer(status, why))


class _Exchange(BaseHTTPRequestHandler):
    """One HTTP request, in a thread of its own: reads it, asks the loop, sends the answer."""

    server: _HttpServer
    timeout = REQUEST_S

    def exchange(self) -> None:
        length = self.headers.get("Content-Length", "0")
        if not re.fullmatch("[0-9]{1,2}", length):
            self._send(Answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "a body is at most 99 bytes long"))
            return
        body = self.rfile.read(int(length)).decode("ascii", "replace")
        answer = self.server.ask(self.command, self.path, body)
        if answer is not None:
            self._send(answer)
            return
        self.connection.settimeout(None)
        while self.rfile.read(BLOCK):  # until the client gives up
            pass

    do_GET = do_PUT = do_POST = exchange  # noqa: N815 - the base class's names

    def _send(self, answer: Answer) -> None:
        # The reason carries the words too, because it is all that labgrid shows of a failed request.
        reason = None if answer.status is HTTPStatus.OK else re.sub(r"[^\x20-\x7e]+", " ", answer.body).strip()[:300]
        body = answer.body.encode()
        self.send_response(answer.status, reason)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Requests are not logged."""


class _HttpServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, port: int, ask: Callable[[str, str, str], Answer | None]) -> None:
        self.ask = ask
        super().__init__((HOST, port), _Exchange)

    def server_bind(self) -> None:
        """Without the base class's look-up of the host's name, which can take seconds."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = HOST, self.server_address[1]

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hung up or was too slow is its own affair; anything else is shown."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class _Board:
    """One QEMU, from power-on until its end."""

    def __init__(self, command: Callable[[int, int], list[str]]) -> None:
        self.waiting: list[_Ask] = []
        self.up = False
        self.deadline = Deadline(START_S)
        self.words = b""
        self._said = b""
        self.uart, far_uart = socket.socketpair()
        self.control, far_control = socket.socketpair()
        with far_uart, far_control:
            ends = (far_uart.fileno(), far_control.fileno())
            self.process = subprocess.Popen(
                command(*ends),
                pass_fds=ends,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )
        assert self.process.stderr is not None
        self.errors = self.process.stderr
        os.set_blocking(self.errors.fileno(), False)
        self.uart.setblocking(False)
        self.control.setblocking(False)
        # Answered by QEMU's main loop, which turns once the machine is complete and its ports are bound.
        with contextlib.suppress(OSError):
            self.control.sendall(b'{"execute":"qmp_capabilities"}\n{"execute":"query-status","id":"up"}\n')

    def hear_control(self) -> bool:
        """Take what QEMU says on its control socket; False when it has hung up."""
        block = _receive(self.control)
        if block and not self.up:
            *lines, self._said = (self._said + block).split(b"\n")
            self.up = any(json.loads(line).get("id") == "up" for line in lines)
        return block != b""

    def hear_errors(self) -> bool:
        """Keep the last of QEMU's stderr; False when there is no more."""
        try:
            block = os.read(self.errors.fileno(), BLOCK)
        except BlockingIOError:
            return False
        self.words = (self.words + block)[-WORDS:]
        return block != b""

    def close(self) -> None:
        self.uart.close()
        self.control.close()
        self.errors.close()


class _UartClient:
    """One TCP client of the UART, with the bytes that it has not taken yet."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connection = connection
        self.backlog = bytearray()

    def give(self, block: bytes) -> int:
        """Send `block` or keep it for later; how many bytes found no room and are lost. Raises OSError."""
        sent = 0 if self.backlog else _send(self.connection, block)
        kept = min(len(block) - sent, BACKLOG - len(self.backlog))
        self.backlog += block[sent : sent + kept]
        return len(block) - sent - kept

    def flush(self) -> None:
        """Send what the client takes now. Raises OSError."""
        del self.backlog[: _send(self.connection, self.backlog[:BLOCK])]


class _UartTimes:
    """When which byte left the board, for benchmarks.

    `path` gets a line `seconds offset` for each block read from QEMU: time.monotonic() right after the read, and how
    many bytes had come in all. `path`.raw gets the bytes.
    """

    def __init__(self, path: Path) -> None:
        self._index = path.open("wb", buffering=0)
        self._raw = path.with_name(path.name + ".raw").open("wb", buffering=0)

    def add(self, t: float, offset: int, block: bytes) -> None:
        self._raw.write(block)
        self._index.write(f"{t:.6f} {offset}\n".encode())


class RackServer:
    """The rack. One thread runs it (`run`) and owns its state; HTTP requests come to it through a queue.

    QEMU is started by that thread too: the kernel ties a child's life to the thread that started it.
    """

    def __init__(
        self,
        *,
        uboot: Path,
        tftp: Path,
        outlet_port: int,
        uart_port: int,
        ssh_port: int,
        uart_times: Path | None,
        uart_pty: Path | None = None,
        machine: Machine = VIRTUAL,
    ) -> None:
        self._uboot, self._tftp, self._machine = uboot, tftp, machine
        self._times = None if uart_times is None else _UartTimes(uart_times)
        self._http = _at_port(outlet_port, "outlet", lambda: _HttpServer(outlet_port, self._ask))
        self._uart_port = _at_port(uart_port, "UART", lambda: _reserve(uart_port))
        self._ssh_port = _at_port(ssh_port, "SSH", lambda: _reserve(ssh_port))
        self._selector = selectors.PollSelector()
        self._asks: queue.SimpleQueue[_Ask] = queue.SimpleQueue()
        self._wakened, self._waker = socket.socketpair()
        self._stopping = False
        self._fault = Fault.NONE
        self._refusing: Deadline | None = None
        self._on = False
        self._board: _Board | None = None
        self._last_words = ""
        self._listener: socket.socket | None = None
        self._clients: dict[socket.socket, _UartClient] = {}
        self._pty = None if uart_pty is None else UartPty(uart_pty)
        self._pty_heard = False
        self._uart_bytes = 0
        self._overruns = 0

    @property
    def endpoints(self) -> dict[str, int]:
        """What is printed when the rack is ready."""
        return {
            "outlet_port": self._http.server_port,
            "uart_port": self._uart_port.getsockname()[1],
            "ssh_port": self._ssh_port.getsockname()[1],
            "pid": os.getpid(),
        }

    def run(self, ready: Callable[[dict[str, int]], object]) -> None:
        """Serve until stdin ends or a signal comes; `ready` is called once clients can connect.

        Raises LabError when QEMU cannot even be killed.
        """
        self._wakened.setblocking(False)
        self._waker.setblocking(False)
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stop())
        self._selector.register(self._wakened, selectors.EVENT_READ, lambda _: self._take_asks())
        self._selector.register(sys.stdin.fileno(), selectors.EVENT_READ, lambda _: self._hear_stdin())
        self._listen()
        self._plug()
        threading.Thread(target=self._http.serve_forever, daemon=True).start()
        ready(self.endpoints)
        try:
            while not self._stopping:
                for key, events in self._selector.select(self._patience()):
                    now = self._selector.get_map().get(key.fd)
                    if now is not None and now.fileobj is key.fileobj:  # not closed by an event before it
                        key.data(events)
                self._check_deadlines()
        finally:
            if self._pty is not None:
                self._pty.unplug()
            self._end_board()

    # The loop's own.

    def _stop(self) -> None:
        self._stopping = True

    def _hear_stdin(self) -> None:
        try:
            block = os.read(sys.stdin.fileno(), BLOCK)
        except OSError:
            block = b""
        if not block:
            self._stop()

    def _patience(self) -> float | None:
        waits = [] if self._refusing is None else [self._refusing.remaining]
        if self._board is not None and not self._board.up:
            waits.append(self._board.deadline.remaining)
        if self._pty is not None and self._pty.plugged and not self._pty_heard:
            waits.append(LOOK_S)
        return min(waits, default=None)

    def _check_deadlines(self) -> None:
        if self._refusing is not None and self._refusing.expired:
            self._set_fault(Fault.NONE)
        self._look_at_pty()
        board = self._board
        if board is not None and not board.up and board.deadline.expired:
            board.words += f"QEMU was not up after {START_S:.0f} s".encode()
            self._end_board()

    # HTTP.

    def _ask(self, method: str, path: str, body: str) -> Answer | None:
        """Called by the HTTP threads: have the loop answer."""
        ask = _Ask(method, path, body, queue.SimpleQueue())
        self._asks.put(ask)
        with contextlib.suppress(BlockingIOError):
            self._waker.send(b".")
        try:
            return ask.answers.get(timeout=ANSWER_S)
        except queue.Empty:
            return Answer(HTTPStatus.GATEWAY_TIMEOUT, f"the rack did not answer within {ANSWER_S:.0f} s")

    def _take_asks(self) -> None:
        _receive(self._wakened)
        while not self._asks.empty():
            self._serve(self._asks.get())

    def _serve(self, ask: _Ask) -> None:
        if ask.path == OUTLET and self._fault is Fault.OUTLET_SILENT:
            ask.answers.put(None)
        elif (ask.method, ask.path) == ("GET", "/status"):
            ask.ok(json.dumps(self._status()))
        elif (ask.method, ask.path) == ("GET", OUTLET):
            ask.ok("1" if self._on else "0")
        elif (ask.method, ask.path) == ("PUT", OUTLET):
            self._switch(ask)
        elif ask.method == "POST" and ask.path.startswith("/bench/"):
            self._break(ask)
        else:
            why = f"there is GET and PUT {OUTLET}, GET /status, and POST /bench/<fault>"
            ask.refuse(HTTPStatus.NOT_FOUND, why)

    def _status(self) -> dict[str, object]:
        return {
            "on": self._on,
            "qemu_pid": None if self._board is None else self._board.process.pid,
            "uart_clients": len(self._clients),
            "uart_bytes": self._uart_bytes,
            "overruns": self._overruns,
            "last_words": self._last_words,
        }

    # Power.

    def _switch(self, ask: _Ask) -> None:
        if ask.body == "0":
            self._on = False
            self._end_board()
            ask.ok("0")
        elif ask.body != "1":
            ask.refuse(HTTPStatus.BAD_REQUEST, "the body must be 0 or 1")
        elif not self._on and self._fault is not Fault.RELAY_DEAD:
            self._start_board(ask)
        elif self._board is not None and not self._board.up:
            self._board.waiting.append(ask)
        else:
            self._on = True
            ask.ok("1")

    def _start_board(self, ask: _Ask) -> None:
        try:
            board = _Board(
                lambda uart, control: qemu_command(
                    machine=self._machine.arguments(self._uboot),
                    network=self._machine.network,
                    tftp=self._tftp,
                    ssh_port=self._ssh_port.getsockname()[1],
                    uart_descriptor=uart,
                    control_descriptor=control,
                )
            )
        except OSError as error:
            ask.refuse(HTTPStatus.INTERNAL_SERVER_ERROR, f"QEMU cannot be started: {error}")
            return
        board.waiting.append(ask)
        self._board, self._on = board, True
        self._selector.register(board.uart, selectors.EVENT_READ, lambda _: self._hear_board(board))
        self._selector.register(board.control, selectors.EVENT_READ, lambda _: self._hear_control(board))
        self._selector.register(board.errors, selectors.EVENT_READ, lambda _: self._hear_errors(board))

    def _hear_control(self, board: _Board) -> None:
        if not board.hear_control():
            self._selector.unregister(board.control)
        elif board.up:
            for ask in board.waiting:
                ask.ok("1")
            board.waiting.clear()

    def _hear_errors(self, board: _Board) -> None:
        if not board.hear_errors():
            self._selector.unregister(board.errors)

    def _board_hung_up(self, board: _Board) -> None:
        """QEMU closed the UART: it is ending by itself, a guest's power-off or a failed start."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            board.process.wait(END_S)
        self._end_board()

    def _end_board(self) -> None:
        """Cut the board's power, if it has not ended yet. What it had sent before is passed on."""
        board = self._board
        if board is None:
            return
        cut = board.process.poll() is None
        board.process.kill()
        try:
            status = board.process.wait(END_S)
        except subprocess.TimeoutExpired:
            raise LabError(
                f"QEMU (pid {board.process.pid}) was killed and had not ended {END_S:.0f} s later",
                "the host is in trouble: look at its kernel log",
            ) from None
        self._board = None
        for source in (board.uart, board.control, board.errors):
            with contextlib.suppress(KeyError):
                self._selector.unregister(source)
        while block := _receive(board.uart):
            self._pass_on(block)
        while board.hear_errors():
            pass
        board.close()
        self._last_words = board.words.decode("utf-8", "replace").strip()
        if board.waiting:
            self._on = False
            why = self._last_words or ("it was switched off meanwhile" if cut else f"it ended with status {status}")
            for ask in board.waiting:
                ask.refuse(HTTPStatus.INTERNAL_SERVER_ERROR, f"QEMU did not start: {why}")
        if self._last_words or not cut:
            _log(f"QEMU {board.process.pid} ended with status {status}: {self._last_words}")

    # UART.

    def _listen(self) -> None:
        self._listener = socket.create_server(self._uart_port.getsockname())
        self._listener.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ, lambda _: self._accept())

    def _accept(self) -> None:
        assert self._listener is not None
        with contextlib.suppress(OSError):  # the client may have gone already
            connection, _ = self._listener.accept()
            client = _UartClient(connection)
            self._clients[connection] = client
            self._selector.register(connection, selectors.EVENT_READ, lambda events: self._attend(client, events))

    def _hear_board(self, board: _Board) -> None:
        block = _receive(board.uart)
        if block:
            self._pass_on(block)
        elif block == b"":
            self._board_hung_up(board)

    def _pass_on(self, block: bytes) -> None:
        t = time.monotonic()
        self._uart_bytes += len(block)
        if self._fault is not Fault.UART_CUT:
            self._pass_on_to_pty(block)
            for client in list(self._clients.values()):
                try:
                    self._overruns += client.give(block)
                except OSError:
                    self._drop(client)
                else:
                    self._watch(client)
        if self._times is not None:
            self._times.add(t, self._uart_bytes, block)

    def _watch(self, client: _UartClient) -> None:
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if client.backlog else 0)
        if self._selector.get_key(client.connection).events != events:
            key = self._selector.get_key(client.connection)
            self._selector.modify(client.connection, events, key.data)

    def _attend(self, client: _UartClient, events: int) -> None:
        try:
            if events & selectors.EVENT_WRITE:
                client.flush()
                self._watch(client)
            if events & selectors.EVENT_READ:
                typed = _receive(client.connection)
                if typed == b"":
                    self._drop(client)
                elif typed and self._fault is not Fault.UART_CUT:
                    self._type(typed)
        except OSError:
            self._drop(client)

    def _type(self, typed: bytes) -> None:
        if self._board is not None:
            with contextlib.suppress(OSError):  # a board that is just ending
                self._overruns += len(typed) - _send(self._board.uart, typed)

    def _drop(self, client: _UartClient) -> None:
        self._selector.unregister(client.connection)
        del self._clients[client.connection]
        client.connection.close()

    # The UART's adapter.

    def _plug(self) -> None:
        if self._pty is not None:
            try:
                self._pty.plug()
            except OSError as error:
                raise LabError(
                    f"the UART's device node {self._pty.link} cannot be made: {error.strerror}",
                    "give a path in a folder under /dev that this user may write to, such as in /dev/shm",
                ) from error

    def _unplug(self) -> None:
        if self._pty is not None:
            self._stop_hearing_pty()
            self._pty.unplug()

    def _look_at_pty(self) -> None:
        """Hear the adapter while somebody has it open; a closed one would wake the loop without an end."""
        if self._pty is not None and self._pty.plugged and not self._pty_heard and self._pty.is_open:
            self._selector.register(self._pty.fileno(), selectors.EVENT_READ, self._attend_pty)
            self._pty_heard = True

    def _stop_hearing_pty(self) -> None:
        if self._pty is not None and self._pty_heard:
            self._selector.unregister(self._pty.fileno())
            self._pty_heard = False

    def _attend_pty(self, events: int) -> None:
        pty = self._pty
        assert pty is not None
        typed = pty.receive()
        if typed and self._fault is not Fault.UART_CUT:
            self._type(typed)
        if not typed and not pty.is_open:
            self._stop_hearing_pty()
            pty.closed()
            return
        if events & selectors.EVENT_WRITE and pty.backlog:
            pty.flush()
        self._watch_pty()

    def _pass_on_to_pty(self, block: bytes) -> None:
        if self._pty is not None and self._pty.plugged:
            self._look_at_pty()
            self._overruns += self._pty.give(block)
            self._watch_pty()

    def _watch_pty(self) -> None:
        assert self._pty is not None
        if self._pty_heard:
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._pty.backlog else 0)
            if self._selector.get_key(self._pty.fileno()).events != events:
                self._selector.modify(self._pty.fileno(), events, self._attend_pty)

    # Faults.

    def _break(self, ask: _Ask) -> None:
        try:
            fault = Fault(ask.path.removeprefix("/bench/"))
        except ValueError:
            ask.refuse(HTTPStatus.NOT_FOUND, f"the faults are {', '.join(each.value for each in Fault)}")
            return
        if fault is Fault.FREEZE and self._board is None:
            ask.refuse(HTTPStatus.CONFLICT, "the board is off: there is nothing to freeze")
            return
        seconds = 0.0
        if fault is Fault.ADAPTER_OUT and self._pty is None:
            ask.refuse(HTTPStatus.CONFLICT, "this rack's UART has no adapter: there is nothing to pull out")
            return
        if fault in {Fault.UART_DISCONNECT, Fault.ADAPTER_OUT}:
            if not re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,6})?", ask.body):
                ask.refuse(HTTPStatus.BAD_REQUEST, "the body must be seconds, such as 2.5")
                return
            seconds = float(ask.body)
        self._set_fault(fault, seconds)
        ask.ok(fault.value)

    def _set_fault(self, fault: Fault, seconds: float = 0.0) -> None:
        if self._fault is Fault.FREEZE and self._board is not None:
            self._board.process.send_signal(signal.SIGCONT)
        self._refusing = None
        if self._listener is None and fault is not Fault.UART_DISCONNECT:
            self._listen()
        if fault is Fault.ADAPTER_OUT:
            self._refusing = Deadline(seconds)
            self._unplug()
        else:
            self._plug()
        self._fault = fault
        if fault is Fault.FREEZE and self._board is not None:
            self._board.process.send_signal(signal.SIGSTOP)
        if fault is Fault.UART_DISCONNECT:
            self._refusing = Deadline(seconds)
            if self._listener is not None:
                self._selector.unregister(self._listener)
                self._listener.close()
                self._listener = None
            for client in list(self._clients.values()):
                self._drop(client)


def _receive(connection: socket.socket) -> bytes | None:
    """A block of what has come, None for nothing yet, b"" when the other side is gone."""
    try:
        return connection.recv(BLOCK)
    except BlockingIOError:
        return None
    except ConnectionError:  # also after a QEMU that was killed before it read all that was typed
        return b""


def _send(connection: socket.socket, block: bytes | bytearray) -> int:
    """How many bytes of `block` the other side took at once. Raises OSError when it is gone."""
    try:
        return connection.send(block)
    except BlockingIOError:
        return 0


def _reserve(port: int) -> socket.socket:
    """Bind a port (0: the kernel chooses) without listening.

    Linux gives it to no one who asks for any port, and lets another socket listen on it if both have SO_REUSEADDR,
    as QEMU's and the UART's listener do: the number stays ours while neither of them runs.
    """
    holder = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        holder.bind((HOST, port))
    except OSError:
        holder.close()
        raise
    return holder


def _at_port(port: int, name: str, bind: Callable[[], _T]) -> _T:
    """What `bind` returns. Raises LabError when the port cannot be had."""
    try:
        return bind()
    except OSError as error:
        raise LabError(
            f"the {name} port {port} cannot be had: {error.strerror}", "choose another one, or 0 for any"
        ) from error


def _log(text: str) -> None:
    sys.stderr.write(f"rack: {text}\n")
    sys.stderr.flush()


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError("a port is 0 (any) to 65535")
    return int(text)


def _machine(text: str) -> Machine:
    try:
        return Machine(**json.loads(text))
    except (ValueError, TypeError) as error:
        raise argparse.ArgumentTypeError(f"not a machine: {error}") from error


def _check(uboot: Path, tftp: Path) -> None:
    """Raise LabError for what is missing on this machine."""
    for program, package in ((QEMU, "qemu-system-arm"), ("setpriv", "util-linux")):
        if shutil.which(program) is None:
            raise LabError(f"{program} is not installed", f"install the Debian package {package}")
    if not uboot.is_file():
        raise LabError(f"{uboot} is not there", "build the images, or install the Debian package u-boot-qemu")
    if not tftp.is_dir():
        raise LabError(f"{tftp} is not a folder", "give the folder that the board's TFTP server shall serve")


def main() -> int:
    """Run a rack. Exit status 0 when it was told to end, 2 for wrong arguments, 3 when the lab is not able to."""
    parser = argparse.ArgumentParser(prog="python -m hvrig.virtual.rack_server", description=__doc__.splitlines()[0])
    parser.add_argument("--uboot", type=Path, required=True, help="U-Boot's image")
    parser.add_argument("--tftp", type=Path, required=True, help="folder that QEMU's TFTP server serves")
    for name in ("outlet", "uart", "ssh"):
        parser.add_argument(f"--{name}-port", type=_port, default=0, help="port on 127.0.0.1, 0 for any (default)")
    parser.add_argument("--uart-pty", type=Path, metavar="LINK", help="a device node for the UART, under /dev")
    parser.add_argument("--uart-times", type=Path, metavar="FILE", help="record when each byte left the board")
    parser.add_argument("--machine", type=_machine, default=VIRTUAL, metavar="JSON", help="fields of machine.Machine")
    given = parser.parse_args()
    try:
        _check(given.uboot, given.tftp)
        rack = RackServer(
            uboot=given.uboot,
            tftp=given.tftp,
            outlet_port=given.outlet_port,
            uart_port=given.uart_port,
            ssh_port=given.ssh_port,
            uart_times=given.uart_times,
            uart_pty=given.uart_pty,
            machine=given.machine,
        )
        rack.run(lambda endpoints: (sys.stdout.write(json.dumps(endpoints) + "\n"), sys.stdout.flush()))
    except HvrigError as error:
        _log(str(error))
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
