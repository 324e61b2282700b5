from __future__ import annotations

import json
from datetime import UTC, datetime

from hvrig.doctor.report import line, remedy_lines, summary, to_json_text
from hvrig.doctor.result import Checked, Fault, exit_status, fail, needs_first, ok, warn

GOOD = Checked("python", "Python", ok("Python 3.11"))
LATE = Checked("clock", "clock", warn("behind", "NTP"))
LAB = Checked("power", "power", fail("silent", "Look.\x1b[31m", tail="U-Boot\n\x07"))
BOARD = Checked("memtester", "memtester", fail("missing", "Install it.", Fault.BOARD))
SKIPPED = Checked("baud", "speed", needs_first(["power"]))


def test_the_lab_is_blamed_before_the_board() -> None:
    assert exit_status([GOOD, LATE]) == 0
    assert exit_status([GOOD, BOARD, SKIPPED]) == 1
    assert exit_status([BOARD, LAB]) == 3
    assert exit_status([BOARD, Checked("memory", "", fail("too large", "less", Fault.SETTINGS))]) == 2


def test_lines() -> None:
    assert line(SKIPPED) == "skipped  baud         needs power"
    said = list(remedy_lines(LAB))
    assert said[0].strip() == "What to do: Look."
    assert [one.strip() for one in said[1:]] == ["| U-Boot", "| \\x07"]
    assert summary([GOOD, LAB, SKIPPED], "desk") == "desk is not ready for a run: 1 ok, 1 fail, 1 skipped"
    assert summary([GOOD, LATE], "desk") == "desk is ready for a run: 1 ok, 1 warn"


def test_json() -> None:
    said = json.loads(to_json_text([GOOD, BOARD], "desk", datetime(2026, 1, 2, tzinfo=UTC), "artifacts/x"))
    assert (said["schema"], said["status"], said["exit_status"]) == ("hvrig-doctor/1", "fail", 1)
    assert [(c["name"], c["status"], c["fault"]) for c in said["checks"]] == [
        ("python", "ok", None),
        ("memtester", "fail", "board"),
    ]
