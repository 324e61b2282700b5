from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from hvrig.model.finding import Alarm, Finding
from hvrig.watch import Watch

CLEAN = Path(__file__).parents[2] / "data" / "uart" / "clean"
BANNER = b"U-Boot 20"


@pytest.mark.parametrize("log", sorted(CLEAN.glob("*.gz")), ids=lambda log: log.name)
def test_nothing_is_found_in_a_clean_log(log: Path) -> None:
    boots = gzip.decompress(log.read_bytes()).split(BANNER)
    watch = Watch()
    events = watch.feed(boots[0], 0.0)
    for boot in boots[1:]:  # each was asked for
        watch.expect_boot()
        events += watch.feed(BANNER + boot, 0.0)
    events += watch.flush(0.0)
    assert [each for each in events if isinstance(each, Alarm)] == []
    assert [each for each in events if isinstance(each, Finding) and each.is_fault] == []
    assert len(events) > 5
