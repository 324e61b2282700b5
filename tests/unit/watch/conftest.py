"""What the watch's tests share: the captures, and events without their times."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from hvrig.model.finding import WatchEvent
from hvrig.watch import Watch

# `pytest --hypothesis-profile=watch-long tests/unit/watch/test_watch_machine.py`: ten to twenty minutes on a core.
settings.register_profile(
    "watch-long",
    max_examples=9000,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)

CAPTURES = Path(__file__).parents[2] / "data" / "uart"


@pytest.fixture
def capture() -> Callable[[str], bytes]:
    """The bytes of a capture, by name."""
    return lambda name: (CAPTURES / name).read_bytes()


@pytest.fixture
def watched() -> Callable[[bytes], list[WatchEvent]]:
    """All events of a whole stream, flushed, with all times 0."""

    def run(data: bytes) -> list[WatchEvent]:
        watch = Watch()
        return [replace(event, t=0.0) for event in watch.feed(data, 0.0) + watch.flush(0.0)]

    return run
