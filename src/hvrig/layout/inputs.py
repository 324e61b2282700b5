"""The files from which a memory map is made. No other module of this room opens any."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from hvrig.layout.architecture import X86_64, physical
from hvrig.layout.board_facts import BoardFacts, Load
from hvrig.layout.board_rs import Board, LoadAddress, read_board
from hvrig.layout.device_tree import DeviceTree, read_device_tree
from hvrig.layout.dtc_subprocess import compile_device_tree
from hvrig.layout.elf import read_link_addresses
from hvrig.layout.hypervisor import KnownStart, RuntimeSizes, bounded, hypervisor_map, runtime_sizes
from hvrig.layout.kernel_image import HEADER_BYTES, memory_size
from hvrig.layout.linker_script import read_linked_start
from hvrig.layout.place import HYPERVISOR, KERNEL, ROOT_TREE, image_for, loads_without_size, place_map
from hvrig.layout.rust_source import Constants, RustSource
from hvrig.layout.uimage import is_uimage, read_uimage
from hvrig.layout.zone_json import ZoneConfig, read_zone_config
from hvrig.model.errors import UsageError
from hvrig.model.memory import Range
from hvrig.model.memory_map import MemoryMap, Region, Use
from hvrig.model.place import Place

# hvisor's own are far smaller: 20 KB of board.rs, 300 KB of device tree, 2 MB of hvisor.bin.
_SOURCE_BYTES = 1 << 20
_BLOB_BYTES = 16 << 20
_IMAGE_BYTES = 256 << 20
_ELF_BYTES = 1 << 30

# In hvisor's sources, from platform/ARCH/BOARD/board.rs.
_CONSTS_BESIDE_BOARD = Path("..", "..", "..", "src", "consts.rs")


@dataclass(frozen=True, kw_only=True)
class MapInputs:
    """Which files give the map. Without `consts_rs`, the one of the tree that `board_rs` stands in is taken.

    dts: a device tree's source, with `includes`, folders of what it includes; not beside `dtb`. Without either, the
    place's image of zone 0's tree is taken.
    zone_trees: the sources of the device trees of zones in `zone_json`, by that file.
    hypervisor: its range, where only that is known. all_zones: whether the inputs have every zone of the board.
    """

    elf: Path | None = None
    uimage: Path | None = None
    linker_ld: Path | None = None
    dtb: Path | None = None
    dts: Path | None = None
    includes: tuple[Path, ...] = ()
    board_rs: Path | None = None
    consts_rs: Path | None = None
    zone_json: tuple[Path, ...] = ()
    zone_trees: tuple[tuple[Path, Path], ...] = ()
    place: Place | None = None
    hypervisor: Range | None = None
    all_zones: bool = False


@dataclass(frozen=True)
class Known:
    """What inputs give together, for `hvrig.layout.rules.check`."""

    memory: MemoryMap
    facts: BoardFacts


@dataclass(frozen=True)
class _Tree:
    """A device tree, how many bytes its blob has, and the file it comes from."""

    tree: DeviceTree
    blob_bytes: int
    source: Path


def read_map(inputs: MapInputs) -> MemoryMap:
    """The map of `read_inputs` alone."""
    return read_inputs(inputs).memory


def read_inputs(inputs: MapInputs) -> Known:
    """What the inputs give together; empty without inputs.

    Of the hypervisor, what counts first is the range given as such, then the ELF, the place, and, as bounds, the uImage
    and the linker script; where they disagree, a note says so. A place stands for the files that it names, where none
    is given in their stead.
    Raises UsageError, naming file and line or node, for what cannot be read or understood.
    """
    inputs, notes = _with_place_files(inputs)
    sources, board = _rust_sources(inputs)
    sizes = runtime_sizes(Constants(sources))
    architecture, known = _exact_hypervisor(inputs, sizes)
    known += MemoryMap((), notes)
    exact = known.hypervisor is not None
    known += bounded(known, tuple(_starts(inputs, architecture)), sizes)
    zones = tuple(read_zone_config(read_text(path), str(path)) for path in inputs.zone_json)
    if board is not None:
        known += board.map
    known += MemoryMap(tuple(region for zone in zones for region in zone.regions))
    read = _read_tree(inputs)
    images, loads = _images(inputs, board, read)
    known += images
    controllers = board.controllers if board is not None else None
    facts = BoardFacts(
        physical_memory=board.physical_memory if board is not None else None,
        controllers=None if controllers is None else (*controllers, *(c for zone in zones for c in zone.controllers)),
        loads=(*loads, *(load for zone in zones for load in zone.loads)),
        zone_trees=tuple(_zone_trees(inputs, zones)),
        has_device_tree=read is not None or architecture != X86_64,
        all_zones=inputs.all_zones,
        hypervisor_exact=exact,
    )
    if read is not None:
        known += read.tree.map
        facts = facts.with_tree(read.tree)
    return Known(known + MemoryMap((), _disagreements(known)), facts)


def _rust_sources(inputs: MapInputs) -> tuple[list[RustSource], Board | None]:
    consts = inputs.consts_rs or _consts_of_tree(inputs.board_rs)
    sources = [_rust(consts)] if consts is not None else []
    if inputs.board_rs is None:
        return sources, None
    source = _rust(inputs.board_rs)
    return [source, *sources], read_board(source, sources)


def _exact_hypervisor(inputs: MapInputs, sizes: RuntimeSizes | None) -> tuple[str, MemoryMap]:
    """The architecture's name, empty where not known, and the hypervisor from the sources that know all of it."""
    architecture = _architecture_of_path(inputs.board_rs or inputs.linker_ld)
    known = MemoryMap()
    if inputs.hypervisor is not None:
        known += MemoryMap((Region("hypervisor", Use.HYPERVISOR, inputs.hypervisor, "--range"),))
    if inputs.elf is not None:
        try:
            with inputs.elf.open("rb") as stream:
                link = read_link_addresses(stream, str(inputs.elf))
        except OSError as error:
            raise _unreadable(inputs.elf, error) from error
        architecture = link.architecture
        known += hypervisor_map(link, sizes)
    if inputs.place is not None:
        known += place_map(inputs.place, {})
    return architecture, known


def _starts(inputs: MapInputs, architecture: str) -> Iterator[KnownStart]:
    """Where the hypervisor begins, by those who do not know where it ends."""
    uimage = inputs.uimage or _uimage_of_place(inputs.place)
    if uimage is not None:
        image = read_uimage(_head(uimage), str(uimage))
        # What is compressed is larger in memory; and what the binary is zeroed with is in no image.
        end = image.loaded.start if image.compressed else image.loaded.end
        yield KnownStart(image.loaded.start, end, str(uimage))
    if inputs.linker_ld is not None:
        linked = read_linked_start(read_text(inputs.linker_ld), str(inputs.linker_ld))
        start = physical(linked.address, architecture)
        yield KnownStart(start, start, linked.source)


def _uimage_of_place(place: Place | None) -> Path | None:
    name = image_for(place, HYPERVISOR) if place is not None else None
    if place is None or name is None:
        return None
    path = place.images[name].path
    return path if path.is_file() and is_uimage(_head(path)) else None


def _read_tree(inputs: MapInputs) -> _Tree | None:
    if inputs.dtb is not None:
        return _tree_of_blob(inputs.dtb)
    if inputs.dts is not None:
        return _tree_of_source(inputs.dts, inputs.includes, zone=0)
    if inputs.place is not None:
        name = image_for(inputs.place, ROOT_TREE)
        if name is not None and inputs.place.images[name].path.is_file():
            return _tree_of_blob(inputs.place.images[name].path)
    return None


def _zone_trees(inputs: MapInputs, zones: tuple[ZoneConfig, ...]) -> Iterator[MemoryMap]:
    configurations = dict(zip(inputs.zone_json, zones, strict=True))
    for config, dts in inputs.zone_trees:
        if config in configurations:
            zone = configurations[config]
            tree = _tree_of_source(dts, inputs.includes, zone.zone).tree
            yield MemoryMap(zone.regions) + tree.map


def _tree_of_source(path: Path, includes: tuple[Path, ...], zone: int) -> _Tree:
    compiled = compile_device_tree(read_bounded(path, _BLOB_BYTES), path, includes)
    tree = read_device_tree(compiled.blob, str(path), zone, compiled.lines)
    return _Tree(tree, len(compiled.blob), path)


def read_board_file(board_rs: Path, consts_rs: Path | None = None) -> Board:
    """What a board.rs says, with the consts.rs given or of its tree. Raises UsageError as `read_inputs`."""
    consts = consts_rs if consts_rs is not None and consts_rs.is_file() else _consts_of_tree(board_rs)
    return read_board(_rust(board_rs), [_rust(consts)] if consts is not None else [])


def _tree_of_blob(path: Path) -> _Tree:
    blob = read_bounded(path, _BLOB_BYTES)
    return _Tree(read_device_tree(blob, str(path)), len(blob), path)


def _images(inputs: MapInputs, board: Board | None, read: _Tree | None) -> tuple[MemoryMap, tuple[Load, ...]]:
    """The images that boot loads: those of known size, with notes, and the others.

    Where the place loads an image, its address counts, and a note says where board.rs has another one.
    """
    place = inputs.place
    sizes = _image_sizes(place) if place is not None else {}
    regions: list[Region] = []
    notes: list[str] = []
    loads: list[Load] = []
    if place is not None:
        regions += place_map(place, sizes).of(Use.IMAGE)
        loads += loads_without_size(place, sizes)
    expected = ((KERNEL, board.kernel), (ROOT_TREE, board.dtb)) if board is not None else ()
    for what, at in expected:
        if at is None or (what == ROOT_TREE and at.address == 0):  # 0 where the zone's kernel gets no device tree
            continue
        name = image_for(place, what) if place is not None else None
        if place is not None and name is not None:
            address = place.images[name].address
            if address != at.address:
                notes.append(
                    f"{at.source} expects {what} at {at.address:#x}, place {place.name} loads it at {address:#x}."
                )
        elif what == ROOT_TREE and read is not None:
            regions.append(_tree_image(at, read))
        else:
            loads.append(Load(what, at.address, at.source))
    return MemoryMap(tuple(regions), tuple(notes)), tuple(loads)


def _tree_image(at: LoadAddress, read: _Tree) -> Region:
    return Region(f"image {ROOT_TREE}", Use.IMAGE, Range(at.address, at.address + read.blob_bytes), at.source)


def place_only(place: Place) -> Known:
    """What the place itself gives, without the files that it names."""
    return Known(place_map(place, _image_sizes(place)), BoardFacts())


def _with_place_files(inputs: MapInputs) -> tuple[MapInputs, tuple[str, ...]]:
    """The same with the place's ELF and sources, where these are there; and a note for each that is not."""
    place = inputs.place
    if place is None:
        return inputs, ()
    built = place.hypervisor
    named = {"elf": built.elf, "board_rs": built.board_rs, "consts_rs": built.consts_rs}
    there = {name: path if path is not None and path.is_file() else None for name, path in named.items()}
    # A virtual board's images are built when it is started; until then nobody misses them.
    notes = [
        f"place {place.name}: hypervisor.{name}: {path} is not there."
        for name, path in named.items()
        if path is not None and there[name] is None and place.rack is None
    ]
    elf, board_rs, consts_rs = there.values()
    inputs = replace(
        inputs,
        elf=inputs.elf or elf,
        board_rs=inputs.board_rs or board_rs,
        consts_rs=inputs.consts_rs or consts_rs,
    )
    return inputs, tuple(notes)


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


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(HEADER_BYTES)
    except OSError as error:
        raise _unreadable(path, error) from error


def read_text(path: Path) -> str:
    """A source file as text. Raises UsageError where it cannot be read, is too long, or no text."""
    data = read_bounded(path, _SOURCE_BYTES)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{path}:{line}: byte {error.start} is no text in UTF-8.", "Give the file as text.") from error


def _rust(path: Path) -> RustSource:
    return RustSource(read_bounded(path, _SOURCE_BYTES), str(path))


def _consts_of_tree(board_rs: Path | None) -> Path | None:
    if board_rs is None:
        return None
    consts = board_rs.parent / _CONSTS_BESIDE_BOARD
    return consts.resolve() if consts.is_file() else None


def _architecture_of_path(path: Path | None) -> str:
    """The folder's name, where the file stands in hvisor's sources, `platform/ARCH/BOARD/board.rs`; else empty."""
    if path is None:
        return ""
    parts = path.absolute().parts
    return parts[-3] if len(parts) > 3 and parts[-4] == "platform" else ""


def _image_sizes(place: Place) -> dict[str, int]:
    """How much memory each image takes, of those that are there."""
    sizes: dict[str, int] = {}
    for name, image in place.images.items():
        if image.path.is_file():
            sizes[name] = memory_size(_head(image.path), image.path.stat().st_size)
    return sizes


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
