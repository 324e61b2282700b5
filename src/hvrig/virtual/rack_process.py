"""Starts and stops the rack of a virtual board, from hvrig's side."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

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


class Rack(ServerProcess[RackEndpoints]):
    """The process that is outlet and UART of one virtual board (`hvrig.virtual.rack_server`).

    uboot: the board's firmware. tftp: the folder that its TFTP server serves. Ports: 0 lets the kernel choose.
    uart_pty: where the UART's device node is made, as a USB serial adapter's; None for the TCP port alone.
    uart_times: where to record when each byte left the board, for benchmarks. machine: the board itself.
    log: gets what the rack says about itself, appended.

    Started, the board is off. The rack ends, and the board with it, when it is stopped, and when this process ends,
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
        super().__init__(
            "hvrig.virtual.rack_server",
            arguments,
            what="the virtual board's rack",
            endpoints=lambda ready: RackEndpoints(**ready),
            log=log,
            stop_s=STOP_S,
        )
