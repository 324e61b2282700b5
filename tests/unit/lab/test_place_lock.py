"""Locks of places: a dead run's told from a live one's by the kernel's lock on the file."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from hvrig.lab.place_lock import LockedError, PlaceLock, default_folder
from hvrig.model.errors import LabError

KEY = "127.0.0.1:20408 labpc/runner x3300"


def test_a_lock_that_was_given_up_leaves_nothing(tmp_path: Path) -> None:
    lock = PlaceLock(tmp_path, KEY)
    assert lock.left_behind is None
    assert len(list(tmp_path.iterdir())) == 1
    lock.give_up()
    lock.give_up()
    assert list(tmp_path.iterdir()) == []


def test_a_live_run_is_named(tmp_path: Path) -> None:
    lock = PlaceLock(tmp_path, KEY)
    with pytest.raises(LockedError) as refused:
        PlaceLock(tmp_path, KEY)
    assert refused.value.by is not None
    assert refused.value.by.pid == os.getpid()
    PlaceLock(tmp_path, KEY.replace("x3300", "desk")).give_up()
    lock.give_up()


def test_a_dead_runs_lock_is_taken_over_and_told(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        PlaceLock(tmp_path, KEY)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    lock = PlaceLock(tmp_path, KEY)
    assert lock.left_behind is not None
    assert lock.left_behind.pid == child
    lock.give_up()
    assert list(tmp_path.iterdir()) == []


def test_what_could_not_be_given_back_is_kept_for_the_next_run(tmp_path: Path) -> None:
    PlaceLock(tmp_path, KEY).give_up(keep=True)
    lock = PlaceLock(tmp_path, KEY)
    assert lock.left_behind is not None
    lock.give_up()


def test_a_record_that_is_damaged_is_still_a_lock(tmp_path: Path) -> None:
    PlaceLock(tmp_path, KEY).give_up(keep=True)
    (file,) = tmp_path.iterdir()
    file.write_bytes(b"\xff{")
    lock = PlaceLock(tmp_path, KEY)
    assert lock.left_behind is not None, "a file that is there and not locked was left behind"
    lock.give_up()


def test_a_folder_that_cannot_be_made_is_the_labs(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LabError, match="cannot be had"):
        PlaceLock(tmp_path / "file" / "locks", KEY)


def test_the_locks_are_the_users_own_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/srv/state")
    assert default_folder() == Path("/srv/state/hvrig/places")
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    assert default_folder() == Path.home() / ".local/state/hvrig/places"
