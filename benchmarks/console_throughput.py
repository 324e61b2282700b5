"""The console, recorded and watched, beside labgrid's SerialDriver.expect on the same stream and kind of port.

    .venv/bin/python benchmarks/console_throughput.py [--megabytes 50] [--labgrid-kilobytes 100]

A process of its own streams console text (captures of the real hvisor, repeated) through a raw TCP port, as a
NetworkSerialPort gives it. hvrig records and watches all of it; labgrid's driver awaits a word at the end of a stretch
that it can finish. Bytes a second of each, and their ratio. The log must hold every byte.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path

from labgrid import Target
from labgrid.driver import SerialDriver
from labgrid.resource import NetworkSerialPort
from streaming import streaming
from virtual_bench import REPOSITORY, report

from hvrig.board.console import Console
from hvrig.model.bench import SerialEndpoint
from hvrig.model.deadline import Deadline
from hvrig.watch.watch import Watch

LAST_WORD = b"\r\nend-of-this-stream\r\n"
DEADLINE_S = 600.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=50)
    parser.add_argument("--labgrid-kilobytes", type=int, default=100)
    arguments = parser.parse_args()
    ours = measure_hvrig(arguments.megabytes * 1_000_000)
    theirs = measure_labgrid(arguments.labgrid_kilobytes * 1_000)
    report(
        "console throughput",
        {
            "hvrig, recorded and watched": {"bytes": arguments.megabytes * 1_000_000, "kB/s": round(ours / 1e3, 1)},
            "labgrid SerialDriver.expect, raw": {
                "bytes": arguments.labgrid_kilobytes * 1_000,
                "kB/s": round(theirs / 1e3, 1),
            },
            "ratio": round(ours / theirs),
            "aim": "at least 100",
        },
    )


def measure_hvrig(count: int) -> float:
    text = console_text(count)
    watch = Watch()
    with tempfile.TemporaryDirectory() as name, streaming(text) as port:

        def sink(data: bytes, t: float) -> None:
            watch.feed(data, t)

        console = Console(SerialEndpoint("raw", 1_500_000, host="127.0.0.1", port=port), Path(name), [sink])
        began = time.monotonic()
        console.open(Deadline(10))
        while console.offset < len(text):
            assert time.monotonic() - began < DEADLINE_S
            time.sleep(0.005)
        seconds = time.monotonic() - began
        console.close()
        assert (Path(name) / "uart.log").read_bytes() == text, "bytes were lost"
    return len(text) / seconds


def measure_labgrid(count: int) -> float:
    text = console_text(count)
    with streaming(text) as port:
        target = Target("bench")
        NetworkSerialPort(target, "port", host="127.0.0.1", port=port, protocol="raw")
        driver = SerialDriver(target, "serial")
        began = time.monotonic()
        target.activate(driver)
        driver.expect(LAST_WORD.decode().strip(), timeout=DEADLINE_S)
        seconds = time.monotonic() - began
        target.deactivate(driver)
    return len(text) / seconds


def console_text(count: int) -> bytes:
    """`count` bytes of console text: good captures again and again, then the last word."""
    captures = sorted((REPOSITORY / "tests/data/uart").glob("hvisor-qemu*ok.raw.log"))
    assert captures
    text = bytearray()
    for capture in islice(cycle(captures), 1_000_000):
        text += capture.read_bytes()
        if len(text) >= count:
            break
    return bytes(text[: count - len(LAST_WORD)]) + LAST_WORD


if __name__ == "__main__":
    main()
