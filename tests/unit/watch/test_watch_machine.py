"""The watch as its callers use it, in any order: fed, flushed, told of boots.

`pytest --hypothesis-profile=watch-long tests/unit/watch/test_watch_machine.py` runs long.
"""

from __future__ import annotations

import gc
import re
import sys
from collections.abc import Sequence
from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from hvrig.model.finding import Alarm, Finding, WatchEvent
from hvrig.watch import Watch
from hvrig.watch.catalogue import BY_NAME

from .stream_pieces import PIECES

# What a watch may hold after whatever came: 8 open reports of at most 16 KiB, their excerpts, the tally's 32 findings
# of a kind, each with an excerpt of at most 4096 characters.
HELD_BYTES = 8 * 40_000 + len(BY_NAME) * 32 * 8_192

_SHARED = {id(kind) for kind in BY_NAME.values()}
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def held_bytes(root: object) -> int:
    """The size of all that can be reached from an object, but for modules, classes, functions and patterns."""
    seen: set[int] = set()
    total, waiting = 0, [root]
    while waiting:
        each = waiting.pop()
        if id(each) in seen or id(each) in _SHARED or isinstance(each, re.Pattern) or callable(each):
            continue
        seen.add(id(each))
        total += sys.getsizeof(each)
        waiting += gc.get_referents(each)
    return total


def timeless(events: Sequence[WatchEvent]) -> list[WatchEvent]:
    return [replace(event, t=0.0) for event in events]


class WatchMachine(RuleBasedStateMachine):
    """A watch that gets its bytes in pieces beside one that gets them whole."""

    @initialize()
    def begin(self) -> None:
        self.watch = Watch()
        self.whole = Watch()
        self.events: list[WatchEvent] = []
        self.events_of_whole: list[WatchEvent] = []
        self.pending = b""
        self.fed = 0
        self.now = 0.0
        self.sound = True

    def _take(self, events: Sequence[WatchEvent]) -> None:
        self.sound = False
        for event in events:
            assert 0 <= event.offset < self.fed
            assert event.t <= self.now
            if isinstance(event, Alarm):
                assert event.t == self.now, "an alarm is given with the block that decided it"
            if isinstance(event, Finding):
                self._finding(event)
            self.events.append(event)
        self.sound = True

    def _finding(self, finding: Finding) -> None:
        kind = BY_NAME[finding.kind]
        assert set(finding.missing) <= set(kind.fields)
        assert not set(finding.missing) & set(finding.fields)
        assert set(finding.fields) <= {*kind.fields, "message"}
        assert finding.origin is kind.origin
        assert finding.tied_to is None or finding.tied_to < finding.offset
        texts = [finding.excerpt, *(value for value in finding.fields.values() if isinstance(value, str))]
        assert all(_CONTROL.search(text) is None for text in texts)
        assert len(finding.excerpt) <= 4 * 4096 + 512
        if finding.is_fault:
            alarms = [e for e in self.events if isinstance(e, Alarm)]
            assert any((e.kind, e.offset) == (finding.kind, finding.offset) for e in alarms)
        if finding.count > 1:
            told = [e for e in self.events if isinstance(e, Finding) and e.kind == finding.kind]
            assert any(e.offset == finding.offset for e in told), "a repeat is of a finding that was given"

    def _settle(self) -> None:
        """Let the other watch have what came, in one block."""
        self.events_of_whole += self.whole.feed(self.pending, self.now)
        self.pending = b""

    @rule(
        pieces=st.lists(PIECES, min_size=1, max_size=12), sizes=st.lists(st.integers(1, 5000), min_size=1, max_size=4)
    )
    def feed(self, pieces: list[bytes], sizes: list[int]) -> None:
        data = b"".join(pieces)
        self.pending += data
        at, turn = 0, 0
        while at < len(data):
            block = data[at : at + sizes[turn % len(sizes)]]
            self.now += 1.0
            self.fed += len(block)
            self._take(self.watch.feed(block, self.now))
            at, turn = at + len(block), turn + 1

    @rule(piece=PIECES, times=st.integers(2, 400))
    def feed_again_and_again(self, piece: bytes, times: int) -> None:
        self.feed([piece * min(times, 1 + 40_000 // max(1, len(piece)))], [4096])

    @rule()
    def feed_nothing(self) -> None:
        self.now += 1.0
        self._take(self.watch.feed(b"", self.now))

    @rule()
    def expect_boot(self) -> None:
        self._settle()
        self.watch.expect_boot()
        self.whole.expect_boot()

    @rule()
    def flush(self) -> None:
        self._settle()
        self.now += 1.0
        self._take(self.watch.flush(self.now))
        self.events_of_whole += self.whole.flush(self.now)
        assert timeless(self.events) == timeless(self.events_of_whole)
        self.events, self.events_of_whole = [], []
        assert self.watch.flush(self.now) == [], "there is nothing left"

    @precondition(lambda self: self.fed > 0)
    @invariant()
    def memory_is_bounded(self) -> None:
        assert held_bytes(self.watch) < HELD_BYTES

    def teardown(self) -> None:
        if hasattr(self, "watch") and self.sound:
            self.flush()


TestWatchMachine = WatchMachine.TestCase
TestWatchMachine.settings = (
    settings.get_profile("watch-long")
    if settings.get_current_profile_name() == "watch-long"
    else settings(max_examples=80, stateful_step_count=20, deadline=None)
)
