"""What a room needs of the edges, as small Protocols."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from hvrig.model.deadline import Deadline


class Power(Protocol):
    """A power outlet. Every call ends within its deadline or raises LabError.

    delay_s: how long the board must be without power until it may be switched on again, as the place says; 0.0 where
    it says nothing.
    """

    delay_s: float

    def on(self, deadline: Deadline) -> None:
        """Power on, read back where the outlet can tell."""
        ...

    def off(self, deadline: Deadline) -> None:
        """Power off, read back where the outlet can tell."""
        ...

    def is_on(self, deadline: Deadline) -> bool | None:
        """What the outlet says; None where it cannot tell."""
        ...


class ConsoleTap(Protocol):
    """One dialogue's view of the console, from the moment it was opened. Bounded."""

    def read(self, deadline: Deadline) -> bytes:
        """The bytes that came since the last read, waiting for the first one; b"" when the time is up.

        Raises LabError when the console is gone, RuntimeError when the tap was closed or handed over.
        """
        ...

    def write(self, data: bytes) -> None:
        """Type `data`. Raises LabError when the console is gone."""
        ...


class TftpStage(Protocol):
    """Puts files into the folder that the board's TFTP server serves, for one run."""

    def put(self, file_name: str, path: Path, deadline: Deadline) -> str:
        """Serve the local file `path` as `file_name`; what U-Boot must ask for. Raises LabError."""
        ...

    def remove(self) -> None:
        """Take away all that was put there; a second call does nothing. Raises LabError where that cannot be."""
        ...


@dataclass(frozen=True)
class CommandResult:
    """A command that ended: its exit status and what it printed."""

    status: int
    stdout: bytes
    stderr: bytes


class RunningCommand(Protocol):
    """A command that was started and streams its output."""

    def abandon(self) -> None:
        """Close the channel at once, without waiting for the board."""
        ...


# Called from the shell's own thread with each block of output, and at last with the exit status
# (None if the connection was lost).
OutputSink = Callable[[bytes], None]
EndSink = Callable[[int | None], None]


class Shell(Protocol):
    """A shell on root-linux. `run` raises LabError when the connection is lost or the deadline expires."""

    def run(self, command: str, deadline: Deadline) -> CommandResult:
        """Run `command` in the board's shell and wait for its end."""
        ...

    def start(self, command: str, output: OutputSink, end: EndSink, deadline: Deadline) -> RunningCommand:
        """Start `command`; its output (stdout and stderr together) goes to `output` as it comes, then `end`."""
        ...
