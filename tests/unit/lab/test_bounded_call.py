from __future__ import annotations

import sys
import threading

import pytest

from hvrig.lab.bounded_call import NoAnswerError, call_within
from hvrig.model.deadline import Deadline


def test_what_the_call_returns_comes_back() -> None:
    assert call_within(Deadline(10), lambda: None, "call") is None
    assert call_within(Deadline(10), lambda: threading.current_thread().name, "call") == "call"


def test_what_the_call_raises_comes_back() -> None:
    with pytest.raises(ZeroDivisionError):
        call_within(Deadline(10), lambda: 1 // 0, "call")


def test_a_librarys_exit_is_an_error() -> None:
    with pytest.raises(RuntimeError, match=r"SystemExit\(3\)"):
        call_within(Deadline(10), lambda: sys.exit(3), "call")


def test_a_call_that_hangs_is_left_behind() -> None:
    release = threading.Event()
    try:
        with pytest.raises(NoAnswerError):
            call_within(Deadline(0.01), release.wait, "hanging")
        assert any(thread.name == "hanging" and thread.daemon for thread in threading.enumerate())
    finally:
        release.set()
