"""What the rules need to know of a board besides its memory map, and what one rule comes to. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from hvrig.layout.board_rs import PhysicalStretch
from hvrig.layout.reservation import Reservation, reservation_for
from hvrig.model.layout import LayoutFinding, Rule, Stretch, Unchecked
from hvrig.model.memory import Range

# Where only a lower bound of the hypervisor's end is known, a reservation gets this much on top, for the static binary.
# hvisor's is 1.9 MiB on the sysoul-x3300, with a heap of 1 MiB in it.
BINARY_ALLOWANCE = 4 << 20


@dataclass(frozen=True)
class Load:
    """An image that is loaded somewhere, of unknown size."""

    name: str
    address: int
    source: str


@dataclass(frozen=True)
class Controller:
    """Registers of an interrupt controller that the hypervisor emulates for a zone: guest addresses."""

    stretch: Stretch
    zone: int


@dataclass(frozen=True, kw_only=True)
class BoardFacts:
    """physical_memory: BOARD_PHYSMEM_LIST, None where not known; controllers: likewise.

    loads: images whose size is not known. cells: #address-cells and #size-cells of zone 0's device tree.
    has_reserved_memory: whether that tree has /reserved-memory, so that a node can be put into it.
    hypervisor_exact: False where the map's hypervisor ends at the earliest possible address.
    missing: what the inputs already know to be uncheckable.
    """

    physical_memory: tuple[PhysicalStretch, ...] | None = None
    controllers: tuple[Controller, ...] | None = None
    loads: tuple[Load, ...] = ()
    cells: tuple[int, int] = (2, 2)
    has_reserved_memory: bool = True
    hypervisor_exact: bool = True
    missing: tuple[Unchecked, ...] = ()

    def reservation(self, hypervisor: Range) -> Reservation:
        """What to reserve for the hypervisor, in the cells of zone 0's tree."""
        if not self.hypervisor_exact:
            hypervisor = Range(hypervisor.start, hypervisor.end + BINARY_ALLOWANCE)
        return reservation_for(hypervisor, *self.cells)


@dataclass(frozen=True)
class Outcome:
    """What one rule comes to. `unchecked` beside `checked`: it was checked in part."""

    rule: Rule
    checked: bool
    findings: tuple[LayoutFinding, ...] = ()
    unchecked: tuple[Unchecked, ...] = ()


def not_checked(rule: Rule, why: str, remedy: str) -> Outcome:
    """A rule that could not be checked at all."""
    return Outcome(rule, checked=False, unchecked=(Unchecked(rule, why, remedy),))


def file_of(source: str) -> str:
    """The file of a source `file:line` or `file /node`."""
    file, found, _ = source.partition(" /")
    if found:
        return file
    head, _, line = source.rpartition(":")
    return head if line.isdigit() else source
