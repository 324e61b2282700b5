"""The labgrid edge to a place's power: any driver with labgrid's PowerProtocol, and what such a driver needs."""

from __future__ import annotations

import pkgutil
import time
from collections.abc import Callable

import labgrid.driver.power
from labgrid import Target
from labgrid.driver.exception import ExecutionError
from labgrid.driver.powerdriver import ManualPowerDriver
from labgrid.protocol import PowerProtocol

from hvrig.lab.bounded_call import NoAnswerError, call_within
from hvrig.model.deadline import Deadline
from hvrig.model.errors import LabError

# Where labgrid looks for a NetworkPowerPort's model (labgrid/driver/powerdriver.py).
_MODELS = f"{labgrid.driver.power.__name__}."

# labgrid's extra that brings a Python package which a model needs (labgrid 26.0, pyproject.toml).
_EXTRAS = {"kasa": "kasa", "py_netgear_plus": "netgear", "pysnmp": "snmp", "vxi11": "vxi11"}


# How often an outlet is asked whether it has switched, and how long it may say the old state: PDUs switch their outlets
# one after the other (Sentry's sequence interval is 2 s), and some answer from a table that is seconds old.
POLL_S = 0.2
STALE_S = 5.0


class LabgridPower:
    """`hvrig.model.protocols.Power` over any labgrid driver with the PowerProtocol.

    `by_hand`: labgrid's ManualPowerDriver asks through stdin, which pytest captures: `ask` does it instead, with the
    request, and takes the time that a person needs.

    client: the labgrid-client command, with its place, that a person would try the outlet with; empty where there is
    none. labgrid's `rest` model has no time-out (labgrid 26.0), so each call runs in a thread that is left behind
    when the deadline is over.
    """

    def __init__(
        self, target: Target, name: str, ask: Callable[[str], None] | None = None, *, client: str = ""
    ) -> None:
        self._driver = target.get_driver(PowerProtocol)
        self._name = name
        self._ask = ask
        self._client = client
        self.by_hand = isinstance(self._driver, ManualPowerDriver)
        self._can_tell = hasattr(self._driver, "get")
        # labgrid itself uses `delay` in `cycle` alone, which never reads the outlet back.
        self.delay_s = float(getattr(self._driver, "delay", 0.0))

    def on(self, deadline: Deadline) -> None:
        """Power on, and read back where the outlet can tell."""
        self._switch("on", True, deadline)

    def off(self, deadline: Deadline) -> None:
        """Power off, and read back where the outlet can tell."""
        self._switch("off", False, deadline)

    def is_on(self, deadline: Deadline) -> bool | None:
        """What the outlet says; None where it cannot tell. Raises LabError when it does not answer."""
        if not self._can_tell:
            return None
        try:
            said = self._read(deadline)
        except NoAnswerError:
            raise self._no_answer("read the outlet", deadline) from None
        except Exception:  # switching it comes next, and says better what is wrong
            return None
        return said if isinstance(said, bool) else None

    def _switch(self, word: str, state: bool, deadline: Deadline) -> None:
        if self.by_hand:
            if self._ask is None:
                raise LabError(f"The power of place {self._name} is switched by hand.", "Ask the person who can.")
            self._ask(f"Switch the board of place {self._name} {word.upper()}")
            return
        try:
            call_within(deadline, getattr(self._driver, word), "hvrig-power")
        except NoAnswerError:
            raise self._no_answer(f"switch power {word}", deadline) from None
        except Exception as error:
            raise self._failed(f"switch power {word}", error) from error
        self._read_back(word, state, deadline)

    def _read_back(self, word: str, state: bool, deadline: Deadline) -> None:
        """Return once the outlet says `state`, at once where it cannot tell. Raises LabError."""
        stale = deadline.capped(STALE_S)
        said: bool | str | None = None
        while self._can_tell:
            try:
                said = self._read(deadline)
            except NoAnswerError:
                if said is None:
                    raise self._no_answer("read the outlet back", deadline) from None
            except Exception as error:
                raise self._failed("read the outlet back", error) from error
            if said is state or not self._can_tell:
                return
            if deadline.expired or (isinstance(said, bool) and stale.expired):
                if isinstance(said, bool):
                    said = f"says that it did not: it is {'on' if said else 'off'}"
                raise LabError(
                    f"The outlet of place {self._name} was told to switch {word} and {said}.",
                    self._try_it(f"power {word}", "Look at the outlet."),
                )
            time.sleep(min(POLL_S, deadline.remaining))

    def _read(self, deadline: Deadline) -> bool | str:
        """On or off, or what there was instead, in one clause: an outlet that is about to switch has no state.

        Raises NoAnswerError, and what the driver raises.
        """
        try:
            said = call_within(deadline, self._driver.get, "hvrig-power")
        except NotImplementedError:  # pdudaemon's
            self._can_tell = False
            return "cannot tell"
        except ExecutionError as error:
            return f"does not tell its state: {error}"
        return "does not tell its state" if said is None else bool(said)

    def _no_answer(self, what: str, deadline: Deadline) -> LabError:
        return LabError(
            f"The outlet of place {self._name} did not answer within {deadline.seconds:.0f} s when asked to {what}.",
            self._try_it("power get", "Is the outlet powered and on the network?"),
        )

    def _failed(self, what: str, error: Exception) -> LabError:
        said = f"{type(error).__name__}: {error}"
        remedy = "Is the outlet on the network, and are its host and index right?"
        if isinstance(error, ImportError):  # poe_netgear_plus looks for its package only now
            said, remedy = what_is_missing(error), remedy_for(error)
        elif isinstance(error, FileNotFoundError) and error.filename:
            remedy = f"Is {error.filename} installed on this machine, and its path right?"
        return LabError(f"The outlet of place {self._name} failed to {what}: {said}.", remedy)

    def _try_it(self, command: str, look: str) -> str:
        if not self._client:
            return f"{look}"
        return f"{look} Try it by hand: {self._client} {command}."


def what_is_missing(error: ImportError) -> str:
    """What labgrid could not import, in one clause: a model that it has not, or the package that a model needs."""
    missing = error.name or str(error)
    if missing.startswith(_MODELS):
        return f"labgrid has no power model {missing.removeprefix(_MODELS)!r}"
    model = _model_that_imports(error)
    return f"{f'power model {model}' if model else 'labgrid'} needs the Python package {missing}, which is not there"


def remedy_for(error: ImportError) -> str:
    """How to get what labgrid could not import."""
    missing = error.name or str(error)
    if missing.startswith(_MODELS):
        models = sorted(module.name for module in pkgutil.iter_modules(labgrid.driver.power.__path__))
        return f"Its models are {', '.join(models)}."
    extra = _EXTRAS.get(missing.partition(".")[0])
    what = f"labgrid[{extra}]" if extra else missing
    return f"Install it into hvrig's own Python environment: pip install '{what}'."


def _model_that_imports(error: ImportError) -> str:
    """The power model that was being imported, from the traceback; empty where it was none."""
    trace = error.__traceback__
    while trace is not None:
        module = str(trace.tb_frame.f_globals.get("__name__", ""))
        if module.startswith(_MODELS):
            return module.removeprefix(_MODELS)
        trace = trace.tb_next
    return ""
