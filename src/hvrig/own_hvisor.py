"""A user's own hvisor on the virtual board: what its files say, and what must be made of them before it can boot.

The machine is QEMU's `virt` as hvisor's board aarch64/qemu-gicv3 wants it (`hvrig.virtual.machine`). hvisor.bin and
zone 0's device tree are the user's; kernel and root file system are the virtual board's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hvrig.layout.board_rs import Board
from hvrig.layout.device_tree import read_device_tree
from hvrig.layout.inputs import read_bounded
from hvrig.layout.place import KERNEL
from hvrig.layout.place import ROOT_TREE as TREE
from hvrig.layout.reservation import reserved_range
from hvrig.layout.uimage import UImage, read_uimage
from hvrig.model.errors import UsageError
from hvrig.model.memory import Range
from hvrig.model.memory_map import MemoryMap, Use
from hvrig.model.place import Image, Place
from hvrig.virtual.images import dump_device_tree
from hvrig.virtual.machine import Machine, hvisor_machine
from hvrig.virtual.zone_tree import TreeChanges, changed_tree

# The names of the images in places of this kind.
HVISOR, BOARD_TREE, INITRD = "hvisor", "board_dtb", "initrd"

_MIB = 1 << 20
_BLOB_BYTES = 16 * _MIB
_HVISOR_BYTES = 64 * _MIB
_RAM_START = 0x4000_0000  # QEMU's virt machine
_LEAST_MIB, _MOST_MIB = 2048, 16384
_ALIGNMENT = 2 * _MIB

# Kept free for what the files do not tell: the kernel with its bss and page tables; hvisor's per-CPU areas and pool
# (70 MiB on the x3300, 68 with four CPUs); a device tree that grows; U-Boot at the top of its memory, below 4 GiB.
_KERNEL_ROOM = 96 * _MIB
_HYPERVISOR_ROOM = 96 * _MIB
_TREE_ROOM = 2 * _MIB
_UBOOT_ROOM = 64 * _MIB
_UBOOT_TOP = 1 << 32


@dataclass(frozen=True)
class OwnBoot:
    """A boot that is ready: the place with its addresses and made files, the machine, and what a person should know."""

    place: Place
    machine: Machine
    notes: tuple[str, ...]


def prepare(place: Place, board: Board | None, uboot: Path, folder: Path) -> OwnBoot:
    """Make zone 0's tree and the board's into `folder`, for a place whose local files are all there.

    board: the board.rs that hvisor was built with, if given: its addresses and RAM count. Raises UsageError, naming
    file and number, for what cannot boot.
    """
    rack = place.rack
    assert rack is not None
    missing = [name for name in (HVISOR, KERNEL, TREE, BOARD_TREE, INITRD) if name not in place.images]
    if missing:
        raise UsageError(
            f"Place {place.name} plays {rack.machine} and has no image {', '.join(missing)}.",
            f"Let it be `like` virtual-hvisor, or name its images {HVISOR}, {KERNEL}, {TREE}, {BOARD_TREE}, {INITRD}.",
        )
    if board is not None and board.cpus is not None and board.cpus != place.hypervisor.cpus:
        raise UsageError(
            f"board.rs has BOARD_NCPUS = {board.cpus}, and place {place.name} has {place.hypervisor.cpus} CPUs: hvisor "
            "would wait for ever for the others.",
            "Give the board.rs of aarch64/qemu-gicv3.",
        )
    hvisor = _hvisor(place.images[HVISOR].path)
    tree_file = place.images[TREE].path
    blob = read_bounded(tree_file, _BLOB_BYTES)
    tree = read_device_tree(blob, str(tree_file)).map
    images = dict(place.images)
    for name, at in ((KERNEL, board.kernel), (TREE, board.dtb)) if board is not None else ():
        if at is not None:
            images[name] = replace(images[name], address=at.address)
    ram = _zone_ram(board, tree, tree_file)
    _require_inside(images, ram)
    machine = hvisor_machine(place.hypervisor.cpus, _memory_mib(ram, tree))
    initrd = _initrd(images, ram, tree, hvisor)
    changes = TreeChanges(
        bootargs=rack.bootargs,
        initrd=initrd,
        memory=ram if rack.memory == "board-rs" else None,
        reserved=_reservation(place, hvisor),
    )
    zone0 = folder / "zone0.dtb"
    zone0.write_bytes(changed_tree(blob, str(tree_file), changes))
    board_tree = folder / "board.dtb"
    board_tree.write_bytes(dump_device_tree(machine, uboot))
    images[TREE] = replace(images[TREE], path=zone0)
    images[BOARD_TREE] = replace(images[BOARD_TREE], path=board_tree)
    images[INITRD] = replace(images[INITRD], address=initrd.start)
    return OwnBoot(replace(place, images=images), machine, _notes(tree_file, changes, images, machine))


def _hvisor(path: Path) -> UImage:
    return read_uimage(read_bounded(path, _HVISOR_BYTES), str(path))


def _zone_ram(board: Board | None, tree: MemoryMap, tree_file: Path) -> tuple[Range, ...]:
    """Zone 0's RAM, by board.rs, else by what its tree calls memory."""
    regions = board.map.of(Use.ZONE_RAM) if board is not None else tree.of(Use.TREE_MEMORY)
    if not regions:
        where = "board.rs gives zone 0 no RAM" if board is not None else f"{tree_file} has no memory node"
        raise UsageError(f"{where}: there is nowhere to boot root-linux.", "Give the files of aarch64/qemu-gicv3.")
    return tuple(sorted(region.range for region in regions))


def _require_inside(images: dict[str, Image], ram: Sequence[Range]) -> None:
    for name in (KERNEL, TREE):
        if not any(images[name].address in bank for bank in ram):
            raise UsageError(
                f"{name} is loaded at {images[name].address:#x}, which is in none of zone 0's RAM: "
                f"{', '.join(map(str, ram))}.",
                "Give the board.rs that this hvisor was built with (--board-rs), or mend its addresses.",
            )


def _memory_mib(ram: Sequence[Range], tree: MemoryMap) -> int:
    """How much memory the machine needs, so that all that zone 0 was promised is there."""
    ends = [bank.end for bank in (*ram, *(region.range for region in tree.of(Use.TREE_MEMORY)))]
    needed = -(-(max(ends) - _RAM_START) // _MIB)
    if min(bank.start for bank in ram) < _RAM_START or needed > _MOST_MIB:
        raise UsageError(
            f"Zone 0's RAM, {', '.join(map(str, ram))}, does not fit QEMU's virt machine, whose RAM begins at "
            f"{_RAM_START:#x}; at most {_MOST_MIB} MiB are made.",
            "Give the files of aarch64/qemu-gicv3.",
        )
    return max(_LEAST_MIB, needed)


def _initrd(images: dict[str, Image], ram: Sequence[Range], tree: MemoryMap, hvisor: UImage) -> Range:
    """Where the initrd lies: where the place has it, if it is free there, else the first room that is."""
    size = images[INITRD].path.stat().st_size
    top = min(max(bank.end for bank in ram), _UBOOT_TOP)
    taken = [
        *(_room(images[name], room) for name, room in ((KERNEL, _KERNEL_ROOM), (TREE, _TREE_ROOM))),
        *(_room(images[name], images[name].path.stat().st_size + _MIB) for name in (HVISOR,)),
        _room(images[BOARD_TREE], _TREE_ROOM),
        Range(hvisor.loaded.start, hvisor.loaded.end + _HYPERVISOR_ROOM),
        Range(max(0, top - _UBOOT_ROOM), top),
        *(region.range for region in tree.of(Use.RESERVED)),
    ]
    start = free_address(ram, taken, size, first=images[INITRD].address)
    if start is None:
        raise UsageError(
            f"Zone 0's RAM, {', '.join(map(str, ram))}, has no room for root-linux's file system of {size} bytes "
            "beside kernel, hypervisor and device trees.",
            "Give zone 0 more RAM below 4 GiB.",
        )
    return Range(start, start + size)


def _room(image: Image, size: int) -> Range:
    return Range(image.address, image.address + size)


def free_address(ram: Sequence[Range], taken: Sequence[Range], size: int, first: int) -> int | None:
    """An address for `size` bytes in one bank of `ram`, outside of `taken`, whole 2 MiB: `first` if it will do."""
    starts = [first, *sorted(-(-start // _ALIGNMENT) * _ALIGNMENT for start in _edges(ram, taken))]
    for start in starts:
        wanted = Range(start, start + size)
        inside = any(bank.start <= start and wanted.end <= bank.end for bank in ram)
        if inside and not any(wanted.overlap(other) for other in taken):
            return start
    return None


def _edges(ram: Sequence[Range], taken: Sequence[Range]) -> list[int]:
    return [*(bank.start for bank in ram), *(other.end for other in taken)]


def _reservation(place: Place, hvisor: UImage) -> Range | None:
    """What the place wants reserved for the hypervisor, from its load address on; None: as the tree has it."""
    assert place.rack is not None
    if place.rack.reserved == "tree":
        return None
    size = place.rack.reserved_bytes
    if size is not None:
        return Range(hvisor.loaded.start, hvisor.loaded.start + size)
    if place.hypervisor.range is None:
        raise UsageError(
            f"Place {place.name}: rack.reserved is all, and where the hypervisor ends is not known.",
            "Give hypervisor.start and hypervisor.end, a size such as 70M, or tree.",
        )
    return reserved_range(place.hypervisor.range)


def _notes(tree_file: Path, changes: TreeChanges, images: dict[str, Image], machine: Machine) -> tuple[str, ...]:
    written = ["bootargs", "initrd"]
    if changes.memory is not None:
        written.append(f"memory {', '.join(map(str, changes.memory))}")
    if changes.reserved is not None:
        written.append(f"reserved-memory {changes.reserved}")
    return (
        f"a copy of {tree_file} with {', '.join(written)} written into it; machine of {machine.memory_mib} MiB, "
        f"{machine.cpus} CPUs",
        ", ".join(f"{name} at {images[name].address:#x}" for name in (KERNEL, TREE, INITRD)),
    )
