"""The addresses of a host by its name, and one spelling for each coordinator (edge: socket)."""

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


def addresses_of(host: str) -> tuple[IpAddress, ...]:
    """All addresses that `host` stands for; none where it cannot be resolved, or not within RESOLVE_S."""
    try:
        return call_within(Deadline(RESOLVE_S), lambda: _looked_up(host), "hvrig-resolve")
    except (NoAnswerError, OSError, ValueError):
        return ()


def _looked_up(host: str) -> tuple[IpAddress, ...]:
    """Raises OSError where the name is not known, ValueError where it can be nobody's; in the resolver's own time."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return tuple(ipaddress.ip_address(str(item[4][0]).partition("%")[0]) for item in found)


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
    found = resolve(host)
    if any(own(each) for each in found):
        return f"{THIS_MACHINE}:{port}"
    lowest = min(found, key=lambda each: (each.version, int(each)), default=host)
    return f"{lowest}:{port}"
