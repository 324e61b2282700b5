"""Starts and stops a lab in a box, from hvrig's side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from hvrig.model.deadline import Deadline
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


class VirtualLab:
    """The process that is a whole lab (`hvrig.virtual.labgrid_server`): one virtual board for each of `places`.

    uboot: the boards' firmware. tftp: the folder that their TFTP servers serve. tag: value of the places' tag `board`.
    port: the coordinator's, 0 for any. log: gets what everybody in the lab says about itself, appended.

    As a context manager it stops the lab. The lab also ends when this process does, however it does.
    """

    def __init__(
        self, *, uboot: Path, tftp: Path, places: Sequence[str], tag: str = "virtual", port: int = 0, log: Path
    ) -> None:
        arguments = [
            *("--uboot", str(uboot), "--tftp", str(tftp), "--tag", tag, "--port", str(port), "--log", str(log)),
            *(argument for place in places for argument in ("--place", place)),
        ]
        self._server = ServerProcess(
            "hvrig.virtual.labgrid_server", arguments, what="the virtual lab", log=log, stop_s=STOP_S
        )

    def start(self, deadline: Deadline) -> LabEndpoints:
        """Start the lab, its boards off, and return when its places can be acquired.

        Raises LabError, with the lab's last words, when it does not come up before the deadline.
        """
        ready = self._server.start(deadline)
        boards = tuple(LabBoard(**board) for board in ready["boards"])
        return LabEndpoints(ready["coordinator"], boards, ready["pid"])

    def wait(self) -> None:
        """Until the lab ends by itself; raises LabError then."""
        self._server.wait()

    def stop(self) -> None:
        """Cut the boards' power and end the lab; nothing if it does not run."""
        self._server.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
