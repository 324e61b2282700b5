"""How long a rung may take, and how much time is left, from the rungs before."""

from __future__ import annotations

from collections.abc import Sequence

# A later rung may be this much slower than the slowest before it: caches help small rungs, and other memory is slower.
SLOWER_THAN_BEFORE = 3.0

# Seconds on top, for what does not grow with the size: starting memtester, reading pages, the marker.
SLACK_S = 30.0

# Below this share of a rung, its own speed says nothing.
_TRUSTED_FRACTION = 0.05


class Pace:
    """The throughput of memtester on this board. Bytes are bytes of buffer times loops."""

    def __init__(self, first_bytes_per_s: float) -> None:
        self._first = first_bytes_per_s
        self._slowest: float | None = None
        self._bytes = 0
        self._seconds = 0.0

    def record(self, count: int, seconds: float) -> None:
        """A rung of `count` bytes has passed in `seconds`."""
        rate = count / max(seconds, 1e-3)
        self._slowest = rate if self._slowest is None else min(rate, self._slowest)
        self._bytes += count
        self._seconds += seconds

    def allowed_s(self, count: int) -> float:
        """Seconds that a rung of `count` bytes may take."""
        if self._slowest is None:
            return count / self._first + SLACK_S
        return count / self._slowest * SLOWER_THAN_BEFORE + SLACK_S

    def left_s(self, count: int, fraction: float, elapsed: float, later: Sequence[int]) -> float | None:
        """Seconds until the ladder's end, None while nothing is known.

        count, fraction, elapsed: the current rung's bytes, done share and seconds. later: bytes of the rungs
        that are still to come.
        """
        done, seconds = float(self._bytes), self._seconds
        if fraction >= _TRUSTED_FRACTION:
            done += fraction * count
            seconds += elapsed
        if done == 0 or seconds == 0:
            return None
        return ((1 - fraction) * count + sum(later)) * seconds / done
