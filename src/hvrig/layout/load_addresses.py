"""Where a place has U-Boot load zone 0's images, and where a `board.rs` has hvisor look for them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hvrig.layout.board_rs import Board, LoadAddress
from hvrig.layout.place import KERNEL, ROOT_TREE, image_for
from hvrig.model.place import Place


@dataclass(frozen=True)
class Disagreement:
    """One image: the place loads it at `loaded`, hvisor expects it elsewhere."""

    image: str
    loaded: int
    expected: LoadAddress
    constant: str

    def __str__(self) -> str:
        return (
            f"{self.image} is loaded at {self.loaded:#x}, and {self.constant} is {self.expected.address:#x} "
            f"({self.expected.source})"
        )


@dataclass(frozen=True)
class Compared:
    """agreed: addresses by image name. notes: what could not be compared, as clauses."""

    agreed: Mapping[str, int]
    wrong: tuple[Disagreement, ...]
    notes: tuple[str, ...]


def compare_addresses(place: Place, board: Board) -> Compared:
    """Compare the kernel's and the device tree's, as far as both sides have them."""
    agreed: dict[str, int] = {}
    wrong: list[Disagreement] = []
    notes: list[str] = []
    for what, constant, expected in (
        (KERNEL, "ROOT_ZONE_KERNEL_ADDR", board.kernel),
        (ROOT_TREE, "ROOT_ZONE_DTB_ADDR", board.dtb),
    ):
        name = image_for(place, what)
        if expected is None:
            notes.append(f"it has no {constant}")
        elif name is None:
            notes.append(f"which image of the place is {what} is not clear")
        elif place.images[name].address == expected.address:
            agreed[name] = expected.address
        else:
            wrong.append(Disagreement(name, place.images[name].address, expected, constant))
    return Compared(agreed, tuple(wrong), tuple(notes))
