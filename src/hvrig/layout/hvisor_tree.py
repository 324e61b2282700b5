"""hvisor's sources: which boards there are, and which files describe each. Looks at names; opens only small text files.

Shape: hvisor, `platform/ARCH/BOARD/{board.rs,linker.ld,platform.mk,image/dts/*.dts,configs/*.json}`, `src/consts.rs`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hvrig.layout.architecture import X86_64
from hvrig.layout.inputs import MapInputs, read_bounded, read_text
from hvrig.layout.zone_json import device_tree_name, is_zone_config
from hvrig.model.errors import UsageError

# Zone 0's tree is called zone0.dts on most boards; on others its name only contains that, or it is the first Linux's.
_ZONE0_NAMES = (
    re.compile(r"zone0"),
    re.compile(r".*zone[-_]?0(?!\d).*"),
    re.compile(r"(?:root[-_]?)?linux[-_]?[01]|root[-_]?linux"),
)
_MAKEFILE_BYTES = 1 << 20
# `zone0_dtb := $(image_dir)/dts/zone0.dtb` of platform.mk, comments left out
_ZONE0_DTB = re.compile(r"^[ \t]*zone0_dtb[ \t]*[:?]?=[ \t]*\S*?([^\s/]+)\.dtb[ \t]*(?:#.*)?$", re.MULTILINE)


@dataclass(frozen=True)
class BoardFiles:
    """One board with one of zone 0's trees. name: `ARCH/BOARD`; tree: the tree's file name, where there are several.

    notes: how files were chosen, where their names do not say it.
    """

    name: str
    inputs: MapInputs
    tree: str = ""
    notes: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """The name, with the tree's where there are several."""
        return f"{self.name} ({self.tree})" if self.tree else self.name


def boards_of(root: Path) -> tuple[str, ...]:
    """The names of the tree's boards, in order. Raises UsageError where `root` holds none."""
    found = sorted(board.parent for board in root.glob("platform/*/*/board.rs"))
    if not found:
        raise UsageError(
            f"{root}: no platform/ARCH/BOARD/board.rs is in it.", "Give the folder of hvisor's sources (--hvisor-tree)."
        )
    return tuple("/".join(folder.parts[-2:]) for folder in found)


def chosen_board(root: Path, wanted: str) -> str:
    """The board that `wanted` names, as `ARCH/BOARD`, or as `BOARD` where that is one only. Raises UsageError."""
    names = boards_of(root)
    found = [name for name in names if wanted in (name, name.partition("/")[2])]
    if len(found) != 1:
        what = "several boards have that name" if found else "there is no such board"
        raise UsageError(f"--board {wanted}: {what} in {root}.", f"Choose one of {', '.join(found or names)}.")
    return found[0]


def files_of(root: Path, name: str) -> tuple[BoardFiles, ...]:
    """The files of a board, once for each of zone 0's trees. Raises UsageError for what cannot be read."""
    folder = root / "platform" / name
    consts, linker = root / "src" / "consts.rs", folder / "linker.ld"
    configs = {config: read_text(config) for config in sorted((folder / "configs").glob("*.json"))}
    zones = tuple(config for config, text in configs.items() if is_zone_config(text))
    dts = {config: folder / "image" / "dts" / f"{device_tree_name(configs[config])}.dts" for config in zones}
    inputs = MapInputs(
        board_rs=folder / "board.rs",
        consts_rs=consts if consts.is_file() else None,
        linker_ld=linker if linker.is_file() else None,
        zone_json=zones,
        zone_trees=tuple((config, tree) for config, tree in dts.items() if tree.is_file()),
        all_zones=True,
    )
    trees, notes = _zone0_trees(folder)
    if not trees:
        if not name.startswith(f"{X86_64}/"):
            notes = (f"{folder / 'image' / 'dts'}: no device tree in it has a name that says zone 0.",)
        return (BoardFiles(name, inputs, notes=notes),)
    several = len(trees) > 1
    return tuple(BoardFiles(name, replace(inputs, dts=tree), tree.name if several else "", notes) for tree in trees)


def _zone0_trees(folder: Path) -> tuple[Sequence[Path], tuple[str, ...]]:
    """Zone 0's trees, the one that is built first; and a note where only a guess says so."""
    trees = {path.stem: path for path in sorted((folder / "image" / "dts").glob("*.dts"))}
    makefile = folder / "platform.mk"
    text = read_bounded(makefile, _MAKEFILE_BYTES).decode("utf-8", "replace") if makefile.is_file() else ""
    built = _ZONE0_DTB.search(text)
    first = [trees[built[1]]] if built is not None and built[1] in trees else []
    for pattern in _ZONE0_NAMES:
        first += [path for stem, path in trees.items() if pattern.fullmatch(stem) and path not in first]
        if first and pattern is _ZONE0_NAMES[1]:
            return first, ()
    return first, tuple(f"{path}: taken for zone 0's device tree by its name." for path in first)
