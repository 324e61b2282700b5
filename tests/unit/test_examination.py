"""The order of the doctor's checks, and whose fault what they raise is; with a run that is played."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from hvrig.doctor.result import Checked, Fault, Result, Status, exit_status, ok
from hvrig.examination import _Examination
from hvrig.lab.places import load_place, with_rack
from hvrig.model.bench import SerialEndpoint, SshEndpoint
from hvrig.model.deadline import Deadline
from hvrig.model.errors import BoardError, LabError, PlaceHeldError, UsageError
from hvrig.model.evidence import Problem
from hvrig.model.phase import Phase
from hvrig.model.protocols import CommandResult
from hvrig.model.run import RunOptions
from hvrig.pipeline import FaultStoppedBoot, Run, problem_of

PLACES = Path(__file__).parents[2] / "lab" / "places.yaml"


def raising(error: Exception) -> Callable[..., Any]:
    def work(*_: object, **__: object) -> Any:
        raise error

    return work


class PlayedPower:
    by_hand = False


class PlayedBench:
    power = PlayedPower()
    serial = SerialEndpoint("raw", 115200, host="127.0.0.1", port=1)
    ssh = SshEndpoint("127.0.0.1", 1, "root")


class PlayedRun:
    """All in order, up to the UART, which cannot be opened; each step can be replaced."""

    def __init__(self, folder: Path) -> None:
        self.place = with_rack(load_place(PLACES, "virtual"), folder)
        self.folder = folder
        self.alarms = 0
        self.end_problems: list[Problem] = []
        self.find_files: Callable[..., None] = lambda **_: None
        self.open_bench: Callable[[], Any] = PlayedBench
        self.open_console = raising(LabError("The UART cannot be opened.", "Is the exporter running?"))

    def entered(self, phase: Phase) -> None: ...

    def console_grace(self) -> None: ...

    def describe_alarm(self) -> str:
        return "mmio-fault at byte 7 of uart.log"


class PlayedShell:
    """root-linux, whose commands answer with what stands here, by a word of theirs."""

    def __init__(self, **answers: tuple[int, bytes]) -> None:
        self._answers = answers

    def run(self, command: str, _deadline: Deadline) -> CommandResult:
        status, said = next(answer for word, answer in self._answers.items() if word in command)
        return CommandResult(status, said, b"")


@pytest.fixture
def run(tmp_path: Path) -> PlayedRun:
    (tmp_path / "ssh").mkdir()
    (tmp_path / "ssh/host_key.pub").write_text("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA")
    return PlayedRun(tmp_path)


def examination(run: PlayedRun) -> _Examination:
    return _Examination(cast(Any, run), RunOptions(), [], lambda _: None, learn_host_key=False)


def checked(run: PlayedRun) -> dict[str, Result]:
    made = examination(run)
    made.make_all()
    return {check.name: check.result for check in made.checks}


def failed(results: dict[str, Result]) -> list[str]:
    return [name for name, result in results.items() if result.status is Status.FAIL]


def test_what_needs_the_uart_is_skipped_without_it(run: PlayedRun) -> None:
    results = checked(run)
    assert failed(results) == ["uart"]
    assert results["uart"].found == "The UART cannot be opened"
    assert (results["latency"].found, results["power"].found) == ("needs uart", "needs uart")
    assert (results["boot"].found, results["disk"].status is Status.SKIPPED) == ("needs tftp", False)


def test_a_resolver_that_does_not_answer_holds_up_no_check(run: PlayedRun, silent_resolver: threading.Event) -> None:
    assert checked(run)["readers"].status is Status.OK
    assert not silent_resolver.is_set()


def test_a_place_that_is_held_has_a_labgrid_that_answers(run: PlayedRun) -> None:
    run.open_bench = raising(PlaceHeldError("Place x is held by a/b, since noon.", "Ask b."))
    results = checked(run)
    assert failed(results) == ["place"]
    assert results["place"].found == "Place x is held by a/b, since noon"
    assert results["place"].remedy == "Ask b."


def test_a_labgrid_that_is_not_there(run: PlayedRun) -> None:
    run.open_bench = raising(LabError("The coordinator cannot be reached.", "Start it."))
    results = checked(run)
    assert failed(results) == ["labgrid"]
    assert results["place"].found == "needs labgrid"


def test_files_that_are_missing_are_settings_and_start_no_virtual_board(run: PlayedRun) -> None:
    run.find_files = raising(UsageError("Local files are missing.", "Build them."))
    run.open_bench = raising(AssertionError("started"))
    results = checked(run)
    assert failed(results) == ["files"]
    assert results["files"].fault is Fault.SETTINGS
    assert results["labgrid"].found == "needs files"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (LabError("no outlet"), 3),
        (UsageError("too long a command"), 2),
        (BoardError("no prompt", phase=Phase.UBOOT, awaited="=>"), 3),
        (BoardError("no hello", phase=Phase.HYPERVISOR, awaited="Hello"), 1),
        (FaultStoppedBoot(), 1),
    ],
)
def test_whose_fault_it_is(run: PlayedRun, error: Exception, status: int) -> None:
    made = examination(run)
    made._check("boot", raising(error))
    assert made.checks[0].result.status is Status.FAIL
    assert exit_status(made.checks) == status


def test_a_board_that_stays_on_and_a_place_that_stays_held_are_the_last_check_and_the_labs(run: PlayedRun) -> None:
    made = examination(run)
    made._check("labgrid", made._labgrid)
    run.end_problems = [
        problem_of(LabError("The outlet did not answer.", "Look at it."), None),
        problem_of(LabError("Place x1 could not be given back: lost.", "Release it."), None),
    ]
    made.make_last()
    last = made.checks[-1]
    assert (last.name, last.result.status, exit_status(made.checks)) == ("end", Status.FAIL, 3)
    assert last.result.found == "The outlet did not answer; Place x1 could not be given back: lost"
    assert last.result.remedy == "Look at it. Release it."


@pytest.mark.parametrize(
    ("by_hand", "found"),
    [(False, "the board is off; the place is as"), (True, "switch the board off by hand; the place is as")],
)
def test_an_end_in_order(run: PlayedRun, monkeypatch: pytest.MonkeyPatch, by_hand: bool, found: str) -> None:
    monkeypatch.setattr(PlayedPower, "by_hand", by_hand)
    made = examination(run)
    made.make_last()
    assert made.checks[0].result.found == "no board was switched on, and this run holds no place"
    made._check("labgrid", made._labgrid)
    made.make_last()
    assert made.checks[-1].result.found.startswith(found)
    assert failed({check.name: check.result for check in made.checks}) == []


class StubbornBench(PlayedBench):
    """Its outlet does not switch off, and its place cannot be given back."""

    def __init__(self) -> None:
        self.power = cast(Any, self)
        self.by_hand = False

    def off(self, _deadline: Deadline) -> None:
        raise LabError("The outlet did not answer.", "Look at it.")

    def __exit__(self, *_: object) -> None:
        raise LabError("Place x1 could not be given back.", "Release it.")


def test_what_the_runs_end_could_not_undo_is_told_even_after_another_problem(tmp_path: Path) -> None:
    place = with_rack(load_place(PLACES, "virtual"), tmp_path)
    with Run(place, RunOptions(artifacts=tmp_path), lambda _: None) as run:
        run.note(LabError("The timeline cannot be written.", "Make room."))
        bench = cast(Any, StubbornBench())
        run._bench = bench
        run._stack.callback(run._leave_bench, bench)
    assert [p.message for p in run.end_problems] == ["The outlet did not answer.", "Place x1 could not be given back."]


def test_a_fault_is_named(run: PlayedRun) -> None:
    made = examination(run)
    made._check("boot", raising(FaultStoppedBoot()))
    assert "mmio-fault at byte 7" in made.checks[0].result.found


def test_ctrl_c_is_no_check_that_failed(run: PlayedRun) -> None:
    made = examination(run)
    made._check("python", lambda: ok("fine"))

    def interrupted() -> Result:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        made._check("labgrid", interrupted)
    assert made.checks == [Checked("python", "Python and packages", ok("fine"), made.checks[0].seconds)]


def test_what_root_linux_answers(run: PlayedRun) -> None:
    made = examination(run)
    made._shell = cast(
        Any,
        PlayedShell(
            memtester=(127, b"sh: exec: memtester: not found\n"),
            meminfo=(0, b"MemTotal: 500000 kB\nMemFree: 400000 kB\n"),
            date=(0, b"12\n"),
        ),
    )
    for name, work in (("memtester", made._memtester), ("memory", made._memory), ("clock", made._board_clock)):
        made._check(name, work)
    results = {check.name: check.result for check in made.checks}
    assert "not found" in results["memtester"].found
    assert (results["memtester"].fault, results["memory"].fault) == (Fault.BOARD, Fault.SETTINGS)
    assert results["memory"].found.startswith("the ladder does not fit")
    assert results["clock"].status is Status.WARN


def test_a_board_that_tells_no_time(run: PlayedRun) -> None:
    made = examination(run)
    made._shell = cast(Any, PlayedShell(date=(1, b"date: no clock\n")))
    made._check("clock", made._board_clock)
    assert "does not tell the time" in made.checks[0].result.found
