"""Where everything that happens during a climb comes together, for one thread to deal with."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

from hvrig.model.finding import Alarm
from hvrig.model.protocols import RunningCommand

# A command whose output is not taken has to wait beyond this many bytes.
_MAX_PENDING = 1 << 20


class Job:
    """A command on the board, between the shell's thread, which hands in, and the climb, which takes.

    take: called by `deliver`, in the climb's thread, with each block of output.
    Output that is not taken is bounded: the shell's thread waits, and the connection's flow control with it.
    """

    def __init__(self, inbox: Inbox, take: Callable[[bytes], None]) -> None:
        self._inbox = inbox
        self._take = take
        self._changed = threading.Condition()
        self._pending = bytearray()
        self._announced = False
        self._over = False
        self._handed_status: int | None = None
        self._command: RunningCommand | None = None
        self.abandoned = False
        self.ended = False
        self.status: int | None = None

    def output(self, data: bytes) -> None:
        """Hand in output (the shell's thread)."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._pending) < _MAX_PENDING or self.abandoned)
            if self.abandoned:
                return
            self._pending += data
            self._announce()

    def end(self, status: int | None) -> None:
        """Hand in the exit status, None if the connection was lost (the shell's thread)."""
        with self._changed:
            self._over = True
            self._handed_status = status
            self._announce()

    def attach(self, command: RunningCommand) -> None:
        """Name the command that is to be abandoned; at once, if that was asked for already."""
        with self._changed:
            self._command = command
            late = self.abandoned
        if late:
            command.abandon()

    def deliver(self) -> None:
        """Take all that was handed in; `ended` and `status` are set once the output is complete (the climb)."""
        with self._changed:
            data, over = bytes(self._pending), self._over
            self._pending.clear()
            self._announced = False
            self._changed.notify_all()
        if data:
            self._take(data)
        if over:
            self.ended, self.status = True, self._handed_status

    def abandon(self) -> None:
        """Give the command up without waiting for the board (any thread). What it says from now on is dropped."""
        with self._changed:
            self.abandoned = True
            self._changed.notify_all()
            command = self._command
        if command is not None:
            command.abandon()

    def _announce(self) -> None:
        if not self._announced:
            self._announced = True
            self._inbox.put(self)


Message = Job | Alarm | str


class Inbox:
    """Alarms, markers and jobs that have something to deliver, in the order in which they came."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Message] = queue.SimpleQueue()

    def put(self, message: Message) -> None:
        """Hand in; never blocks (any thread)."""
        self._queue.put(message)

    def get(self, seconds: float) -> Message | None:
        """The next message, waiting at most `seconds` for it; None if there was none."""
        try:
            return self._queue.get(timeout=max(0.0, seconds))
        except queue.Empty:
            return None
