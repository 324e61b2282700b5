"""One spelling for each coordinator, however it is named (edge: socket)."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

from hvrig.lab.bounded_call import NoAnswerError, call_within
from hvrig.model.deadline import Deadline

RESOLVE_S = 5.0
THIS_MACHINE = "localhost"

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


def addresses_of(host: str) -> list[IpAddress]:
    """All addresses that `host` stands for. Raises OSError where it cannot be resolved."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return [ipaddress.ip_address(str(item[4][0]).partition("%")[0]) for item in found]


def is_own(address: IpAddress) -> bool:
    """Whether the address is one of this machine's: only such can a socket be bound to."""
    if address.is_loopback:
        return True
    with socket.socket(socket.AF_INET if address.version == 4 else socket.AF_INET6, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((str(address), 0))
        except OSError:
            return False
    return True


def one_spelling(
    address: str,
    default_port: int,
    proxy: str = "",
    *,
    resolve: Callable[[str], Sequence[IpAddress]] = addresses_of,
    own: Callable[[IpAddress], bool] = is_own,
) -> str:
    """HOST:PORT, the same for every way to write it: `localhost` for this machine, else the host's lowest IP address.

    proxy: the machine through which it is reached, and which alone knows what its name means. A host that cannot be
    resolved, and what is no address, stay as they are.
    """
    try:
        parts = urlsplit(f"//{address}")
        host, port = parts.hostname or "", parts.port or default_port
    except ValueError:
        return address
    if proxy:
        return f"{proxy} {host}:{port}"
    try:
        found = call_within(Deadline(RESOLVE_S), lambda: resolve(host), "hvrig-resolve")
    except (NoAnswerError, OSError, ValueError):
        found = []
    if any(own(each) for each in found):
        return f"{THIS_MACHINE}:{port}"
    lowest = min(found, key=lambda each: (each.version, int(each)), default=host)
    return f"{lowest}:{port}"
