"""A device tree blob: the memory it gives a zone's kernel, what it reserves, and its devices. Pure.

Format and rules: Devicetree Specification 0.4, 2.3 (`reg`, `ranges`, cells), 3.4 (memory), 3.5 (reserved-memory),
5 (the blob). What counts is what Linux makes of them (`drivers/of/fdt.c`, `drivers/of/of_reserved_mem.c`):

- A node is memory where its `device_type` is, at any depth for older kernels; `linux,usable-memory` counts before
  `reg`; what is too much for whole entries is left.
- /reserved-memory is ignored, all of it, unless it has `ranges` and the root's #address-cells and #size-cells. Only its
  own children count, and one whose `reg` does not come in whole entries is left out.
- Memory reservations (/memreserve/) end at the first one of size 0.
- A node's `status` must be `ok` or `okay` if it has one; for these nodes, their parents' does not matter.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import libfdt

from hvrig.model.errors import UsageError
from hvrig.model.memory import Range
from hvrig.model.memory_map import MemoryMap, Region, Use

_REMEDY = "Give the .dtb that root-linux is booted with; make one from a .dts with `dtc -I dts -O dtb`."
_QUIET = [libfdt.NOTFOUND]
_DEFAULT_CELLS = (2, 1)
_NO_WIDTH = 5  # of cells: wider than any address
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
    reserved_memory_fault: why Linux ignores all of /reserved-memory, empty where it does not. ignored: reservations
    that Linux ignores; they are not in the map.
    """

    map: MemoryMap
    cells: tuple[int, int]
    has_reserved_memory: bool
    reserved_memory_fault: str = ""
    ignored: tuple[Region, ...] = ()


def read_device_tree(blob: bytes, name: str, zone: int = 0, lines: Mapping[str, str] | None = None) -> DeviceTree:
    """Memory, reservations and devices of the tree of `zone`; `name` is the file's, for sources and messages.

    lines: where each node, by its path, stands in the tree's source, as `file:line`.
    What Linux leaves out is left out, and a note says so.
    Raises UsageError where it is no device tree blob, or the root's cells or a memory in it cannot be understood.
    """
    status = libfdt.fdt_check_full(bytearray(blob), len(blob))
    if status:
        why = libfdt.fdt_strerror(status)
        raise UsageError(f"{name}: not a whole device tree blob: libfdt says {why} ({len(blob)} bytes).", _REMEDY)
    try:
        return _Reader(libfdt.FdtRo(blob), name, zone, lines or {}).read()
    except libfdt.FdtException as error:  # a tree can be whole and still contradict itself
        raise UsageError(f"{name}: a damaged device tree blob: {error}.", _REMEDY) from error


class _Reader:
    """Reads one tree. The blob has passed `fdt_check_full`, so that libfdt stays inside it."""

    def __init__(self, tree: libfdt.FdtRo, name: str, zone: int, lines: Mapping[str, str]) -> None:
        self._tree = tree
        self._name = name
        self._zone = zone
        self._lines = lines
        self._root_cells = _DEFAULT_CELLS
        self._regions: list[Region] = []
        self._ignored: list[Region] = []
        self._notes: list[str] = []
        self._fault: str | None = None  # None while there is no /reserved-memory

    def read(self) -> DeviceTree:
        for index in range(self._tree.num_mem_rsv()):  # libfdt stops at the first of size 0, as Linux does
            start, size = self._tree.get_mem_rsv(index)
            if start + size > 1 << 64:
                raise UsageError(f"{self._name} /memreserve/: {start:#x} + {size:#x} is beyond 64 bits.", _REMEDY)
            self._regions.append(self._region(Use.RESERVED, "/memreserve/", Range(start, start + size), "/memreserve/"))
        for node, parent in self._nodes():
            if parent is None:
                self._root_cells = node.cells
            elif node.path == "/reserved-memory":
                self._fault = self._reserved_memory_fault(node)
                if self._fault:
                    self._notes.append(f"{self._where(node.path)}: Linux ignores all of it: {self._fault}.")
            elif self._text(node, "device_type") == "memory":
                self._memory(node, parent)
            elif parent.path == "/reserved-memory":
                self._reservation(node, parent)
            elif parent.path.startswith("/reserved-memory/"):
                if self._bytes(node, "reg") is not None:
                    self._notes.append(
                        f"{self._where(node.path)}: Linux looks only at children of /reserved-memory, and ignores it."
                    )
            elif node.enabled and parent.windows is not None and not _NOT_ON_A_BUS & {parent.name, node.name}:
                self._device(node, parent)
        return DeviceTree(
            MemoryMap(tuple(self._regions), tuple(self._notes)),
            self._root_cells,
            has_reserved_memory=self._fault is not None,
            reserved_memory_fault=self._fault or "",
            ignored=tuple(self._ignored),
        )

    def _reserved_memory_fault(self, node: _Node) -> str:
        """Why Linux does not take this /reserved-memory, empty where it does."""
        for name, needed in zip(("#address-cells", "#size-cells"), self._root_cells, strict=True):
            raw = self._bytes(node, name)
            if raw is None:
                return f"it has no {name}, the root's is <{needed}>"
            if (count := int.from_bytes(raw[:4], "big")) != needed:
                return f"its {name} is <{count}>, the root's is <{needed}>"
        return "" if self._bytes(node, "ranges") is not None else "it has no ranges"

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
        return _Node(
            path, name, offset, cells, self._windows(node, cells, parent), node.enabled and self._available(node)
        )

    def _available(self, node: _Node) -> bool:
        status = self._bytes(node, "status")
        return status is None or status.rstrip(b"\0") in (b"okay", b"ok")

    def _cells(self, node: _Node, name: str, which: int) -> int:
        """A node's cell count. Beyond the root it matters to devices only: a width that is none makes a bus unknown."""
        raw = self._bytes(node, name)
        if raw is None:
            return _DEFAULT_CELLS[which]
        count = int.from_bytes(raw, "big")
        if len(raw) == 4 and count <= 4:
            return count
        if node.path == "/":
            raise UsageError(f"{self._where('/')}: {name} is {raw.hex()!r}, not a number up to 4.", _REMEDY)
        return _NO_WIDTH

    def _windows(self, node: _Node, cells: tuple[int, int], parent: _Node | None) -> tuple[_Window, ...] | None:
        """How the addresses of the node's children become physical ones."""
        everything = (_Window(0, 0, 1 << 64),)
        if parent is None:
            return everything
        raw = self._bytes(node, "ranges")
        if raw is None or parent.windows is None or max(cells) > 2:
            return None  # a bus of its own, such as I2C, or PCI with its three cells
        if not raw:
            return parent.windows
        widths = (cells[0], parent.cells[0], cells[1])
        if self._misfit(raw, widths):
            self._notes.append(
                f"{self._where(node.path)}: ranges is not in whole entries; devices below are not known."
            )
            return None
        windows = (_Window(*entry) for entry in _table(raw, widths))
        return tuple(
            _Window(window.child, start, window.size)
            for window in windows
            if (start := _translated(window.parent, window.size, parent.windows)) is not None
        )

    def _memory(self, node: _Node, parent: _Node) -> None:
        if not self._available(node):
            return
        name = "linux,usable-memory" if self._bytes(node, "linux,usable-memory") is not None else "reg"
        raw = self._bytes(node, name) or b""
        if max(self._root_cells) > 2 or not sum(self._root_cells):
            address, size = self._root_cells
            raise UsageError(
                f"{self._where(node.path)}: memory in a tree with #address-cells = <{address}> and #size-cells = "
                f"<{size}> cannot be read: hvrig knows 1 and 2.",
                _REMEDY,
            )
        if rest := self._misfit(raw, self._root_cells):
            self._notes.append(
                f"{self._where(node.path)}: {name} has {rest} bytes more than whole entries; Linux leaves them."
            )
            raw = raw[: len(raw) - rest]
        if parent.path != "/":
            self._notes.append(
                f"{self._where(node.path)}: only older kernels take memory that is not in the root node."
            )
        for stretch in self._stretches(node, name, raw, self._root_cells):
            self._regions.append(self._region(Use.TREE_MEMORY, node.name, stretch, node.path))

    def _reservation(self, node: _Node, parent: _Node) -> None:
        raw = self._bytes(node, "reg")
        if not self._available(node):
            return
        if raw is None:
            if not self._fault:
                self._notes.append(
                    f"{self._where(node.path)}: reserves memory without saying where (no reg): the kernel chooses."
                )
            return
        cells = parent.cells if self._fault else self._root_cells
        if max(cells) > 2 or self._misfit(raw, cells):
            self._notes.append(f"{self._where(node.path)}: reg is not in whole entries: Linux leaves the node out.")
            return
        flags = [flag for flag in ("no-map", "reusable") if self._bytes(node, flag) is not None]
        label = f"{node.name} ({', '.join(flags)})" if flags else node.name
        use = Use.REUSABLE if flags == ["reusable"] else Use.RESERVED  # Linux does not reuse what it does not map
        into = self._ignored if self._fault else self._regions
        into += [self._region(use, label, stretch, node.path) for stretch in self._stretches(node, "reg", raw, cells)]

    def _device(self, node: _Node, parent: _Node) -> None:
        raw = self._bytes(node, "reg")
        if raw is None or 0 in parent.cells or max(parent.cells) > 2:
            return
        if self._misfit(raw, parent.cells):
            self._notes.append(
                f"{self._where(node.path)}: reg is not in whole entries; where the device is, is not known."
            )
            return
        for address, size in _table(raw, parent.cells):
            start = _translated(address, size, parent.windows or ())
            if size and start is not None and start + size <= 1 << 64:
                moved = Range(start, start + size)
                self._regions.append(self._region(Use.TREE_DEVICE, node.name, moved, node.path))

    def _stretches(self, node: _Node, name: str, raw: bytes, widths: tuple[int, int]) -> Iterator[Range]:
        """The stretches of `reg` that are not empty: trailing pairs of zeros occur."""
        for start, size in _table(raw, widths):
            if start + size > 1 << 64:
                raise UsageError(f"{self._where(node.path)}: {name} ends beyond 64 bits.", _REMEDY)
            if size:
                yield Range(start, start + size)

    @staticmethod
    def _misfit(raw: bytes, widths: tuple[int, ...]) -> int:
        """Bytes beyond whole rows of columns of these widths, in cells of 4 bytes."""
        return len(raw) % (4 * sum(widths) or len(raw) + 1)

    def _where(self, path: str) -> str:
        return f"{self._lines.get(path, self._name)} {path}"

    def _region(self, use: Use, name: str, stretch: Range, path: str) -> Region:
        return Region(name, use, stretch, self._where(path), zone=self._zone)

    def _bytes(self, node: _Node, name: str) -> bytes | None:
        found = self._tree.getprop(node.offset, name, _QUIET)
        return None if isinstance(found, int) else bytes(found)

    def _text(self, node: _Node, name: str) -> str:
        return (self._bytes(node, name) or b"").rstrip(b"\0").decode("ascii", "replace")


def _table(raw: bytes, widths: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """The rows of a property whose columns have these widths in cells; `raw` is whole rows."""
    for row_at in range(0, len(raw), 4 * sum(widths) or 1):
        at, row = row_at, []
        for width in widths:
            row.append(int.from_bytes(raw[at : at + 4 * width], "big"))
            at += 4 * width
        yield tuple(row)


def _translated(start: int, size: int, windows: tuple[_Window, ...]) -> int | None:
    """The physical address of a stretch on a bus, None where no window holds all of it."""
    for window in windows:
        if window.child <= start and start + size <= window.child + window.size:
            return window.parent + start - window.child
    return None
