"""What labgrid knows of a place, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class SerialEndpoint:
    """Where the UART is read.

    protocol: `raw` (a TCP socket), `rfc2217` (ser2net, over TCP), or `local` (a device on this machine).
    device: for `local` only. speed: baud.
    """

    protocol: str
    speed: int
    host: str = ""
    port: int = 0
    device: str = ""

    def __str__(self) -> str:
        return self.device if self.protocol == "local" else f"{self.host}:{self.port} ({self.protocol})"


@dataclass(frozen=True)
class SshEndpoint:
    """Where root-linux listens for SSH, of the target's NetworkService."""

    host: str
    port: int
    user: str

    def __str__(self) -> str:
        return f"{self.user}@{self.host}:{self.port}"


@dataclass(frozen=True)
class RackPorts:
    """TCP ports on which a virtual board's outlet, UART and SSH are found on this machine.

    device: the UART's device node, where it has one.
    """

    outlet: int
    uart: int
    ssh: int
    device: str = ""


@dataclass(frozen=True)
class ResourceNames:
    """Which of a target's serial ports and NetworkServices are meant; empty where there is one of them."""

    uart: str = ""
    service: str = ""


@dataclass(frozen=True)
class Acquisition:
    """How a place is got from a labgrid coordinator, where it has one.

    coordinator: HOST:PORT of one that was started on this machine for the run, or empty for the environment's own.
    tags: for a RemotePlace `+`. wait_s: how long to queue.
    """

    coordinator: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    wait_s: float = 0.0
