"""The serial edge: a UART over a TCP socket, RFC 2217 (ser2net) or a local device, read in blocks.

labgrid's own SerialDriver is not used: it reads byte by byte and logs each read, and cannot keep up with a board
that sends 150 kB/s.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import queue
import select
import socket
import termios
from typing import Protocol

import serial
from serial.rfc2217 import Serial as Rfc2217Serial

from hvrig.model.bench import SerialEndpoint
from hvrig.model.deadline import Deadline
from hvrig.model.errors import LabError, UsageError

BLOCK = 64 * 1024  # bytes per read: what has piled up while the reader was busy comes in one go
WRITE_S = 5.0  # a port that takes no byte for so long is stuck
RFC2217_TICK_S = 0.1  # how often a quiet RFC 2217 port looks whether it was woken; bytes are not delayed by it
RFC2217_ANSWER_S = 3.0  # for the server's answer to each setting
# A lab host that loses its power sends no FIN: TCP asks after 5 s of silence, three times, 2 s apart.
KEEPALIVE_IDLE_S, KEEPALIVE_INTERVAL_S, KEEPALIVE_PROBES = 5, 2, 3


class PortLostError(Exception):
    """The connection to the port has ended; the text says why, in a few words."""


class UartPort(Protocol):
    """One connection to the UART. `read` is for one thread, `write` for another."""

    def read(self) -> bytes:
        """The bytes that are there, waiting for the first one; b"" if it was woken instead.

        Raises PortLostError.
        """
        ...

    def write(self, data: bytes) -> None:
        """Send all of `data`. Raises PortLostError, also when the port takes nothing for WRITE_S."""
        ...

    def close(self) -> None:
        """Let go of the port."""
        ...


def open_port(endpoint: SerialEndpoint, deadline: Deadline, wake_fd: int) -> UartPort:
    """Connect to `endpoint`; a read of the port ends early once `wake_fd` is readable.

    Raises LabError when the port cannot be opened, UsageError for an unknown protocol and a speed that is none.
    """
    if not 0 < endpoint.speed < 1 << 31:
        raise UsageError(
            f"The UART at {endpoint} cannot have a speed of {endpoint.speed} baud.",
            "Mend the speed of the place's serial port; a sysoul-x3300 has 1500000.",
        )
    try:
        if endpoint.protocol == "raw":
            return RawPort(endpoint, deadline, wake_fd)
        if endpoint.protocol == "rfc2217":
            return Rfc2217Port(endpoint, deadline, wake_fd)
        if endpoint.protocol == "local":
            return LocalPort(endpoint, wake_fd)
    except (OSError, serial.SerialException, termios.error) as error:
        raise LabError(
            f"The UART at {endpoint} cannot be opened: {_reason(error)}.", _open_remedy(endpoint, error)
        ) from error
    except ValueError as error:  # pyserial's word for a setting that the adapter, or the server's, does not take
        raise LabError(
            f"The UART at {endpoint} does not take {endpoint.speed} baud, 8N1: {error}.", _SPEED_REMEDY
        ) from error
    raise UsageError(
        f"The UART's protocol {endpoint.protocol!r} is unknown.", "Use raw, rfc2217, or a local serial port."
    )


_SPEED_REMEDY = (
    "Use another adapter (FTDI ones take 1500000), or mend the speed of the place's serial port, "
    "in the exporter's file where one brings it."
)


def _open_remedy(endpoint: SerialEndpoint, error: Exception) -> str:
    if endpoint.protocol != "local":
        return (
            f"Is the exporter (or ser2net) running on {endpoint.host}, does it serve port {endpoint.port}, "
            "and may this host reach it? See labgrid-client resources."
        )
    if isinstance(error, PermissionError) or "Permission" in str(error):
        return f"Give this user access to {endpoint.device} (on Debian: adduser USER dialout), then log in again."
    # EBUSY: TIOCEXCL, set by another program; root opens the port all the same, and meets the lock.
    if getattr(error, "errno", None) == errno.EBUSY or "exclusively lock" in str(error):
        return f"Another program has {endpoint.device} open: fuser {endpoint.device} names it."
    if "baud" in str(error):
        return _SPEED_REMEDY
    return f"Is the adapter plugged in, and is {endpoint.device} its name? See /dev/serial/by-id."


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


class _FdReader:
    """Waits for a file descriptor or for the wake-up, whichever comes first."""

    def __init__(self, fd: int, wake_fd: int) -> None:
        self._fd = fd
        self._poll = select.poll()
        self._poll.register(fd, select.POLLIN)
        self._poll.register(wake_fd, select.POLLIN)

    def wait(self) -> bool:
        """True when there is something to read (an end of file, too), False when only woken."""
        return any(fd == self._fd for fd, _ in self._poll.poll())

    def read(self) -> bytes | None:
        """What is there, waiting for the first byte; b"" at the end of file, None when only woken. Raises OSError."""
        if not self.wait():
            return None
        try:
            return os.read(self._fd, BLOCK)
        except BlockingIOError:
            return None  # poll(2) may say ready where nothing is


def _keep_alive(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_PROBES)


class RawPort:
    """A plain TCP socket, as `ser2net` serves `raw` ports."""

    def __init__(self, endpoint: SerialEndpoint, deadline: Deadline, wake_fd: int) -> None:
        self._socket = socket.create_connection((endpoint.host, endpoint.port), timeout=max(0.1, deadline.remaining))
        self._socket.settimeout(WRITE_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        _keep_alive(self._socket)
        self._reader = _FdReader(self._socket.fileno(), wake_fd)

    def read(self) -> bytes:
        """See UartPort."""
        try:
            # Not by recv, which would wait once more, for its timeout: 64 consoles in one process feel it.
            block = self._reader.read()
            if block is None:
                return b""
            # A server that does not set TCP_NODELAY holds an echo back until we acknowledge, which Linux would
            # delay by 40 ms; the option lasts for the next acknowledgement only.
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        except OSError as error:
            raise PortLostError(_reason(error)) from error
        if not block:
            raise PortLostError("the other side closed the connection")
        return block

    def write(self, data: bytes) -> None:
        """See UartPort."""
        try:
            self._socket.sendall(data)
        except TimeoutError as error:
            raise PortLostError(f"the port took no byte for {WRITE_S:.0f} s") from error
        except OSError as error:
            raise PortLostError(_reason(error)) from error

    def close(self) -> None:
        """See UartPort."""
        self._socket.close()


def _settle(fd: int, speed: int) -> None:
    """What pyserial leaves as the program before us had it. Raises OSError when the adapter does not take the speed.

    A break, which is what a board without power looks like, must not throw bytes away (BRKINT): it is read as a NUL.
    Letting go of the port must not pull at DTR (HUPCL), and no other program may open it meanwhile (TIOCEXCL).
    """
    iflag, oflag, cflag, lflag, ispeed, ospeed, cc = termios.tcgetattr(fd)
    iflag &= ~(termios.BRKINT | termios.IGNPAR)
    cflag &= ~termios.HUPCL
    termios.tcsetattr(fd, termios.TCSANOW, [iflag, oflag, cflag, lflag, ispeed, ospeed, cc])
    taken = termios.tcgetattr(fd)[5]
    if taken != getattr(termios, f"B{speed}", taken):
        raise OSError(errno.EINVAL, f"the adapter does not take {speed} baud")
    fcntl.ioctl(fd, termios.TIOCEXCL)


class LocalPort:
    """A serial device of this machine: 8N1, no flow control, nobody else on it, and no waiting for full buffers."""

    def __init__(self, endpoint: SerialEndpoint, wake_fd: int) -> None:
        self._serial = serial.Serial(endpoint.device, endpoint.speed, exclusive=True, write_timeout=WRITE_S)
        try:
            _settle(self._serial.fileno(), endpoint.speed)
            # A USB adapter gathers bytes for 16 ms otherwise. Not every driver knows of it.
            with contextlib.suppress(OSError, ValueError, NotImplementedError):
                self._serial.set_low_latency_mode(True)
        except BaseException:
            self._serial.close()
            raise
        self._reader = _FdReader(self._serial.fileno(), wake_fd)

    def read(self) -> bytes:
        """See UartPort."""
        try:
            block = self._reader.read()
            if block is None:
                return b""
        except OSError as error:
            raise PortLostError(_reason(error)) from error
        if not block:
            raise PortLostError("the device hung up")
        return block

    def write(self, data: bytes) -> None:
        """See UartPort."""
        try:
            self._serial.write(data)
        except (OSError, serial.SerialException) as error:
            raise PortLostError(_reason(error)) from error

    def close(self) -> None:
        """See UartPort."""
        # It would outlive us for as long as another program has the port open. The device may be gone.
        with contextlib.suppress(OSError, serial.SerialException, termios.error):
            fcntl.ioctl(self._serial.fileno(), termios.TIOCNXCL)
        self._serial.close()


class _Rfc2217Serial(Rfc2217Serial):
    """pyserial's client, but for the end of a connection: no traceback on stderr, and nothing received is lost."""

    _socket: socket.socket
    _read_buffer: queue.Queue[bytes | None]
    _ended = False

    def _telnet_read_loop(self) -> None:
        try:
            super()._telnet_read_loop()  # type: ignore[misc]  # not in the stubs
        except OSError:
            pass  # while it answered the server, which had hung up
        finally:
            self._read_buffer.put(None)

    def keep_alive(self) -> None:
        """Notice a lab host that has lost its power."""
        _keep_alive(self._socket)

    def take(self, seconds: float) -> bytes:
        """What has come, waiting for the first byte; b"" when none does. Raises SerialException after the last one.

        pyserial's `read` drops what it has gathered when the connection ends meanwhile.
        """
        if not self._ended:
            try:
                pieces = [self._read_buffer.get(True, seconds)]
            except queue.Empty:
                return b""
            pieces += [self._read_buffer.get(False) for _ in range(min(BLOCK, self._read_buffer.qsize()))]
            self._ended = None in pieces
            if data := b"".join(piece for piece in pieces if piece is not None):
                return data
        raise serial.SerialException("the server hung up, as it does when its adapter is pulled out")


class Rfc2217Port:
    """A port that labgrid's exporter serves through ser2net; pyserial speaks the protocol in a thread of its own."""

    def __init__(self, endpoint: SerialEndpoint, deadline: Deadline, wake_fd: int) -> None:
        # ign_set_control: modem lines are no part of this UART, and ser2net does not answer for a device without.
        patience = max(0.1, min(RFC2217_ANSWER_S, deadline.remaining))
        url = f"rfc2217://{endpoint.host}:{endpoint.port}?ign_set_control&timeout={patience:.1f}"
        self._serial = _Rfc2217Serial(url, baudrate=endpoint.speed)
        self._serial.keep_alive()
        self._wake = select.poll()
        self._wake.register(wake_fd, select.POLLIN)

    def read(self) -> bytes:
        """See UartPort."""
        try:
            while not (block := self._serial.take(RFC2217_TICK_S)):
                if self._wake.poll(0):
                    return b""
        except serial.SerialException as error:
            raise PortLostError(_reason(error)) from error
        return block

    def write(self, data: bytes) -> None:
        """See UartPort."""
        try:
            self._serial.write(data)
        except (OSError, serial.SerialException) as error:
            raise PortLostError(_reason(error)) from error

    def close(self) -> None:
        """See UartPort."""
        self._serial.close()
