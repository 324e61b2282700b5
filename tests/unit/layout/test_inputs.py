from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from hvrig.layout.inputs import MapInputs, read_bounded, read_map
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


@pytest.mark.parametrize(
    "inputs",
    [
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
