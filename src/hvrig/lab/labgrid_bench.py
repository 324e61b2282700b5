"""The labgrid edge: one target of the environment, its power, its UART's address and its SSH address.

Only the place that is asked for is instantiated; labgrid's own pytest fixture would take all of the file's.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from subprocess import SubprocessError
from types import TracebackType
from typing import Any

from labgrid import Environment, Target
from labgrid.binding import BindingError
from labgrid.driver.exception import ExecutionError
from labgrid.exceptions import InvalidConfigError, NoDriverFoundError, NoResourceFoundError, NoSupplierFoundError
from labgrid.remote.client import Error as LabgridClientError
from labgrid.resource import NetworkService
from labgrid.resource.base import SerialPort
from labgrid.resource.common import ResourceManager
from labgrid.resource.remote import RemotePlaceManager
from labgrid.resource.serialport import NetworkSerialPort
from labgrid.util.proxy import proxymanager
from labgrid.util.ssh import sshmanager

from hvrig.lab.labgrid_coordinator import LabgridHold
from hvrig.lab.labgrid_power import LabgridPower, remedy_for, what_is_missing
from hvrig.lab.labgrid_tftp import RemoteTftp, local_tftp, remote_tftp
from hvrig.lab.place_lock import default_folder
from hvrig.model.bench import Acquisition, RackPorts, ResourceNames, SerialEndpoint, SshEndpoint
from hvrig.model.errors import LabError, UsageError
from hvrig.model.place import TftpSettings

DEFAULT_COORDINATOR = "127.0.0.1:20408"  # labgrid's own

_TARGET = re.compile(r" in Target\(.*?\)\)")  # labgrid puts the whole of it into its messages

_SERIAL_PORTS = (NetworkSerialPort, SerialPort)

_PROXY_ERRORS = (ExecutionError, SubprocessError, OSError)  # of labgrid's ssh, whose time-out is its own: 30 s


class LabgridBench:
    """A place's target, valid inside `with`: `power`, `serial`, `ssh`, and `tftp` where it has a TFTPProvider.

    `rack_ports` are filled in where the environment has port 0. A RemotePlace is acquired from its coordinator as
    `acquisition` says, and given back at the end; `tell` gets lines about that for a person. `ask` has a person do what
    is done by hand, and returns when it is done. names: of the resources, by the board's name. Raises UsageError for an
    environment that labgrid does not take, LabError for a resource that is not there or a place that cannot be had;
    leaving raises LabError when the place cannot be given back.
    """

    def __init__(
        self,
        places: Path,
        name: str,
        rack_ports: RackPorts | None = None,
        *,
        acquisition: Acquisition | None = None,
        tell: Callable[[str], None] = lambda _: None,
        locks: Path | None = None,
        ask: Callable[[str], None] | None = None,
        names: Callable[[str], ResourceNames] = lambda _: ResourceNames(),
    ) -> None:
        self._places = places
        self._name = name
        self._rack_ports = rack_ports
        self._acquisition = acquisition or Acquisition()
        self._tell = tell
        self._locks = locks
        self._ask = ask
        self._names = names
        self._stack = ExitStack()
        self._direct = False  # the board is at this machine: LG_PROXY is for others
        self.board = ""  # the acquired place's name, where a coordinator lends it out
        self._client = ""  # the labgrid-client command for the place, where a coordinator has it

    def __enter__(self) -> LabgridBench:
        with ExitStack() as stack:
            self._open(stack)
            self._stack = stack.pop_all()
        return self

    def _open(self, stack: ExitStack) -> None:
        try:
            environment = Environment(str(self._places))
            stack.callback(environment.cleanup)
            if self._rack_ports is not None:
                _fill_in(environment.config.data["targets"][self._name], self._rack_ports)
            if self._is_here(environment.config.data["targets"][self._name]):
                self._direct = True
                proxymanager.force_proxy("")  # labgrid's own drivers, and the coordinator's address, ask it
                stack.callback(proxymanager.force_proxy, os.environ.get("LG_PROXY", ""))
            self._acquire(environment, stack)
            target = environment.get_target(self._name)
            names = self._names(self.board)
            self._serial_resource = self._the_one(target, _SERIAL_PORTS, "serial port", names.uart, "uart.resource")
            self.serial = self._serial_endpoint(self._serial_resource)
            self._stable_device = stable_name(self.serial.device)
            service = self._the_one(target, (NetworkService,), "NetworkService", names.service, "ssh.resource")
            self.ssh = SshEndpoint(*self._reachable(service, service.address, service.port), service.username)
            self.power = LabgridPower(target, self._name, self._ask, client=self._client)
            self.tftp: TftpSettings | RemoteTftp | None = local_tftp(target) or remote_tftp(target)
        except NoSupplierFoundError as error:
            raise self._no_supplier(error) from error
        except LabgridClientError as error:
            raise LabError(
                f"labgrid cannot give place {self._name}: {' '.join(error.args)}.",
                "Is the exporter connected? See labgrid-client resources.",
            ) from error
        except _PROXY_ERRORS as error:
            raise LabError(
                f"labgrid cannot reach place {self._name} through its proxy: {error}.",
                "Can this user log in there without a password (ssh PROXY)? The proxy is the exporter's machine, or "
                "what LG_PROXY names.",
            ) from error
        except ImportError as error:
            raise UsageError(
                f"labgrid cannot use place {self._name} of {self._places}: {what_is_missing(error)}.", remedy_for(error)
            ) from error
        except (BindingError, InvalidConfigError, TypeError, ValueError, KeyError) as error:
            raise UsageError(
                f"labgrid cannot use place {self._name} of {self._places}: {error}.",
                "Mend its resources and drivers; labgrid's documentation lists their arguments.",
            ) from error

    def _no_supplier(self, error: NoSupplierFoundError) -> LabError | UsageError:
        """What a resource or a driver that labgrid does not find means: for the lab, or for who wrote the file."""
        away = ", ".join(sorted(type(resource).__name__ for resource in error.filter or ()))
        said = _TARGET.sub("", error.msg).partition(" (errors: ")[0]
        if away or (self._client and isinstance(error, NoResourceFoundError) and "multiple" not in said):
            return LabError(
                f"The {away} of place {self._name} is not there." if away else f"Place {self._name}: {said}.",
                "Does the exporter run, and is the adapter plugged in? See labgrid-client resources."
                if self._client
                else "Is it plugged in? labgrid-suggest, in hvrig's .venv, lists what labgrid finds here.",
            )
        if isinstance(error, NoDriverFoundError) and not said.startswith("binding"):
            return UsageError(
                f"Place {self._name} has no power driver: {said}.",
                f"Add one to its drivers in {self._places}, such as NetworkPowerDriver: {{}}.",
            )
        return UsageError(
            f"Place {self._name} of {self._places}: {said}.",
            "A driver works on one resource, or on another driver: add it; where there are several, name the one under "
            "the driver's bindings, such as NetworkPowerDriver: {bindings: {port: NAME}}.",
        )

    def _acquire(self, environment: Environment, stack: ExitStack) -> None:
        """Hold the target's RemotePlace, if it has one, and have labgrid take its resources from there."""
        remote = _remote_place(environment.config.data["targets"][self._name])
        given = self._acquisition
        if remote is None:
            if given.wait_s:
                self._tell(f"--wait has no effect: no labgrid coordinator lends out place {self._name}")
            return
        address = given.coordinator or str(
            environment.config.get_option("coordinator_address", os.environ.get("LG_COORDINATOR", DEFAULT_COORDINATOR))
        )
        hold = stack.enter_context(
            LabgridHold(
                address,
                str(remote["name"]),
                tags=given.tags,
                wait_s=given.wait_s,
                locks=self._locks or default_folder(),
                tell=self._tell,
            )
        )
        self.board = remote["name"] = hold.place
        self._client = f"labgrid-client -x {address} -p {hold.place}"
        # As labgrid-client does it; a manager of its own for each bench, since it keeps its first session for ever.
        ResourceManager.instances.pop(RemotePlaceManager, None)
        manager = RemotePlaceManager.get()
        manager.session, manager.loop, manager.env, manager.url = hold.session, hold.loop, environment, address

    def _is_here(self, target: dict[str, Any]) -> bool:
        """Whether the board is at this machine: a virtual one, or one whose UART the places file has here."""
        if self._rack_ports is not None or self._acquisition.coordinator:
            return True
        if _remote_place(target) is not None:
            return False
        uarts = [(kind, arguments) for kind, arguments in _resources(target) if kind.endswith("SerialPort")]
        uarts = [(kind, given) for kind, given in uarts if self._names("").uart in ("", given.get("name"))]
        return any(kind != "NetworkSerialPort" or _is_loopback(str(given.get("host"))) for kind, given in uarts)

    def _the_one(self, target: Target, kinds: tuple[Any, ...], what: str, name: str, setting: str) -> Any:
        """The resource of one of `kinds`, once it is there: the one called `name`, else the only one, or `default`."""
        there = [resource for resource in target.resources if isinstance(resource, kinds)]
        found = [resource for resource in there if name in ("", resource.name)]
        if len(found) > 1:
            found = [resource for resource in there if resource.name == "default"]  # as labgrid has it
        if there and len(found) != 1:
            candidates = ", ".join(f"{type(each).__name__} {each.name or 'without a name'}" for each in there)
            raise UsageError(
                f"Place {self._name} has {f'no {what} {name!r}' if name else f'more than one {what}'}: {candidates}.",
                f"Say which under options.hvrig: {setting.replace('.', ': {')}: NAME}}. A name stands among the "
                "resource's arguments (name: NAME), or is given by labgrid-client add-named-match.",
            )
        if not found:
            raise NoResourceFoundError(f"there is no {what}")
        target.await_resources(found)
        return found[0]

    def _serial_endpoint(self, resource: Any) -> SerialEndpoint:
        if not isinstance(resource, NetworkSerialPort):
            return SerialEndpoint("local", resource.speed, device=resource.port)
        if resource.protocol not in {"raw", "rfc2217"}:
            raise UsageError(
                f"Serial protocol {resource.protocol!r} is not known.",
                "labgrid's NetworkSerialPort has raw and rfc2217.",
            )
        host, port = self._reachable(resource, resource.host, resource.port)
        return SerialEndpoint(resource.protocol, resource.speed, host=host, port=port)

    def _reachable(self, resource: Any, host: str, port: int) -> tuple[str, int]:
        """Where a resource's TCP port is reached: itself, or the end of labgrid's SSH forwarding through its proxy.

        An exporter that is `--isolated` asks for its own machine as proxy; LG_PROXY is the user's, for everything else
        that is not here. A coordinator's loopback address may be its own machine's, the file's is this one's.
        labgrid's `proxymanager` knows resources with a `host` only, and a NetworkService has an `address`.
        """
        extra = getattr(resource, "extra", {})
        ours = self._direct or (not hasattr(resource, "_remote_entry") and _is_loopback(host))
        proxy = extra.get("proxy") if extra.get("proxy_required") else "" if ours else os.environ.get("LG_PROXY")
        return ("localhost", sshmanager.request_forward(proxy, host, port)) if proxy else (host, port)

    def serial_again(self) -> SerialEndpoint | None:
        """Where the UART is now; None while it is nowhere. For the reader's thread: it does not go through labgrid.

        An exporter whose adapter was pulled out and put back serves it on another port.
        """
        resource = self._serial_resource
        entry = getattr(resource, "_remote_entry", None)
        if not isinstance(resource, NetworkSerialPort):
            return replace(self.serial, device=self._stable_device)
        if entry is None:
            return self.serial
        port = entry.args.get("port")
        if not entry.avail or not port:
            return None
        if port == resource.port:
            return self.serial
        try:
            host, port = self._reachable(resource, str(entry.args["host"]), port)
        except _PROXY_ERRORS:
            return None
        return SerialEndpoint(resource.protocol, self.serial.speed, host=host, port=port)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()


def stable_name(device: str, folder: Path = Path("/dev/serial")) -> str:
    """The name under which udev finds an adapter again that was pulled out: the kernel's own may change.

    Its own name (by-id) before that of the USB port (by-path); the device itself where udev gave it neither.
    """
    links = [*sorted(folder.glob("by-id/*")), *sorted(folder.glob("by-path/*"))]
    return next((str(link) for link in links if device and link.resolve() == Path(device).resolve()), device)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _resources(target: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """A target's resources, by class; labgrid takes `{Class: args}`, `[{Class: args}]` and `[{cls: Class, ...}]`."""
    resources = target.get("resources") or []
    items = resources if isinstance(resources, list) else [{kind: arguments} for kind, arguments in resources.items()]
    return [
        (str(item["cls"]), item) if "cls" in item else (str(kind), arguments)
        for item in items
        for kind, arguments in (item.items() if "cls" not in item else [("", item)])
    ]


def _remote_place(target: dict[str, Any]) -> dict[str, Any] | None:
    """The arguments of the target's RemotePlace, or None."""
    return next((arguments for kind, arguments in _resources(target) if kind == "RemotePlace"), None)


def _fill_in(target: dict[str, Any], ports: RackPorts) -> None:
    """Put the virtual board's own ports where the environment leaves them open, with 0 or an empty name."""
    for kind, arguments in _resources(target):
        if kind == "NetworkPowerPort":
            arguments["host"] = str(arguments["host"]).replace(":0/", f":{ports.outlet}/")
        elif kind == "NetworkSerialPort":
            arguments["port"] = arguments["port"] or ports.uart
        elif kind == "RawSerialPort":
            arguments["port"] = arguments["port"] or ports.device
        elif kind == "NetworkService":
            arguments["port"] = arguments["port"] or ports.ssh
