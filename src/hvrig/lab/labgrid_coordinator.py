"""The labgrid coordinator: a place acquired for a run, waited for by a reservation, and given back.

labgrid's own client session is used, in a thread with an event loop of its own; what is asked for from outside runs
there and is waited for with a deadline.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import grpc
from labgrid.remote.client import ClientSession, Error, UserError
from labgrid.remote.common import Place, Reservation, ReservationState, ResourceEntry
from labgrid.remote.generated import labgrid_coordinator_pb2 as messages
from labgrid.util.proxy import proxymanager

from hvrig.lab.place_lock import LockedError, PlaceLock
from hvrig.lab.resolver_socket import one_spelling
from hvrig.model.deadline import Deadline
from hvrig.model.errors import LabError, PlaceHeldError, UsageError
from hvrig.model.harmless import harmless

DEFAULT_PORT = 20408
CONNECT_S = 10.0
ANSWER_S = 30.0  # the coordinator gives each exporter 10 s, and starting ser2net takes half a second a port
RELEASE_S = 20.0  # ser2net needs up to 2 s to end
SETTLE_S = 2.0
POLL_S = 1.0  # as labgrid-client reserve --wait does

_T = TypeVar("_T")


class _HeldError(Exception):
    """Somebody has the place: `who` says so in one clause."""

    def __init__(self, who: str, holder: str) -> None:
        super().__init__(who)
        self.who = who
        self.holder = holder


class LabgridHold:
    """A place that is this run's inside `with`: `place` is its name, `session` labgrid's client session.

    address: the coordinator's. name: the place, or `+` for any that has `tags` (or the reservation LG_TOKEN), or
    `+TOKEN`. wait_s: how long to queue for it. locks: where to keep which run of ours uses which place. tell: gets
    lines for a person.

    A place that this user had acquired already, by hand, is used and left acquired. Raises LabError when the place
    cannot be had, UsageError for a place that cannot be asked for.
    """

    def __init__(
        self,
        address: str,
        name: str,
        *,
        tags: Mapping[str, str],
        wait_s: float,
        locks: Path,
        tell: Callable[[str], None],
    ) -> None:
        self._address = address
        self._spelling = ""  # the address as every run of ours writes it, for the locks
        self._name = name
        self._tags = dict(tags)
        self._wait_s = wait_s
        self._locks = locks
        self._tell = tell
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._session: ClientSession | None = None
        self._lock: PlaceLock | None = None
        self._token_lock: PlaceLock | None = None
        self._token = ""  # of a reservation that this run has made
        self._reserved_by: dict[str, str] = {}  # its tags
        self._acquired = ""  # a place that this run has acquired, or is about to

    def __enter__(self) -> LabgridHold:
        try:
            self._connect()
            self.place = self._hold()
        except BaseException:
            try:
                self._release()
            except LabError as failure:  # what ended the try is the news
                self._tell(str(failure))
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._release()

    @property
    def session(self) -> ClientSession:
        """labgrid's session, for its RemotePlaceManager."""
        assert self._session is not None
        return self._session

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The session's event loop, which runs in a thread of its own."""
        assert self._loop is not None
        return self._loop

    # --- the session -----------------------------------------------------------------------------------------

    def _connect(self) -> None:
        # labgrid tells what happens to a session through the root logger, and would set that up to print.
        if not logging.getLogger().handlers:
            logging.getLogger().addHandler(logging.NullHandler())
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=self._loop.run_forever, name="hvrig-labgrid", daemon=True)
            self._thread.start()
        try:
            self._session = self._do(self._start_session(), CONNECT_S)
        except (Error, FutureTimeoutError, OSError, ValueError) as error:
            raise LabError(
                f"The labgrid coordinator at {self._address} cannot be reached.",
                "Does labgrid-coordinator run there, and may this host reach it? Its address is the environment's "
                "options.coordinator_address, else LG_COORDINATOR. Try: labgrid-client -x "
                f"{self._address} places.",
            ) from error

    async def _start_session(self) -> ClientSession:
        address = proxymanager.get_grpc_address(self._address, default_port=DEFAULT_PORT)
        session = ClientSession(address, asyncio.get_running_loop())
        try:
            await session.start()
        except BaseException:
            await _end(session)
            raise
        return session

    def _do(self, work: Coroutine[Any, Any, _T], seconds: float) -> _T:
        """What `work` returns, done in the session's loop. Raises FutureTimeoutError; the work is cancelled then."""
        assert self._loop is not None
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(seconds)
        except BaseException:
            future.cancel()
            raise

    def _ask(self, name: str, request: Any, seconds: float = ANSWER_S) -> Any:
        """One call of the coordinator's, and what it changed brought home. Raises grpc.RpcError, LabError."""

        async def call() -> Any:
            session = self.session
            if session.stopping.is_set():
                raise LabError(
                    f"The connection to the labgrid coordinator at {self._address} is lost.",
                    "Was it started anew? It forgets then who had acquired what.",
                )
            answer: Any = await getattr(session.stub, name)(request, timeout=seconds)
            await session.sync_with_coordinator()
            return answer

        try:
            return self._do(call(), seconds + 1.0)
        except FutureTimeoutError as error:
            raise LabError(
                f"The labgrid coordinator at {self._address} did not answer {name} within {seconds:g} s.",
                "Look at its log, and at that of the exporter: journalctl -u labgrid-coordinator -u labgrid-exporter.",
            ) from error

    @property
    def _identity(self) -> str:
        return f"{self.session.gethostname()}/{self.session.getuser()}"

    # --- holding ---------------------------------------------------------------------------------------------

    def _hold(self) -> str:
        try:
            self._clear_dead_reservations()
            if self._name.startswith("+") or self._wait_s > 0:
                return self._hold_reserved()
            place = self._find(self._name)
            try:
                self._take(place)
            except _HeldError as held:
                raise PlaceHeldError(f"{held.who}.", self._remedy(place, held.holder)) from held
            return place
        except grpc.RpcError as error:
            raise LabError(
                f"The labgrid coordinator at {self._address} refused: {_details(error)}.",
                "Look at labgrid-client show and labgrid-client reservations.",
            ) from error

    def _find(self, name: str) -> str:
        try:
            found: str = self.session.get_place(name).name
        except UserError as error:
            known = ", ".join(sorted(self.session.places)) or "none"
            raise UsageError(
                f"The labgrid coordinator at {self._address} has no such place: {' '.join(error.args)}.",
                f"Its places are: {known}. Make one with labgrid-client -p {name} create.",
            ) from error
        return found

    def _take(self, name: str) -> None:
        """Acquire the place. Raises _HeldError when somebody has it, LabError when it cannot be had."""
        try:
            lock = self._lock_of(name)
        except LockedError as locked:
            which = f" ({locked.by})" if locked.by is not None else ""
            raise _HeldError(f"Place {name} is in use by another run of yours{which}", "") from locked
        try:
            if lock.acquired:
                self._take_back(name, lock)
            place = self.session.places[name]
            if place.acquired and not self._may_share(place):
                raise _HeldError(
                    f"Place {name} is held by {harmless(place.acquired)}, last changed at {_when(place.changed)}",
                    place.acquired,
                )
            self._lock = lock
            if place.acquired:
                self._tell(f"place {name} was acquired before by {harmless(place.acquired)}: used, and left acquired")
                return
            if place.reservation and place.reservation != self._token:
                self._require_own_reservation(place)
            self._acquire(place, lock)
        except BaseException:
            if not self._acquired:
                self._lock = None
                lock.give_up(keep=lock.acquired)
            raise

    def _acquire(self, place: Place, lock: PlaceLock) -> None:
        missing = self._missing(place)
        if missing is not None:
            raise _not_complete([f"Place {place.name} is not complete: {missing}"], place.name)
        lock.record(acquired=True)
        self._acquired = place.name
        try:
            self._ask("AcquirePlace", messages.AcquirePlaceRequest(placename=place.name))
        except grpc.RpcError as error:
            self._acquired = ""
            lock.record(acquired=False)
            now = self.session.places.get(place.name)
            if now is not None and now.acquired:
                raise _HeldError(
                    f"Place {now.name} is held by {harmless(now.acquired)}, last changed at {_when(now.changed)}",
                    now.acquired,
                ) from error
            raise LabError(
                f"Place {place.name} could not be acquired: {_details(error)}{self._taken_resources(place)}.",
                "Look at the exporter's log, at labgrid-client -v resources, and whether ser2net is installed there.",
            ) from error
        self._tell(f"place {place.name} acquired from {self._address} as {self._identity}")

    def _take_back(self, name: str, lock: PlaceLock) -> None:
        """Release what a dead run of ours has acquired; what was acquired by hand before it is left alone."""
        dead = lock.left_behind
        place = self.session.places[name]
        if place.acquired == self._identity:
            self._ask("ReleasePlace", messages.ReleasePlaceRequest(placename=name, fromuser=self._identity))
            self._tell(f"place {name} was left acquired by a run of yours that died ({dead}): taken back")
        lock.record(acquired=False)

    def _may_share(self, place: Place) -> bool:
        return place.acquired == self._identity or self._identity in place.allowed

    # --- reservations ----------------------------------------------------------------------------------------

    def _hold_reserved(self) -> str:
        """Through a reservation: by tags where the place is `+`, else by its name."""
        given = self._name[1:] or (os.environ.get("LG_TOKEN", "") if self._name == "+" else "")
        token = given if self._name.startswith("+") else ""
        tags = self._tags if self._name.startswith("+") else {"name": self._find(self._name)}
        if not token and not tags:
            raise UsageError(
                "The place is `+`, any place of a reservation, and there is none.",
                "Give the tags to reserve by under options.hvrig.lab.tags, or a reservation's token in LG_TOKEN.",
            )
        candidates = self._candidates(tags)
        if not token and not candidates:
            raise UsageError(
                f"No place of the coordinator at {self._address} has the tags {_pairs(tags)}.",
                "See labgrid-client -v places; labgrid-client -p PLACE set-tags board=x3300 sets one.",
            )
        for name in candidates:  # what is ours already is not in the queue
            if self._is_ours(name):
                with suppress(_HeldError):
                    self._take(name)
                    return name
        deadline = Deadline(self._wait_s)
        told = False
        unfit: dict[str, LabError] = {}  # what was tried in vain
        while True:
            wanted = tags if token or not self._name.startswith("+") else self._wanted(tags, candidates, unfit)
            if self._token and wanted != self._reserved_by:
                self._cancel_reservation()
            reservation = self._reservation(token or self._token, wanted)
            name = str(reservation.allocations.get("main", [""])[0])
            if name and reservation.state in {ReservationState.allocated, ReservationState.acquired}:
                try:
                    self._take(name)
                    return name
                except _HeldError as held:
                    why = held
                except LabError as error:
                    others = set(candidates) - {name, *unfit}
                    if not others or token or not self._name.startswith("+") or self._acquired:
                        raise
                    unfit[name] = error
                    self._tell(f"{error.message} Another board is looked for.")
                    continue
            else:
                why = self._who_has(candidates, reservation)
            if deadline.expired:
                waited = f", and was not free within {self._wait_s:g} s" if self._wait_s else ""
                raise PlaceHeldError(f"{why.who}{waited}.", self._remedy(" or ".join(candidates) or name, why.holder))
            if not told:
                told = True
                self._tell(f"waiting up to {self._wait_s:g} s: {why.who}")
            time.sleep(min(POLL_S, deadline.remaining))

    def _wanted(self, tags: dict[str, str], candidates: list[str], unfit: Mapping[str, LabError]) -> dict[str, str]:
        """What to reserve by now: the tags while every candidate will do, else the name of one that will.

        The coordinator also gives a place whose exporter is away, and it has no filter for that. Raises LabError where
        no candidate will do.
        """
        lacks = {name: self._lack(name) for name in candidates if name not in unfit}
        fit = [name for name, lack in lacks.items() if not lack]
        if len(fit) == len(candidates):
            return tags
        if not fit:
            said = [error.message.rstrip(".") for error in unfit.values()]
            raise _not_complete([*said, *filter(None, lacks.values())], candidates[0])
        free = [name for name in fit if self._is_free(name)]
        now = self._reserved_by.get("name", "")
        return {"name": now if now in (free or fit) else (free or fit)[0]}

    def _lack(self, name: str) -> str:
        """What keeps a board from being used, in one clause; empty where nothing is known to."""
        place = self.session.places.get(name)
        if place is None:
            return f"Place {name} is gone"
        missing = self._missing(place)
        if missing is not None:
            return f"Place {name} is not complete: {missing}"
        away = [
            resource.cls
            for path, resource in self._exported()
            if "SerialPort" in resource.cls and not resource.avail and place.hasmatch(path)
        ]
        return f"The {away[0]} of place {name} is not there" if away else ""

    def _is_free(self, name: str) -> bool:
        place = self.session.places[name]
        return not place.acquired and place.reservation in (None, "", self._token)

    def _missing(self, place: Place) -> str | None:
        """Which of the place's matches no exporter brings, as labgrid words it."""
        match = place.unmatched([path for path, _ in self._exported()])
        return None if match is None else f"Match {match} has no matching remote resource"

    def _exported(self) -> list[tuple[tuple[str, str, str, str], ResourceEntry]]:
        """All resources, by exporter, group, class and name; labgrid keeps those that are gone as empty entries."""
        return [
            ((exporter, group, resource.cls, name), resource)
            for exporter, groups in self.session.resources.items()
            for group, resources in groups.items()
            for name, resource in resources.items()
            if "cls" in resource.data
        ]

    def _reservation(self, token: str, tags: dict[str, str]) -> Reservation:
        """The reservation, refreshed; a new one where there is none, or it has expired meanwhile."""
        if token:
            try:
                answer = self._ask("PollReservation", messages.PollReservationRequest(token=token))
            except grpc.RpcError:
                if token != self._token:
                    raise
            else:
                found = Reservation.from_pb2(answer.reservation)
                if found.state not in {ReservationState.expired, ReservationState.invalid}:
                    return found
                if token != self._token:
                    raise LabError(
                        f"The reservation {harmless(token)} is {found.state.name}.",
                        "Make a new one, or unset LG_TOKEN.",
                    )
        request = messages.CreateReservationRequest(
            filters={"main": messages.Reservation.Filter(filter=tags)}, prio=0.0
        )
        made = Reservation.from_pb2(self._ask("CreateReservation", request).reservation)
        self._token, self._reserved_by = made.token, tags
        if self._token_lock is not None:
            self._token_lock.give_up()
        self._token_lock = self._lock_of(f"reservation {made.token}")
        self._token_lock.record(acquired=True)
        return made

    def _cancel_reservation(self, seconds: float = ANSWER_S) -> None:
        with suppress(grpc.RpcError):  # it has expired, or the coordinator was started anew
            self._ask("CancelReservation", messages.CancelReservationRequest(token=self._token), seconds)
        self._token = ""

    def _lock_of(self, what: str) -> PlaceLock:
        """Raises LockedError when a live run of ours has it."""
        if not self._spelling:
            self._spelling = one_spelling(self._address, DEFAULT_PORT, os.environ.get("LG_PROXY", ""))
        return PlaceLock(self._locks, f"{self._spelling} {self._identity} {what}")

    def _clear_dead_reservations(self) -> None:
        """Cancel what runs of ours that died have reserved, before it holds up anybody for its last minute."""
        for reservation in self._ask("GetReservations", messages.GetReservationsRequest()).reservations:
            if reservation.owner != self._identity:
                continue
            try:
                lock = self._lock_of(f"reservation {reservation.token}")
            except LockedError:
                continue  # a run of ours that is alive
            if lock.acquired:
                with suppress(grpc.RpcError):  # it has just expired
                    self._ask("CancelReservation", messages.CancelReservationRequest(token=reservation.token))
            lock.give_up()

    def _require_own_reservation(self, place: Place) -> None:
        """Raise _HeldError unless the place is reserved for this user, by hand."""
        owner = self._owner(place.reservation)
        if owner != self._identity:
            raise _HeldError(f"Place {place.name} is reserved for {harmless(owner)}", owner)
        try:
            self._lock_of(f"reservation {place.reservation}").give_up()
        except LockedError as locked:
            which = f" ({locked.by})" if locked.by is not None else ""
            raise _HeldError(f"Place {place.name} is reserved for another run of yours{which}", "") from locked

    def _candidates(self, tags: Mapping[str, str]) -> list[str]:
        return sorted(
            name
            for name, place in self.session.places.items()
            if tags and set(tags.items()) <= {*place.tags.items(), ("name", name)}
        )

    def _is_ours(self, name: str) -> bool:
        place = self.session.places.get(name)
        return place is not None and place.acquired == self._identity

    def _who_has(self, candidates: list[str], reservation: Reservation) -> _HeldError:
        """Why none of the candidates is free."""
        places = [self.session.places[name] for name in candidates if name in self.session.places]
        held = [place for place in places if place.acquired]
        if held:
            who = [
                f"Place {place.name} is held by {harmless(place.acquired)}, last changed at {_when(place.changed)}"
                for place in held
            ]
            return _HeldError("; ".join([*who, *filter(None, map(self._lack, candidates))]), held[0].acquired)
        waiting = f"The reservation {reservation.token} is {reservation.state.name}"
        return _HeldError(f"{waiting}, behind those before it", "")

    def _owner(self, token: str) -> str:
        answer = self._ask("GetReservations", messages.GetReservationsRequest())
        owners = {str(each.token): str(each.owner) for each in answer.reservations}
        return owners.get(token, "somebody else")

    def _remedy(self, place: str, holder: str) -> str:
        queue = f"Queue for it: --wait SECONDS (by hand: labgrid-client reserve --wait name={place})."
        if " or " in place:
            queue = "Queue for one of them: --wait SECONDS."
        if not holder:
            return queue
        host, _, user = holder.partition("/")
        return harmless(
            f"{queue} Or ask {user or holder} to run, on {host}: labgrid-client -p {place.split(' ')[0]} release.",
            keep_newlines=False,
        )

    def _taken_resources(self, place: Place) -> str:
        taken = [
            f"{exporter}/{group}/{name} is acquired by {harmless(str(resource.acquired))}"
            for (exporter, group, cls, name), resource in self._exported()
            if resource.acquired and place.hasmatch((exporter, group, cls, name))
        ]
        return f" ({'; '.join(taken)})" if taken else ""

    # --- giving back -----------------------------------------------------------------------------------------

    def _release(self) -> None:
        """Give back what this run has. Raises LabError when the coordinator does not take it; a second call: nothing.

        The lock file stays then, and the next run takes the place back.
        """
        given_back = False
        try:
            if self._token or self._acquired:
                self._give_back()
            given_back = True
        finally:
            self._token = self._acquired = ""
            if self._lock is not None:
                self._lock.give_up(keep=not given_back)
                self._lock = None
            if self._token_lock is not None:
                self._token_lock.give_up(keep=not given_back)
                self._token_lock = None
            self._disconnect()

    def _give_back(self) -> None:
        name = self._acquired or self._name
        try:
            if self._session is None or self._session.stopping.is_set():  # the coordinator was started anew
                self._end_session()
                self._connect()
            if self._token:
                self._cancel_reservation(RELEASE_S)
            if self._acquired:
                release = messages.ReleasePlaceRequest(placename=self._acquired, fromuser=self._identity)
                self._ask("ReleasePlace", release, RELEASE_S)
        except (grpc.RpcError, LabError) as error:
            why = _details(error) if isinstance(error, grpc.RpcError) else str(error.message)
            raise LabError(
                f"Place {name} could not be given back: {why}.",
                f"The next run takes it back. By hand: labgrid-client -x {self._address} -p {name} release.",
            ) from error

    def _end_session(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            with suppress(Exception):  # nothing depends on it any more
                self._do(_end(session), CONNECT_S)

    def _disconnect(self) -> None:
        self._end_session()
        if self._loop is not None:
            with suppress(Exception):
                self._do(_settle(), CONNECT_S)
        loop, self._loop = self._loop, None
        if loop is not None and self._thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            self._thread.join(CONNECT_S)
            if not self._thread.is_alive():
                loop.close()


async def _end(session: ClientSession) -> None:
    session.stopping.set()
    await session.stop()
    await session.close()


async def _settle() -> None:
    """Let what was given up in this loop end, before the loop does."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    if others:
        _, late = await asyncio.wait(others, timeout=SETTLE_S)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=SETTLE_S)


def _not_complete(why: Sequence[str], place: str) -> LabError:
    return LabError(
        f"{'; '.join(why)}.",
        "Does the exporter run, and is it connected? See labgrid-client resources. Compare with "
        f"labgrid-client -p {place} show.",
    )


def _when(seconds: float) -> str:
    """labgrid keeps when a place last changed, which is when it was acquired or, later, its tags or comment edited."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _pairs(tags: Mapping[str, str]) -> str:
    return " ".join(f"{key}={value}" for key, value in tags.items())


def _details(error: grpc.RpcError) -> str:
    said = error.details() if hasattr(error, "details") else None
    return harmless(str(said or error), keep_newlines=False).rstrip(".")
