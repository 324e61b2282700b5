import io
import os
import pty
import select
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest
from rich.console import Console

from hvrig.model.evidence import Cause, MemtestRun, Outcome, RungResult
from hvrig.model.finding import Alarm, Finding, Origin
from hvrig.model.layout import LayoutFinding, LayoutReport, Look, Mend, Rule, Unchecked
from hvrig.model.memory_map import MemoryMap
from hvrig.model.phase import Phase
from hvrig.model.progress import (
    Abandoned,
    Asked,
    FaultSeen,
    LayoutChecked,
    PhaseBegan,
    PhaseEnded,
    RungBegan,
    RungEnded,
    RungProgress,
    Step,
)
from hvrig.terminal import Terminal

RUN = MemtestRun(64 << 20, 64 << 20, True, 1, 1, "Random Value")
PASSED = RungResult("64M", Outcome.PASS, None, "", RUN, 0, 4.0, None, True)
FAILED = RungResult("64M", Outcome.FAIL, Cause.HANG, "no answer", RUN, None, 4.0, None, False)
ALARM = Alarm("unhandled-mmio-fault", Origin.HYPERVISOR, 9000, 1.0)
REPORT = Finding("unhandled-mmio-fault", Origin.HYPERVISOR, 9000, 1.0, zone=0, fields={"address": 0x1000})


class Time:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Screen:
    """A pseudo-terminal with a console on it."""

    console: Console
    reader: int
    seen: str = ""

    def wait_for(self, text: str) -> None:
        """Read until `text` was shown: the live lines are drawn by a thread of their own, four times a second."""
        while text not in self.seen:
            assert select.select([self.reader], [], [], 5)[0], f"{text!r} did not come"
            self.seen += os.read(self.reader, 65536).decode()

    def said(self) -> str:
        """What came so far. The terminal must be closed by then, so that all of it is there."""
        self.console.file.close()
        while True:
            try:
                self.seen += os.read(self.reader, 65536).decode()
            except OSError:  # EIO: the other end is closed
                return self.seen


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Iterator[Screen]:
    monkeypatch.setenv("TERM", "xterm-256color")
    reader, writer = pty.openpty()
    with open(writer, "w", encoding="utf-8") as file:  # noqa: PTH123 - a descriptor
        yield Screen(Console(file=file, width=100, height=20), reader)
    os.close(reader)


def plain(*, encoding: str = "utf-8") -> tuple[io.BytesIO, Console]:
    raw = io.BytesIO()
    return raw, Console(file=io.TextIOWrapper(raw, encoding=encoding))


def test_plain_lines() -> None:
    raw, console = plain()
    clock = Time()
    with Terminal(console, clock) as observer:
        observer(PhaseBegan(Phase.UBOOT, 12))
        clock.now += 65
        observer(PhaseEnded(Phase.UBOOT, 65.0))
        observer(RungBegan("64M", 0, 4))
        observer(FaultSeen(ALARM))
        assert raw.getvalue().endswith(b"uart.log\n"), "each line is flushed"
        observer(FaultSeen(REPORT))
        observer(Abandoned(0.2))
        observer(RungEnded(FAILED))
        observer(RungEnded(PASSED))
    assert raw.getvalue().decode().splitlines() == [
        "[0:00:00] u-boot: began, byte 12 of the UART",
        "[0:01:05] u-boot: done in 1 min 05 s",
        "[0:01:05] rung 1/4 64M: began",
        "[0:01:05] FAULT unhandled-mmio-fault: byte 9000 of uart.log",
        "[0:01:05]   its report: unhandled-mmio-fault: zone 0, address 0x1000, byte 9000 of uart.log",
        "[0:01:05] memtester abandoned 0.20 s after the fault",
        "[0:01:05] rung 1/4 64M: fail (hang) after 4.0 s: no answer",
        "[0:01:05] 64M: pass in 4.0 s, locked",
    ]


def test_a_layout_check_has_a_line_for_each_finding() -> None:
    raw, console = plain()
    finding = LayoutFinding(Rule.LIVE_SYSTEM_RAM, "Linux has\x1b[2J it.", (), (), "It dies.", Mend("Reserve it."))
    missing = Unchecked(Rule.UNRESERVED, "No tree.", "Log in as root.")
    report = LayoutReport("b", MemoryMap(), (Rule.LIVE_SYSTEM_RAM,), (finding,), (missing,))
    with Terminal(console, Time()) as observer:
        observer(LayoutChecked(Look.STATIC, replace(report, findings=())))
        observer(LayoutChecked(Look.LIVE, report))
    assert raw.getvalue().decode().splitlines() == [
        "[0:00:00]   memory layout, by the files: no findings; rule 9 checked; 1 not, or not wholly",
        "[0:00:00]   memory layout, by the running board: 1 finding; rule 9 checked; 1 not, or not wholly",
        "[0:00:00]   LAYOUT rule 9, live-system-ram: Linux has it.",
        "[0:00:00]   not checked: rule 1, hypervisor-unreserved: No tree. Log in as root.",
    ]


def test_plain_progress_every_ten_seconds() -> None:
    raw, console = plain()
    clock = Time()
    with Terminal(console, clock) as observer:
        observer(RungBegan("64M", 0, 4))
        for second in range(25):
            clock.now = 1000 + second
            observer(RungProgress("64M", RUN, second / 25, 90 - second))
    assert raw.getvalue().decode().splitlines()[1:] == [
        "[0:00:10] rung 1/4 64M: Random Value,  40%, 0:01:20 left, faults: 0",
        "[0:00:20] rung 1/4 64M: Random Value,  80%, 0:01:10 left, faults: 0",
    ]


def test_plain_even_when_colour_is_forced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    raw, console = plain()
    assert console.is_terminal
    with Terminal(console) as observer:
        observer(PhaseEnded(Phase.UBOOT, 1.0))
    assert b"\x1b" not in raw.getvalue()


def test_what_the_board_says_does_not_act() -> None:
    raw, console = plain()
    with Terminal(console) as observer:
        observer(Step("\x1b[2J::error::x ##[group] [red]kept[/red] \u202e"))
    assert raw.getvalue().decode() == "[0:00:00]   : :error::x # #[group] [red]kept[/red] \\u202e\n"


def test_a_poor_encoding() -> None:
    raw, console = plain(encoding="ascii")
    with Terminal(console) as observer:
        observer(Step("5 µs"))
    assert raw.getvalue() == b"[0:00:00]   5 \\xb5s\n"


def test_a_pipe_that_goes_away_ends_no_run() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as file, Terminal(Console(file=file)) as observer:  # noqa: PTH123 - a descriptor
        observer(PhaseEnded(Phase.UBOOT, 1.0))
        observer(PhaseEnded(Phase.LOAD, 1.0))
        os.dup2(os.open(os.devnull, os.O_WRONLY), writer)  # so that the file itself can be closed


def test_facts_are_no_faults() -> None:
    raw, console = plain()
    with Terminal(console) as observer:
        observer(FaultSeen(Finding("layout", Origin.FACT, 5, 1.0)))
    assert raw.getvalue() == b""


def test_live(screen: Screen) -> None:
    clock = Time()
    with Terminal(screen.console, clock) as observer:
        observer(PhaseBegan(Phase.GATE, 12))
        observer(RungBegan("64M", 0, 4))
        observer(FaultSeen(ALARM))
        observer(RungProgress("64M", RUN, 0.43, 80))
        screen.wait_for("Random Value")
        screen.wait_for(" 43%, 0:01:20 left")
        screen.wait_for("faults: 1")
        clock.now += 5
        screen.wait_for("0:01:15 left")
        observer(Step("[bold]memory read"))
        observer(RungEnded(PASSED))
    said = screen.said()
    assert "  [bold]memory read" in said
    assert "rung 1/4 64M: pass in 4.0 s, locked" in said
    assert said.count("\x1b[?25l") == said.count("\x1b[?25h") == 1


def test_whoever_asks_a_person_is_told_that_the_terminal_shows_it(screen: Screen) -> None:
    shown = threading.Event()
    with Terminal(screen.console) as observer:
        observer(Asked("Switch the board OFF", shown.set))
    assert "Switch the board OFF" in screen.said()
    assert shown.is_set()


def test_what_goes_into_a_file_is_shown_to_nobody() -> None:
    raw, console = plain()
    shown = threading.Event()
    with Terminal(console) as observer:
        observer(Asked("Switch the board OFF", shown.set))
    assert b"Switch the board OFF" in raw.getvalue()
    assert not shown.is_set()


def test_the_cursor_comes_back_after_an_interrupt(screen: Screen) -> None:
    def interrupted() -> None:
        with Terminal(screen.console) as observer:
            observer(PhaseBegan(Phase.GATE, 12))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    said = screen.said()
    assert said.rindex("\x1b[?25h") > said.rindex("\x1b[?25l")


def test_threads_while_it_refreshes(screen: Screen) -> None:
    swallowed = bytearray()

    def swallow() -> None:
        # A pseudo-terminal holds a few kilobytes; somebody must read while we write.
        while True:
            try:
                swallowed.extend(os.read(screen.reader, 65536))
            except OSError:
                return

    reader = threading.Thread(target=swallow)
    reader.start()
    with Terminal(screen.console) as observer:
        observer(RungBegan("64M", 0, 4))

        def tell() -> None:
            for n in range(100):
                observer(RungProgress("64M", RUN, n / 100, 1.0))
                observer(Step("x"))

        writers = [threading.Thread(target=tell) for _ in range(4)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join(timeout=20)
        assert not [writer for writer in writers if writer.is_alive()], "a deadlock"
    screen.console.file.close()
    reader.join(timeout=20)
    assert swallowed.decode().count("  x") == 400
