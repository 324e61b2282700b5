"""A device tree blob: the memory it gives a zone's kernel, what it reserves, and its devices. Pure.

Format and rules: Devicetree Specification 0.4, 2.3 (`reg`, `ranges`, cells), 3.4 (memory), 3.5 (reserved-memory),
5 (the blob). Like Linux, only nodes whose `device_type` is `memory` are memory, and `disabled` nodes do not count.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import libfdt

from hvrig.model.errors import UsageError
from hvrig.model.memory import Range
from hvrig.model.memory_map import MemoryMap, Region, Use

_REMEDY = "Give the .dtb that root-linux is booted with; make one from a .dts with `dtc -I dts -O dtb`."
_QUIET = [libfdt.NOTFOUND]
_DEFAULT_CELLS = (2, 1)
_NOT_ON_A_BUS = frozenset({"cpus", "aliases", "chosen", "reserved-memory"})


@dataclass(frozen=True)
class _Window:
    """One entry of `ranges`: `size` bytes at `child` on the bus are at `parent` in physical addresses."""

    child: int
    parent: int
    size: int


@dataclass(frozen=True)
class _Node:
    """A node on the way down. windows: how its children's addresses become physical; None: they do not."""

    path: str
    name: str
    offset: int
    cells: tuple[int, int]
    windows: tuple[_Window, ...] | None
    enabled: bool


@dataclass(frozen=True)
class DeviceTree:
    """What a tree says. cells: the root's #address-cells and #size-cells.

    has_reserved_memory: whether there is a /reserved-memory, so that a node can be put into it.
    """

    map: MemoryMap
    cells: tuple[int, int]
    has_reserved_memory: bool


def read_device_tree(blob: bytes, name: str, zone: int = 0) -> DeviceTree:
    """Memory, reservations and devices of the tree of `zone`; `name` is the file's, for sources and messages.

    Raises UsageError where it is no device tree blob, or a memory or reservation in it cannot be understood.
    """
    status = libfdt.fdt_check_full(bytearray(blob), len(blob))
    if status:
        why = libfdt.fdt_strerror(status)
        raise UsageError(f"{name}: not a whole device tree blob: libfdt says {why} ({len(blob)} bytes).", _REMEDY)
    try:
        return _Reader(libfdt.FdtRo(blob), name, zone).read()
    except libfdt.FdtException as error:  # a tree can be whole and still contradict itself
        raise UsageError(f"{name}: a damaged device tree blob: {error}.", _REMEDY) from error


class _Reader:
    """Reads one tree. The blob has passed `fdt_check_full`, so that libfdt stays inside it."""

    def __init__(self, tree: libfdt.FdtRo, name: str, zone: int) -> None:
        self._tree = tree
        self._name = name
        self._zone = zone
        self._regions: list[Region] = []
        self._notes: list[str] = []

    def read(self) -> DeviceTree:
        cells, has_reserved_memory = _DEFAULT_CELLS, False
        for index in range(self._tree.num_mem_rsv()):
            start, size = self._tree.get_mem_rsv(index)
            self._add(Use.RESERVED, "/memreserve/", Range(start, start + size), f"{self._name} /memreserve/")
        for node, parent in self._nodes():
            if parent is None:
                cells = node.cells
            has_reserved_memory |= node.path == "/reserved-memory"
            if not node.enabled or parent is None:
                continue
            if parent.path == "/" and self._text(node, "device_type") == "memory":
                for stretch in self._reg(node, parent):
                    self._add(Use.TREE_MEMORY, node.name, stretch, f"{self._name} {node.path}")
            elif parent.path == "/reserved-memory":
                self._reservation(node, parent)
            elif parent.windows is not None and parent.name not in _NOT_ON_A_BUS and node.name not in _NOT_ON_A_BUS:
                self._device(node, parent)
        return DeviceTree(MemoryMap(tuple(self._regions), tuple(self._notes)), cells, has_reserved_memory)

    def _nodes(self) -> Iterator[tuple[_Node, _Node | None]]:
        """Every node with its parent, in the blob's order; nodes below a disabled one are not enabled."""
        stack: list[_Node] = []
        offset, depth = 0, 0
        while offset >= 0 and depth >= 0:
            del stack[depth:]
            parent = stack[-1] if stack else None
            node = self._node(offset, parent)
            yield node, parent
            stack.append(node)
            offset, depth = self._tree.next_node(offset, depth, _QUIET)

    def _node(self, offset: int, parent: _Node | None) -> _Node:
        try:
            name = str(self._tree.get_name(offset))
        except UnicodeDecodeError as error:
            raise UsageError(f"{self._name}: a node's name at byte {offset} is not text.", _REMEDY) from error
        path = "/" if parent is None else f"{parent.path.rstrip('/')}/{name}"
        node = _Node(path, name, offset, _DEFAULT_CELLS, (), parent is None or parent.enabled)
        cells = (self._cells(node, "#address-cells", 0), self._cells(node, "#size-cells", 1))
        enabled = node.enabled and self._text(node, "status") in ("", "okay", "ok")
        return _Node(path, name, offset, cells, self._windows(node, cells, parent), enabled)

    def _cells(self, node: _Node, name: str, which: int) -> int:
        raw = self._bytes(node, name)
        if raw is None:
            return _DEFAULT_CELLS[which]
        count = int.from_bytes(raw, "big")
        if len(raw) != 4 or count > 4:
            raise UsageError(f"{self._name} {node.path}: {name} is {raw.hex()!r}, not a number up to 4.", _REMEDY)
        return count

    def _windows(self, node: _Node, cells: tuple[int, int], parent: _Node | None) -> tuple[_Window, ...] | None:
        """How the addresses of the node's children become physical ones."""
        everything = (_Window(0, 0, 1 << 64),)
        if parent is None:
            return everything
        raw = self._bytes(node, "ranges")
        if raw is None or parent.windows is None or cells[0] > 2:
            return None  # a bus of its own, such as I2C, or PCI with its three cells
        if not raw:
            return parent.windows
        widths = (cells[0], parent.cells[0], cells[1])
        windows = (_Window(*entry) for entry in self._table(node, "ranges", raw, widths))
        return tuple(
            _Window(window.child, start, window.size)
            for window in windows
            if (start := _translated(window.parent, window.size, parent.windows)) is not None
        )

    def _reservation(self, node: _Node, parent: _Node) -> None:
        if self._bytes(node, "reg") is None:
            self._notes.append(
                f"{self._name} {node.path}: reserves memory without saying where (no reg): the kernel chooses."
            )
            return
        flags = [flag for flag in ("no-map", "reusable") if self._bytes(node, flag) is not None]
        label = f"{node.name} ({', '.join(flags)})" if flags else node.name
        use = Use.REUSABLE if flags == ["reusable"] else Use.RESERVED  # Linux does not reuse what it does not map
        for stretch in self._reg(node, parent):
            self._add(use, label, stretch, f"{self._name} {node.path}")

    def _device(self, node: _Node, parent: _Node) -> None:
        if self._bytes(node, "reg") is None or 0 in parent.cells:
            return
        for stretch in self._reg(node, parent):
            start = _translated(stretch.start, stretch.size, parent.windows or ())
            if start is not None:
                self._add(Use.TREE_DEVICE, node.name, Range(start, start + stretch.size), f"{self._name} {node.path}")

    def _reg(self, node: _Node, parent: _Node) -> Iterator[Range]:
        """The stretches of `reg` that are not empty: trailing pairs of zeros occur."""
        raw = self._bytes(node, "reg") or b""
        for start, size in self._table(node, "reg", raw, parent.cells):
            if start + size > 1 << 64:
                raise UsageError(f"{self._name} {node.path}: reg ends beyond 64 bits.", _REMEDY)
            if size:
                yield Range(start, start + size)

    def _table(self, node: _Node, name: str, raw: bytes, widths: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        """The rows of a property whose columns have these widths in cells of 4 bytes."""
        row_bytes = 4 * sum(widths)
        if row_bytes == 0 or len(raw) % row_bytes or max(widths) > 2:
            raise UsageError(
                f"{self._name} {node.path}: {name} has {len(raw)} bytes, which is no number of rows of "
                f"{' + '.join(map(str, widths))} cells.",
                _REMEDY,
            )
        for at in range(0, len(raw), row_bytes):
            row: list[int] = []
            for width in widths:
                row.append(int.from_bytes(raw[at : at + 4 * width], "big"))
                at += 4 * width
            yield tuple(row)

    def _add(self, use: Use, name: str, stretch: Range, source: str) -> None:
        self._regions.append(Region(name, use, stretch, source, zone=self._zone))

    def _bytes(self, node: _Node, name: str) -> bytes | None:
        found = self._tree.getprop(node.offset, name, _QUIET)
        return None if isinstance(found, int) else bytes(found)

    def _text(self, node: _Node, name: str) -> str:
        return (self._bytes(node, name) or b"").rstrip(b"\0").decode("ascii", "replace")


def _translated(start: int, size: int, windows: tuple[_Window, ...]) -> int | None:
    """The physical address of a stretch on a bus, None where no window holds all of it."""
    for window in windows:
        if window.child <= start and start + size <= window.child + window.size:
            return window.parent + start - window.child
    return None
