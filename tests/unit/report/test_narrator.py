from __future__ import annotations

import threading

from hvrig.model.progress import Event, Step
from hvrig.report.narrator import WAITING, Narrator


def test_events_are_told_in_their_order() -> None:
    heard: list[Event] = []
    narrator = Narrator(heard.append)
    events = [Step(str(number)) for number in range(1000)]
    for event in events:
        narrator(event)
    assert narrator.catch_up(10)
    assert heard == events


def test_a_listener_that_stands_still_holds_up_nobody() -> None:
    go_on = threading.Event()
    heard: list[Event] = []

    def stopped(event: Event) -> None:
        go_on.wait(30)
        heard.append(event)

    narrator = Narrator(stopped)
    for number in range(WAITING + 1000):  # more than may wait: returns all the same
        narrator(Step(str(number)))
    assert not narrator.catch_up(0.01)
    go_on.set()
    while not narrator.catch_up(10):
        pass
    assert WAITING <= len(heard) <= WAITING + 1
    assert heard == [Step(str(number)) for number in range(len(heard))]


def test_a_listener_that_fails_ends_the_telling_and_nothing_else() -> None:
    heard: list[Event] = []

    def fails(event: Event) -> None:
        heard.append(event)
        raise ZeroDivisionError

    narrator = Narrator(fails)
    narrator(Step("one"))
    narrator(Step("two"))
    assert narrator.catch_up(10)
    assert heard == [Step("one")]
