"""Why a run could not go on, told apart by whose turn it is to act.

Faults that the board shows are values (`hvrig.model.finding.Finding`); these exceptions mean that hvrig
could not look, or that an awaited step did not happen.
"""

from __future__ import annotations

from hvrig.model.phase import Phase


class HvrigError(Exception):
    """The root of all errors that hvrig raises on purpose.

    `message` says what happened and where, `remedy` what a person can do about it.
    """

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}\n  {self.remedy}" if self.remedy else self.message


class UsageError(HvrigError):
    """The person's turn: a wrong option, a wrong place file, a rung that cannot fit. Exit status 2."""


class LabError(HvrigError):
    """The lab's turn: power, serial, TFTP, SSH set-up, disk. Exit status 3."""


class PlaceHeldError(LabError):
    """Somebody else has the place: labgrid answers, and says who."""


class BoardError(HvrigError):
    """A step that the board should have taken did not happen before its deadline.

    Whether that is the lab's fault or the hypervisor's is decided by `phase`
    (`hvrig.model.phase.Phase.silence_is_hang`), see docs/decisions/3-phase-decides.md.
    `tail` holds the last console lines, harmless to print.
    """

    def __init__(self, message: str, remedy: str = "", *, phase: Phase, awaited: str, tail: str = "") -> None:
        super().__init__(message, remedy)
        self.phase = phase
        self.awaited = awaited
        self.tail = tail
