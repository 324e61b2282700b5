"""What the rules need to know of a board besides its memory map. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hvrig.layout.device_tree import DeviceTree
from hvrig.layout.reservation import Reservation, reserved_range
from hvrig.model.layout import Stretch, Unchecked
from hvrig.model.memory import Range
from hvrig.model.memory_map import MemoryMap, Region

# Where only a lower bound of the hypervisor's end is known, a reservation gets this much on top, for the static binary.
# hvisor's is 1.9 MiB on the sysoul-x3300, with a heap of 1 MiB in it.
BINARY_ALLOWANCE = 4 << 20


@dataclass(frozen=True)
class PhysicalStretch:
    """One entry of BOARD_PHYSMEM_LIST. kind: the last part of its MemoryType, such as `Normal`."""

    range: Range
    kind: str
    source: str


@dataclass(frozen=True)
class Load:
    """An image that is loaded somewhere, of unknown size. zone: whose start loads it, None for what boot loads."""

    name: str
    address: int
    source: str
    zone: int | None = None


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
    reserved_memory_fault: why Linux ignores all of that tree's /reserved-memory; ignored: the reservations in it.
    has_device_tree: False where zone 0's kernel gets none (x86_64), and takes the zone's RAM regions for its memory.
    zone_trees: other zones' configurations with their own device trees, a map each.
    all_zones: whether the map has every zone that runs on the board.
    hypervisor_exact: False where the map's hypervisor ends at the earliest possible address.
    missing: what the inputs already know to be uncheckable.
    """

    physical_memory: tuple[PhysicalStretch, ...] | None = None
    controllers: tuple[Controller, ...] | None = None
    loads: tuple[Load, ...] = ()
    cells: tuple[int, int] = (2, 2)
    has_reserved_memory: bool = True
    reserved_memory_fault: str = ""
    ignored: tuple[Region, ...] = ()
    has_device_tree: bool = True
    zone_trees: tuple[MemoryMap, ...] = ()
    all_zones: bool = False
    hypervisor_exact: bool = True
    missing: tuple[Unchecked, ...] = ()

    def with_tree(self, tree: DeviceTree) -> BoardFacts:
        """The same, with what is said of zone 0's tree."""
        return replace(
            self,
            cells=tree.cells,
            has_reserved_memory=tree.has_reserved_memory,
            reserved_memory_fault=tree.reserved_memory_fault,
            ignored=tree.ignored,
        )

    def reserved(self, hypervisor: Range) -> Range:
        """What to keep from the zones for a hypervisor of this range."""
        if not self.hypervisor_exact:
            hypervisor = Range(hypervisor.start, hypervisor.end + BINARY_ALLOWANCE)
        return reserved_range(hypervisor)

    def reservation(self, kept: Range, label: str = "hvisor") -> Reservation:
        """A node for `kept` in zone 0's tree: in the tree's cells, or wider ones where these cannot hold it."""
        cells = (max(self.cells[0], 1 + (kept.start >> 32 > 0)), max(self.cells[1], 1 + (kept.size >> 32 > 0)))
        return Reservation(kept, *cells, label)
