"""What the watch says about the bytes of a UART."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field


class Origin(enum.Enum):
    """Who is at fault, or nobody: a fact is no fault."""

    HYPERVISOR = "hypervisor"
    KERNEL = "kernel"
    BOARD = "board"
    FACT = "fact"


class Confidence(enum.Enum):
    """How far a finding's words and numbers can be believed.

    HIGH: its words came whole, and so did every line that its report should have. A number may still lack a digit
    that was lost on the wire where the line kept its shape: nothing in the text shows that.
    LOW: its words were torn and put together again, a line is missing or broken, or lines of two CPUs' reports could
    not be told apart. That there was a fault is still certain enough to act on; its numbers are hints.
    """

    HIGH = "high"
    LOW = "low"


class Severity(enum.Enum):
    """What a finding means for the run.

    FATAL: a CPU, a zone or the board does not go on. ERROR: something failed and the system goes on, for now.
    WARNING: a limit was met, not a broken part. INFO: a fact.
    """

    FATAL = "fatal"
    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True)
class Alarm:
    """A fault's first line has come: enough to stop the clock, before its report is complete.

    offset: of the first byte of the fault's text in the UART stream. t: monotonic seconds at which the bytes
    that completed the pattern came in.
    """

    kind: str
    origin: Origin
    offset: int
    t: float


@dataclass(frozen=True)
class Finding:
    """One fault or fact, complete.

    kind: a name of the catalogue (`hvrig.watch.catalogue`), such as `unhandled-mmio-fault`.
    fields: what its report said, such as address, size, is_write, value, file, line, message.
    missing: names of fields that its report should have had and that did not survive.
    excerpt: the raw text, decoded, made harmless to print (`hvrig.model.harmless`).
    tied_to: offset of the finding that caused this one (a panic after an MMIO fault on that CPU).
    count: how often this signature came; the first one's text is kept.
    confidence, severity: see there. `cpu` is a hint whatever the confidence: hvisor reads it from memory that the
    fault may have overwritten.
    """

    kind: str
    origin: Origin
    offset: int
    t: float
    zone: int | None = None
    cpu: int | None = None
    fields: Mapping[str, int | bool | str] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    excerpt: str = ""
    tied_to: int | None = None
    count: int = 1
    confidence: Confidence = Confidence.HIGH
    severity: Severity = Severity.ERROR

    @property
    def is_fault(self) -> bool:
        """False for facts, such as the layout that the hypervisor prints."""
        return self.origin is not Origin.FACT


class Mark(enum.Enum):
    """Lines by which a boot's progress is known."""

    SPL = "spl"
    UBOOT_BANNER = "u-boot-banner"
    AUTOBOOT = "autoboot"
    STARTING_KERNEL = "starting-kernel"
    HYPERVISOR_HELLO = "hypervisor-hello"
    CPU_ENTERED = "cpu-entered"
    LINUX_BOOTING = "linux-booting"
    ECHO = "echo"


@dataclass(frozen=True)
class Milestone:
    """A mark has come. `text` is the part of the line that says which (a CPU number, a marker's name)."""

    mark: Mark
    offset: int
    t: float
    text: str = ""


WatchEvent = Alarm | Finding | Milestone
