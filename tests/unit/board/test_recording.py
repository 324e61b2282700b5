from __future__ import annotations

import errno
import os
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from hvrig.board import recording
from hvrig.board.recording import AppendedFile, Recording
from hvrig.model.errors import LabError


class Disk:
    """os.write of a disk that has `room` bytes left."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, room: int) -> None:
        self.room = room
        self._write = os.write
        monkeypatch.setattr(os, "write", self.write)

    def write(self, fd: int, data: bytes | memoryview) -> int:
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        count = min(len(data), self.room)
        self.room -= count
        return self._write(fd, data[:count])


def test_bytes_and_times(tmp_path: Path) -> None:
    now = 100.0
    made = Recording(tmp_path / "run", lambda: now)
    made.note("open", "127.0.0.1:4000 (raw)", 100.5)
    made.block(b"\x00\xff\r\n", 101.25)
    made.note("gap", "first\nsecond \x1b[2J", 102.0)
    made.block(b"more", 103.0)
    now = 104.0
    made.close()
    assert made.error is None
    assert (tmp_path / "run/uart.log").read_bytes() == b"\x00\xff\r\nmore"
    head, *lines = (tmp_path / "run/uart.times").read_text().splitlines()
    assert lines == [
        "100.500000 0 open 127.0.0.1:4000 (raw)",
        "101.250000 0 4",
        "102.000000 4 gap first second",
        "103.000000 4 4",
        "104.000000 8 closed",
    ]
    wall = re.fullmatch(r"# T OFFSET LENGTH; T=100\.000000 was (.*)", head)
    assert wall is not None
    assert abs((datetime.now(UTC) - datetime.fromisoformat(wall[1])).total_seconds()) < 60


def test_a_full_disk_is_said_and_its_bytes_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = AppendedFile(tmp_path / "uart.log")
    disk = Disk(monkeypatch, room=7)
    made.write(b"01234")
    assert not made.error
    made.write(b"567")  # two of them fit
    first = made.error
    assert first is not None
    assert "No space left" in first.message
    assert "Make room" in first.remedy
    made.write(b"89")
    assert (tmp_path / "uart.log").read_bytes() == b"0123456"
    disk.room = 100
    made.close()
    assert (tmp_path / "uart.log").read_bytes() == b"0123456789"
    assert made.error is first


def test_what_is_kept_is_bounded_and_stays_a_prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "HELD", 10)
    disk = Disk(monkeypatch, room=0)
    made = AppendedFile(tmp_path / "uart.log")
    for block in (b"012345", b"6789ab", b"cd"):
        made.write(block)
    disk.room = 100
    made.close()
    assert (tmp_path / "uart.log").read_bytes() == b"012345"


def test_dev_full(tmp_path: Path) -> None:
    (tmp_path / "uart.log").symlink_to("/dev/full")
    made = Recording(tmp_path, lambda: 0.0)
    made.block(b"lost", 1.0)
    made.close()
    assert made.error is not None
    assert "uart.log" in made.error.message
    assert made.offset == 4


def test_a_recording_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "uart.log").write_bytes(b"evidence")
    with pytest.raises(LabError, match="holds a recording already"):
        Recording(tmp_path, lambda: 0.0)
    assert (tmp_path / "uart.log").read_bytes() == b"evidence"


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LabError, match="cannot be made"):
        Recording(tmp_path / "file/run", lambda: 0.0)
