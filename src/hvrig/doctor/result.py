"""What a check came to, and what all of them together mean."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass


class Status(enum.Enum):
    """SKIPPED: it does not apply to this place, or an earlier check that it needs is not in order."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    SKIPPED = "skipped"


class Fault(enum.Enum):
    """Where the fault of a failed check is; the value is the exit status."""

    BOARD = 1
    SETTINGS = 2
    LAB = 3


@dataclass(frozen=True)
class Result:
    """One check's result. found: one sentence. remedy: what to do, for WARN and FAIL. fault: for FAIL only.

    tail: the console's last lines, where they tell more. blocks: checks that need this one cannot be made.
    """

    status: Status
    found: str
    remedy: str = ""
    fault: Fault | None = None
    tail: str = ""
    blocks: bool = False


@dataclass(frozen=True)
class Checked:
    """A check that was made, or not: its short name, what it looks at, its result, and how long it took."""

    name: str
    title: str
    result: Result
    seconds: float = 0.0


def ok(found: str) -> Result:
    """All is well."""
    return Result(Status.OK, found)


def warn(found: str, remedy: str) -> Result:
    """A run can be made, but something is to be mended."""
    return Result(Status.WARN, found, remedy)


def fail(found: str, remedy: str, fault: Fault = Fault.LAB, tail: str = "") -> Result:
    """A run would not pass."""
    return Result(Status.FAIL, found, remedy, fault, tail, blocks=True)


def not_applicable(why: str) -> Result:
    """There is nothing to check here; checks that come later do not mind."""
    return Result(Status.SKIPPED, f"not applicable: {why}")


def needs_first(checks: Sequence[str]) -> Result:
    """It cannot be made before those are in order."""
    return Result(Status.SKIPPED, f"needs {' and '.join(checks)}", blocks=True)


def exit_status(checks: Sequence[Checked]) -> int:
    """0 where nothing failed, else 3, 2 or 1: a board is accused only where lab and settings are in order."""
    return max((c.result.fault.value for c in checks if c.result.fault is not None), default=0)
