"""The console: one thread reads the UART from before power-on until after power-off (decision 1).

Each block of bytes goes, with the monotonic time at which it was read, first to the recording on disk, then to the
sinks (the watch), then to whoever drives a dialogue at the moment.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from hvrig.board.recording import Recording
from hvrig.board.uart_port import PortLostError, UartPort, open_port
from hvrig.model.bench import SerialEndpoint
from hvrig.model.deadline import Clock, Deadline
from hvrig.model.errors import HvrigError, LabError
from hvrig.model.evidence import Gap
from hvrig.model.harmless import harmless, last_lines

Sink = Callable[[bytes, float], None]

RECONNECT_S = 0.5  # between two attempts to get a lost port back
CONNECT_S = 2.0  # for one such attempt
SAME_GAP_S = 2.0  # a port that comes back for less, and says nothing, was not back
TAP_BYTES = 1024 * 1024  # what a dialogue may fall behind
TAIL_BYTES = 16 * 1024
CLOSE_S = 10.0  # for the reader to stop
LAST_BYTES = 1024 * 1024  # read at most, after close was asked for, of what had come before


class Tap:
    """A dialogue's view of the console, from the moment it was opened (`hvrig.model.protocols.ConsoleTap`).

    A dialogue that falls behind by more than TAP_BYTES loses the oldest of them; its next `read` says so.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._changed = threading.Condition()
        self._pending = bytearray()
        self._dropped = 0
        self._ended = ""

    def read(self, deadline: Deadline) -> bytes:
        """The bytes that came since the last read, waiting for the first one; b"" when the time is up.

        Raises LabError when the console's connection is lost at that time, or (once) when bytes were dropped
        because nobody read for too long; RuntimeError when the tap was closed or handed over.
        """
        with self._changed:
            while not self._pending:
                self._require_open()
                remaining = deadline.remaining
                if not remaining:
                    self._console.require_connection()
                    return b""
                self._changed.wait(remaining)
            self._require_open()
            if self._dropped:
                dropped, self._dropped = self._dropped, 0
                raise LabError(
                    f"The board sent {dropped} bytes more than the dialogue could take; they are in uart.log only.",
                    "Open a new tap, or read more often.",
                )
            data = bytes(self._pending)
            self._pending.clear()
            return data

    def write(self, data: bytes) -> None:
        """Type `data`. Raises LabError when the console is gone, RuntimeError as `read` does."""
        with self._changed:
            self._require_open()
        self._console.write(data)

    def feed(self, block: bytes) -> None:
        """Take bytes from the console's thread."""
        with self._changed:
            self._pending += block
            excess = len(self._pending) - TAP_BYTES
            if excess > 0:
                del self._pending[:excess]
                self._dropped += excess
            self._changed.notify_all()

    def end(self, reason: str) -> None:
        """Let every later call raise RuntimeError with `reason`."""
        with self._changed:
            self._ended = self._ended or reason
            self._changed.notify_all()

    def _require_open(self) -> None:
        if self._ended:
            raise RuntimeError(self._ended)


class Console:
    """The recorded, watched UART of a board.

    endpoint: where it is read. folder: gets `uart.log` and `uart.times`. sinks: called in the reader thread with
    each block and its time; one that raises is kept as `error` and called again with the next block. again: where
    the UART is found after it was lost, None while it is nowhere; called in the reader thread.
    """

    def __init__(
        self,
        endpoint: SerialEndpoint,
        folder: Path,
        sinks: Sequence[Sink],
        clock: Clock = time.monotonic,
        *,
        again: Callable[[], SerialEndpoint | None] | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._again = again or (lambda: endpoint)
        self._folder = folder
        self._sinks = tuple(sinks)
        self._clock = clock
        self._recording: Recording | None = None
        self._port: UartPort | None = None
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()
        self._wake_read, self._wake_write = -1, -1
        self._writing = threading.Lock()
        self._taps = threading.Lock()
        self._tap: Tap | None = None
        self._gaps: tuple[Gap, ...] = ()
        self._tail = b""
        self._failure: HvrigError | None = None

    def open(self, deadline: Deadline) -> None:
        """Connect and start to record; before the board is powered, so that its first byte is heard.

        Raises LabError when the port cannot be opened or the folder cannot be written.
        """
        if self._thread is not None:
            raise RuntimeError("this console was opened before")
        self._wake_read, self._wake_write = os.pipe()
        try:
            self._port = open_port(self._endpoint, deadline, self._wake_read)
            self._recording = Recording(self._folder, self._clock)
        except BaseException:
            if self._port is not None:
                self._port.close()
                self._port = None
            os.close(self._wake_read)
            os.close(self._wake_write)
            raise
        self._recording.note("open", str(self._endpoint), self._clock())
        self._thread = threading.Thread(
            target=self._read_until_closed, args=(self._recording,), name="console", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Read what has come, stop, and make the recording durable; a second call does nothing."""
        if self._thread is None or self._closing.is_set():
            return
        self._closing.set()
        os.write(self._wake_write, b"\0")
        self._thread.join(CLOSE_S)
        if self._thread.is_alive():  # it may still write: its files and its port stay its own
            self._fail(
                LabError(
                    f"The UART's reader did not stop within {CLOSE_S:g} s: the disk, or a listener, holds it up.",
                    f"Look at the disk under {self._folder}; what was received until then is in uart.log.",
                ),
                TimeoutError(),
            )
            return
        with self._taps:
            if self._tap is not None:
                self._tap.end("the console was closed")
        with self._writing:
            port, self._port = self._port, None
            if port is not None:
                port.close()
        os.close(self._wake_read)
        os.close(self._wake_write)
        assert self._recording is not None
        self._recording.close()

    def __enter__(self) -> Console:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def offset(self) -> int:
        """How many bytes the board has sent so far."""
        return 0 if self._recording is None else self._recording.offset

    @property
    def gaps(self) -> tuple[Gap, ...]:
        """When the UART was not heard; the last one has no end while the port is away."""
        return self._gaps

    @property
    def error(self) -> HvrigError | None:
        """Why the recording or a sink has failed, its first cause; None as long as all is well."""
        return self._failure or (self._recording.error if self._recording is not None else None)

    def check(self) -> None:
        """Raise `error`, if there is one."""
        if self.error is not None:
            raise self.error

    def require_connection(self) -> None:
        """Raise LabError when the UART cannot be heard at this moment."""
        gap = self._gaps[-1] if self._gaps else None
        if gap is not None and gap.t_end is None:
            raise LabError(
                f"The connection to the UART at {self._endpoint} is lost: {gap.reason}.",
                "Look at the adapter, its cable, and the exporter; another client of the port may have taken it.",
            )

    def write(self, data: bytes) -> None:
        """Type `data`. Raises LabError when the console is not open, not connected, or takes nothing."""
        with self._writing:
            port = self._port
            if port is None:
                self.require_connection()
                raise LabError(f"The UART at {self._endpoint} is not open.", "Open the console before typing.")
            try:
                port.write(data)
            except PortLostError as lost:
                raise LabError(
                    f"The UART at {self._endpoint} did not take what was typed: {harmless(str(lost))}.",
                    "Look at the adapter, its cable, and the exporter.",
                ) from lost

    @contextlib.contextmanager
    def tap(self) -> Iterator[Tap]:
        """A dialogue's view of the console, from now on; a tap that was open before raises from now on."""
        tap = Tap(self)
        with self._taps:
            if self._tap is not None:
                self._tap.end("this dialogue's console was handed over to a later one")
            self._tap = tap
        if self._closing.is_set():
            tap.end("the console was closed")
        try:
            yield tap
        finally:
            tap.end("this dialogue is over")
            with self._taps:
                if self._tap is tap:
                    self._tap = None

    def tail(self, lines: int = 10) -> str:
        """The last console lines that are not blank, harmless to print."""
        return last_lines(self._tail, lines)

    def _read_until_closed(self, recording: Recording) -> None:
        """The reader thread."""
        last = 0
        try:
            while last < LAST_BYTES:
                assert self._port is not None
                try:
                    block = self._port.read()
                except PortLostError as lost:
                    if self._closing.is_set() or not self._bridge(recording, harmless(str(lost))):
                        return
                    continue
                if block:
                    self._take(recording, block, self._clock())
                if self._closing.is_set():
                    if not block:
                        return
                    last += len(block)
        except Exception as error:
            # A mistake of ours, but it must not pass for a silent board.
            self._fail(
                LabError(f"The UART's reader has stopped: {error!r}.", "Report this, with the run's folder."), error
            )
            self._begin_gap(recording, f"the reader has stopped: {error!r}")

    def _take(self, recording: Recording, block: bytes, t: float) -> None:
        recording.block(block, t)
        self._tail = (self._tail + block)[-TAIL_BYTES:]
        for sink in self._sinks:
            try:
                sink(block, t)
            except Exception as error:
                self._fail(
                    LabError(
                        f"What watches the UART has failed at byte {recording.offset}: {error!r}.",
                        "Report this, with the run's uart.log.",
                    ),
                    error,
                )
        with self._taps:
            if self._tap is not None:
                self._tap.feed(block)

    def _bridge(self, recording: Recording, reason: str) -> bool:
        """Record a gap and get the port back; False when the console was closed meanwhile."""
        self._begin_gap(recording, reason)
        with self._writing:
            port, self._port = self._port, None
            if port is not None:
                port.close()
        while not self._closing.wait(RECONNECT_S):
            endpoint = self._again()
            if endpoint is None:
                continue
            try:
                port = open_port(endpoint, Deadline(CONNECT_S, self._clock), self._wake_read)
            except LabError:
                continue
            self._endpoint = endpoint
            with self._writing:
                self._port = port
            t = self._clock()
            self._gaps = (*self._gaps[:-1], replace(self._gaps[-1], t_end=t))
            recording.note("reconnected", str(self._endpoint), t)
            return True
        return False

    def _begin_gap(self, recording: Recording, reason: str) -> None:
        t = self._clock()
        last = self._gaps[-1] if self._gaps else None
        if (
            last is not None
            and last.offset == recording.offset
            and last.t_end is not None
            and t - last.t_end < SAME_GAP_S
        ):
            # A server that takes the connection and drops it at once, again and again: still the same gap.
            self._gaps = (*self._gaps[:-1], replace(last, t_end=None))
        else:
            self._gaps = (*self._gaps, Gap(recording.offset, t, None, reason))
        recording.note("gap", reason, t)

    def _fail(self, failure: LabError, cause: Exception) -> None:
        if self._failure is None:
            failure.__cause__ = cause
            self._failure = failure
