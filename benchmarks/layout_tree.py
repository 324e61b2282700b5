"""A whole tree of 18 boards: `hvrig layout check` beside what a user would use instead.

Instead: a checker by regular expressions, as hvisor's PR 311 describes its own (board.rs slices and the hypervisor's
range, no device trees), and dtc alone, which says that a tree compiles. Each is a process of its own, started anew for
each of `--repeat` rounds, in turn; what is printed is the median and the range. Every tree is made up
(`made_up_hvisor.py`), with one board broken in the way of hvisor's issue 221 and one in a way that hides.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from made_up_hvisor import BOARDS, write_tree

_REGION = re.compile(
    r"HvConfigMemoryRegion\s*\{\s*mem_type:\s*MEM_TYPE_RAM,\s*physical_start:\s*(0x[0-9a-fA-F_]+),"
    r"\s*virtual_start:\s*0x[0-9a-fA-F_]+,\s*size:\s*(0x[0-9a-fA-F_]+)"
)
_TABLE = re.compile(r"ROOT_ZONE_MEMORY_REGIONS:\s*&\[HvConfigMemoryRegion\]\s*=\s*&\[(.*?)\];", re.DOTALL)
_BASE = re.compile(r"^BASE_ADDRESS\s*=\s*(0x[0-9a-fA-F]+);", re.MULTILINE)
_SIZE = (8 << 19) + (64 << 20)


def by_regular_expression(root: Path) -> list[str]:
    """Boards whose board.rs slice gives zone 0 RAM in the hypervisor; what is not matched passes."""
    wrong: list[str] = []
    for board in sorted(root.glob("platform/*/*/board.rs")):
        table = _TABLE.search(board.read_text())
        base = _BASE.search((board.parent / "linker.ld").read_text())
        if table is None or base is None:
            continue
        start = int(base[1], 16)
        for region in _REGION.finditer(table[1]):
            low = int(region[1].replace("_", ""), 16)
            if low < start + _SIZE and start < low + int(region[2].replace("_", ""), 16):
                wrong.append("/".join(board.parts[-3:-1]))
    return wrong


def break_two(root: Path) -> None:
    """4 MiB reserved of 68, and a region that only an array holds, over the hypervisor, as a sum."""
    tree = root / "platform" / "aarch64" / "pine" / "image" / "dts" / "zone0.dts"
    tree.write_text(tree.read_text().replace("0x4800000>", "0x400000>", 1))
    board = root / "platform" / "aarch64" / "oak" / "board.rs"
    board.write_text(board.read_text().replace("    // HvConfig", "    HvConfig", 1))


@dataclass(frozen=True)
class Round:
    """One run. cpu_s: of all its processes, which other work on the machine changes less than the time."""

    wall_s: float
    cpu_s: float
    found: str


def timed(run: Callable[[], str]) -> Round:
    """Run it once."""
    began, before = time.perf_counter(), os.times()
    found = run()
    after = os.times()
    cpu = after.children_user - before.children_user + after.children_system - before.children_system
    return Round(time.perf_counter() - began, cpu, found)


def main() -> int:
    """Print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--devices", type=int, default=300, help="in each device tree")
    parser.add_argument("--regular-expressions", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.regular_expressions is not None:
        print(json.dumps(by_regular_expression(arguments.regular_expressions)))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "hvisor")
        write_tree(root, arguments.devices)
        break_two(root)
        hvrig = [str(Path(sys.executable).with_name("hvrig")), "layout", "check", "--format", "json"]

        def run_hvrig() -> str:
            done = subprocess.run([*hvrig, "--hvisor-tree", str(root)], capture_output=True, check=False)
            boards = json.loads(done.stdout)["boards"]
            return ", ".join(one["board"] for one in boards if one["findings"])

        def run_expressions() -> str:
            command = [sys.executable, __file__, "--regular-expressions", str(root)]
            return ", ".join(json.loads(subprocess.run(command, capture_output=True, check=True).stdout))

        def run_dtc() -> str:
            refused = []
            for tree in sorted(root.glob("platform/*/*/image/dts/*.dts")):
                cpp = ["cpp", "-nostdinc", "-undef", "-x", "assembler-with-cpp", str(tree)]
                text = subprocess.run(cpp, capture_output=True, check=True).stdout
                command = ["dtc", "-q", "-I", "dts", "-O", "dtb", "-o", "/dev/null", "-"]
                if subprocess.run(command, input=text, capture_output=True, check=False).returncode:
                    refused.append(tree.name)
            return ", ".join(refused)

        runs = {"hvrig layout check": run_hvrig, "regular expressions": run_expressions, "dtc alone": run_dtc}
        rounds: dict[str, list[Round]] = {name: [] for name in runs}
        for _ in range(arguments.repeat):
            for name, run in runs.items():
                rounds[name].append(timed(run))
        size = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
    result = {
        "boards": len(BOARDS),
        "bytes": size,
        "wrong": "aarch64/oak, aarch64/pine",
        "rounds": arguments.repeat,
        "by": {
            name: {
                "median_s": round(statistics.median(one.wall_s for one in took), 3),
                "range_s": [round(min(one.wall_s for one in took), 3), round(max(one.wall_s for one in took), 3)],
                "cpu_s": round(statistics.median(one.cpu_s for one in took), 3),
                "found": took[-1].found,
            }
            for name, took in rounds.items()
        },
    }
    print(json.dumps(result, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
