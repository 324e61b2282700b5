"""A person is asked at a terminal of the test's own."""

from __future__ import annotations

import os
import pty
import select
from collections.abc import Callable

import pytest

from hvrig.lab.person import ask_person
from hvrig.model.deadline import Deadline
from hvrig.model.errors import LabError


def in_terminal(work: Callable[[], None], typed: bytes) -> tuple[int, bytes]:
    """`work` in a child with a controlling terminal of its own, into which `typed` goes once it has asked."""
    child, terminal = pty.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        except LabError as error:
            os.write(1, str(error).encode())
            status = 3
        finally:
            os._exit(status)
    said = b""
    while True:
        ready, _, _ = select.select([terminal], [], [], 10)
        assert ready, said
        try:
            block = os.read(terminal, 4096)
        except OSError:  # the child has ended
            break
        said += block
        if b"press Enter" in block:
            os.write(terminal, typed)
    _, status = os.waitpid(child, 0)
    os.close(terminal)
    return os.waitstatus_to_exitcode(status), said


def show(text: str) -> bool:
    os.write(1, f"{text}\n".encode())
    return os.isatty(1)


def ask(seconds: float = 5.0) -> None:
    ask_person("Switch the board OFF", Deadline(seconds), show)


def test_enter_is_the_answer_and_is_not_echoed() -> None:
    status, said = in_terminal(ask, b"\n")
    assert status == 0
    assert said == b"Switch the board OFF, then press Enter (within 5 s)\r\n"


def test_stdin_is_not_needed() -> None:
    def without_stdin() -> None:
        os.close(0)
        ask()

    assert in_terminal(without_stdin, b"\n")[0] == 0


def test_a_request_is_seen_though_progress_goes_elsewhere() -> None:
    def redirected() -> None:
        fd = os.open(os.devnull, os.O_WRONLY)
        os.dup2(fd, 1)
        ask()

    status, said = in_terminal(redirected, b"\n")
    assert status == 0
    assert b"Switch the board OFF" in said


def test_a_request_is_seen_though_nobody_shows_progress_any_more() -> None:
    """As after the memory gate of pytest -s: stdout is the terminal, and nothing is written there."""

    def unheard() -> None:
        ask_person("Switch the board OFF", Deadline(5), lambda _: False)

    status, said = in_terminal(unheard, b"\n")
    assert status == 0
    assert b"Switch the board OFF, then press Enter (within 5 s)" in said


def test_nobody_there_is_the_labs() -> None:
    status, said = in_terminal(lambda: ask(0.2), b"not yet")
    assert status == 3
    assert b"Nobody answered within 0 s: Switch the board OFF" in said


def test_no_terminal_is_the_labs() -> None:
    with pytest.raises(LabError, match="no terminal to ask at: Switch it on"):
        ask_person("Switch it on", Deadline(1), lambda _: False, terminal="/nowhere/tty")
