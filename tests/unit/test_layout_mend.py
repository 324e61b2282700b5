"""The mends that `hvrig layout check` prints, put into the files as a person would, and checked again."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from hvrig.cli import cli

DATA = Path(__file__).parents[1] / "data" / "layout"


def check(*arguments: str) -> tuple[int, list[dict[str, Any]]]:
    """Exit status and findings of one board."""
    done = CliRunner().invoke(cli, ["layout", "check", *arguments, "--format", "json"])
    assert not done.stderr
    return done.exit_code, json.loads(done.stdout)["boards"][0]["findings"]


def put_into_tree(path: Path, finding: dict[str, Any]) -> None:
    """Put the node to write into /reserved-memory, in place of the reservations that the finding names."""
    text = path.read_text()
    for stretch in finding["stretches"]:
        found = re.fullmatch(r"/reserved-memory/(.+)", stretch["node"] or "")
        if found is not None:
            text, count = re.subn(re.escape(found[1]) + r"\s*\{[^}]*\};", "", text)
            assert count == 1
    mend = finding["mend"]["text"]
    if mend.startswith("reserved-memory"):
        text = re.sub(r"(?s)\treserved-memory \{.*?\n\t\};\n", "", text)
        text = text.rstrip().removesuffix("};") + mend + "\n};\n"
    else:
        text, count = re.subn(r"(reserved-memory \{[^{]*ranges;)", lambda head: f"{head[1]}\n{mend}", text)
        assert count == 1
    path.write_text(text)


def put_into_board(path: Path, finding: dict[str, Any]) -> None:
    """Put the entries in place of the one whose line the finding names."""
    lines = path.read_text().split("\n")
    at = finding["stretches"][0]["line"] - 1
    assert lines[at].lstrip().startswith("HvConfigMemoryRegion")
    lines[at] = finding["mend"]["text"]
    path.write_text("\n".join(lines))


@pytest.fixture
def x3300(tmp_path: Path, make_elf: Callable[..., bytes]) -> Path:
    for name in ("x3300-board.rs", "consts.rs", "zone0.dts"):
        shutil.copy(DATA / name, tmp_path)
    (tmp_path / "hvisor").write_bytes(make_elf({"skernel": 0x500000, "__core_end": 0x6E6000}))
    return tmp_path


def test_the_x3300_is_clean_with_the_mends_that_were_printed(x3300: Path) -> None:
    inputs = (
        *("--elf", str(x3300 / "hvisor"), "--dts", str(x3300 / "zone0.dts")),
        *("--board-rs", str(x3300 / "x3300-board.rs"), "--consts-rs", str(x3300 / "consts.rs")),
    )
    status, found = check(*inputs)
    assert status == 1
    assert [finding["number"] for finding in found] == [1, 2, 3]
    uncovered = [{"start": "0x880000", "end": "0x4ae6000"}]
    assert found[0]["wrong"] == found[1]["wrong"] == uncovered
    assert found[1]["mend"]["text"] == "hvisor@500000 { no-map; reg = <0x0 0x500000 0x0 0x4600000>; };"
    assert found[1]["mend"]["file"] == str(x3300 / "zone0.dts")

    put_into_tree(x3300 / "zone0.dts", found[1])
    half, left = check(*inputs)
    assert (half, [finding["number"] for finding in left]) == (1, [3])

    put_into_board(x3300 / "x3300-board.rs", left[0])
    assert check(*inputs) == (4, [])


def test_the_other_order_leaves_the_other_half(x3300: Path) -> None:
    """Excluded in board.rs but not reserved: Linux takes a fault at once."""
    inputs = (
        *("--range", "0x500000-0x4ae6000", "--dts", str(x3300 / "zone0.dts")),
        *("--board-rs", str(x3300 / "x3300-board.rs")),
    )
    put_into_board(x3300 / "x3300-board.rs", check(*inputs)[1][2])
    _, found = check(*inputs)
    assert [finding["number"] for finding in found] == [1, 2, 4]
    assert "the first touch is a fault" in found[0]["consequence"]
    assert found[2]["wrong"] == [{"start": "0x4ae6000", "end": "0x4b00000"}]
    assert found[2]["mend"]["text"] == found[0]["mend"]["text"], "what lies behind the hypervisor goes with it"
    put_into_tree(x3300 / "zone0.dts", found[1])
    assert check(*inputs) == (4, [])


@pytest.mark.parametrize("head", ["#address-cells = <1>;\n\t\t#size-cells = <1>;\n\t\tranges;", "ranges;", ""])
def test_a_reserved_memory_that_linux_ignores_is_mended_too(x3300: Path, head: str) -> None:
    path = x3300 / "zone0.dts"
    nodes = f"reserved-memory {{\n\t\t{head}\n\t}};\n"
    path.write_text(re.sub(r"(?s)reserved-memory \{.*?\n\t\};\n", nodes, path.read_text(), count=1))
    inputs = ("--range", "0x500000-0x4ae6000", "--dts", str(path))
    status, found = check(*inputs)
    assert (status, [finding["number"] for finding in found]) == (1, [1])
    put_into_tree(path, found[0])
    assert check(*inputs) == (4, [])


def test_a_tree_without_reserved_memory_is_mended_too(x3300: Path) -> None:
    path = x3300 / "zone0.dts"
    path.write_text(re.sub(r"(?s)\treserved-memory \{.*?\n\t\};\n", "", path.read_text(), count=1))
    inputs = ("--range", "0x500000-0x4ae6000", "--dts", str(path))
    _, found = check(*inputs)
    put_into_tree(path, found[0])
    assert check(*inputs) == (4, [])


PLACES = """targets:
  desk:
    resources:
      - NetworkPowerPort: {model: rest, host: "http://127.0.0.1:1/{index}", index: "1"}
      - NetworkSerialPort: {host: 127.0.0.1, port: 1, protocol: raw}
      - NetworkService: {address: 127.0.0.1, username: root}
    drivers:
      - NetworkPowerDriver: {}
    options:
      hvrig:
        images:
          board_dtb: {path: board.dtb, address: 0x40000000}
          hvisor: {path: hvisor.bin, address: 0x40400000}
          kernel: {path: Image, address: 0x60000000}
          zone0_dtb: {path: zone0.dtb, address: 0x4f000000}
        uboot: {boot: bootm 0x40400000 - 0x40000000}
        hypervisor: {cpus: 8, start: 0x40400000, end: 0x44b00000}
        ssh: {key: key, host_key: ssh-ed25519 AAAA}
"""


def test_all_checked_and_clean_is_0(hvisor_tree: Path, tmp_path: Path, make_elf: Callable[..., bytes]) -> None:
    start = 0x40400000
    (tmp_path / "elf").write_bytes(make_elf({"skernel": start, "__core_end": start + 0x300000}, linked=start))
    for name, size in (("board.dtb", 0x10000), ("hvisor.bin", 0x1E0000), ("Image", 0x1000000), ("zone0.dtb", 0x4000)):
        (tmp_path / name).write_bytes(bytes(size))
    (tmp_path / "places.yaml").write_text(PLACES)
    inputs = (
        *("--hvisor-tree", str(hvisor_tree), "--board", "birch", "--elf", str(tmp_path / "elf")),
        *("--place", "desk", "--places", str(tmp_path / "places.yaml")),
    )
    assert check(*inputs) == (0, [])
    (tmp_path / "places.yaml").write_text(PLACES.replace("0x60000000", "0x44a00000"))
    status, (found,) = check(*inputs)
    assert (status, found["number"], found["wrong"]) == (1, 5, [{"start": "0x44a00000", "end": "0x44b00000"}])
