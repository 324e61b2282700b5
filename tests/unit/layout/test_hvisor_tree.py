from __future__ import annotations

from pathlib import Path

import pytest

from hvrig.layout.hvisor_tree import boards_of, chosen_board, files_of
from hvrig.model.errors import UsageError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "consts.rs").touch()
    return tmp_path


def board(root: Path, name: str, *trees: str, makefile: str = "", linker: bool = True) -> Path:
    folder = root / "platform" / name
    (folder / "image" / "dts").mkdir(parents=True)
    (folder / "configs").mkdir()
    (folder / "board.rs").touch()
    if linker:
        (folder / "linker.ld").touch()
    for tree in trees:
        (folder / "image" / "dts" / tree).touch()
    if makefile:
        (folder / "platform.mk").write_text(makefile)
    return folder


def test_boards_are_named_by_architecture_and_folder(root: Path) -> None:
    for name in ("riscv64/b", "aarch64/b", "aarch64/a"):
        board(root, name)
    (root / "platform" / "aarch64" / "no-board").mkdir()
    assert boards_of(root) == ("aarch64/a", "aarch64/b", "riscv64/b")
    assert chosen_board(root, "aarch64/b") == "aarch64/b"
    assert chosen_board(root, "a") == "aarch64/a"
    with pytest.raises(UsageError, match="several boards have that name") as refused:
        chosen_board(root, "b")
    assert refused.value.remedy == "Choose one of aarch64/b, riscv64/b."
    with pytest.raises(UsageError, match="no such board"):
        chosen_board(root, "nix")


def test_a_folder_without_boards_is_refused(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(UsageError, match=r"no platform/ARCH/BOARD/board\.rs is in it"):
            boards_of(folder)


@pytest.mark.parametrize(
    ("trees", "makefile", "chosen"),
    [
        (("zone0.dts", "zone1-linux.dts", "soc.dts"), "", ["zone0.dts"]),
        (("rk_limit_zone0.dts", "rk_limit_zone1.dts"), "", ["rk_limit_zone0.dts"]),
        (("zone0-npu.dts", "zone0.dts"), "", ["zone0.dts", "zone0-npu.dts"]),
        (("a-zone_0.dts", "zone-0-b.dts", "zone01.dts"), "", ["a-zone_0.dts", "zone-0-b.dts"]),
        (("linux1.dts", "linux2.dts"), "", ["linux1.dts"]),
        (("minimal.dts", "linux1.dts"), "zone0_dtb    := $(image_dir)/dts/minimal.dtb\n", ["minimal.dts"]),
        (("zone0-a.dts", "zone0-b.dts"), "zone0_dtb ?= dts/zone0-b.dtb # x\n", ["zone0-b.dts", "zone0-a.dts"]),
        (("zone0.dts", "old.dts"), "# zone0_dtb := dts/old.dtb\n", ["zone0.dts"]),
        (("zone0.dts",), "zone0_dtb := dts/made-elsewhere.dtb\n", ["zone0.dts"]),
        (("zone1.dts", "board.dts"), "", []),
    ],
)
def test_zone_0s_trees(root: Path, trees: tuple[str, ...], makefile: str, chosen: list[str]) -> None:
    folder = board(root, "aarch64/a", *trees, makefile=makefile)
    found = files_of(root, "aarch64/a")
    expected: list[Path | None] = [folder / "image" / "dts" / name for name in chosen]
    assert [one.inputs.dts for one in found] == (expected or [None])
    titles = [f"aarch64/a ({name})" for name in chosen] if len(chosen) > 1 else ["aarch64/a"]
    assert [one.title for one in found] == titles
    assert found[0].inputs.all_zones


def test_a_guess_and_a_missing_tree_are_noted(root: Path) -> None:
    board(root, "aarch64/guess", "linux1.dts", "linux2.dts")
    board(root, "aarch64/none", "board.dts")
    board(root, "x86_64/none")
    assert "linux1.dts: taken for zone 0's device tree by its name" in files_of(root, "aarch64/guess")[0].notes[0]
    assert "no device tree in it has a name that says zone 0" in files_of(root, "aarch64/none")[0].notes[0]
    assert files_of(root, "x86_64/none")[0].notes == ()


def test_zones_configurations_and_not_virtios(root: Path) -> None:
    folder = board(root, "aarch64/a", "zone0.dts", linker=False)
    (folder / "configs" / "zone1-b.json").write_text('{"memory_regions": []}')
    (folder / "configs" / "zone1-a.json").write_text("{ no json")
    (folder / "configs" / "virtio.json").write_text('{"zones": []}')
    (inputs,) = (one.inputs for one in files_of(root, "aarch64/a"))
    assert inputs.zone_json == (folder / "configs" / "zone1-a.json", folder / "configs" / "zone1-b.json")
    assert inputs.linker_ld is None
    assert inputs.consts_rs == root / "src" / "consts.rs"


def test_the_trees_that_zones_configurations_name(root: Path) -> None:
    folder = board(root, "aarch64/a", "zone0.dts", "zone1-linux.dts")
    for name, tree in (("a", "./zone1-linux.dtb"), ("b", "/root/zone1-rtos.dtb"), ("c", ""), ("d", "zone1-linux")):
        (folder / "configs" / f"{name}.json").write_text(f'{{"memory_regions": [], "dtb_filepath": "{tree}"}}')
    (found,) = files_of(root, "aarch64/a")
    assert found.inputs.zone_trees == ((folder / "configs" / "a.json", folder / "image" / "dts" / "zone1-linux.dts"),)
