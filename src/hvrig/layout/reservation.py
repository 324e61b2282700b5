"""The reservation that gives the hypervisor's memory to nobody else, as text for a device tree. Pure.

Devicetree Specification 0.4, 3.5: a child of /reserved-memory with `reg`; with `no-map`, the kernel does not even
map it. Linux takes /reserved-memory only with the root node's own cells, and with an empty `ranges`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from hvrig.model.errors import UsageError
from hvrig.model.memory import PAGE_SIZE, Range

# Stage 2 and the kernel's linear map both use blocks of this size; a reservation of whole blocks splits fewer.
GRID = 2 << 20

_CELL = 1 << 32
_LARGEST = (1 << 64) - PAGE_SIZE  # whole pages in two cells


@dataclass(frozen=True)
class Reservation:
    """A child of /reserved-memory. address_cells, size_cells: those of its parent. label: its name without address.

    Raises UsageError where cells of this width, 1 or 2, cannot hold the numbers.
    """

    range: Range
    address_cells: int = 2
    size_cells: int = 2
    label: str = "hvisor"

    def __post_init__(self) -> None:
        for what, value, cells in (
            ("address", self.range.start, self.address_cells),
            ("size", self.range.size, self.size_cells),
        ):
            if cells not in (1, 2) or value >= _CELL**cells:
                raise UsageError(
                    f"The {what} {value:#x} does not fit a device tree with #{what}-cells = <{cells}>.",
                    f"Give the tree's root node #{what}-cells = <2>.",
                )

    @property
    def name(self) -> str:
        """The node's name with its unit address, such as `hvisor@500000`."""
        return f"{self.label}@{self.range.start:x}"

    @property
    def node(self) -> str:
        """The node, in one line."""
        cells = (*_cells(self.range.start, self.address_cells), *_cells(self.range.size, self.size_cells))
        return f"{self.name} {{ no-map; reg = <{' '.join(cells)}>; }};"

    @property
    def parent(self) -> str:
        """The node within a /reserved-memory of its own, for a tree that has none."""
        return parent_of([self])


def parent_of(reservations: Sequence[Reservation]) -> str:
    """The nodes, at least one, within a /reserved-memory of their own, for a tree that has none."""
    address_cells = max(one.address_cells for one in reservations)
    size_cells = max(one.size_cells for one in reservations)
    alike = [replace(one, address_cells=address_cells, size_cells=size_cells) for one in reservations]
    nodes = "".join(f"\n\t{one.node}\n" for one in alike)
    return (
        "reserved-memory {\n"
        f"\t#address-cells = <{address_cells}>;\n"
        f"\t#size-cells = <{size_cells}>;\n"
        "\tranges;\n"
        f"{nodes}}};"
    )


def reserved_range(needed: Range) -> Range:
    """What to reserve so that `needed` is covered: from the start of its page on, a whole number of 2 MiB.

    The start is not moved down to 2 MiB: what lies below the hypervisor is Linux's, and its start is where the linker
    put it.
    """
    start = needed.start - needed.start % PAGE_SIZE
    return Range(start, start + min(-(-(needed.end - start) // GRID) * GRID, _LARGEST))


def reservation_for(needed: Range, address_cells: int = 2, size_cells: int = 2) -> Reservation:
    """The reservation that covers `needed`. Raises UsageError where the cells cannot hold the numbers."""
    return Reservation(reserved_range(needed), address_cells, size_cells)


def _cells(value: int, count: int) -> tuple[str, ...]:
    return tuple(f"{value >> 32 * shift & (_CELL - 1):#x}" for shift in reversed(range(count)))
