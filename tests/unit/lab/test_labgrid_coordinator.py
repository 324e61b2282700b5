# ruff: noqa: ARG001, ARG002, N802 - the coordinator's names, and arguments that it does not need here
"""Places acquired from a coordinator that is played here: its own values and refusals, without a network."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from labgrid.remote.client import ClientSession
from labgrid.remote.common import Place, Reservation, ReservationState, ResourceEntry, ResourceMatch
from labgrid.remote.generated import labgrid_coordinator_pb2 as messages

from hvrig.lab import labgrid_coordinator
from hvrig.lab.labgrid_coordinator import LabgridHold
from hvrig.model.errors import LabError, PlaceHeldError

ME = "desk/dev"


class Refused(grpc.RpcError):  # type: ignore[misc]
    def details(self) -> str:
        return str(self)


@dataclass
class Coordinator:
    """What labgrid's coordinator does with places and reservations, as far as a run asks for it."""

    places: dict[str, Place] = field(default_factory=dict)
    resources: dict[str, dict[str, dict[str, ResourceEntry]]] = field(default_factory=dict)
    reservations: dict[str, Reservation] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    is_mute: bool = False
    broken: set[str] = field(default_factory=set)  # places whose exporter does not give its resources

    def board(self, name: str, *, exported: bool = True) -> Place:
        """A place with the tag board=x3300, whose exporter is there or is not."""
        match = ResourceMatch.fromstr(f"lab/{name}/NetworkSerialPort")
        place = Place(name=name, tags={"board": "x3300"}, matches=[match], changed=1_800_000_000.0)
        self.places[name] = place
        if exported:
            self.export(name)
        return place

    def export(self, name: str) -> None:
        """Its exporter comes."""
        entry = ResourceEntry({"cls": "NetworkSerialPort", "params": {}, "avail": True})
        self.resources.setdefault("lab", {})[name] = {"serial": entry}

    # The stub's calls.

    async def AcquirePlace(self, request: Any, timeout: float) -> None:
        place = self._asked("AcquirePlace", request.placename)
        if place.acquired:
            raise Refused(f"Place {place.name} is already acquired")
        if place.name in self.broken:
            raise Refused(f"Failed to acquire resources for place {place.name}")
        place.acquired = ME
        place.touch()
        self._schedule()

    async def ReleasePlace(self, request: Any, timeout: float) -> None:
        place = self._asked("ReleasePlace", request.placename)
        if place.acquired == request.fromuser:
            place.acquired = None
            place.touch()
        self._schedule()

    async def CreateReservation(self, request: Any, timeout: float) -> Any:
        made = Reservation(owner=ME, filters={"main": dict(request.filters["main"].filter)})
        self.reservations[made.token] = made
        self.asked.append("CreateReservation")
        self._schedule()
        return messages.CreateReservationResponse(reservation=made.as_pb2())

    async def PollReservation(self, request: Any, timeout: float) -> Any:
        self._schedule()
        return messages.PollReservationResponse(reservation=self.reservations[request.token].as_pb2())

    async def CancelReservation(self, request: Any, timeout: float) -> None:
        self.asked.append("CancelReservation")
        if self.reservations.pop(request.token, None) is None:
            raise Refused("no such reservation")
        self._schedule()

    async def GetReservations(self, request: Any, timeout: float) -> Any:
        return messages.GetReservationsResponse(reservations=[each.as_pb2() for each in self.reservations.values()])

    def _asked(self, what: str, name: str) -> Place:
        self.asked.append(f"{what} {name}")
        return self.places[name]

    def _schedule(self) -> None:
        for waiting in self.reservations.values():
            wanted = set(waiting.filters["main"].items())
            for name, place in self.places.items():
                has = {*place.tags.items(), ("name", name)}
                if not waiting.allocations and not place.acquired and not place.reservation and wanted <= has:
                    waiting.allocations = {"main": [name]}
                    waiting.state = ReservationState.allocated
        for place in self.places.values():
            tokens = [r.token for r in self.reservations.values() if [place.name] in r.allocations.values()]
            place.reservation = tokens[0] if tokens else None


@pytest.fixture
def coordinator(monkeypatch: pytest.MonkeyPatch) -> Coordinator:
    coordinator = Coordinator()

    class Session(ClientSession):  # type: ignore[misc]
        def __attrs_post_init__(self) -> None:
            self.stopping = asyncio.Event()
            self.stub = coordinator
            self.places, self.resources = coordinator.places, coordinator.resources

        async def start(self) -> None:
            if coordinator.is_mute:
                await asyncio.Event().wait()

        async def stop(self) -> None:
            assert self.stopping.is_set()
            await asyncio.sleep(0.01)  # as labgrid awaits its own task
            coordinator.asked.append("session stopped")

        async def close(self) -> None:
            await asyncio.sleep(0.01)
            coordinator.asked.append("session closed")

        async def sync_with_coordinator(self) -> bool:
            return True

    monkeypatch.setattr(labgrid_coordinator, "ClientSession", Session)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    monkeypatch.setenv("LG_HOSTNAME", "desk")
    monkeypatch.setenv("LG_USERNAME", "dev")
    monkeypatch.delenv("LG_TOKEN", raising=False)
    monkeypatch.delenv("LG_PROXY", raising=False)
    return coordinator


@dataclass
class Runs:
    """Runs of one user on one machine."""

    locks: Path
    told: list[str] = field(default_factory=list)

    def hold(self, name: str, *, address: str = "127.0.0.1:20408", wait_s: float = 0.0, **tags: str) -> LabgridHold:
        return LabgridHold(address, name, tags=tags, wait_s=wait_s, locks=self.locks, tell=self.told.append)

    def killed_run(self, name: str) -> None:
        """A run that acquires the place and is killed: the kernel ends its lock, and nobody else anything."""
        hold = self.hold(name)
        hold.__enter__()
        assert hold._lock is not None
        hold._lock.give_up(keep=True)
        hold._lock, hold._acquired = None, ""
        hold.__exit__()


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path / "locks")


def test_a_place_is_acquired_and_given_back(coordinator: Coordinator, runs: Runs) -> None:
    place = coordinator.board("x1")
    with runs.hold("x1") as hold:
        assert (hold.place, place.acquired) == ("x1", ME)
    assert place.acquired is None
    assert list(runs.locks.iterdir()) == []


def test_what_a_killed_run_acquired_is_taken_back(coordinator: Coordinator, runs: Runs) -> None:
    place = coordinator.board("x1")
    runs.killed_run("x1")
    assert place.acquired == ME
    with runs.hold("x1"):
        assert any("taken back" in line for line in runs.told)
    assert place.acquired is None


def test_what_was_acquired_by_hand_is_left_acquired_after_a_killed_run(coordinator: Coordinator, runs: Runs) -> None:
    place = coordinator.board("x1")
    place.acquired = ME
    runs.killed_run("x1")
    with runs.hold("x1"):
        pass
    assert place.acquired == ME
    assert not any("Place" in asked for asked in coordinator.asked)
    assert not any("taken back" in line for line in runs.told)


def test_a_killed_runs_place_is_still_to_be_taken_back_after_a_try_that_failed(
    coordinator: Coordinator, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = coordinator.board("x1")
    runs.killed_run("x1")

    async def refuse(request: Any, timeout: float) -> None:
        raise Refused("out of order")

    with monkeypatch.context() as broken:
        broken.setattr(coordinator, "ReleasePlace", refuse)
        with pytest.raises(Exception, match="out of order"):
            runs.hold("x1").__enter__()
    with runs.hold("x1"):
        pass
    assert place.acquired is None


def test_a_place_that_could_not_be_given_back_is_taken_back_by_the_next_run(
    coordinator: Coordinator, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = coordinator.board("x1")

    async def refuse(request: Any, timeout: float) -> None:
        raise Refused("out of order")

    hold = runs.hold("x1").__enter__()
    with monkeypatch.context() as broken:
        broken.setattr(coordinator, "ReleasePlace", refuse)
        with pytest.raises(Exception, match="could not be given back"):
            hold.__exit__()
    assert place.acquired == ME
    with runs.hold("x1"):
        pass
    assert place.acquired is None


@pytest.mark.parametrize("address", ["localhost:20408", "127.0.0.1", "localhost"])
def test_two_runs_see_each_other_however_the_coordinator_is_written(
    coordinator: Coordinator, runs: Runs, address: str
) -> None:
    coordinator.board("x1")
    with (
        runs.hold("x1", address="127.0.0.1:20408"),
        pytest.raises(PlaceHeldError, match="in use by another run of yours"),
    ):
        runs.hold("x1", address=address).__enter__()


def test_of_several_boards_one_whose_exporter_is_away_is_left_out(coordinator: Coordinator, runs: Runs) -> None:
    coordinator.board("x1", exported=False)
    coordinator.board("x2")
    with runs.hold("+", board="x3300") as hold:
        assert hold.place == "x2"
    assert coordinator.reservations == {}


def test_an_exporter_that_went_while_the_run_is_connected_is_away(coordinator: Coordinator, runs: Runs) -> None:
    coordinator.board("x1")
    coordinator.board("x2")
    coordinator.resources["lab"]["x1"]["serial"].data = {}  # as labgrid's session keeps what is gone
    with runs.hold("+", board="x3300") as hold:
        assert hold.place == "x2"
    with pytest.raises(LabError, match=r"Place x1 is not complete: Match lab/x1/.* has no matching remote resource"):
        runs.hold("x1").__enter__()


def test_an_adapter_that_is_not_plugged_in_is_left_out(coordinator: Coordinator, runs: Runs) -> None:
    coordinator.board("x1")
    coordinator.board("x2")
    coordinator.resources["lab"]["x1"]["serial"].data["avail"] = False
    with runs.hold("+", board="x3300") as hold:
        assert hold.place == "x2"


def test_a_board_that_its_exporter_does_not_give_is_given_up_for_another(coordinator: Coordinator, runs: Runs) -> None:
    coordinator.board("x1")
    coordinator.board("x2")
    coordinator.broken.add("x1")
    with runs.hold("+", board="x3300") as hold:
        assert hold.place == "x2"
    assert any("Place x1 could not be acquired" in line for line in runs.told)
    coordinator.broken.add("x2")
    with pytest.raises(LabError, match=r"Place x2 could not be acquired: Failed"):
        runs.hold("+", board="x3300").__enter__()
    assert coordinator.reservations == {}
    assert list(runs.locks.iterdir()) == []


def test_no_board_that_is_complete_is_the_labs(coordinator: Coordinator, runs: Runs) -> None:
    for name in ("x1", "x2"):
        coordinator.board(name, exported=False)
    with pytest.raises(LabError, match=r"Place x1 is not complete: .*; Place x2 is not complete: "):
        runs.hold("+", wait_s=60, board="x3300").__enter__()


def test_who_has_the_only_complete_board_is_told_with_what_the_others_lack(
    coordinator: Coordinator, runs: Runs
) -> None:
    coordinator.board("x1", exported=False)
    coordinator.board("x2").acquired = "elsewhere/alice"
    with pytest.raises(
        PlaceHeldError, match=r"held by elsewhere/alice, last changed at 2027-01-15 08:00 UTC; Place x1 is not complete"
    ):
        runs.hold("+", board="x3300").__enter__()
    assert coordinator.reservations == {}


def test_a_run_that_queues_takes_the_board_that_becomes_complete(
    coordinator: Coordinator, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    coordinator.board("x1", exported=False)
    coordinator.board("x2").acquired = "elsewhere/alice"
    monkeypatch.setattr(time, "sleep", lambda _: coordinator.export("x1"))
    with runs.hold("+", wait_s=60, board="x3300") as hold:
        assert hold.place == "x1"
    assert coordinator.reservations == {}


def test_a_coordinator_that_never_answers_is_left_in_order(
    coordinator: Coordinator, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    coordinator.is_mute = True
    hold = runs.hold("x1")
    monkeypatch.setattr(hold, "_do", _impatient(hold._do))
    with pytest.raises(LabError, match="cannot be reached"):
        hold.__enter__()
    assert coordinator.asked == ["session stopped", "session closed"]
    assert not any(thread.name == "hvrig-labgrid" for thread in threading.enumerate())


def _impatient(do: Callable[..., Any]) -> Callable[..., Any]:
    """The first thing that is asked of the loop, the connection, gets no time."""
    seconds = iter([0.05])
    return lambda work, within: do(work, next(seconds, within))


def test_a_try_that_failed_and_could_not_be_undone_is_told(
    coordinator: Coordinator, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    coordinator.board("x1")

    async def refuse(request: Any, timeout: float) -> None:
        raise Refused("out of order")

    def interrupted(line: str) -> None:
        runs.told.append(line)
        if line.startswith("place x1 acquired"):
            raise KeyboardInterrupt

    monkeypatch.setattr(coordinator, "ReleasePlace", refuse)
    hold = LabgridHold("127.0.0.1", "x1", tags={}, wait_s=0, locks=runs.locks, tell=interrupted)
    with pytest.raises(KeyboardInterrupt):
        hold.__enter__()
    assert "Place x1 could not be given back: out of order." in runs.told[-1]
