"""hvisor's `board.rs`: the regions of zone 0 and what else the board fixes at compile time. Pure.

Shape: hvisor, `platform/ARCH/BOARD/board.rs` and `HvConfigMemoryRegion` of `src/config.rs`. The table is an array
`[HvConfigMemoryRegion; N]` or a slice `&[HvConfigMemoryRegion]`; an entry is a literal or the name of a constant.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tree_sitter import Node

from hvrig.layout.board_facts import Controller, PhysicalStretch
from hvrig.layout.controllers import controllers
from hvrig.layout.rust_source import Constants, Item, RustSource, code_children, text_of
from hvrig.model.errors import UsageError
from hvrig.model.memory import Range
from hvrig.model.memory_map import MemoryMap, Region, Use

REGIONS = "ROOT_ZONE_MEMORY_REGIONS"
_TABLE_ENTRIES = 4096

# `MEM_TYPE_*` of hvisor's src/config.rs, as name and as number; boards of x86_64 define more of their own.
_USES = {
    "MEM_TYPE_RAM": Use.ZONE_RAM,
    "MEM_TYPE_IO": Use.ZONE_DEVICE,
    "MEM_TYPE_VIRTIO": Use.ZONE_VIRTIO,
    "0": Use.ZONE_RAM,
    "1": Use.ZONE_DEVICE,
    "2": Use.ZONE_VIRTIO,
}
_NAMES = {
    Use.ZONE_RAM: "RAM",
    Use.ZONE_DEVICE: "device memory",
    Use.ZONE_VIRTIO: "virtio device memory",
    Use.ZONE_OTHER: "memory",
}


@dataclass(frozen=True)
class LoadAddress:
    """A physical address at which the hypervisor expects an image, and where it is written."""

    address: int
    source: str


@dataclass(frozen=True)
class Board:
    """What a `board.rs` says. None, or empty, where it does not say it.

    map: zone 0's regions. notes of the map: entries that `#[cfg]` may leave out.
    controllers: None where there is no ROOT_ARCH_ZONE_CONFIG, or it cannot be computed.
    """

    map: MemoryMap
    cpus: int | None
    kernel: LoadAddress | None
    dtb: LoadAddress | None
    physical_memory: tuple[PhysicalStretch, ...]
    controllers: tuple[Controller, ...] | None = None


def read_board(source: RustSource, others: Sequence[RustSource] = ()) -> Board:
    """The board of `source`; `others` (consts.rs) define constants that it uses.

    Raises UsageError, naming file and line, where the regions are missing or not understood.
    """
    constants = Constants((source, *others))
    tables = source.items.get(REGIONS, [])
    if len(tables) != 1:
        many = "several, chosen by #[cfg]" if tables else "none"
        raise UsageError(
            f"{source.name}: it should have one {REGIONS}, and has {many}.",
            "Give the board.rs of the board, platform/ARCH/BOARD/board.rs of hvisor's sources.",
        )
    emulated, notes = _controllers(constants)
    return Board(
        map=_regions(tables[0], constants) + MemoryMap((), notes),
        cpus=constants.integer("BOARD_NCPUS"),
        kernel=_load_address("ROOT_ZONE_KERNEL_ADDR", constants),
        dtb=_load_address("ROOT_ZONE_DTB_ADDR", constants),
        physical_memory=_physical_memory(constants),
        controllers=emulated,
    )


def _regions(table: Item, constants: Constants) -> MemoryMap:
    regions: list[Region] = []
    notes: list[str] = []
    for entry in _entries(table, constants):
        if entry.type == "attribute_item":
            notes.append(
                f"{table.source.where(entry)}: the next entry of {REGIONS} stands under {text_of(entry)} "
                "and is taken as present."
            )
        else:
            regions.append(_region(entry, table.source, constants))
    return MemoryMap(tuple(regions), tuple(notes))


def _entries(table: Item, constants: Constants) -> list[Node]:
    """The entries of an array or slice, attributes among them; `[entry; N]` is N entries."""
    array = table.value
    while array.type in ("reference_expression", "parenthesized_expression") and len(code_children(array)) == 1:
        array = code_children(array)[0]
    if array.type != "array_expression":
        raise table.source.refuse(array, f"{table.name} is not an array written out")
    entries = code_children(array)
    length = array.child_by_field_name("length")
    if length is None:
        return entries
    count = constants.evaluate(length, table.source)
    if count > _TABLE_ENTRIES:
        raise table.source.refuse(length, f"{table.name} has too many entries")
    return [entry for entry in entries if entry != length] * count


def _region(entry: Node, source: RustSource, constants: Constants) -> Region:
    body = entry.child_by_field_name("body")
    if entry.type in ("identifier", "scoped_identifier"):
        items = constants.items(text_of(entry).rsplit("::", 1)[-1])
        if len(items) != 1 or items[0].value.type != "struct_expression":
            raise source.refuse(entry, "not a region that one of the given files defines once")
        return _region(items[0].value, items[0].source, constants)
    if entry.type != "struct_expression" or body is None:
        raise source.refuse(entry, "not an HvConfigMemoryRegion written out")
    fields = _fields(body, source)
    missing = [name for name in ("mem_type", "physical_start", "virtual_start", "size") if name not in fields]
    if missing:
        raise source.refuse(entry, f"a region without {' and '.join(missing)}")
    start, guest, size = (
        constants.evaluate(fields[name], source) for name in ("physical_start", "virtual_start", "size")
    )
    if max(start, guest) + size > 1 << 64:
        raise source.refuse(entry, "a region that ends beyond 64 bits")
    kind = text_of(fields["mem_type"]).rsplit("::", 1)[-1]
    use = _USES.get(kind, Use.ZONE_OTHER)
    name = _NAMES[use] if use is not Use.ZONE_OTHER else f"{_NAMES[use]} ({kind})"
    where = source.where(entry)
    return Region(name, use, Range(start, start + size), where, zone=0, guest_start=guest if guest != start else None)


def _fields(body: Node, source: RustSource) -> dict[str, Node]:
    fields: dict[str, Node] = {}
    for part in code_children(body):
        if part.type == "shorthand_field_initializer":
            fields[text_of(part)] = code_children(part)[0]
            continue
        name, value = part.child_by_field_name("field"), part.child_by_field_name("value")
        if part.type != "field_initializer" or name is None or value is None:
            raise source.refuse(part, "not a field of a region written out")
        fields[text_of(name)] = value
    return fields


def _load_address(name: str, constants: Constants) -> LoadAddress | None:
    value = constants.integer(name)
    return LoadAddress(value, constants.items(name)[0].where) if value is not None else None


def _physical_memory(constants: Constants) -> tuple[PhysicalStretch, ...]:
    items = constants.items("BOARD_PHYSMEM_LIST")
    if len(items) != 1:
        return ()
    source = items[0].source
    stretches: list[PhysicalStretch] = []
    for entry in _entries(items[0], constants):
        parts = code_children(entry)
        if entry.type != "tuple_expression" or len(parts) != 3:
            raise source.refuse(entry, "not an entry (start, end, type) of BOARD_PHYSMEM_LIST")
        start, end = (constants.evaluate(part, source) for part in parts[:2])
        if start > end:
            raise source.refuse(entry, "a stretch that ends before it begins")
        kind = text_of(parts[2]).rsplit("::", 1)[-1]
        stretches.append(PhysicalStretch(Range(start, end), kind, source.where(entry)))
    return tuple(stretches)


def _controllers(constants: Constants) -> tuple[tuple[Controller, ...] | None, tuple[str, ...]]:
    """From the fields of ROOT_ARCH_ZONE_CONFIG, however deep they stand in it; and what to note where that fails."""
    items = constants.items("ROOT_ARCH_ZONE_CONFIG")
    if len(items) != 1:
        return None, ()
    source = items[0].source
    numbers: dict[str, tuple[int, str]] = {}
    nodes = [items[0].value]
    while nodes:
        node = nodes.pop()
        name, value = node.child_by_field_name("field"), node.child_by_field_name("value")
        if name is None or value is None or not text_of(name).endswith(("_base", "_size")):
            nodes += code_children(node)
            continue
        try:
            numbers[text_of(name)] = (constants.evaluate(value, source), source.where(node))
        except UsageError as error:  # of eight rules, half a one is lost without it
            return None, (error.message,)
    return controllers(numbers, zone=0), ()
