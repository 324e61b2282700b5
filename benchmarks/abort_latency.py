"""From the fault's last byte leaving the board to memtester abandoned, on the under-reserved virtual board.

    .venv/bin/python benchmarks/abort_latency.py [--runs 20]

The rack records when each byte left QEMU, hvrig's timeline when memtester was abandoned; both are CLOCK_MONOTONIC.
The clock starts at the last byte of the words by which the fault is known; its report goes on for some lines after,
while memtester is abandoned already. Each run boots the board anew and goes to the rung that fails.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from virtual_bench import REPOSITORY, report, virtual_bench

FAULT = b"unhandled mmio fault"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20)
    runs = parser.parse_args().runs
    latencies = []
    with tempfile.TemporaryDirectory() as name:
        times = Path(name) / "uart.times"
        with virtual_bench(Path(name), uart_times=times) as bench:
            for number in range(runs):
                artifacts = Path(name) / "artifacts"
                subprocess.run(
                    [
                        str(Path(sys.executable).with_name("hvrig")),
                        *("run", "--places", str(bench.places), "--place", "virtual-under-reserved", "--stress-anyway"),
                        *("--ladder", "768M", "--artifacts", str(artifacts)),
                    ],
                    cwd=REPOSITORY,
                    stdout=subprocess.DEVNULL,
                    check=False,
                )
                verdict = json.loads((artifacts / "latest/verdict.json").read_text(encoding="utf-8"))
                assert verdict["cause"] == "hypervisor-fault", verdict["summary"]
                left = fault_left_board(times)[number]
                latencies.append(abandoned_at(artifacts / "latest/timeline.jsonl") - left)
    latencies.sort()
    report(
        "abort latency",
        {
            "runs": runs,
            "median_ms": round(1000 * statistics.median(latencies), 2),
            "p99_ms": round(1000 * latencies[min(runs - 1, int(0.99 * runs))], 2),
            "all_ms": [round(1000 * latency, 2) for latency in latencies],
        },
    )


def fault_left_board(times: Path) -> list[float]:
    """For each run, when the last byte of its first fault's words left the board."""
    raw = times.with_name(times.name + ".raw").read_bytes()
    stamps = [line.split() for line in times.read_text(encoding="ascii").splitlines()]
    found, at = [], 0
    while (start := raw.find(FAULT, at)) >= 0:
        end = start + len(FAULT)
        found.append(next(float(t) for t, offset in stamps if int(offset) >= end))
        following = raw.find(b"U-Boot 20", end)
        at = following if following >= 0 else len(raw)
    return found


def abandoned_at(timeline: Path) -> float:
    entries = [json.loads(line) for line in timeline.read_text(encoding="utf-8").splitlines()]
    return float(next(entry["t"] for entry in entries if entry["event"] == "abandoned"))


if __name__ == "__main__":
    main()
