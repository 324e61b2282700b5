from __future__ import annotations

import pytest

from hvrig.gate.pace import SLACK_S, SLOWER_THAN_BEFORE, Pace

MIB = 1 << 20


def test_the_first_rung_is_timed_by_the_setting_and_later_ones_by_the_slowest_before() -> None:
    pace = Pace(10.0 * MIB)
    assert pace.allowed_s(100 * MIB) == pytest.approx(10 + SLACK_S)
    pace.record(200 * MIB, 8)
    pace.record(100 * MIB, 2)
    assert pace.allowed_s(400 * MIB) == pytest.approx(400 / 25 * SLOWER_THAN_BEFORE + SLACK_S)


def test_time_left_counts_the_rest_of_the_ladder() -> None:
    pace = Pace(1.0)
    assert pace.left_s(64 * MIB, 0.01, 1, [128 * MIB]) is None
    assert pace.left_s(64 * MIB, 0.5, 2, [128 * MIB]) == pytest.approx(10)
    pace.record(64 * MIB, 4)
    assert pace.left_s(128 * MIB, 0, 0, [256 * MIB]) == pytest.approx(24)
