"""`hvrig layout live` on the virtual board, as a user runs it."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from .conftest import HVRIG, REPOSITORY, VirtualBench

pytestmark = pytest.mark.virtual_board

NODE = "hvisor@40400000 { no-map; reg = <0x0 0x40400000 0x0 0x4600000>; };"


def look(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(HVRIG), "layout", "live", "--artifacts", str(folder / "artifacts"), *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def layout_json(folder: Path) -> dict[str, Any]:
    said: dict[str, Any] = json.loads((folder / "artifacts" / "latest" / "layout.json").read_text(encoding="utf-8"))
    return said


def test_a_board_with_everything_reserved_is_clean(tmp_path: Path) -> None:
    done = look(tmp_path, "--place", "virtual", "--svg", str(tmp_path / "map.svg"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("\nvirtual: no findings; rules checked: 1, 2, 9\n")
    assert "NOT RESERVED" not in done.stdout + (tmp_path / "map.svg").read_text(encoding="utf-8")
    assert layout_json(tmp_path)["findings"] == []
    assert "memory layout, by the files: no findings" in done.stderr


@pytest.mark.parametrize("place", ["virtual-under-reserved", "virtual-silent"])
def test_an_overlap_is_found_with_its_mend(tmp_path: Path, place: str) -> None:
    done = look(tmp_path, "--place", place)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "rule 9, live-system-ram" in done.stdout
    assert NODE in done.stdout
    assert "\x1b" not in done.stdout
    assert re.search(r"NOT RESERVED +!{20,} +0x40[8a]00000-0x449e6000\n", done.stdout)
    said = layout_json(tmp_path)
    assert [finding["number"] for finding in said["findings"]] == [1, 2, 9]
    assert said["exit_status"] == 1


def test_a_board_that_cannot_be_reached_is_infra(bench: VirtualBench) -> None:
    bench.break_it("outlet-silent")
    places = bench.places(deadlines={"power_s": 3.0})
    done = look(bench.folder, "--places", str(places), "--place", "virtual")
    assert done.returncode == 3, done.stdout + done.stderr
    assert "did not answer" in done.stdout
    assert "not run" not in done.stdout, "no ladder was asked for"
    assert not (bench.folder / "artifacts" / "latest" / "layout.json").exists()
    assert (bench.folder / "artifacts" / "latest" / "verdict.json").exists()


def test_a_board_may_be_kept_on(bench: VirtualBench) -> None:
    done = look(bench.folder, "--places", str(bench.places()), "--place", "virtual", "--keep-on", "--format", "json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert [board["findings"] for board in json.loads(done.stdout)["boards"]] == [[]]
    assert bench.status()["on"]
