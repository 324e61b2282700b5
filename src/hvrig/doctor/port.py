"""The serial port: may it be opened, has somebody else got it, does its adapter hold bytes back?"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass

from hvrig.doctor.result import Result, fail, not_applicable, ok, warn
from hvrig.model.bench import SerialEndpoint

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

# FTDI's chips gather bytes for 16 ms by default; 1 ms is the least (Linux: drivers/usb/serial/ftdi_sio.c).
_LATENCY_MS = 1

_ESTABLISHED = "01"  # Linux: include/net/tcp_states.h


@dataclass(frozen=True)
class Access:
    """Who may open a device node.

    owner, group, mode: of the node (mode: the nine permission bits). user: who runs hvrig. may_open: this process may
    read and write it. member: the user database has the user in the node's group, though this login may be older.
    exists, is_device: what stands under the name. others: what /dev/serial/by-id has, by name.
    """

    device: str
    exists: bool
    is_device: bool = False
    owner: str = ""
    group: str = ""
    mode: int = 0
    user: str = ""
    may_open: bool = False
    member: bool = False
    others: Sequence[str] = ()


def check_access(facts: Access) -> Result:
    """Whether this user may open the port's device."""
    if not facts.exists:
        there = f"There are: {', '.join(facts.others)}." if facts.others else "No USB serial adapter is there."
        return fail(f"{facts.device} is not there", f"Plug the adapter in, or mend the resource's port. {there}")
    if not facts.is_device:
        return fail(f"{facts.device} is no serial device", "Mend the port of the place's serial resource.")
    who = f"{facts.owner}:{facts.group} {facts.mode:04o}"
    if facts.may_open:
        return ok(f"{facts.user} may open {facts.device} ({who})")
    if facts.member:
        return fail(
            f"{facts.user} may not open {facts.device} ({who}), and is in group {facts.group} since a later login",
            f"Log out and in again, or run: newgrp {facts.group}.",
        )
    if facts.mode & 0o060 != 0o060:
        return fail(
            f"{facts.user} may not open {facts.device} ({who}): its group may not either",
            'Add a udev rule: SUBSYSTEM=="tty", GROUP="dialout", MODE="0660" (docs/lab-setup.md).',
        )
    return fail(
        f"{facts.user} may not open {facts.device} ({who})",
        f"As root: adduser {facts.user} {facts.group}. Then log out and in again.",
    )


@dataclass(frozen=True)
class Connection:
    """A TCP connection of this machine, as in /proc/net/tcp. inode: its socket's, 0 where the kernel tells none."""

    local: IpAddress
    local_port: int
    remote: IpAddress
    remote_port: int
    inode: int


_CONNECTION = re.compile(
    r"^ *\d+: ([0-9A-F]{8,32}):([0-9A-F]{4}) ([0-9A-F]{8,32}):([0-9A-F]{4}) ([0-9A-F]{2})(?: +\S+){5} +(\d+)",
    re.MULTILINE,
)


def parse_connections(text: str) -> tuple[Connection, ...]:
    """The established connections in /proc/net/tcp or tcp6, proc(5), of a little-endian machine."""
    return tuple(
        Connection(_address(local), int(local_port, 16), _address(remote), int(remote_port, 16), int(inode))
        for local, local_port, remote, remote_port, state, inode in _CONNECTION.findall(text)
        if state == _ESTABLISHED
    )


def _address(text: str) -> IpAddress:
    """Words of four bytes, each in the machine's order."""
    data = b"".join(bytes.fromhex(text[at : at + 8])[::-1] for at in range(0, len(text), 8))
    address = ipaddress.ip_address(data)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def clients_of(
    connections: Sequence[Connection], addresses: Sequence[IpAddress], port: int
) -> tuple[tuple[Connection, ...], tuple[str, ...]]:
    """Who is connected to a server on `addresses` and `port`: connections from this machine, and other machines.

    The latter are seen only where the server is on this machine.
    """
    here = tuple(c for c in connections if c.remote_port == port and c.remote in addresses)
    ours = {(c.local, c.local_port) for c in here}
    served = [c for c in connections if c.local_port == port and c.local in addresses]
    elsewhere = sorted({str(c.remote) for c in served if (c.remote, c.remote_port) not in ours})
    return here, tuple(elsewhere)


@dataclass(frozen=True)
class Holder:
    """A process that has the port open. command: its command line, shortened; empty where it is not known."""

    pid: int
    command: str

    def __str__(self) -> str:
        return f"process {self.pid} ({self.command})" if self.command else f"process {self.pid}"


def check_readers(endpoint: SerialEndpoint, holders: Sequence[Holder], elsewhere: Sequence[str], unseen: int) -> Result:
    """Whether somebody else has the port. elsewhere: machines. unseen: processes that may not be looked into."""
    if holders or elsewhere:
        who = [*map(str, holders), *(f"somebody on {host}" for host in elsewhere)]
        verb = "has" if len(who) == 1 else "have"
        return fail(
            f"{' and '.join(who)} {verb} {endpoint} open",
            "Two readers take each other's bytes: end that program, or ask who runs it. hvrig did not touch the board.",
        )
    found = f"nobody else has {endpoint} open"
    if unseen and endpoint.protocol == "local":
        found += f", as far as this user can see: {unseen} processes are others'"
    elif endpoint.protocol != "local":
        found += ", as far as this machine can see"
    return ok(found)


@dataclass(frozen=True)
class Adapter:
    """How a tty's driver gathers bytes. driver: empty for no USB adapter. latency_ms: None where it has no timer."""

    driver: str
    latency_ms: int | None
    tty: str = ""


def check_latency(endpoint: SerialEndpoint, adapter: Adapter | None) -> Result:
    """Whether the adapter passes bytes on at once; adapter: None for a port that is not of this machine."""
    if adapter is None:
        return not_applicable(f"{endpoint} is a TCP port; its server has the adapter")
    if not adapter.driver:
        return not_applicable(f"{endpoint} is no USB adapter")
    if adapter.latency_ms is None:
        return not_applicable(f"the driver {adapter.driver} has no latency timer")
    if adapter.latency_ms > _LATENCY_MS:
        return warn(
            f"{adapter.driver} holds bytes back for up to {adapter.latency_ms} ms",
            f"As root: echo {_LATENCY_MS} > /sys/bus/usb-serial/devices/{adapter.tty}/latency_timer; for good, by a "
            f'udev rule: SUBSYSTEM=="usb-serial", ATTR{{latency_timer}}="{_LATENCY_MS}".',
        )
    return ok(f"{adapter.driver} holds bytes back for at most {adapter.latency_ms} ms")
