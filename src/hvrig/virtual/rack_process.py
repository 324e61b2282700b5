"""Starts and stops the rack of a virtual board, from hvrig's side."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from hvrig.model.deadline import Deadline
from hvrig.model.errors import LabError

STOP_S = 8.0  # more than the rack gives a killed QEMU to end
KILL_S = 2.0
_LINES = 10
_BLOCK = 4096


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
    uart_times: where to record when each byte left the board, for benchmarks. log: gets what the rack says about
    itself, appended.

    As a context manager it stops the rack. The rack also ends, and the board with it, when this process does,
    however it does. It is in a session of its own, so that Ctrl-C reaches hvrig alone, which can then end in order.
    """

    def __init__(
        self,
        *,
        uboot: Path,
        tftp: Path,
        outlet_port: int = 0,
        uart_port: int = 0,
        ssh_port: int = 0,
        uart_times: Path | None = None,
        log: Path,
    ) -> None:
        self._arguments = [
            *("--uboot", str(uboot), "--tftp", str(tftp)),
            *("--outlet-port", str(outlet_port), "--uart-port", str(uart_port), "--ssh-port", str(ssh_port)),
            *([] if uart_times is None else ["--uart-times", str(uart_times)]),
        ]
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, deadline: Deadline) -> RackEndpoints:
        """Start the rack, the board off, and return when outlet and UART take connections.

        Raises LabError, with the rack's last words, when it does not come up before the deadline.
        """
        if self._process is not None:
            raise RuntimeError("the rack was started already")
        try:
            with self._log.open("ab") as log:
                began = log.tell()
                # -P: a module in the current folder must not stand in for one of the rack's.
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "hvrig.virtual.rack_server", *self._arguments],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    start_new_session=True,
                )
        except OSError as error:
            raise LabError(
                f"the virtual board's rack cannot be started: {error}", f"see that {self._log} can be written"
            ) from error
        assert self._process.stdout is not None
        try:
            line = _first_line(self._process.stdout, deadline)
            if line is not None:
                return RackEndpoints(**json.loads(line))
            late = self._process.poll() is None and deadline.expired
        except BaseException:
            self.stop()
            raise
        what = f"was not ready within {deadline.seconds:g} s" if late else "ended before it was ready"
        self.stop()
        words = self._last_words(began)
        raise LabError(
            f"the virtual board's rack {what}; its last words:\n{words or '(none)'}",
            f"mend what they name; the whole log is {self._log}",
        )

    def stop(self) -> None:
        """Cut the board's power and end the rack; nothing if it does not run. Returns within 10 seconds."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()  # the kernel kills QEMU with it
            process.wait(KILL_S)
        process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _last_words(self, began: int) -> str:
        with self._log.open("rb") as log:
            log.seek(began)
            lines = log.read().decode("utf-8", "replace").splitlines()
        return "\n".join(lines[-_LINES:])


def _first_line(pipe: IO[bytes], deadline: Deadline) -> bytes | None:
    """The first line that comes through `pipe`; None when it ends before, or the time is up."""
    said = b""
    while b"\n" not in said:
        ready, _, _ = select.select([pipe], [], [], deadline.remaining)
        block = os.read(pipe.fileno(), _BLOCK) if ready else b""
        if not block:
            return None
        said += block
    return said.partition(b"\n")[0]
