"""Starts and stops the rack of a virtual board, from hvrig's side."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from hvrig.model.deadline import Deadline
from hvrig.virtual.machine import VIRTUAL, Machine
from hvrig.virtual.server_process import ServerProcess

STOP_S = 8.0  # more than the rack gives a killed QEMU to end


@dataclass(frozen=True)
class RackEndpoints:
    """Where the rack is reached, all on 127.0.0.1; `pid` is the rack's own process.

    The outlet is `http://127.0.0.1:OUTLET_PORT/outlet/1` in labgrid's power model `rest`. The UART is raw TCP. SSH is
    forwarded to port 22 of the board while that is on.
    """

    outlet_port: int
    uart_port: int
    ssh_port: int
    pid: int


class Rack:
    """The process that is outlet and UART of one virtual board (`hvrig.virtual.rack_server`).

    uboot: the board's firmware. tftp: the folder that its TFTP server serves. Ports: 0 lets the kernel choose.
    uart_pty: where the UART's device node is made, as a USB serial adapter's; None for the TCP port alone.
    uart_times: where to record when each byte left the board, for benchmarks. machine: the board itself.
    log: gets what the rack says about itself, appended.

    As a context manager it stops the rack. The rack also ends, and the board with it, when this process does,
    however it does.
    """

    def __init__(
        self,
        *,
        uboot: Path,
        tftp: Path,
        outlet_port: int = 0,
        uart_port: int = 0,
        ssh_port: int = 0,
        uart_pty: Path | None = None,
        uart_times: Path | None = None,
        machine: Machine = VIRTUAL,
        log: Path,
    ) -> None:
        arguments = [
            *("--uboot", str(uboot), "--tftp", str(tftp)),
            *("--outlet-port", str(outlet_port), "--uart-port", str(uart_port), "--ssh-port", str(ssh_port)),
            *([] if uart_pty is None else ["--uart-pty", str(uart_pty)]),
            *([] if uart_times is None else ["--uart-times", str(uart_times)]),
            *("--machine", json.dumps(asdict(machine))),
        ]
        # Killed after STOP_S, it takes QEMU with it: the kernel sees to that.
        self._server = ServerProcess(
            "hvrig.virtual.rack_server", arguments, what="the virtual board's rack", log=log, stop_s=STOP_S
        )

    def start(self, deadline: Deadline) -> RackEndpoints:
        """Start the rack, the board off, and return when outlet and UART take connections.

        Raises LabError, with the rack's last words, when it does not come up before the deadline.
        """
        return RackEndpoints(**self._server.start(deadline))

    def stop(self) -> None:
        """Cut the board's power and end the rack; nothing if it does not run. Returns within 10 seconds."""
        self._server.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
