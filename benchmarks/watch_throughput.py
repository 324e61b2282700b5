"""How much console text one core takes: the watch, the whole console, and beside them pexpect and labgrid.

    .venv/bin/python benchmarks/watch_throughput.py [--megabytes 100] [--pexpect-megabytes 1] [--labgrid-kilobytes 100]

Each in turn on one CPU and on the same text, which holds no fault. But for the watch alone, the text comes through a
raw TCP port from a process on another CPU. pexpect waits for any fault's words, labgrid for a word at the end,
each on a stretch that it can finish: both look again at all that they have read, so a longer one only slows them,
except pexpect with a search window. Rates are by the clock and by the CPU time of this process: they differ where
other processes want the same CPU, and where the reader waits for the sender.
"""

from __future__ import annotations

import argparse
import os
import re
import socket
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from console_text import console_text
from labgrid import Target
from labgrid.driver import SerialDriver
from labgrid.resource import NetworkSerialPort
from pexpect.fdpexpect import fdspawn
from streaming import streaming
from virtual_bench import report

from hvrig.board.console import Console
from hvrig.model.bench import SerialEndpoint
from hvrig.model.deadline import Deadline
from hvrig.model.finding import Alarm, Origin
from hvrig.watch.catalogue import KINDS, UNEXPECTED_RESET
from hvrig.watch.watch import Watch

LAST_WORD = b"\r\nend-of-this-stream\r\n"
BLOCK = 64 * 1024  # as the console reads from a port at most
DEADLINE_S = 600.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--pexpect-megabytes", type=int, default=1)
    parser.add_argument("--labgrid-kilobytes", type=int, default=100)
    arguments = parser.parse_args()
    own, other = two_cpus()
    os.sched_setaffinity(0, {own})
    text = console_text(arguments.megabytes * 1_000_000 - len(LAST_WORD)) + LAST_WORD
    stretch = text[: arguments.pexpect_megabytes * 1_000_000] + LAST_WORD
    short = text[: arguments.labgrid_kilobytes * 1_000] + LAST_WORD
    watched = rate(text, measure_watch(text))
    recorded = rate(text, measure_console(text, other))
    report(
        "console text on one core",
        {
            "watch alone": {**watched, "aim MB/s": 50},
            "console, recorded and watched": {**recorded, "aim MB/s": 20},
            "pexpect, fdspawn": rate(stretch, measure_pexpect(stretch, other, maxread=2000)),
            "pexpect, maxread=65536": rate(stretch, measure_pexpect(stretch, other, maxread=BLOCK)),
            # A window below maxread would be fast and blind: pexpect looks at the last of a longer read only.
            "pexpect, maxread=65536, searchwindowsize=131072": rate(
                text, measure_pexpect(text, other, maxread=BLOCK, window=2 * BLOCK)
            ),
            "labgrid SerialDriver.expect, raw": rate(short, measure_labgrid(short, other)),
        },
    )


def two_cpus() -> tuple[int, int]:
    """A CPU to measure on and one for the sender; the same one if there is no other."""
    cpus = sorted(os.sched_getaffinity(0))
    return cpus[0], cpus[-1]


@dataclass
class Stopwatch:
    """Measures a `with` block: seconds by the clock, and of CPU time of all threads of this process."""

    wall: float = 0.0
    cpu: float = 0.0

    def __enter__(self) -> Stopwatch:
        self._wall, self._cpu = time.monotonic(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.wall, self.cpu = time.monotonic() - self._wall, time.process_time() - self._cpu


def rate(text: bytes, took: Stopwatch) -> dict[str, object]:
    megabytes = len(text) / 1e6
    return {
        "bytes": len(text),
        "seconds": round(took.wall, 2),
        "MB/s": round(megabytes / took.wall, 3),
        "MB per CPU second": round(megabytes / took.cpu, 3),
    }


def measure_watch(text: bytes) -> Stopwatch:
    watch = Watch()
    faults = 0
    with Stopwatch() as took:
        for start in range(0, len(text), BLOCK):
            for event in watch.feed(text[start : start + BLOCK], 0.0):
                faults += isinstance(event, Alarm) and event.kind != UNEXPECTED_RESET
    assert not faults, "the text was to hold no fault"
    return took


def measure_console(text: bytes, sender_cpu: int) -> Stopwatch:
    watch = Watch()

    def sink(data: bytes, t: float) -> None:
        watch.feed(data, t)

    with tempfile.TemporaryDirectory() as name, streaming(text, sender_cpu) as port:
        console = Console(SerialEndpoint("raw", 1_500_000, host="127.0.0.1", port=port), Path(name), [sink])
        deadline = Deadline(DEADLINE_S)
        with Stopwatch() as took:
            console.open(Deadline(10))
            while console.offset < len(text):
                assert not deadline.expired
                time.sleep(0.005)
        console.close()
        console.check()
        assert (Path(name) / "uart.log").read_bytes() == text, "bytes were lost"
    return took


def measure_pexpect(text: bytes, sender_cpu: int, maxread: int, window: int | None = None) -> Stopwatch:
    """All faults' words in one call of expect, on the plain socket."""
    faults = [kind for kind in KINDS if kind.origin is not Origin.FACT]
    words = [re.escape(each.literal) + b"".join(each.tail) for kind in faults for each in kind.words]
    with streaming(text, sender_cpu) as port, socket.create_connection(("127.0.0.1", port)) as uart:
        console = fdspawn(uart.fileno(), timeout=DEADLINE_S, maxread=maxread, searchwindowsize=window)
        patterns = console.compile_pattern_list([LAST_WORD.strip(), *words])
        with Stopwatch() as took:
            found = console.expect_list(patterns)
    assert found == 0, "pexpect found a fault in a text without one"
    return took


def measure_labgrid(text: bytes, sender_cpu: int) -> Stopwatch:
    with streaming(text, sender_cpu) as port:
        target = Target("bench")
        NetworkSerialPort(target, "port", host="127.0.0.1", port=port, protocol="raw")
        driver = SerialDriver(target, "serial")
        with Stopwatch() as took:
            target.activate(driver)
            driver.expect(LAST_WORD.decode().strip(), timeout=DEADLINE_S)
        target.deactivate(driver)
    return took


if __name__ == "__main__":
    main()
