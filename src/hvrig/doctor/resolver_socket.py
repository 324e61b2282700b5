"""The addresses of a host by its name (edge: socket)."""

from __future__ import annotations

import ipaddress
import socket

from hvrig.doctor.port import IpAddress


def addresses_of(host: str) -> tuple[IpAddress, ...]:
    """All addresses that `host` stands for; none where it cannot be resolved."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return ()
    return tuple(sorted({ipaddress.ip_address(str(item[4][0]).partition("%")[0]) for item in found}, key=str))
