"""A call with a deadline, for libraries whose calls have none of their own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from hvrig.model.deadline import Deadline

T = TypeVar("T")


class NoAnswerError(Exception):
    """The call was not done when its deadline was over; it goes on in a thread that is left behind."""


def call_within(deadline: Deadline, call: Callable[[], T], name: str) -> T:
    """What `call` returns. name: of the thread that it runs in.

    Raises NoAnswerError when the deadline is over first, else what the call raises; RuntimeError where that is none of
    Exception: a library's SystemExit ends no run of ours.
    """
    result: list[T] = []
    failure: list[BaseException] = []

    def work() -> None:
        try:
            result.append(call())
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=work, name=name, daemon=True)
    thread.start()
    thread.join(deadline.remaining)
    if failure and isinstance(failure[0], Exception):
        raise failure[0]
    if failure:
        raise RuntimeError(repr(failure[0])) from failure[0]
    if not result:
        raise NoAnswerError
    return result[0]
