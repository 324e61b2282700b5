"""A point in time by which something must have happened."""

from __future__ import annotations

import time
from collections.abc import Callable

Clock = Callable[[], float]


class Deadline:
    """`seconds` from now on a monotonic clock.

    One deadline is handed down through all the waits that belong to one step, so that the step as a whole
    ends in time, however many waits it has.
    """

    def __init__(self, seconds: float, clock: Clock = time.monotonic) -> None:
        self.seconds = seconds
        self._clock = clock
        self._start = clock()

    @property
    def remaining(self) -> float:
        """Seconds left, never below 0."""
        return max(0.0, self.seconds - self.elapsed)

    @property
    def elapsed(self) -> float:
        """Seconds since the deadline was set."""
        return self._clock() - self._start

    @property
    def expired(self) -> bool:
        """True once no time is left."""
        return self.elapsed >= self.seconds

    def capped(self, seconds: float) -> Deadline:
        """A deadline `seconds` from now, but not later than this one."""
        return Deadline(min(seconds, self.remaining), self._clock)
