"""Outlets that take their time, tell nothing, or tell something else, behind a labgrid driver that is played."""

from __future__ import annotations

import threading
from typing import Any, cast

import pytest
from labgrid.driver.exception import ExecutionError

from hvrig.lab import labgrid_power
from hvrig.lab.labgrid_power import LabgridPower
from hvrig.model.deadline import Deadline
from hvrig.model.errors import LabError


class Driver:
    """A driver whose `get` gives, or raises, one answer after the other, the last one for ever."""

    def __init__(self, *answers: bool | Exception | None) -> None:
        self._answers = list(answers)
        self.calls: list[str] = []

    def on(self) -> None:
        self.calls.append("on")

    def off(self) -> None:
        self.calls.append("off")

    def get(self) -> bool | None:
        self.calls.append("get")
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


class DumbDriver:
    """A driver that has no `get`, as labgrid's ExternalPowerDriver."""

    delay = 2.5

    def off(self) -> None: ...


def power(driver: Driver | DumbDriver, client: str = "") -> LabgridPower:
    class Target:
        def get_driver(self, _: object) -> object:
            return driver

    return LabgridPower(cast(Any, Target()), "desk", client=client)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labgrid_power, "POLL_S", 0.001)
    monkeypatch.setattr(labgrid_power, "STALE_S", 0.05)


@pytest.mark.parametrize(
    "before", [None, True, ExecutionError("failed to get SNMP value")], ids=["pending", "stale", "between states"]
)
def test_an_outlet_that_takes_its_time_is_waited_for(before: bool | Exception | None) -> None:
    driver = Driver(before, before, False)
    power(driver).off(Deadline(5))
    assert driver.calls == ["off", "get", "get", "get"]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (True, "was told to switch off and says that it did not: it is on"),
        (None, "was told to switch off and does not tell its state"),
        (ExecutionError("failed to get SNMP value"), "does not tell its state: failed to get SNMP value"),
    ],
)
def test_an_outlet_that_never_comes_round_is_the_labs_with_what_it_said_last(
    answer: bool | Exception | None, said: str
) -> None:
    with pytest.raises(LabError) as failed:
        power(Driver(answer)).off(Deadline(0.1))
    assert said in failed.value.message


def test_a_plain_answer_is_not_waited_for_until_the_deadline() -> None:
    with pytest.raises(LabError, match="says that it did not"):
        power(Driver(True)).off(Deadline(3600))


def test_an_outlet_that_falls_silent_while_it_is_asked_is_told_by_its_last_answer() -> None:
    released = threading.Event()

    class Falling(Driver):
        def get(self) -> bool | None:
            if "get" in self.calls:
                released.wait(30)
            return super().get()

    with pytest.raises(LabError, match="does not tell its state"):
        power(Falling(None)).off(Deadline(0.1))
    released.set()


def test_a_driver_that_cannot_read_back_is_believed() -> None:
    driver = Driver(NotImplementedError("pdudaemon does not support retrieving the port's state"))
    power(driver).on(Deadline(5))
    assert driver.calls == ["on", "get"]
    power(DumbDriver()).off(Deadline(5))


@pytest.mark.parametrize(
    ("driver", "said"),
    [
        (Driver(True), True),
        (Driver(False), False),
        (Driver(None), None),
        (Driver(NotImplementedError()), None),
        (Driver(OSError("no route")), None),
        (DumbDriver(), None),
    ],
)
def test_what_an_outlet_says_beforehand(driver: Driver | DumbDriver, said: bool | None) -> None:
    assert power(driver).is_on(Deadline(5)) is said


def test_an_outlet_that_does_not_answer_beforehand_is_the_labs() -> None:
    released = threading.Event()

    class Mute(Driver):
        def get(self) -> bool | None:
            released.wait(30)
            return None

    with pytest.raises(LabError, match="did not answer within 0 s when asked to read the outlet"):
        power(Mute()).is_on(Deadline(0.05))
    released.set()


def test_a_drivers_delay_is_known() -> None:
    assert power(DumbDriver()).delay_s == 2.5
    assert power(Driver(True)).delay_s == 0.0


@pytest.mark.parametrize("client", ["", "labgrid-client -x lab:20408 -p x3300"])
def test_a_command_to_try_is_named_where_there_is_one(client: str) -> None:
    with pytest.raises(LabError) as failed:
        power(Driver(True), client).off(Deadline(0.1))
    tried = f"Try it by hand: {client} power off." if client else "Look at the outlet."
    assert failed.value.remedy.endswith(tried)
    assert ("labgrid-client" in failed.value.remedy) == bool(client)


def test_a_program_that_is_not_installed_is_named() -> None:
    missing = FileNotFoundError(2, "No such file or directory", "snmpget")
    with pytest.raises(LabError) as failed:
        power(Driver(missing)).off(Deadline(5))
    assert "snmpget" in failed.value.remedy
