"""The labgrid edge to a place's power: any driver with labgrid's PowerProtocol, and what such a driver needs."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from typing import Any

import labgrid.driver.power
from labgrid import Target
from labgrid.driver.powerdriver import ManualPowerDriver
from labgrid.protocol import PowerProtocol

from hvrig.lab.bounded_call import NoAnswerError, call_within
from hvrig.model.deadline import Deadline
from hvrig.model.errors import LabError

# Where labgrid looks for a NetworkPowerPort's model (labgrid/driver/powerdriver.py).
_MODELS = f"{labgrid.driver.power.__name__}."

# labgrid's extra that brings a Python package which a model needs (labgrid 26.0, pyproject.toml).
_EXTRAS = {"kasa": "kasa", "py_netgear_plus": "netgear", "pysnmp": "snmp", "vxi11": "vxi11"}


class LabgridPower:
    """`hvrig.model.protocols.Power` over any labgrid driver with the PowerProtocol.

    `by_hand`: labgrid's ManualPowerDriver asks through stdin, which pytest captures: `ask` does it instead, with the
    request, and takes the time that a person needs.

    labgrid's `rest` model has no time-out (labgrid 26.0), so each call runs in a thread that is left behind
    when the deadline is over.
    """

    def __init__(self, target: Target, name: str, ask: Callable[[str], None] | None = None) -> None:
        self._driver = target.get_driver(PowerProtocol)
        self._name = name
        self._ask = ask
        self.by_hand = isinstance(self._driver, ManualPowerDriver)

    def on(self, deadline: Deadline) -> None:
        """Power on, and read back where the outlet can tell."""
        self._switch("on", True, deadline)

    def off(self, deadline: Deadline) -> None:
        """Power off, and read back where the outlet can tell."""
        self._switch("off", False, deadline)

    def _switch(self, word: str, state: bool, deadline: Deadline) -> None:
        if self.by_hand:
            if self._ask is None:
                raise LabError(f"The power of place {self._name} is switched by hand.", "Ask the person who can.")
            self._ask(f"Switch the board of place {self._name} {word.upper()}")
            return
        self._bounded(getattr(self._driver, word), f"switch power {word}", deadline)
        if not hasattr(self._driver, "get"):
            return
        if bool(self._bounded(self._driver.get, "read the outlet back", deadline)) is not state:
            raise LabError(
                f"The outlet of place {self._name} was told to switch {word} and says that it did not.",
                f"Try it by hand: labgrid-client -p {self._name} power {word}; look at the outlet.",
            )

    def _bounded(self, call: Callable[[], Any], what: str, deadline: Deadline) -> Any:
        try:
            return call_within(deadline, call, "hvrig-power")
        except NoAnswerError:
            raise LabError(
                f"The outlet of place {self._name} did not answer within {deadline.seconds:.0f} s "
                f"when asked to {what}.",
                f"Is the outlet powered and on the network? Try it by hand: labgrid-client -p {self._name} power get.",
            ) from None
        except ImportError as error:  # poe_netgear_plus looks for its package only now
            raise LabError(f"The outlet of place {self._name} failed to {what}: {error}.", remedy_for(error)) from error
        except Exception as error:
            raise LabError(
                f"The outlet of place {self._name} failed to {what}: {type(error).__name__}: {error}.",
                "Is the outlet on the network, and are its host and index in the places file right?",
            ) from error


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
