"""Tells a slow listener what goes on without ever waiting for it."""

from __future__ import annotations

import queue
import threading

from hvrig.model.progress import Event, Observer

# Events that may wait for the listener; a run has some hundreds, and progress five times a second.
WAITING = 10_000


class Narrator:
    """An observer that hands events on to `listener` from a thread of its own, in their order.

    Events come from the thread that reads the UART too, and a terminal can be stopped by Ctrl-S, a pipe by a pager:
    nobody may wait for it. What comes while WAITING events wait is dropped. What the listener raises ends the
    telling and nothing else.
    """

    def __init__(self, listener: Observer) -> None:
        self._listener = listener
        self._events: queue.Queue[Event | threading.Event] = queue.Queue(WAITING)
        self._thread = threading.Thread(target=self._work, name="narrator", daemon=True)
        self._thread.start()

    def __call__(self, event: Event) -> None:
        """Pass `event` on; returns at once."""
        try:
            self._events.put_nowait(event)
        except queue.Full:
            return  # the timeline has it

    def catch_up(self, seconds: float) -> bool:
        """Wait until all that came before was told, at most `seconds`; False if it was not."""
        told = threading.Event()
        try:
            self._events.put_nowait(told)
        except queue.Full:
            return False
        return told.wait(seconds)

    def _work(self) -> None:
        telling = True
        while True:
            event = self._events.get()
            if isinstance(event, threading.Event):
                event.set()
            elif telling:
                try:
                    self._listener(event)
                except Exception:
                    telling = False
