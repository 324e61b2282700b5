"""The pipeline's own small decisions; the whole of it runs in tests/virtual."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from hvrig.board.console import Console
from hvrig.cli_options import end_in_order
from hvrig.gate.shell_paramiko import ParamikoShell
from hvrig.lab.labgrid_bench import LabgridBench
from hvrig.lab.places import load_place, with_rack
from hvrig.model.deadline import Deadline
from hvrig.model.errors import BoardError, LabError, UsageError
from hvrig.model.evidence import Cause, Outcome, PhaseRecord, Verdict
from hvrig.model.finding import Finding, Mark, Milestone, Origin
from hvrig.model.layout import Look
from hvrig.model.phase import Phase
from hvrig.model.progress import Asked, Event, PhaseEnded
from hvrig.model.protocols import CommandResult, RunningCommand
from hvrig.model.run import RunOptions, split_images, split_ladder
from hvrig.pipeline import (
    ENDING_SIGNALS,
    FINDINGS_KEPT,
    Run,
    _signals_wait,
    phases_with_spl,
    prepare_place,
    problem_of,
    require_load_addresses,
    run_gate,
)

PLACES = Path(__file__).parents[2] / "lab" / "places.yaml"


@pytest.mark.parametrize(
    ("error", "cause", "phase"),
    [
        (LabError("no outlet", "look"), Cause.LAB, Phase.POWER),
        (UsageError("too big", "smaller"), Cause.USAGE, Phase.POWER),
        (BoardError("no prompt", phase=Phase.UBOOT, awaited="=>"), Cause.LAB, Phase.UBOOT),
        (BoardError("no hello", phase=Phase.HYPERVISOR, awaited="Hello"), Cause.HANG, Phase.HYPERVISOR),
        (BoardError("no shell", phase=Phase.ROOT_LINUX, awaited="#"), Cause.HANG, Phase.ROOT_LINUX),
        (KeyboardInterrupt(), Cause.INTERRUPTED, Phase.POWER),
    ],
)
def test_what_ended_a_run_is_blamed_on_whose_turn_it_is(error: BaseException, cause: Cause, phase: Phase) -> None:
    problem = problem_of(error, Phase.POWER)
    assert (problem.cause, problem.phase) == (cause, phase)


def test_a_fault_of_hvrig_itself_says_so() -> None:
    problem = problem_of(ZeroDivisionError("division by zero"), Phase.GATE)
    assert problem.cause is Cause.LAB
    assert "hvrig itself failed: ZeroDivisionError" in problem.message


def test_spl_is_told_apart_from_u_boot() -> None:
    phases = [PhaseRecord(Phase.POWER, 0.0, 1.0, 0), PhaseRecord(Phase.UBOOT, 1.0, 5.0, 0)]
    marks = [Milestone(Mark.SPL, 10, 1.5), Milestone(Mark.UBOOT_BANNER, 900, 3.0)]
    assert phases_with_spl(phases, marks[1:]) == tuple(phases)
    assert phases_with_spl(phases, marks) == (
        phases[0],
        PhaseRecord(Phase.SPL, 1.0, 3.0, 0),
        PhaseRecord(Phase.UBOOT, 3.0, 5.0, 900),
    )


def test_a_board_that_stays_in_spl_was_never_in_u_boot() -> None:
    phases = [PhaseRecord(Phase.UBOOT, 1.0, None, 0)]
    assert phases_with_spl(phases, [Milestone(Mark.SPL, 10, 1.5)]) == (PhaseRecord(Phase.SPL, 1.0, None, 0),)


BOARD_RS = """
pub const ROOT_ZONE_DTB_ADDR: u64 = 0x4f00_0000;
pub const ROOT_ZONE_KERNEL_ADDR: u64 = 0x5040_0000;
pub const ROOT_ZONE_MEMORY_REGIONS: &[HvConfigMemoryRegion] = &[];
"""


def test_load_addresses_that_agree_are_said(tmp_path: Path) -> None:
    board_rs = tmp_path / "board.rs"
    board_rs.write_text(BOARD_RS)
    said = require_load_addresses(load_place(PLACES, "virtual"), board_rs)
    assert said == f"load addresses as in {board_rs}: kernel 0x50400000, zone0_dtb 0x4f000000"


def test_load_addresses_that_disagree_are_the_persons_turn(tmp_path: Path) -> None:
    board_rs = tmp_path / "board.rs"
    board_rs.write_text(BOARD_RS.replace("0x5040_0000", "0x2040_0000"))
    with pytest.raises(UsageError) as raised:
        require_load_addresses(load_place(PLACES, "virtual"), board_rs)
    for part in ("kernel is loaded at 0x50400000", "ROOT_ZONE_KERNEL_ADDR is 0x20400000", f"{board_rs}:3"):
        assert part in raised.value.message
    assert "zone0_dtb" not in raised.value.message


def test_a_board_rs_without_addresses_says_what_was_not_compared(tmp_path: Path) -> None:
    board_rs = tmp_path / "board.rs"
    board_rs.write_text("pub const ROOT_ZONE_MEMORY_REGIONS: &[HvConfigMemoryRegion] = &[];")
    said = require_load_addresses(load_place(PLACES, "virtual"), board_rs)
    assert (
        said == f"{board_rs}: no load address to compare; it has no ROOT_ZONE_KERNEL_ADDR; it has no ROOT_ZONE_DTB_ADDR"
    )
    assert "not compared" in require_load_addresses(load_place(PLACES, "virtual"), tmp_path / "none.rs")


def test_files_of_the_run_take_the_places_place(tmp_path: Path) -> None:
    (tmp_path / "b.rs").touch()
    options = RunOptions(
        places=PLACES, images=split_images([f"hvisor={tmp_path}/mine.bin"]), board_rs=tmp_path / "b.rs"
    )
    place = prepare_place(options)
    assert place.images["hvisor"].path == tmp_path / "mine.bin"
    assert place.images["hvisor"].address == 0x4C000000
    assert place.hypervisor.board_rs == tmp_path / "b.rs"


def test_a_file_for_an_image_that_the_place_has_not_is_refused() -> None:
    with pytest.raises(UsageError, match="no image hvisr") as raised:
        prepare_place(RunOptions(places=PLACES, images={"hvisr": Path("x")}))
    assert "hvisor" in raised.value.remedy


def test_a_board_rs_of_the_run_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.rs is not there"):
        prepare_place(RunOptions(places=PLACES, board_rs=tmp_path / "none.rs"))


@pytest.mark.parametrize("texts", [["hvisor"], ["=x"], ["hvisor="], ["a=x", "a=y"]])
def test_what_is_no_name_and_path_is_refused(texts: list[str]) -> None:
    with pytest.raises(UsageError, match="--image"):
        split_images(texts)


def test_a_persons_ladder_takes_the_places_place() -> None:
    options = RunOptions(places=PLACES, place="virtual", ladder=split_ladder("16M, 64M"))
    assert prepare_place(options).gate.ladder == ("16M", "64M")
    assert split_ladder(None) is None


class _Board:
    """root-linux's shell, which answers the layout check and nothing else."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self._files = files
        self.asked: list[str] = []

    def run(self, command: str, deadline: Deadline) -> CommandResult:
        self.asked.append(command)
        path = command.removeprefix("cat ")
        if path not in self._files:
            raise LabError(f"{command!r} did not end within {deadline.seconds:g} s", "look at the console log")
        return CommandResult(0, self._files[path], b"")

    def start(self, command: str, *_: object) -> RunningCommand:
        self.asked.append(command)
        raise LabError("the SSH connection was lost", "look at the console log")

    def close(self) -> None:
        pass


def _gate(tmp_path: Path, files: dict[str, bytes], *, stress_anyway: bool = False) -> tuple[Verdict, list[str]]:
    """What a run comes to whose board has booted and has these files."""
    place = with_rack(load_place(PLACES, "virtual"), tmp_path)
    board = _Board(files)
    with Run(place, RunOptions(artifacts=tmp_path, stress_anyway=stress_anyway), lambda _: None) as run:
        run._shell = cast(ParamikoShell, board)
        run.gate()
        return run.verdict(), board.asked


def _iomem(place: str) -> dict[str, bytes]:
    data = Path(__file__).parents[1] / "data" / "iomem"
    return {
        "/proc/iomem": (data / f"{place}.txt").read_bytes(),
        "/sys/firmware/fdt": (data / f"{place}.dtb").read_bytes(),
    }


def test_what_the_running_kernel_proves_ends_the_run_before_the_first_rung(tmp_path: Path) -> None:
    verdict, asked = _gate(tmp_path, _iomem("virtual-under-reserved"))
    assert (verdict.outcome, verdict.cause) == (Outcome.FAIL, Cause.LAYOUT)
    assert asked == ["cat /proc/iomem", "cat /sys/firmware/fdt"]


@pytest.mark.parametrize(
    ("place", "stress_anyway"), [("virtual", False), ("virtual-under-reserved", True)], ids=["clean", "stress anyway"]
)
def test_otherwise_the_ladder_is_climbed(tmp_path: Path, place: str, stress_anyway: bool) -> None:
    verdict, asked = _gate(tmp_path, _iomem(place), stress_anyway=stress_anyway)
    assert len(asked) > 2
    assert verdict.evidence.layout[Look.LIVE].checked
    assert verdict.cause is (Cause.LAYOUT if stress_anyway else Cause.LAB), "this board has no memtester"


def test_a_board_that_does_not_answer_the_check_is_left_to_the_ladder(tmp_path: Path) -> None:
    verdict, asked = _gate(tmp_path, {})
    assert len(asked) > 1
    live = verdict.evidence.layout[Look.LIVE]
    assert (live.findings, live.checked) == ((), ())
    assert all("did not end within" in one.why for one in live.unchecked)
    assert verdict.cause is Cause.LAB


class _Port:
    """A console with root-linux's shell on it, alive or dead."""

    error = None
    gaps = ()
    offset = 0

    def tail(self) -> str:
        return "root@virtual:/# "


@pytest.mark.parametrize(
    ("alive", "cause"), [(True, Cause.LAB), (False, Cause.HANG), (LabError("lost", ""), Cause.LAB)], ids=str
)
def test_a_board_that_answers_nowhere_hangs_and_one_that_has_no_ssh_is_the_labs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alive: bool | LabError, cause: Cause
) -> None:
    def console_alive(_run: Run, _deadline: Deadline) -> bool:
        if isinstance(alive, LabError):
            raise alive
        return alive

    monkeypatch.setattr(Run, "_console_alive", console_alive)
    place = with_rack(load_place(PLACES, "virtual"), tmp_path)
    with Run(place, RunOptions(artifacts=tmp_path), lambda _: None) as run:
        run._console = cast(Console, _Port())
        run._shell = cast(ParamikoShell, _Board({}))
        run.gate()
        verdict = run.verdict()
        run._console = None
    assert (verdict.outcome, verdict.cause) == (Outcome.FAIL if cause is Cause.HANG else Outcome.INFRA, cause)


def test_a_mistake_of_hvrigs_own_ends_with_a_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_run: Run) -> None:
        raise ZeroDivisionError("a mistake")

    monkeypatch.setattr(Run, "_boot", fail)
    place = with_rack(load_place(PLACES, "virtual"), tmp_path)
    result = run_gate(place, RunOptions(artifacts=tmp_path), lambda _: None)
    assert (result.verdict.outcome, result.verdict.exit_status) == (Outcome.INFRA, 3)
    assert "hvrig itself failed: ZeroDivisionError" in result.verdict.summary
    assert "ZeroDivisionError: a mistake" in (result.folder / "traceback.txt").read_text(encoding="utf-8")
    assert (result.folder / "verdict.json").is_file()


def test_a_fault_told_again_takes_its_first_tellings_place_and_a_boot_loop_does_not_fill_memory() -> None:
    run = Run(load_place(PLACES, "virtual"), RunOptions(places=PLACES, place="virtual"), lambda _: None)
    first = Finding("unexpected-reset", Origin.BOARD, 0, 0.0)
    run._take([first, replace(first, count=3)])
    assert [each.count for each in run._findings.values()] == [3]
    run._take([replace(first, offset=number) for number in range(2 * FINDINGS_KEPT)])
    assert len(run._findings) == FINDINGS_KEPT


class _Outlet:
    """A bench that is its own outlet. said: what it says of itself beforehand."""

    def __init__(self, said: bool | None, delay_s: float = 0.0) -> None:
        self.power = self
        self.said = said
        self.delay_s = delay_s
        self.did: list[str] = []

    def is_on(self, _: Deadline) -> bool | None:
        return self.said

    def off(self, _: Deadline) -> None:
        self.did.append("off")


class _Quiet:
    """A console on which so many bytes have come."""

    def __init__(self, offset: int) -> None:
        self.offset = offset


@pytest.mark.parametrize(
    ("said", "heard", "delay_s", "rested"),
    [
        (True, 0, 0.0, [1.0]),  # on and quiet: an idle shell, a board that was kept on
        (None, 0, 0.0, [1.0]),  # an outlet that cannot tell
        (None, 0, 2.5, [2.5]),  # the driver's own delay
        (True, 7, 0.5, [1.0]),
        (False, 7, 0.0, [1.0]),  # it says off, and the board speaks
        (False, 0, 2.5, []),
    ],
)
def test_a_board_that_may_have_been_on_runs_down_before_it_starts(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    said: bool | None,
    heard: int,
    delay_s: float,
    rested: list[float],
) -> None:
    slept: list[float] = []
    monkeypatch.setattr("hvrig.pipeline.time.sleep", slept.append)
    outlet = _Outlet(said, delay_s)
    options = RunOptions(places=PLACES, artifacts=tmp_path)
    with Run(load_place(PLACES, "virtual"), options, lambda _: None) as run:
        run.switch_off(cast(LabgridBench, outlet), cast(Console, _Quiet(heard)))
    assert outlet.did == ["off"]
    assert slept == rested


@pytest.fixture
def signals_restored() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in ENDING_SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("signals_restored")
@pytest.mark.parametrize("number", ENDING_SIGNALS)
def test_what_asks_a_run_to_end_waits_for_its_end_in_order(number: signal.Signals) -> None:
    end_in_order()
    done: list[bool] = []

    def block() -> None:
        with _signals_wait():
            signal.raise_signal(number)
            done.append(True)

    with pytest.raises(KeyboardInterrupt):
        block()
    assert done
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(number)


@pytest.mark.usefixtures("signals_restored")
def test_under_nohup_the_terminal_may_go() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    end_in_order()
    signal.raise_signal(signal.SIGHUP)
    with _signals_wait():
        signal.raise_signal(signal.SIGHUP)
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


@pytest.mark.usefixtures("signals_restored")
def test_a_terminal_goes_once() -> None:
    end_in_order()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGHUP)
    signal.raise_signal(signal.SIGHUP)  # bash tells its jobs what the kernel has told them


@pytest.mark.usefixtures("signals_restored")
def test_a_run_that_is_told_twice_to_end_still_ends_in_order(tmp_path: Path) -> None:
    end_in_order()
    place = with_rack(load_place(PLACES, "virtual"), tmp_path)
    left: list[str] = []

    def impatient(event: object) -> None:
        if isinstance(event, PhaseEnded):
            signal.raise_signal(signal.SIGTERM)

    with Run(place, RunOptions(artifacts=tmp_path), lambda _: None) as run:
        run._observer = impatient
        run._stack.callback(left.append, "bench")
        run.entered(Phase.POWER)
        with pytest.raises(KeyboardInterrupt):
            run.close()
    assert left == ["bench"]


@pytest.mark.parametrize("listens", [True, False])
def test_a_person_is_asked_at_the_terminal_unless_progress_is_shown_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listens: bool
) -> None:
    shown: list[bool] = []
    monkeypatch.setattr("hvrig.pipeline.ask_person", lambda request, _, tell: shown.append(tell(request)))
    heard: list[str] = []

    def observer(event: Event) -> None:
        if listens and isinstance(event, Asked):
            heard.append(event.text)
            event.shown()

    with Run(load_place(PLACES, "virtual"), RunOptions(places=PLACES, artifacts=tmp_path), observer) as run:
        run._ask_person("Switch it OFF")
        timeline = (run.folder / "timeline.jsonl").read_text()
    assert shown == [listens]
    assert heard == ["Switch it OFF"] * listens
    assert "Switch it OFF" in timeline


@pytest.mark.parametrize(
    ("key", "host_key", "said"),
    [
        ("not a key", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA", r"ssh\.key: .* cannot be used"),
        ("encrypted", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA", "it has a passphrase"),
        ("plain", "/nowhere/x3300.host_key.pub", r"ssh\.host_key: .* neither a public key nor a file"),
    ],
)
def test_keys_for_ssh_are_looked_at_before_a_place_is_queued_for(
    tmp_path: Path, key: str, host_key: str, said: str
) -> None:
    made = ed25519.Ed25519PrivateKey.generate()
    locked = BestAvailableEncryption(b"secret") if key == "encrypted" else NoEncryption()
    pem = made.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, locked)
    file = tmp_path / "id"
    file.write_bytes(b"nothing" if key == "not a key" else pem)
    x3300 = load_place(PLACES, "x3300")
    images = {name: replace(image, path=file) for name, image in x3300.images.items()}
    place = replace(x3300, images=images, ssh=replace(x3300.ssh, key=file, host_key=host_key))
    with Run(place, RunOptions(places=PLACES, artifacts=tmp_path / "a"), lambda _: None) as run:
        with pytest.raises(UsageError, match=said):
            run.find_files()
        if key == "plain":
            run.find_files(host_key=False)  # it is about to be learned
