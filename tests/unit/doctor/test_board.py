from __future__ import annotations

from dataclasses import replace

import pytest

from hvrig.doctor.board import (
    PowerOn,
    check_autoboot,
    check_baud,
    check_clock,
    check_memtester,
    check_power,
    check_recording,
)
from hvrig.doctor.result import Fault, Status
from hvrig.model.evidence import Gap, MemtestRun

GOOD = PowerOn(first_byte_s=0.3, received=900, garbled=False, prompt_s=1.2)
SILENT = PowerOn(None, 0, False, None, "Not one byte came.", "Look at the cable.")
LOCKED = MemtestRun(wanted_bytes=16 << 20, got_bytes=16 << 20, locked=True, loop=1, loops=1, done=True)


def test_power_that_does_something() -> None:
    assert check_power(b"", GOOD, 1.0).status is Status.OK
    assert check_power(b"\0\0", GOOD, 1.0).status is Status.OK, "a line that falls with the power"


@pytest.mark.parametrize(
    ("heard", "on", "said"),
    [
        (b"\r\nroot@x3300:~# ", GOOD, "goes on talking with its outlet off"),
        (b"", SILENT, "not one byte came"),
    ],
)
def test_power_that_does_nothing(heard: bytes, on: PowerOn, said: str) -> None:
    result = check_power(heard, on, 1.0)
    assert (result.status, result.fault) == (Status.FAIL, Fault.LAB)
    assert said in result.found


def test_what_the_board_said_cannot_act() -> None:
    assert "\x1b" not in check_power(b"\x1b]0;title\x07::error::x", GOOD, 1.0).found


def test_speed() -> None:
    assert check_baud(GOOD, 1500000, ours=True).status is Status.OK
    assert "framing noise" in check_baud(replace(GOOD, garbled=True), 115200, ours=True).found
    assert "too few" in check_baud(replace(GOOD, received=3), 1500000, ours=True).found


def test_autoboot_must_be_stopped_every_time() -> None:
    assert check_autoboot([GOOD, GOOD, GOOD]).found == "stopped 3 times of 3, 1.2 to 1.2 s after power-on"
    missed = replace(GOOD, prompt_s=None, trouble="It has started a kernel.", remedy="A longer bootdelay.")
    result = check_autoboot([GOOD, missed, GOOD])
    assert result.status is Status.FAIL
    assert result.found == "stopped 2 times of 3: It has started a kernel."
    assert result.remedy == "A longer bootdelay."


@pytest.mark.parametrize(
    ("status", "run", "said"),
    [
        (127, MemtestRun(), "cannot be started"),
        (0, replace(LOCKED, locked=False), "could not lock 16 MiB"),
        (4, replace(LOCKED, failure_count=2), "2 memory errors"),
        (137, replace(LOCKED, done=False), "ended with status 137"),
    ],
)
def test_a_memtester_that_will_not_do_is_the_boards(status: int, run: MemtestRun, said: str) -> None:
    result = check_memtester("memtester", 16 << 20, status, run, "sh: not found")
    assert (result.status, result.fault) == (Status.FAIL, Fault.BOARD)
    assert said in result.found


def test_a_memtester_that_locks() -> None:
    assert check_memtester("memtester", 16 << 20, 0, LOCKED, "").status is Status.OK


@pytest.mark.parametrize(
    ("board", "status", "said"),
    [
        (1000.0, Status.OK, ""),
        (1100.0, Status.WARN, "100 seconds ahead of"),
        (1000.0 - 30 * 86400, Status.WARN, "30 days behind"),
    ],
)
def test_clock(board: float, status: Status, said: str) -> None:
    result = check_clock(board, 1000.0)
    assert result.status is status
    assert said in result.found


def test_a_gap_is_the_labs() -> None:
    assert check_recording(10, ()).status is Status.OK
    result = check_recording(10, (Gap(5, 1.0, 2.0, "the device hung up"),))
    assert (result.status, result.fault) == (Status.FAIL, Fault.LAB)
    assert "byte 5" in result.found
