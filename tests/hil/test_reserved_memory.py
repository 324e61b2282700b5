"""The hypervisor's memory is its own on the board as it runs, whatever the files say."""

from __future__ import annotations

import pytest

from hvrig.model.layout import Rule
from hvrig.pytest_plugin import Board

pytestmark = pytest.mark.hil


def test_the_hypervisors_memory_is_kept_from_root_linux(board: Board) -> None:
    report = board.layout()
    assert [finding.what for finding in report.findings] == []
    missing = [one.why for one in report.unchecked if one.rule is Rule.LIVE_SYSTEM_RAM]
    if missing:
        pytest.skip(f"the board could not be looked at: {missing[0]}")
