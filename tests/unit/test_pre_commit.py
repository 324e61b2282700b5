"""The hook for pre-commit, run as pre-commit runs it: its entry, in the repository's root, without file names."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

HOOKS = Path(__file__).parents[2] / ".pre-commit-hooks.yaml"


@pytest.fixture
def hook() -> dict[str, Any]:
    (only,) = yaml.safe_load(HOOKS.read_text())
    return dict(only)


def run(hook: dict[str, Any], root: Path) -> subprocess.CompletedProcess[str]:
    """`language: python` finds the entry's first word beside the Python that the hook is installed for."""
    command, *arguments = shlex.split(hook["entry"])
    program = Path(sys.executable).with_name(command)
    return subprocess.run([program, *arguments], cwd=root, capture_output=True, text=True, timeout=60, check=False)


def test_it_has_what_pre_commit_asks_for(hook: dict[str, Any]) -> None:
    assert {"id", "name", "entry", "language"} <= hook.keys()
    assert hook["language"] == "python"
    assert hook["pass_filenames"] is False


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("platform/aarch64/rk3588/board.rs", True),
        ("platform/aarch64/rk3588/linker.ld", True),
        ("platform/aarch64/rk3588/image/dts/zone0.dts", True),
        ("platform/aarch64/rk3588/image/dts/soc.dtsi", True),
        ("platform/aarch64/rk3588/configs/zone1-linux.json", True),
        ("src/consts.rs", True),
        ("src/main.rs", False),
        ("README.md", False),
        ("platform/x86_64/qemu/image/bootloader/boot.S", False),
        ("tools/platform/aarch64/x/board.rs", False),
    ],
)
def test_it_runs_where_the_layout_may_have_changed(hook: dict[str, Any], path: str, wanted: bool) -> None:
    assert (re.search(hook["files"], path) is not None) is wanted


def test_a_clean_tree_passes_and_a_broken_one_does_not(hook: dict[str, Any], hvisor_tree: Path) -> None:
    done = run(hook, hvisor_tree)
    assert (done.returncode, done.stderr) == (0, "")
    assert "18 boards: 18 without, but not wholly checked" in done.stdout
    tree = hvisor_tree / "platform" / "riscv64" / "spruce" / "image" / "dts" / "zone0.dts"
    tree.write_text(tree.read_text().replace("0x4800000>", "0x400000>", 1))
    done = run(hook, hvisor_tree)
    assert done.returncode == 1
    assert "platform/riscv64/spruce/image/dts/zone0.dts:8 /memory@80000000: rule 1" in done.stdout
    tree.write_text("/dts-v1/; garbage")
    assert run(hook, hvisor_tree).returncode == 2
