import json
import threading
from datetime import UTC, datetime
from typing import Any

import pytest

from hvrig.model.evidence import MemtestRun, Verdict
from hvrig.model.finding import Alarm, Origin
from hvrig.model.layout import Look
from hvrig.model.phase import Phase
from hvrig.model.progress import (
    Abandoned,
    FaultSeen,
    LayoutChecked,
    PhaseBegan,
    PhaseEnded,
    RungBegan,
    RungEnded,
    RungProgress,
    Step,
)
from hvrig.report.timeline import Timeline


class Bench:
    """A timeline with a clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 100.0
        self.raw: list[bytes] = []
        utc = datetime(2026, 11, 22, 21, 25, tzinfo=UTC)
        self.tell = Timeline(self.raw.append, lambda: self.now, lambda: utc)

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.raw]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def progress(fraction: float, left_s: float | None = 12.34) -> RungProgress:
    return RungProgress("64M", MemtestRun(test="Random Value", loop=1, loops=1), fraction, left_s)


def test_one_object_a_line(bench: Bench, failed: Verdict) -> None:
    mmio = failed.evidence.findings[1]
    bench.tell(PhaseBegan(Phase.UBOOT, 12))
    bench.tell(PhaseEnded(Phase.UBOOT, 2.0))
    bench.tell(Step("board said \x1b[31m\nno"))
    bench.tell(RungBegan("64M", 0, 4))
    bench.tell(FaultSeen(Alarm("unhandled-mmio-fault", Origin.HYPERVISOR, 9000, 99.5)))
    bench.tell(FaultSeen(mmio))
    bench.tell(FaultSeen(failed.evidence.findings[0]))
    bench.tell(Abandoned(0.2))
    bench.tell(RungEnded(failed.evidence.rungs[-1]))
    bench.tell(LayoutChecked(Look.LIVE, failed.evidence.layout[Look.LIVE]))
    assert all(line.endswith(b"\n") and line.count(b"\n") == 1 and line.isascii() for line in bench.raw)
    assert [line["event"] for line in bench.lines] == [
        "phase-began",
        "phase-ended",
        "step",
        "rung-began",
        "alarm",
        "fault",
        "fact",
        "abandoned",
        "rung-ended",
        "layout-checked",
    ]
    assert bench.lines[0] == {
        "t": 100.0,
        "utc": "2026-11-22T21:25:00.000+00:00",
        "event": "phase-began",
        "phase": "u-boot",
        "uart_offset": 12,
    }
    assert bench.lines[2]["text"] == "board said \nno"
    assert (bench.lines[4]["uart_t"], bench.lines[4]["uart_offset"]) == (99.5, 9000)
    assert bench.lines[5]["address"] == "0x10016d300"
    assert (bench.lines[8]["outcome"], bench.lines[8]["cause"]) == ("fail", "hypervisor-fault")
    assert (bench.lines[9]["look"], bench.lines[9]["findings"][1]["number"]) == ("live", 9)


def test_progress_at_most_once_a_second(bench: Bench) -> None:
    for tenth in range(25):
        bench.now = 100 + tenth / 10
        bench.tell(progress(tenth / 25))
    assert [line["t"] for line in bench.lines] == [100.0, 101.0, 102.0]
    assert bench.lines[1]["left_s"] == 12.3
    assert bench.lines[1]["test"] == "Random Value"


def test_other_events_are_never_held_back(bench: Bench) -> None:
    bench.tell(progress(0.1))
    bench.tell(Abandoned(0.2))
    bench.tell(Abandoned(0.2))
    assert [line["event"] for line in bench.lines] == ["rung-progress", "abandoned", "abandoned"]


def test_threads(bench: Bench) -> None:
    def tell() -> None:
        for n in range(100):
            bench.tell(Abandoned(n / 100))

    threads = [threading.Thread(target=tell) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(bench.lines) == 400
