"""hvrig's whole run beside a bare script that boots the same board and runs the same memtester calls.

    .venv/bin/python benchmarks/overhead.py [--ladder 64M,128M,256M,768M] [--rounds 3]

Both on the same rack, in turn, each a process of its own, timed from start to end.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from virtual_bench import REPOSITORY, report, virtual_bench


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ladder", default="64M,128M,256M,768M")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    times: dict[str, list[float]] = {"bare script": [], "hvrig": []}
    with tempfile.TemporaryDirectory() as name, virtual_bench(Path(name)) as bench:
        ports = [str(p) for p in (bench.endpoints.outlet_port, bench.endpoints.uart_port, bench.endpoints.ssh_port)]
        commands = {
            "bare script": [
                sys.executable,
                str(Path(__file__).with_name("bare_gate.py")),
                *ports,
                str(bench.images.client_key),
                arguments.ladder,
            ],
            "hvrig": [
                str(Path(sys.executable).with_name("hvrig")),
                *(
                    "run",
                    "--places",
                    str(bench.places),
                    "--ladder",
                    arguments.ladder,
                    "--artifacts",
                    f"{name}/artifacts",
                ),
            ],
        }
        for _ in range(arguments.rounds):
            for who, command in commands.items():
                began = time.monotonic()
                subprocess.run(command, cwd=REPOSITORY, check=True, stdout=subprocess.DEVNULL)
                times[who].append(time.monotonic() - began)
    median = {who: statistics.median(seconds) for who, seconds in times.items()}
    report(
        "overhead",
        {
            "ladder": arguments.ladder,
            "seconds": {who: [round(s, 2) for s in seconds] for who, seconds in times.items()},
            "ratio of medians": round(median["hvrig"] / median["bare script"], 3),
            "aim": "at most 1.05",
        },
    )


if __name__ == "__main__":
    main()
