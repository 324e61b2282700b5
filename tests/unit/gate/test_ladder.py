from __future__ import annotations

import re
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from hvrig.gate.ladder import Ladder
from hvrig.model.deadline import Deadline
from hvrig.model.errors import LabError, UsageError
from hvrig.model.evidence import Cause, Outcome, RungResult
from hvrig.model.finding import Alarm, Origin
from hvrig.model.memory import Range
from hvrig.model.place import DeadlineSettings, GateSettings, RootLinuxSettings
from hvrig.model.progress import Abandoned, Event, RungBegan, RungEnded, RungProgress
from hvrig.model.protocols import CommandResult, EndSink, OutputSink

MIB = 1 << 20
HYPERVISOR = Range(0x4040_0000, 0x4460_0000)
BUFFER_START = 0xFFFF_8000_0000
HIGH_FRAME = 0x1_0000_0000 // 4096
QUICK = DeadlineSettings(stall_s=0.15, probe_s=0.3, rung_bytes_per_s=64.0 * MIB)

Say = Callable[[bytes], None]
# Plays memtester with the board's `say` and `abandoned`: its exit status, None for a lost connection.
Memtester = Callable[["Board"], int | None]


def locked(board: Board) -> None:
    size = board.wanted
    board.say(b"hvrig-pid %d\nmemtester version 4.6.0 (64-bit)\npagesize is 4096\nusing testmask 0x1\n" % board.pid)
    board.say(b"want %dMB (%d bytes)\n" % (size >> 20, size))
    board.say(b"got  %dMB (%d bytes), trying mlock ..." % (size >> 20, size))
    board.say(b"locked.\nLoop 1/1:\n")


def healthy(board: Board) -> int | None:
    locked(board)
    # A real one takes seconds; this one ends once it has been looked at.
    board.looked_at.wait(10)
    board.say(b"  Stuck Address       :            " + b"\b" * 11 + b"testing  15" + b"\b" * 11 + b"ok         \n")
    board.say(b"  Random Value        : ok\n\nDone.\n")
    return 0


def silent_after_lock(board: Board) -> int | None:
    locked(board)
    board.abandoned.wait(10)
    return None


def unheard(data: bytes) -> None:
    raise AssertionError(f"memtester does not run: {data!r}")


class Running:
    def __init__(self) -> None:
        self.abandoned = threading.Event()

    def abandon(self) -> None:
        self.abandoned.set()


@dataclass
class Board:
    """A root-linux that answers the ladder's commands as a busybox with dropbear does."""

    memtester: Memtester = healthy
    mem_free_kb: int = 1_000_000
    iomem: str = "40000000-53ffffff : System RAM\n100000000-12effffff : System RAM\n"
    first_frame: int = HIGH_FRAME
    dmesg: bytes = b""
    console_works: bool = True
    console_answers: bool = True
    ssh_answers: bool = True
    lose_markers: int = 0
    pid: int = 231
    wanted: int = 0
    commands: list[str] = field(default_factory=list)
    running: list[Running] = field(default_factory=list)
    looked_at: threading.Event = field(default_factory=threading.Event)
    ladder: Ladder | None = None
    say: Say = unheard
    abandoned: threading.Event = field(default_factory=threading.Event)

    def run(self, command: str, deadline: Deadline) -> CommandResult:
        raise AssertionError(f"{command} {deadline}: the ladder starts its commands")

    def start(self, command: str, output: OutputSink, end: EndSink, deadline: Deadline) -> Running:
        assert not deadline.expired
        self.commands.append(command)
        running = Running()
        if "memtester" in command:
            self.running.append(running)

        def play() -> None:
            status = self._play(command, output, running.abandoned)
            if not running.abandoned.is_set():
                end(status)

        threading.Thread(target=play, daemon=True).start()
        return running

    def _play(self, command: str, say: Say, abandoned: threading.Event) -> int | None:
        if found := re.fullmatch(
            r"sh -c 'echo hvrig-pid \$\$; export MEMTESTER_TEST_MASK=0x1; exec memtester (\d+)M 1' 2>&1; exit \$\?",
            command,
        ):
            self.wanted = int(found[1]) * MIB
            self.looked_at.clear()
            self.say, self.abandoned = say, abandoned
            return self.memtester(self)
        if not self.ssh_answers:
            abandoned.wait(10)
            return None
        if command == "cat /proc/meminfo":
            say(f"MemTotal: 1100000 kB\nMemFree: {self.mem_free_kb} kB\nMemAvailable: {self.mem_free_kb} kB\n".encode())
        elif command == "cat /proc/iomem":
            say(self.iomem.encode())
        elif command == f"cat /proc/{self.pid}/maps":
            say(f"{BUFFER_START:x}-{BUFFER_START + self.wanted:x} rw-p 00000000 00:00 0 \n".encode())
        elif found := re.fullmatch(
            rf"dd if=/proc/{self.pid}/pagemap bs=4096 skip=(\d+) count=(\d+) 2>/dev/null", command
        ):
            self._say_pagemap(int(found[1]) * 4096, int(found[2]) * 4096, say)
        elif found := re.fullmatch(r"printf '\\n%s\\n' (hvrig-mark-[0-9a-f]{16}) > /dev/ttyS2", command):
            self._print_marker(found[1])
        elif command.startswith("dmesg"):
            say(self.dmesg)
        elif command != "true":
            say(b"sh: not found\n")
            return 127
        return 0

    def _say_pagemap(self, offset: int, size: int, say: Say) -> None:
        first = BUFFER_START // 4096
        pages = self.wanted // 4096
        for at in range(offset // 8, (offset + size) // 8, 4096):
            entries = [
                (1 << 63 | self.first_frame + page - first) if 0 <= page - first < pages else 0
                for page in range(at, min(at + 4096, (offset + size) // 8))
            ]
            say(struct.pack(f"<{len(entries)}Q", *entries))

    def _print_marker(self, marker: str) -> None:
        assert self.ladder is not None
        self.ladder.marker("hvrig-mark-0000000000000000")
        if self.lose_markers > 0:
            self.lose_markers -= 1
        elif self.console_works:
            self.ladder.marker(marker)
            self.looked_at.set()


@dataclass
class Climb:
    """A ladder on a board, and what it told."""

    board: Board
    sizes: tuple[str, ...] = ("16M", "32M")
    deadlines: DeadlineSettings = QUICK
    hypervisor: Range | None = HYPERVISOR
    events: list[Event] = field(default_factory=list)
    logs: dict[str, bytes] = field(default_factory=dict)
    clock: Callable[[], float] = time.monotonic
    on_console_probe: Callable[[], None] = lambda: None

    def __post_init__(self) -> None:
        self.ladder = self.board.ladder = Ladder(
            shell=self.board,
            gate=GateSettings(ladder=self.sizes),
            root_linux=RootLinuxSettings(console="/dev/ttyS2"),
            deadlines=self.deadlines,
            hypervisor_range=self.hypervisor,
            console_alive=self._console_alive,
            observer=self.events.append,
            clock=self.clock,
            rung_log=self._log,
        )

    def _console_alive(self, deadline: Deadline) -> bool:
        assert not deadline.expired
        self.on_console_probe()
        return self.board.console_answers

    def _log(self, size: str, block: bytes) -> None:
        self.logs[size] = self.logs.get(size, b"") + block

    def alarm(self, kind: str = "unhandled-mmio-fault", origin: Origin = Origin.HYPERVISOR) -> None:
        self.ladder.alarm(Alarm(kind, origin, 1234, self.clock()))

    def last(self) -> RungResult:
        return self.ladder.climb()[-1]


def test_a_healthy_board_passes_every_rung_with_its_evidence() -> None:
    climb = Climb(Board())
    results = climb.ladder.climb()
    assert [(r.size, r.outcome, r.cause, r.reason) for r in results] == [
        ("16M", Outcome.PASS, None, ""),
        ("32M", Outcome.PASS, None, ""),
    ]
    assert all(r.run.locked and r.run.done and r.marker_seen and r.exit_status == 0 for r in results)
    coverage = results[1].coverage
    assert coverage is not None
    assert (coverage.pages, coverage.hypervisor_pages) == (8192, 0)
    assert [(share.pages_held, share.pages) for share in coverage.banks] == [(0, 0x14000), (8192, 0x2F000)]
    assert climb.logs["32M"].startswith(b"hvrig-pid 231\nmemtester version")
    assert climb.logs["32M"].endswith(b"Done.\n")
    assert climb.ladder.fault_to_abort_s is None
    assert [type(e) for e in climb.events if isinstance(e, RungBegan | RungEnded)] == [RungBegan, RungEnded] * 2
    progress = [e for e in climb.events if isinstance(e, RungProgress)]
    assert {e.size for e in progress} == {"16M", "32M"}
    assert tuple(climb.ladder.results) == results


def test_a_page_in_the_hypervisors_memory_fails_the_rung_though_memtester_passed() -> None:
    result = Climb(Board(first_frame=0x4400_0000 // 4096)).last()
    assert (result.size, result.outcome, result.cause) == ("16M", Outcome.FAIL, Cause.LAYOUT)
    assert "1536 of the hypervisor's own pages" in result.reason
    assert result.run.done
    assert result.coverage is not None
    assert result.coverage.hypervisor_stretches == (Range(0x4400_0000, 0x4460_0000),)


@pytest.mark.parametrize(
    ("kind", "origin", "outcome", "cause"),
    [
        ("unhandled-mmio-fault", Origin.HYPERVISOR, Outcome.FAIL, Cause.HYPERVISOR_FAULT),
        ("kernel-panic", Origin.KERNEL, Outcome.FAIL, Cause.KERNEL_FAULT),
        ("hypervisor-hello-again", Origin.BOARD, Outcome.FAIL, Cause.UNEXPECTED_RESET),
        ("oom-kill", Origin.KERNEL, Outcome.INFRA, Cause.USAGE),
    ],
)
def test_an_alarm_abandons_memtester_at_once(kind: str, origin: Origin, outcome: Outcome, cause: Cause) -> None:
    def faults_in_mlock(board: Board) -> int | None:
        board.say(b"hvrig-pid 231\nwant 16MB (16777216 bytes)\ngot  16MB (16777216 bytes), trying mlock ...")
        climb.alarm(kind, origin)
        climb.alarm("later-panic", Origin.HYPERVISOR)
        assert board.abandoned.wait(10)
        return None

    climb = Climb(Board(memtester=faults_in_mlock))
    result = climb.last()
    assert (result.size, result.outcome, result.cause) == ("16M", outcome, cause)
    assert "in the 16M rung" in result.reason
    assert (result.run.got_bytes, result.run.locked, result.exit_status) == (16 * MIB, False, None)
    assert climb.ladder.fault_to_abort_s is not None
    assert 0 <= climb.ladder.fault_to_abort_s < 0.1
    assert Abandoned(climb.ladder.fault_to_abort_s) in climb.events


def test_memtester_is_abandoned_by_the_thread_that_brings_the_alarm() -> None:
    abandoned_at_once: list[bool] = []

    def faults_when_looked_at(board: Board) -> int | None:
        locked(board)
        board.looked_at.wait(10)
        climb.alarm()
        abandoned_at_once.append(board.abandoned.is_set())
        return None

    climb = Climb(Board(memtester=faults_when_looked_at))
    assert climb.last().cause is Cause.HYPERVISOR_FAULT
    assert abandoned_at_once == [True]


def test_an_alarm_wakes_a_climb_that_waits_for_the_pages() -> None:
    def faults_while_pages_are_read(board: Board) -> int | None:
        board.ssh_answers = False
        locked(board)
        climb.alarm()
        board.abandoned.wait(10)
        return None

    climb = Climb(Board(memtester=faults_while_pages_are_read), deadlines=replace(QUICK, probe_s=60))
    began = time.monotonic()
    assert climb.last().cause is Cause.HYPERVISOR_FAULT
    assert time.monotonic() - began < 5


def test_an_alarm_before_the_climb_fails_the_first_rung_without_memtester() -> None:
    climb = Climb(Board())
    climb.alarm()
    result = climb.last()
    assert (result.size, result.cause) == ("16M", Cause.HYPERVISOR_FAULT)
    assert "before the 16M rung began" in result.reason
    assert climb.board.running == []
    assert climb.ladder.fault_to_abort_s is None


def test_a_fact_is_no_alarm() -> None:
    climb = Climb(Board())
    climb.alarm("layout", Origin.FACT)
    assert climb.last().outcome is Outcome.PASS


def test_a_lost_marker_is_sent_again() -> None:
    climb = Climb(Board(lose_markers=1))
    assert climb.last().outcome is Outcome.PASS
    sent = [c.split()[2] for c in climb.board.commands if c.startswith("printf")]
    assert len(sent) == 3
    assert len(set(sent)) == 2


def test_a_console_that_never_shows_the_marker_is_no_evidence() -> None:
    def ends_soon(board: Board) -> int | None:
        board.looked_at.set()
        return healthy(board)

    result = Climb(Board(memtester=ends_soon, console_works=False), hypervisor=None).last()
    assert (result.outcome, result.cause, result.marker_seen) == (Outcome.INFRA, Cause.NO_EVIDENCE, False)
    assert "would not have shown a fault either" in result.reason


@pytest.mark.parametrize(
    ("ssh", "console", "outcome", "cause", "said"),
    [
        (False, False, Outcome.FAIL, Cause.HANG, "neither SSH nor the console answered"),
        (False, True, Outcome.INFRA, Cause.LAB, "look at the network"),
        (True, False, Outcome.INFRA, Cause.NO_EVIDENCE, "would not have shown a fault"),
        (True, True, Outcome.INFRA, Cause.LAB, "slower than expected"),
    ],
)
def test_silence_is_judged_by_who_still_answers(
    ssh: bool, console: bool, outcome: Outcome, cause: Cause, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hvrig.gate.pace.SLACK_S", 0.3)

    def goes_silent(board: Board) -> int | None:
        locked(board)
        board.looked_at.wait(10)
        board.ssh_answers = ssh
        board.abandoned.wait(10)
        return None

    climb = Climb(Board(memtester=goes_silent, console_answers=console))
    result = climb.last()
    assert (result.outcome, result.cause) == (outcome, cause)
    assert said in result.reason
    assert climb.board.running[0].abandoned.is_set()


def test_an_alarm_that_comes_while_the_board_is_asked_wins() -> None:
    climb = Climb(Board(memtester=silent_after_lock, console_answers=False))
    climb.on_console_probe = climb.alarm
    result = climb.last()
    assert (result.outcome, result.cause) == (Outcome.FAIL, Cause.HYPERVISOR_FAULT)


@pytest.mark.parametrize(
    ("console", "outcome", "cause"), [(False, Outcome.FAIL, Cause.HANG), (True, Outcome.INFRA, Cause.LAB)]
)
def test_a_lost_connection_is_judged_by_the_console(console: bool, outcome: Outcome, cause: Cause) -> None:
    def lost(board: Board) -> int | None:
        locked(board)
        board.looked_at.wait(10)
        return None

    result = Climb(Board(memtester=lost, console_answers=console)).last()
    assert (result.outcome, result.cause) == (outcome, cause)
    assert "SSH connection was lost" in result.reason


def test_an_oom_kill_in_the_kernel_log_is_a_rung_that_did_not_fit() -> None:
    def killed(board: Board) -> int | None:
        board.say(b"hvrig-pid 231\nwant 16MB (16777216 bytes)\ngot  16MB (16777216 bytes), trying mlock ...Killed\n")
        return 137

    log = b"[   12.3] Out of memory: Killed process %d (memtester) total-vm:17000kB\n"
    result = Climb(Board(memtester=killed, dmesg=log % 231)).last()
    assert (result.outcome, result.cause, result.exit_status) == (Outcome.INFRA, Cause.USAGE, 137)
    assert "16 MiB wanted, 976.6 MiB could be had" in result.reason
    other = Climb(Board(memtester=killed, dmesg=log % 77)).last()
    assert (other.outcome, other.cause) == (Outcome.INFRA, Cause.LAB)


def test_a_rung_that_cannot_fit_is_a_usage_error_before_anything_runs() -> None:
    climb = Climb(Board(mem_free_kb=20_000))
    with pytest.raises(UsageError, match="32M is 33554432 bytes"):
        climb.ladder.climb()
    assert climb.board.running == []


def test_hidden_addresses_are_a_lab_error() -> None:
    with pytest.raises(LabError, match="only zeros"):
        Climb(Board(iomem="00000000-00000000 : System RAM\n")).ladder.climb()


def test_pages_that_cannot_be_read_are_no_evidence() -> None:
    def without_process(board: Board) -> int | None:
        say = board.say
        board.say = lambda data: say(data.replace(b"hvrig-pid 231\n", b"hvrig-pid 999\n"))
        return healthy(board)

    result = Climb(Board(memtester=without_process)).last()
    assert (result.outcome, result.cause, result.coverage) == (Outcome.INFRA, Cause.NO_EVIDENCE, None)
    assert "/proc/999/maps could not be read: exit status 127" in result.reason
    assert any("/proc/999/maps" in note for note in result.run.notes)
    assert Climb(Board(memtester=without_process), hypervisor=None).last().outcome is Outcome.PASS


def test_memory_errors_are_counted_under_a_flood() -> None:
    def floods(board: Board) -> int | None:
        locked(board)
        for _ in range(200):
            board.say(b"FAILURE: 0xffffffff != 0xffffff00 at offset 0x099e03bc.\n" * 200)
        board.say(b"\nDone.\n")
        return 4

    climb = Climb(Board(memtester=floods))
    result = climb.last()
    assert (result.outcome, result.cause) == (Outcome.FAIL, Cause.MEMORY_ERROR)
    assert result.run.failure_count == 40_000
    assert len([e for e in climb.events if isinstance(e, RungProgress)]) < 40


def test_an_error_in_the_log_leaves_the_results_and_no_memtester_behind() -> None:
    def stuck(board: Board) -> int | None:
        if board.wanted == 16 * MIB:
            return healthy(board)
        return silent_after_lock(board)

    climb = Climb(Board(memtester=stuck))

    def disk_full() -> None:
        raise LabError("no space left on device")

    climb.on_console_probe = disk_full
    with pytest.raises(LabError):
        climb.ladder.climb()
    assert [r.size for r in climb.ladder.results] == ["16M"]
    assert climb.board.running[1].abandoned.is_set()
