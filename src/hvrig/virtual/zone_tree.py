"""Zone 0's device tree for one boot: bootargs, initrd, and where wanted memory and a reservation, in a copy of a blob.

Formats: Devicetree Specification 0.4 (3.4 memory, 3.5 reserved-memory, 3.6 chosen); `linux,initrd-start` and `-end` of
Linux's Documentation/devicetree/bindings/chosen.txt. Pure: blobs in, blobs out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import libfdt

from hvrig.model.errors import UsageError
from hvrig.model.memory import Range

_REMEDY = "Give the .dtb that zone 0 is booted with; make one from a .dts with `dtc -I dts -O dtb`."
_ROOM = 16 << 10  # what is written into the copy is a tenth of it


@dataclass(frozen=True, kw_only=True)
class TreeChanges:
    """What is written. bootargs, initrd: into /chosen. memory: instead of all memory nodes; None: as the tree has it.

    reserved: a node of its own under /reserved-memory, instead of those that touch it; None: as the tree has it.
    """

    bootargs: str
    initrd: Range
    memory: Sequence[Range] | None = None
    reserved: Range | None = None


def changed_tree(blob: bytes, name: str, changes: TreeChanges) -> bytes:
    """A copy of the tree with the changes in it; `name` is the file's, for messages.

    Raises UsageError where `blob` is no device tree, or its cells cannot hold an address.
    """
    status = libfdt.fdt_check_full(bytearray(blob), len(blob))
    if status:
        raise UsageError(
            f"{name}: not a whole device tree blob: libfdt says {libfdt.fdt_strerror(status)} ({len(blob)} bytes).",
            _REMEDY,
        )
    tree = libfdt.Fdt(blob)
    try:
        tree.resize(len(blob) + _ROOM)
        _Writer(tree, name).write(changes)
        tree.pack()
    except libfdt.FdtException as error:
        raise UsageError(f"{name}: the device tree cannot be changed: {error}.", _REMEDY) from error
    return bytes(tree.as_bytearray())


class _Writer:
    """Offsets are looked up again for each change: every change moves what follows it."""

    def __init__(self, tree: libfdt.Fdt, name: str) -> None:
        self._tree = tree
        self._name = name

    def write(self, changes: TreeChanges) -> None:
        chosen = self._node("/", "chosen")
        self._tree.setprop_str(chosen, "bootargs", changes.bootargs)
        for which, address in (("start", changes.initrd.start), ("end", changes.initrd.end)):
            self._tree.setprop_u64(self._node("/", "chosen"), f"linux,initrd-{which}", address)
        if changes.memory is not None:
            self._write_memory(changes.memory)
        if changes.reserved is not None:
            self._write_reservation(changes.reserved)

    def _write_memory(self, banks: Sequence[Range]) -> None:
        for child in self._children("/"):
            if self._text(f"/{child}", "device_type") == "memory":
                self._tree.del_node(self._tree.path_offset(f"/{child}"))
        node = self._node("/", f"memory@{banks[0].start:x}")
        self._tree.setprop_str(node, "device_type", "memory")
        self._set_reg(f"/memory@{banks[0].start:x}", "/", banks)

    def _write_reservation(self, reserved: Range) -> None:
        parent = "/reserved-memory"
        if "reserved-memory" in self._children("/"):
            for child in self._children(parent):
                if any(reserved.overlap(part) for part in self._reg(f"{parent}/{child}", parent)):
                    self._tree.del_node(self._tree.path_offset(f"{parent}/{child}"))
        else:
            self._node("/", "reserved-memory")
            cells = self._cells("/")
            for name, count in zip(("#address-cells", "#size-cells"), cells, strict=True):
                self._tree.setprop_u32(self._tree.path_offset(parent), name, count)
            self._tree.setprop(self._tree.path_offset(parent), "ranges", b"")
        name = f"hvisor@{reserved.start:x}"
        self._tree.setprop(self._node(parent, name), "no-map", b"")
        self._set_reg(f"{parent}/{name}", parent, [reserved])

    def _node(self, parent: str, name: str) -> int:
        """The offset of a child, made where it is missing."""
        offset = self._tree.subnode_offset(self._tree.path_offset(parent), name, [libfdt.NOTFOUND])
        if offset >= 0:
            return int(offset)
        return int(self._tree.add_subnode(self._tree.path_offset(parent), name))

    def _children(self, path: str) -> list[str]:
        names: list[str] = []
        offset = self._tree.first_subnode(self._tree.path_offset(path), [libfdt.NOTFOUND])
        while offset >= 0:
            names.append(str(self._tree.get_name(offset)))
            offset = self._tree.next_subnode(offset, [libfdt.NOTFOUND])
        return names

    def _text(self, path: str, name: str) -> str:
        found = self._tree.getprop(self._tree.path_offset(path), name, [libfdt.NOTFOUND])
        return "" if isinstance(found, int) else bytes(found).rstrip(b"\0").decode("ascii", "replace")

    def _cells(self, path: str) -> tuple[int, int]:
        """#address-cells and #size-cells for the children of a node."""
        found: list[int] = []
        for name, default in (("#address-cells", 2), ("#size-cells", 1)):
            raw = self._tree.getprop(self._tree.path_offset(path), name, [libfdt.NOTFOUND])
            count = default if isinstance(raw, int) else int.from_bytes(bytes(raw), "big")
            if not 1 <= count <= 2:
                raise UsageError(f"{self._name} {path}: {name} is {count}: memory has one or two cells.", _REMEDY)
            found.append(count)
        return found[0], found[1]

    def _reg(self, path: str, parent: str) -> list[Range]:
        raw = self._tree.getprop(self._tree.path_offset(path), "reg", [libfdt.NOTFOUND])
        if isinstance(raw, int):
            return []
        address, size = self._cells(parent)
        row = 4 * (address + size)
        data = bytes(raw)
        return [
            Range(start, start + int.from_bytes(data[at + 4 * address : at + row], "big"))
            for at in range(0, len(data) - row + 1, row)
            for start in [int.from_bytes(data[at : at + 4 * address], "big")]
        ]

    def _set_reg(self, path: str, parent: str, banks: Sequence[Range]) -> None:
        address, size = self._cells(parent)
        try:
            reg = b"".join(b.start.to_bytes(4 * address, "big") + b.size.to_bytes(4 * size, "big") for b in banks)
        except OverflowError as error:
            raise UsageError(
                f"{self._name} {parent}: {address} address and {size} size cells cannot hold "
                f"{', '.join(map(str, banks))}.",
                "Give a tree with two address and two size cells.",
            ) from error
        self._tree.setprop(self._tree.path_offset(path), "reg", reg)
