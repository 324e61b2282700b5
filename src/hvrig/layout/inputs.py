"""The files from which a memory map is made: the only module of this room that opens any."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from hvrig.layout.board_facts import BoardFacts, Load
from hvrig.layout.board_rs import Board, read_board
from hvrig.layout.device_tree import DeviceTree, read_device_tree
from hvrig.layout.elf import read_link_addresses
from hvrig.layout.hypervisor import hypervisor_map, runtime_sizes
from hvrig.layout.place import place_map
from hvrig.layout.rust_source import Constants, RustSource
from hvrig.model.errors import UsageError
from hvrig.model.memory import Range
from hvrig.model.memory_map import MemoryMap, Region, Use
from hvrig.model.place import Place

# hvisor's own are far smaller: 20 KB of board.rs, 300 KB of device tree.
_SOURCE_BYTES = 1 << 20
_BLOB_BYTES = 16 << 20

# In hvisor's sources, from platform/ARCH/BOARD/board.rs.
_CONSTS_BESIDE_BOARD = Path("..", "..", "..", "src", "consts.rs")


@dataclass(frozen=True, kw_only=True)
class MapInputs:
    """Which files give the map. Without `consts_rs`, the one of the tree that `board_rs` stands in is taken.

    hypervisor: its range, where only that is known. all_zones: whether the inputs have every zone of the board.
    """

    elf: Path | None = None
    dtb: Path | None = None
    board_rs: Path | None = None
    consts_rs: Path | None = None
    place: Place | None = None
    hypervisor: Range | None = None
    all_zones: bool = False


@dataclass(frozen=True)
class Known:
    """What inputs give together, for `hvrig.layout.rules.check`."""

    memory: MemoryMap
    facts: BoardFacts


def read_map(inputs: MapInputs) -> MemoryMap:
    """The map of `read_inputs` alone."""
    return read_inputs(inputs).memory


def read_inputs(inputs: MapInputs) -> Known:
    """What the inputs give together; empty without inputs.

    Where sources disagree on the hypervisor, the range given as such counts before the ELF and that before the place,
    and a note says so.
    Raises UsageError, naming file and line or node, for what cannot be read or understood.
    """
    sources: list[RustSource] = []
    board: Board | None = None
    consts = inputs.consts_rs or _consts_of_tree(inputs.board_rs)
    if consts is not None:
        sources.append(_rust(consts))
    if inputs.board_rs is not None:
        source = _rust(inputs.board_rs)
        board = read_board(source, sources)
        sources.insert(0, source)
    known = MemoryMap()
    if inputs.hypervisor is not None:
        known += MemoryMap((Region("hypervisor", Use.HYPERVISOR, inputs.hypervisor, "given"),))
    if inputs.elf is not None:
        try:
            with inputs.elf.open("rb") as stream:
                link = read_link_addresses(stream, str(inputs.elf))
        except OSError as error:
            raise _unreadable(inputs.elf, error) from error
        known += hypervisor_map(link, runtime_sizes(Constants(sources)))
    if inputs.place is not None:
        known += place_map(inputs.place, _image_sizes(inputs.place))
    if board is not None:
        known += board.map
    tree: DeviceTree | None = None
    if inputs.dtb is not None:
        tree = read_device_tree(read_bounded(inputs.dtb, _BLOB_BYTES), str(inputs.dtb))
        known += tree.map
    return Known(known + MemoryMap((), _disagreements(known)), _facts(inputs, board, tree))


def _facts(inputs: MapInputs, board: Board | None, tree: DeviceTree | None) -> BoardFacts:
    facts = BoardFacts(all_zones=inputs.all_zones)
    if board is not None:
        loads = (("kernel", board.kernel), ("zone0_dtb", board.dtb))
        facts = replace(
            facts,
            physical_memory=board.physical_memory,
            loads=tuple(Load(name, at.address, at.source) for name, at in loads if at is not None),
        )
    if tree is not None:
        facts = replace(facts, cells=tree.cells, has_reserved_memory=tree.has_reserved_memory)
    return facts


def read_bounded(path: Path, limit: int) -> bytes:
    """The file's bytes. Raises UsageError where it cannot be read or has more than `limit` bytes."""
    try:
        with path.open("rb") as stream:
            data = stream.read(limit + 1)
    except OSError as error:
        raise _unreadable(path, error) from error
    if len(data) > limit:
        raise UsageError(f"{path} has more than {limit} bytes.", "This is hardly the file that was meant.")
    return data


def _rust(path: Path) -> RustSource:
    return RustSource(read_bounded(path, _SOURCE_BYTES), str(path))


def _consts_of_tree(board_rs: Path | None) -> Path | None:
    if board_rs is None:
        return None
    consts = board_rs.parent / _CONSTS_BESIDE_BOARD
    return consts.resolve() if consts.is_file() else None


def _image_sizes(place: Place) -> dict[str, int]:
    return {name: image.path.stat().st_size for name, image in place.images.items() if image.path.is_file()}


def _disagreements(known: MemoryMap) -> tuple[str, ...]:
    first = known.hypervisor
    if first is None:
        return ()
    return tuple(
        f"{other.source} says that the hypervisor is at {other.range}, {first.source} says {first.range}."
        for other in known.of(Use.HYPERVISOR)
        if other.range != first.range
    )


def _unreadable(path: Path, error: OSError) -> UsageError:
    return UsageError(f"{path} cannot be read: {error.strerror or error}.", "Check the path, and that it is a file.")
