"""Many consoles at full line rate in one process: is a byte lost, and how late does an alarm come?

    .venv/bin/python benchmarks/many_consoles.py [--consoles 64] [--seconds 600] [--folder DIR] [--keep]

One process plays the boards: each sends console text at the line rate of 1.5 Mbaud in blocks of 1 to 4 kB, as a
serial adapter gives them, and at seeded times an MMIO fault. Another one is hvrig: a console with a recording and a
watch for each board. All instants are CLOCK_MONOTONIC. An alarm's latency counts from before the write of the block
with the last byte of the fault's words until the watch has given out the Alarm. Each uart.log must have the hash of
what was sent.

A machine that has other work shows in how late the sender was, and then in the latencies: run it alone, or ahead of
everything else with `chrt -r 10` before the command.
"""

from __future__ import annotations

import argparse
import hashlib
import heapq
import multiprocessing
import random
import resource
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

from console_text import console_text, mmio_fault
from virtual_bench import report

from hvrig.board.console import Console
from hvrig.model.bench import SerialEndpoint
from hvrig.model.deadline import Deadline
from hvrig.model.finding import Alarm
from hvrig.watch.catalogue import MMIO_FAULT
from hvrig.watch.watch import Watch

RATE = 150_000  # bytes a second: 1.5 Mbaud, 8N1
BLOCKS = (1024, 4096)
FAULT_EVERY_S = (5.0, 15.0)  # a boot of the text, which makes a fault new again, takes less
TEXT_BYTES = 2_000_000
SAMPLE_S = 1.0


@dataclass
class Board:
    """What one board has sent. faults: offset behind the words, and when they were sent."""

    sent: int = 0
    hash: str = ""
    faults: list[tuple[int, float]] = field(default_factory=list)


@dataclass
class Sent:
    """What the sender tells at the end. late_s: how far behind its pace a board was at most."""

    boards: list[Board]
    late_s: float
    refused: int
    cpu_s: float


@dataclass
class Heard:
    """One console with its watch, and its alarms: offset, when the bytes were read, when the alarm came."""

    console: Console
    alarms: list[tuple[int, float, float]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--consoles", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="where the logs are written")
    parser.add_argument("--keep", action="store_true", help="do not delete the logs")
    arguments = parser.parse_args()
    needed = int(arguments.consoles * RATE * arguments.seconds * 1.1)
    if shutil.disk_usage(arguments.folder).free < needed:
        sys.exit(f"{arguments.folder} needs {needed / 1e9:.1f} GB free: give another --folder or fewer --seconds")
    folder = Path(tempfile.mkdtemp(prefix="many-consoles-", dir=arguments.folder))
    try:
        measure(arguments.consoles, arguments.seconds, arguments.seed, folder)
    finally:
        if not arguments.keep:
            shutil.rmtree(folder)


def measure(count: int, seconds: float, seed: int, folder: Path) -> None:
    ours, theirs = multiprocessing.Pipe()
    sender = multiprocessing.Process(target=play_boards, args=(count, seconds, seed, theirs), daemon=True)
    sender.start()
    heard = [listen(port, folder / f"{number:03}") for number, port in enumerate(ours.recv())]
    for each in heard:
        each.console.open(Deadline(10))
    wall, cpu = time.monotonic(), time.process_time()
    ours.send("go")
    resident = []
    while not ours.poll(SAMPLE_S):
        resident.append(resident_bytes())
    sent: Sent = ours.recv()
    deadline = Deadline(60)
    while any(each.console.offset < board.sent for each, board in zip(heard, sent.boards, strict=True)):
        assert not deadline.expired, "bytes were lost, or the consoles are a minute behind"
        time.sleep(0.01)
    wall, cpu = time.monotonic() - wall, time.process_time() - cpu
    for each in heard:
        each.console.close()
        each.console.check()
    sender.join()
    intact = sum(
        hash_of(folder / f"{number:03}" / "uart.log") == board.hash for number, board in enumerate(sent.boards)
    )
    latencies, reads, missed = match(heard, sent.boards)
    total = sum(board.sent for board in sent.boards)
    report(
        "many consoles",
        {
            "consoles": count,
            "seconds": round(wall, 1),
            "bytes": total,
            "kB/s each": round(total / wall / count / 1e3, 1),
            "logs with the hash of what was sent": intact,
            "gaps": sum(len(each.console.gaps) for each in heard),
            "CPU of one core": round(cpu / wall, 3),
            "CPU of the sender": round(sent.cpu_s / wall, 3),
            "sender": {"late at most, ms": round(1e3 * sent.late_s, 1), "writes not taken at once": sent.refused},
            "memory": growth(resident),
            "faults": {"sent": sum(len(board.faults) for board in sent.boards), "missed": missed},
            "fault sent to alarm, ms": {**percentiles(latencies), "aim p99": 10},
            "fault sent to its bytes read, ms": percentiles(reads),
        },
    )
    assert intact == count, "bytes were lost"
    assert not missed, "faults were missed"


def listen(port: int, folder: Path) -> Heard:
    watch = Watch()
    alarms: list[tuple[int, float, float]] = []

    def sink(data: bytes, t: float) -> None:
        for event in watch.feed(data, t):
            if isinstance(event, Alarm) and event.kind == MMIO_FAULT:
                alarms.append((event.offset, t, time.monotonic()))

    return Heard(Console(SerialEndpoint("raw", 1_500_000, host="127.0.0.1", port=port), folder, [sink]), alarms)


def match(heard: Sequence[Heard], boards: Sequence[Board]) -> tuple[list[float], list[float], int]:
    """Seconds from each fault's sending to its alarm and to its bytes being read, and how many had no alarm.

    An alarm's offset is that of its line's beginning: before the end of the words, behind the fault before.
    """
    latencies, reads, missed = [], [], 0
    for each, board in zip(heard, boards, strict=True):
        alarms = list(each.alarms)
        for offset, t_sent in board.faults:
            if not alarms or alarms[0][0] >= offset:
                missed += 1
                continue
            _, t_read, t_alarm = alarms.pop(0)
            latencies.append(t_alarm - t_sent)
            reads.append(t_read - t_sent)
        assert not alarms, f"alarms without a fault: {alarms}"
    return latencies, reads, missed


def percentiles(seconds: Sequence[float]) -> dict[str, object]:
    ordered = sorted(seconds)
    last = len(ordered) - 1
    if last < 0:
        return {}
    marks = {"p50": 0.5, "p99": 0.99, "max": 1.0}
    return {name: round(1e3 * ordered[min(last, int(part * len(ordered)))], 2) for name, part in marks.items()}


def growth(resident: Sequence[int]) -> dict[str, object]:
    """MB resident at the end of each tenth of the time, or at each sample of a short run."""
    tenths = [resident[len(resident) * tenth // 10 - 1] for tenth in range(1, 11)] if len(resident) >= 10 else resident
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # getrusage(2): in KiB
    return {"peak MB": round(peak / 1e6, 1), "MB over time": [round(each / 1e6, 1) for each in tenths]}


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()


def hash_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()


def play_boards(count: int, seconds: float, seed: int, control: Connection) -> None:
    """The sender's process: `count` boards on a port each, at their pace for `seconds`."""
    chance = random.Random(seed)
    text = console_text(TEXT_BYTES)
    text += text[: BLOCKS[1]]
    report_text, words_end = mmio_fault()
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    control.send([listener.getsockname()[1] for listener in listeners])
    control.recv()
    clients = [listener.accept()[0] for listener in listeners]
    boards = [Board() for _ in clients]
    hashes = [hashlib.blake2b() for _ in clients]
    began = time.monotonic()
    at = [chance.randrange(TEXT_BYTES) for _ in clients]
    fault_due = [began + chance.uniform(0.2, FAULT_EVERY_S[1]) for _ in clients]
    due = [(began + chance.random() * BLOCKS[1] / RATE, number) for number in range(count)]
    heapq.heapify(due)
    late, refused = 0.0, 0
    while due:
        t, number = due[0]
        if (wait := t - time.monotonic()) > 0:
            time.sleep(wait)
        size, board = chance.randint(*BLOCKS), boards[number]
        block = text[at[number] : at[number] + size]
        at[number] = (at[number] + size) % TEXT_BYTES
        now = time.monotonic()
        late = max(late, now - t)
        if now >= fault_due[number]:
            fault_due[number] = now + chance.uniform(*FAULT_EVERY_S)
            board.faults.append((board.sent + len(block) + words_end, now))
            block += report_text
        try:
            taken = clients[number].send(block, socket.MSG_DONTWAIT)
        except BlockingIOError:
            taken = 0
        if taken < len(block):
            refused += 1
            clients[number].sendall(block[taken:])
        hashes[number].update(block)
        board.sent += len(block)
        if t - began < seconds:
            heapq.heapreplace(due, (t + len(block) / RATE, number))
        else:
            heapq.heappop(due)
    for board, digest in zip(boards, hashes, strict=True):
        board.hash = digest.hexdigest()
    control.send(Sent(boards, late, refused, time.process_time()))
    for client in clients:
        client.recv(1)  # until the reader is done


if __name__ == "__main__":
    main()
