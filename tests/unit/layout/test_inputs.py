from __future__ import annotations

import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hvrig.layout.inputs import MapInputs, read_bounded, read_inputs, read_map
from hvrig.model.errors import UsageError
from hvrig.model.memory import Range
from hvrig.model.memory_map import MemoryMap, Use
from hvrig.model.place import HypervisorSettings, Image, Place, SshSettings, UBootSettings

DATA = Path(__file__).parents[2] / "data" / "layout"
BOARD, CONSTS, DTB = DATA / "x3300-board.rs", DATA / "consts.rs", DATA / "zone0.dtb"


@pytest.fixture
def elf(tmp_path: Path, make_elf: Callable[..., bytes]) -> Path:
    path = tmp_path / "hvisor"
    path.write_bytes(make_elf({"skernel": 0x500000, "__core_end": 0x6E6000}))
    return path


def test_no_inputs_give_an_empty_map() -> None:
    assert read_map(MapInputs()) == MemoryMap()


def test_all_inputs_together_give_the_x3300s_map(elf: Path) -> None:
    known = read_map(MapInputs(elf=elf, board_rs=BOARD, consts_rs=CONSTS, dtb=DTB))
    assert known.hypervisor is not None
    assert known.hypervisor.range == Range(0x500000, 0x4AE6000)
    assert {region.use for region in known.regions} == {
        Use.HYPERVISOR,
        Use.HYPERVISOR_PART,
        Use.ZONE_RAM,
        Use.ZONE_DEVICE,
        Use.TREE_MEMORY,
        Use.TREE_DEVICE,
        Use.RESERVED,
        Use.IMAGE,
    }


def test_consts_are_found_in_the_tree_of_the_board(elf: Path, tmp_path: Path) -> None:
    board = tmp_path / "platform" / "aarch64" / "sysoul_x3300" / "board.rs"
    board.parent.mkdir(parents=True)
    shutil.copy(BOARD, board)
    without = read_map(MapInputs(elf=elf, board_rs=board))
    assert without.hypervisor is None
    assert "end is not known" in without.notes[0]
    (tmp_path / "src").mkdir()
    shutil.copy(CONSTS, tmp_path / "src" / "consts.rs")
    assert read_map(MapInputs(elf=elf, board_rs=board)).hypervisor is not None


LINKER_LD = "BASE_ADDRESS = 0x500000;\nSECTIONS\n{\n    . = BASE_ADDRESS;\n    skernel = .;\n}\n"


def uimage(size: int, *, compressed: bool = False) -> bytes:
    fields = [0x27051956, 0, 0, size, 0x500000, 0x500000, 0, 5, 22, 2, 1 if compressed else 0, b"hvisor"]
    header = struct.Struct(">7I4B32s")
    fields[1] = zlib.crc32(header.pack(*fields))
    return header.pack(*fields) + bytes(size)


def test_a_linker_script_and_constants_give_a_bound(tmp_path: Path) -> None:
    script = tmp_path / "linker.ld"
    script.write_text(LINKER_LD)
    known = read_inputs(MapInputs(linker_ld=script, board_rs=BOARD, consts_rs=CONSTS))
    assert known.memory.hypervisor is not None
    assert known.memory.hypervisor.range == Range(0x500000, 0x500000 + (8 << 19) + (64 << 20))
    assert known.memory.hypervisor.source == f"{script}:4"
    assert not known.facts.hypervisor_exact
    assert "0x4900000 or later: a bound" in known.memory.notes[0]
    without = read_inputs(MapInputs(linker_ld=script)).memory
    assert without.hypervisor is None
    assert "begins at 0x500000" in without.notes[0]


@pytest.mark.parametrize(("compressed", "end"), [(False, 0x4AE5000), (True, 0x4900000)])
def test_a_uimage_is_a_better_bound_than_a_linker_script(tmp_path: Path, compressed: bool, end: int) -> None:
    script, image = tmp_path / "linker.ld", tmp_path / "hvisor.bin"
    script.write_text(LINKER_LD)
    image.write_bytes(uimage(0x1E5000, compressed=compressed))
    known = read_inputs(MapInputs(linker_ld=script, uimage=image, board_rs=BOARD, consts_rs=CONSTS))
    assert known.memory.hypervisor is not None
    assert known.memory.hypervisor.range == Range(0x500000, end)
    assert not known.facts.hypervisor_exact


def test_bounds_are_checked_against_what_is_exact(elf: Path, tmp_path: Path) -> None:
    script, image = tmp_path / "linker.ld", tmp_path / "hvisor.bin"
    script.write_text(LINKER_LD.replace("0x500000", "0x480000"))
    image.write_bytes(uimage(0x1E7000))
    known = read_inputs(MapInputs(elf=elf, linker_ld=script, uimage=image, board_rs=BOARD, consts_rs=CONSTS))
    assert known.facts.hypervisor_exact
    assert [note.removeprefix(str(tmp_path)) for note in known.memory.notes] == [
        f"/hvisor.bin says that the hypervisor ends at 0x4ae7000 or later, {elf} says 0x4ae6000.",
        f"/linker.ld:4 says that the hypervisor begins at 0x480000, {elf} says 0x500000.",
    ]
    image.write_bytes(uimage(0x1E0000))
    assert read_inputs(MapInputs(elf=elf, uimage=image, board_rs=BOARD, consts_rs=CONSTS)).memory.notes == ()


def place(tmp_path: Path, hypervisor: HypervisorSettings) -> Place:
    return Place(
        name="desk",
        images={"hvisor": Image(path=tmp_path / "hvisor.bin", address=0x3000000)},
        uboot=UBootSettings(boot="bootm 0x3000000"),
        ssh=SshSettings(key=Path("key"), host_key="ssh-ed25519 AAAA"),
        hypervisor=hypervisor,
    )


def test_the_places_uimage_says_where_the_hypervisor_begins(tmp_path: Path) -> None:
    (tmp_path / "hvisor.bin").write_bytes(uimage(0x1E5000))
    known = read_inputs(MapInputs(place=place(tmp_path, HypervisorSettings()), board_rs=BOARD, consts_rs=CONSTS))
    assert known.memory.hypervisor is not None
    assert known.memory.hypervisor.range == Range(0x500000, 0x4AE5000)
    assert not known.facts.hypervisor_exact
    moved = HypervisorSettings(start=0x400000, end=0x4AE6000)
    notes = read_inputs(MapInputs(place=place(tmp_path, moved))).memory.notes
    assert notes == (
        f"{tmp_path / 'hvisor.bin'} says that the hypervisor begins at 0x500000, place desk says 0x400000.",
    )
    (tmp_path / "hvisor.bin").write_bytes(b"no uImage")
    assert read_inputs(MapInputs(place=place(tmp_path, moved))).memory.notes == ()


def test_a_range_that_is_given_counts_before_the_elf(elf: Path) -> None:
    given = Range(0x500000, 0x4C00000)
    known = read_inputs(MapInputs(elf=elf, hypervisor=given, board_rs=BOARD, consts_rs=CONSTS))
    assert known.memory.hypervisor is not None
    assert known.memory.hypervisor.range == given
    assert "--range says 0x500000 - 0x4c00000" in known.memory.notes[0]


def test_a_source_tree_is_the_same_as_its_blob() -> None:
    blob, source = (read_inputs(MapInputs(**{kind: DATA / f"zone0.{kind}"})) for kind in ("dtb", "dts"))  # type: ignore[arg-type]
    assert [r.range for r in blob.memory.regions] == [r.range for r in source.memory.regions]
    assert source.memory.of(Use.RESERVED)[0].source == f"{DATA / 'zone0.dts'}:4 /memreserve/"
    assert source.memory.of(Use.TREE_MEMORY)[0].source == f"{DATA / 'zone0.dts'}:10 /memory@200000"
    assert blob.facts.cells == source.facts.cells == (2, 2)


def test_facts_of_a_board() -> None:
    facts = read_inputs(MapInputs(board_rs=BOARD, consts_rs=CONSTS)).facts
    assert [(load.name, load.address) for load in facts.loads] == [("kernel", 0x10400000), ("zone0_dtb", 0x10000000)]
    assert facts.physical_memory is not None
    assert len(facts.physical_memory) == 7
    assert facts.controllers is None
    assert facts.has_device_tree


def test_zones_and_their_controllers(tmp_path: Path) -> None:
    board = tmp_path / "board.rs"
    config = (
        "HvArchZoneConfig { gic: G::V2(V2 { gicd_base: 0x800_0000, gicd_size: 0x1_0000, gicv_base: 5, gicv_size: 6 }) }"
    )
    board.write_text(BOARD.read_text() + f"\npub const ROOT_ARCH_ZONE_CONFIG: HvArchZoneConfig = {config};\n")
    region = '{"type": "ram", "physical_start": "0x1000", "virtual_start": "0x1000", "size": "0x1000"}'
    zone = tmp_path / "zone1.json"
    zone.write_text(f'{{"zone_id": 1, "memory_regions": [{region}], "kernel_load_paddr": "0x1000"}}')
    known = read_inputs(MapInputs(board_rs=board, zone_json=(zone,)))
    assert known.facts.controllers is not None
    assert [(c.stretch.range, c.zone) for c in known.facts.controllers] == [(Range(0x8000000, 0x8010000), 0)]
    assert [r.range for r in known.memory.of(Use.ZONE_RAM, zone=1)] == [Range(0x1000, 0x2000)]
    assert [load.zone for load in known.facts.loads] == [None, None, 1]


def test_a_controller_that_cannot_be_computed_costs_no_more_than_itself(tmp_path: Path) -> None:
    board = tmp_path / "board.rs"
    text = "\npub const ROOT_ARCH_ZONE_CONFIG: C = C { plic_base: other::BASE, plic_size: 1 };\n"
    board.write_text(BOARD.read_text() + text)
    known = read_inputs(MapInputs(board_rs=board))
    assert known.facts.controllers is None
    assert "a constant that none of the given files defines" in known.memory.notes[0]
    assert known.memory.of(Use.ZONE_RAM)


@pytest.mark.parametrize("kind", ["board_rs", "consts_rs", "zone_json", "linker_ld", "uimage", "dts", "dtb", "elf"])
@given(data=st.binary(max_size=300))
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_garbage_in_any_input_is_an_error_that_names_the_file(tmp_path: Path, kind: str, data: bytes) -> None:
    path = tmp_path / "garbage"
    path.write_bytes(data)
    said = str(path)
    try:
        read_inputs(MapInputs(**{kind: (path,) if kind == "zone_json" else path}))  # type: ignore[arg-type]
    except UsageError as error:
        said = error.message
    assert said.startswith(str(path))


@pytest.mark.parametrize(
    "inputs",
    [
        lambda path: MapInputs(uimage=path),
        lambda path: MapInputs(linker_ld=path),
        lambda path: MapInputs(dts=path),
        lambda path: MapInputs(zone_json=(path,)),
        lambda path: MapInputs(elf=path),
        lambda path: MapInputs(dtb=path),
        lambda path: MapInputs(board_rs=path),
        lambda path: MapInputs(consts_rs=path),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, inputs: Callable[[Path], MapInputs]) -> None:
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(UsageError) as refused:
            read_map(inputs(path))
        assert str(path) in refused.value.message


def test_a_file_that_is_far_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "board.rs"
    path.write_bytes(bytes(101))
    assert len(read_bounded(path, 101)) == 101
    with pytest.raises(UsageError, match="more than 100 bytes"):
        read_bounded(path, 100)


def test_a_place_stands_for_the_files_that_it_names(elf: Path, tmp_path: Path) -> None:
    place = Place(
        name="desk",
        images={"root_dtb": Image(path=DTB, address=0x10000000)},
        uboot=UBootSettings(boot="bootm 0x500000"),
        ssh=SshSettings(key=Path("key"), host_key="ssh-ed25519 AAAA"),
        hypervisor=HypervisorSettings(elf=elf, board_rs=BOARD, consts_rs=tmp_path / "none.rs"),
    )
    known = read_map(MapInputs(place=place, consts_rs=CONSTS))
    assert known.hypervisor is not None
    assert known.hypervisor.range == Range(0x500000, 0x4AE6000)
    assert {region.source.partition(" ")[0] for region in known.of(Use.RESERVED)} == {str(DTB)}
    assert known.notes[:1] == (f"place desk: hypervisor.consts_rs: {tmp_path / 'none.rs'} is not there.",)
    assert read_map(MapInputs(place=place, elf=tmp_path / "hvisor", consts_rs=CONSTS)) == known


def test_sources_that_disagree_on_the_hypervisor_are_told(elf: Path) -> None:
    place = Place(
        name="desk",
        images={"kernel": Image(path=DTB, address=0x9400000)},
        uboot=UBootSettings(boot="bootm 0x500000"),
        ssh=SshSettings(key=Path("key"), host_key="ssh-ed25519 AAAA"),
        hypervisor=HypervisorSettings(start=0x500000, end=0x900000),
    )
    known = read_map(MapInputs(elf=elf, board_rs=BOARD, consts_rs=CONSTS, place=place))
    assert known.hypervisor is not None
    assert known.hypervisor.source == str(elf)
    assert known.notes == (
        f"{BOARD}:23 expects kernel at 0x10400000, place desk loads it at 0x9400000.",
        f"place desk says that the hypervisor is at 0x500000 - 0x900000, {elf} says 0x500000 - 0x4ae6000.",
    )
    assert [region.range.size for region in known.of(Use.IMAGE)] == [DTB.stat().st_size]
