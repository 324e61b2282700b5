"""The labgrid edge: one target of the environment, its power, its UART's address and its SSH address.

Only the place that is asked for is instantiated; labgrid's own pytest fixture would take all of the file's.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from labgrid import Environment, Target
from labgrid.exceptions import InvalidConfigError, NoDriverFoundError, NoResourceFoundError
from labgrid.protocol import PowerProtocol
from labgrid.resource import NetworkService
from labgrid.resource.base import SerialPort
from labgrid.resource.serialport import NetworkSerialPort

from hvrig.model.bench import RackPorts, SerialEndpoint, SshEndpoint
from hvrig.model.deadline import Deadline
from hvrig.model.errors import LabError, UsageError


class LabgridBench:
    """A place's target, valid inside `with`: `power`, `serial`, `ssh`.

    `rack_ports` are filled in where the environment has port 0. Raises UsageError for an environment that
    labgrid does not take, LabError for a resource that is not there.
    """

    def __init__(self, places: Path, name: str, rack_ports: RackPorts | None = None) -> None:
        self._places = places
        self._name = name
        self._rack_ports = rack_ports
        self._environment: Environment | None = None

    def __enter__(self) -> LabgridBench:
        try:
            self._environment = Environment(str(self._places))
            if self._rack_ports is not None:
                _fill_in(self._environment.config.data["targets"][self._name], self._rack_ports)
            target = self._environment.get_target(self._name)
            self.serial = _serial_endpoint(target)
            service = target.get_resource(NetworkService)
            self.ssh = SshEndpoint(service.address, service.port, service.username)
            self.power = LabgridPower(target, self._name)
        except NoResourceFoundError as error:
            self.__exit__(None, None, None)
            raise LabError(
                f"labgrid has no such resource for place {self._name}: {error}.",
                "Is the exporter running, and is the place acquired? See labgrid-client resources.",
            ) from error
        except NoDriverFoundError as error:
            self.__exit__(None, None, None)
            raise UsageError(
                f"Place {self._name} has no power driver: {error}.",
                f"Add one to its drivers in {self._places}, such as NetworkPowerDriver: {{}}.",
            ) from error
        except (InvalidConfigError, TypeError, ValueError, KeyError) as error:
            self.__exit__(None, None, None)
            raise UsageError(
                f"labgrid cannot use place {self._name} of {self._places}: {error}.",
                "Mend its resources and drivers; labgrid's documentation lists their arguments.",
            ) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._environment is not None:
            self._environment.cleanup()
            self._environment = None


class LabgridPower:
    """`hvrig.model.protocols.Power` over any labgrid driver with the PowerProtocol.

    labgrid's `rest` model has no time-out (labgrid 26.0), so each call runs in a thread that is left behind
    when the deadline is over.
    """

    def __init__(self, target: Target, name: str) -> None:
        self._driver = target.get_driver(PowerProtocol)
        self._name = name

    def on(self, deadline: Deadline) -> None:
        """Power on, and read back where the outlet can tell."""
        self._switch("on", True, deadline)

    def off(self, deadline: Deadline) -> None:
        """Power off, and read back where the outlet can tell."""
        self._switch("off", False, deadline)

    def _switch(self, word: str, state: bool, deadline: Deadline) -> None:
        self._bounded(getattr(self._driver, word), f"switch power {word}", deadline)
        if not hasattr(self._driver, "get"):
            return
        if bool(self._bounded(self._driver.get, "read the outlet back", deadline)) is not state:
            raise LabError(
                f"The outlet of place {self._name} was told to switch {word} and says that it did not.",
                f"Try it by hand: labgrid-client -p {self._name} power {word}; look at the outlet.",
            )

    def _bounded(self, call: Callable[[], Any], what: str, deadline: Deadline) -> Any:
        result: list[Any] = []
        failure: list[BaseException] = []

        def work() -> None:
            try:
                result.append(call())
            except Exception as error:
                failure.append(error)

        thread = threading.Thread(target=work, name="hvrig-power", daemon=True)
        thread.start()
        thread.join(deadline.remaining)
        if thread.is_alive():
            raise LabError(
                f"The outlet of place {self._name} did not answer within {deadline.seconds:.0f} s "
                f"when asked to {what}.",
                f"Is the outlet powered and on the network? Try it by hand: labgrid-client -p {self._name} power get.",
            )
        if failure:
            raise LabError(
                f"The outlet of place {self._name} failed to {what}: {type(failure[0]).__name__}: {failure[0]}.",
                "Is the outlet on the network, and are its host and index in the places file right?",
            ) from failure[0]
        return result[0]


def _serial_endpoint(target: Target) -> SerialEndpoint:
    for resource in target.resources:
        if isinstance(resource, NetworkSerialPort):
            found = target.get_resource(NetworkSerialPort, name=resource.name)
            if found.protocol not in {"raw", "rfc2217"}:
                raise UsageError(
                    f"Serial protocol {found.protocol!r} is not known.",
                    "labgrid's NetworkSerialPort has raw and rfc2217.",
                )
            return SerialEndpoint(found.protocol, found.speed, host=found.host, port=found.port)
    port = target.get_resource(SerialPort)
    return SerialEndpoint("local", port.speed, device=port.port)


def _fill_in(target: dict[str, Any], ports: RackPorts) -> None:
    """Put the virtual board's own ports where the environment leaves them open with 0."""
    resources = target["resources"]
    for item in resources if isinstance(resources, list) else [{key: value} for key, value in resources.items()]:
        for kind, arguments in item.items():
            if kind == "NetworkPowerPort":
                arguments["host"] = str(arguments["host"]).replace(":0/", f":{ports.outlet}/")
            elif kind == "NetworkSerialPort":
                arguments["port"] = arguments["port"] or ports.uart
            elif kind == "NetworkService":
                arguments["port"] = arguments["port"] or ports.ssh
