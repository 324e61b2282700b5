"""Starts and stops a lab in a box, from hvrig's side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hvrig.virtual.server_process import ServerProcess

START_S = 60.0  # labgrid's programs take a second each to import, on an idle machine
STOP_S = 12.0  # a killed QEMU must end, for each board


@dataclass(frozen=True)
class LabBoard:
    """One virtual board of the lab: its place, and its rack's ports and process (`RackEndpoints`)."""

    place: str
    outlet_port: int
    ssh_port: int
    pid: int


@dataclass(frozen=True)
class LabEndpoints:
    """The lab: its coordinator's HOST:PORT, its boards, and the lab's own process."""

    coordinator: str
    boards: tuple[LabBoard, ...]
    pid: int


class VirtualLab(ServerProcess[LabEndpoints]):
    """The process that is a whole lab (`hvrig.virtual.labgrid_server`): one virtual board for each of `places`.

    uboot: the boards' firmware. tftp: the folder that their TFTP servers serve. tag: value of the places' tag `board`.
    port: the coordinator's, 0 for any. log: gets what everybody in the lab says about itself, appended.

    Started, its boards are off and its places can be acquired. The lab ends, and its boards with it, when it is
    stopped, and when this process ends, however it does.
    """

    def __init__(
        self, *, uboot: Path, tftp: Path, places: Sequence[str], tag: str = "virtual", port: int = 0, log: Path
    ) -> None:
        arguments = [
            *("--uboot", str(uboot), "--tftp", str(tftp), "--tag", tag, "--port", str(port), "--log", str(log)),
            *(argument for place in places for argument in ("--place", place)),
        ]
        super().__init__(
            "hvrig.virtual.labgrid_server",
            arguments,
            what="the virtual lab",
            endpoints=_endpoints,
            log=log,
            stop_s=STOP_S,
        )


def _endpoints(ready: dict[str, Any]) -> LabEndpoints:
    """Of the server's line of JSON."""
    return LabEndpoints(ready["coordinator"], tuple(LabBoard(**board) for board in ready["boards"]), ready["pid"])
