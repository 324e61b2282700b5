"""A server of the virtual lab as a child process: it says in one line of JSON that it is ready, and ends with us."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Generic, Self, TypeVar

from hvrig.model.deadline import Deadline
from hvrig.model.errors import LabError

KILL_S = 2.0
_LINES = 10
_BLOCK = 4096

Endpoints = TypeVar("Endpoints")


class ServerProcess(Generic[Endpoints]):
    """`python -m module arguments`, with a pipe as its stdin: the server ends when that is closed, however we end.

    what: its name in messages. endpoints: makes of what it says when it is ready what `start` returns. log: gets what
    it says about itself, appended. stop_s: how long it may take to end.
    It is in a session of its own, so that Ctrl-C reaches hvrig alone, which can then end in order.

    As a context manager it stops the server.
    """

    def __init__(
        self,
        module: str,
        arguments: list[str],
        *,
        what: str,
        endpoints: Callable[[dict[str, Any]], Endpoints],
        log: Path,
        stop_s: float,
    ) -> None:
        self._module = module
        self._arguments = arguments
        self._endpoints = endpoints
        self._what = what
        self._log = log
        self._stop_s = stop_s
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, deadline: Deadline) -> Endpoints:
        """Start the server, and return where it is reached, once it is ready.

        Raises LabError, with the server's last words, when it does not come up before the deadline.
        """
        if self._process is not None:
            raise RuntimeError(f"{self._what} was started already")
        try:
            with self._log.open("ab") as log:
                began = log.tell()
                # -P: a module in the current folder must not stand in for one of the server's.
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-m", self._module, *self._arguments],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    start_new_session=True,
                )
        except OSError as error:
            raise LabError(
                f"{self._what} cannot be started: {error}", f"see that {self._log} can be written"
            ) from error
        assert self._process.stdout is not None
        try:
            line = _first_line(self._process.stdout, deadline)
            if line is not None:
                return self._endpoints(json.loads(line))
            late = self._process.poll() is None and deadline.expired
        except BaseException:
            self.stop()
            raise
        how = f"was not ready within {deadline.seconds:g} s" if late else "ended before it was ready"
        self.stop()
        words = self._last_words(began)
        raise LabError(
            f"{self._what} {how}; its last words:\n{words or '(none)'}",
            f"mend what they name; the whole log is {self._log}",
        )

    def wait(self) -> None:
        """Until the server ends by itself. Raises LabError then: it should not."""
        assert self._process is not None
        status = self._process.wait()
        raise LabError(
            f"{self._what} ended by itself, with status {status}.", f"Look at the end of {self._log} for why."
        )

    def stop(self) -> None:
        """Let the server end, and see to it; nothing if it does not run. Bounded by `stop_s` and KILL_S."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        try:
            process.wait(self._stop_s)
        except subprocess.TimeoutExpired:
            process.kill()
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
