"""The one place that knows the order of the rooms: a place becomes a verdict.

`Run` is used by the command line and by the pytest plugin alike. Inside its `with`, the board is powered and its
UART is recorded; `boot`, `gate` and `verdict` are called in that order. Nothing that goes wrong on the way is lost:
it becomes a `Problem` of the evidence, and the judge says what it means.
"""

from __future__ import annotations

import platform
import shutil
import signal
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from types import TracebackType

from hvrig.board.console import Console
from hvrig.boot.guest_dialogue import console_alive
from hvrig.boot.sequence import bring_up
from hvrig.explain import explain
from hvrig.gate.ladder import Ladder
from hvrig.gate.shell_paramiko import ParamikoShell, connect, pinned_host_key, private_key
from hvrig.lab.labgrid_bench import LabgridBench
from hvrig.lab.labgrid_tftp import RemoteTftp
from hvrig.lab.person import ask_person
from hvrig.lab.places import load_place, on_every_board, with_rack
from hvrig.layout.hypervisor import printed_map, with_printed
from hvrig.layout.inputs import Known, MapInputs, place_only, read_board_file, read_inputs
from hvrig.layout.live import Answer, BoardAnswers, ask_board, check_live
from hvrig.layout.load_addresses import compare_addresses
from hvrig.layout.rules import check, nothing_checked
from hvrig.model.bench import Acquisition, RackPorts, ResourceNames
from hvrig.model.deadline import Clock, Deadline
from hvrig.model.errors import BoardError, HvrigError, LabError, UsageError
from hvrig.model.evidence import BootedFile, Cause, Evidence, PhaseRecord, Problem, RungResult, Verdict
from hvrig.model.finding import Alarm, Finding, Mark, Milestone, Origin, WatchEvent
from hvrig.model.layout import LayoutReport, Look
from hvrig.model.memory import Range
from hvrig.model.memory_map import Explanation, MemoryMap
from hvrig.model.phase import Phase
from hvrig.model.place import OWN_HVISOR, Place, RackSettings, TftpSettings, UBootSettings
from hvrig.model.progress import Asked, Event, FaultSeen, LayoutChecked, Observer, PhaseBegan, PhaseEnded, Step
from hvrig.model.protocols import CommandResult, ConsoleTap, TftpStage
from hvrig.model.run import RunOptions
from hvrig.own_hvisor import prepare
from hvrig.provision.local_files import find_local_files, with_given
from hvrig.provision.tftp_folder import TftpFolder, is_stale, run_stem, staged_name
from hvrig.report.github_job import SUMMARY, summary_text
from hvrig.report.junit import to_junit
from hvrig.report.layout import layout_json
from hvrig.report.narrator import Narrator
from hvrig.report.store import ArtifactStore
from hvrig.report.timeline import Timeline
from hvrig.report.verdict_json import to_json_text
from hvrig.verdict.judge import NO_FAULT_KINDS, judge
from hvrig.virtual.images import ImageSet, default_cache, ensure_images
from hvrig.virtual.labgrid_process import START_S, VirtualLab
from hvrig.virtual.machine import VIRTUAL
from hvrig.virtual.rack_process import Rack
from hvrig.watch.watch import Watch

# How long the UART is recorded on after a fault: the other CPUs' reports follow within a second (decision 6).
FAULT_GRACE_S = 3.0

# A power supply's capacitors must run down, or the board does not start anew.
POWER_OFF_SETTLE_S = 1.0

# How long the end of a stage waits for a terminal that may be stopped.
CATCH_UP_S = 2.0

# What a board that starts again and again may fill memory with; the first boots' are what counts.
MILESTONES_KEPT = 10_000
FINDINGS_KEPT = 10_000

# The place of the board in a virtual lab that is started for a run: what the target's RemotePlace must name.
LAB_PLACE = "virtual-lab"

# What asks a run to end: Ctrl-C, a CI service, a terminal that is gone.
ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

# How often a wait for the board looks whether a fault has ended the run meanwhile.
ALARM_POLL_S = 0.25

TRACEBACK = "traceback.txt"  # in the artifacts folder, of a mistake of hvrig's own


class FaultStoppedBoot(Exception):  # noqa: N818 - not an error of hvrig's: the fault is in the findings
    """A fault was seen while hvrig waited for the board; what it awaited will not come."""


def prepare_place(options: RunOptions) -> Place:
    """The checked place with the person's own ladder and files in it. Raises UsageError."""
    return on_every_board(load_place(options.places, options.place), lambda place: _with_options(place, options))


def _with_options(place: Place, options: RunOptions) -> Place:
    place = with_given(place, options.images)
    if options.board_rs is not None:
        if not options.board_rs.is_file():
            raise UsageError(f"--board-rs: {options.board_rs} is not there.", "Give platform/ARCH/BOARD/board.rs.")
        # The place's constants belong to its own board.rs; for another, its tree is looked at.
        place = replace(place, hypervisor=replace(place.hypervisor, board_rs=options.board_rs, consts_rs=None))
    if options.keep_on and place.rack is not None:
        raise UsageError(
            f"--keep-on: the virtual board of place {options.place} is started for the run and ends with it.",
            "Leave --keep-on away; artifacts/latest/uart.log has all that the board said.",
        )
    if options.ladder is None:
        return place
    try:
        return replace(place, gate=replace(place.gate, ladder=options.ladder))
    except ValueError as error:
        raise UsageError(f"--ladder: {error}.", "Write sizes that grow, such as --ladder 64M,128M.") from error


def _rack_images(rack: RackSettings, say: Callable[[str], None]) -> ImageSet:
    """The images that the virtual board boots from, its device tree among them. Raises LabError or UsageError."""
    images = ensure_images(default_cache(), say)
    if rack.machine != OWN_HVISOR:
        images.zone0_dtb(rack.reserved_bytes)
    return images


def with_images(place: Place, say: Callable[[str], None]) -> Place:
    """The place with the paths of its images filled in; a virtual board's are built where they are not there."""
    return place if place.rack is None else with_rack(place, _rack_images(place.rack, say).folder)


class _AlarmLatch:
    """The first fault, from the console's reader thread to whoever waits."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self.first: Alarm | None = None
        self.count = 0

    def set(self, alarm: Alarm) -> None:
        if alarm.kind in NO_FAULT_KINDS:
            return
        self.count += 1
        if self.first is None:
            self.first = alarm
        self._event.set()

    @property
    def is_set(self) -> bool:
        return self._event.is_set()


class _WatchedTap:
    """A console tap whose reads end when a fault was seen."""

    def __init__(self, tap: ConsoleTap, latch: _AlarmLatch) -> None:
        self._tap = tap
        self._latch = latch

    def read(self, deadline: Deadline) -> bytes:
        while True:
            if self._latch.is_set:
                raise FaultStoppedBoot
            data = self._tap.read(deadline.capped(ALARM_POLL_S))
            if data or deadline.expired:
                return data

    def write(self, data: bytes) -> None:
        self._tap.write(data)


class Run:
    """One run on one place, from acquiring the bench to the verdict. A context manager.

    `observer` is told what goes on (`hvrig.model.progress`). Entering raises UsageError or LabError when the
    run cannot even begin; from then on errors become part of the verdict.
    """

    def __init__(self, place: Place, options: RunOptions, observer: Observer, clock: Clock = time.monotonic) -> None:
        self.place = place
        self.board = ""  # which one it is, once it is acquired from a coordinator
        self._options = options
        self._observer = observer
        self._clock = clock
        self._stack = ExitStack()
        self._bench: LabgridBench | None = None
        self._console: Console | None = None
        self._lock = threading.RLock()
        self._watch = Watch()
        self._latch = _AlarmLatch()
        self._findings: dict[tuple[str, int], Finding] = {}  # by kind and offset
        self._milestones: list[Milestone] = []
        self._phases: list[PhaseRecord] = []
        self._in_phase = False
        self._booted: tuple[BootedFile, ...] = ()
        self._rungs: tuple[RungResult, ...] = ()
        self._problem: Problem | None = None
        self._fault_to_abort_s: float | None = None
        self._versions: dict[str, str] = _host_versions()
        self._ladder: Ladder | None = None
        self._shell: ParamikoShell | None = None
        self._files: Known | None = None
        self._layout: dict[Look, LayoutReport] = {}
        self._only_looks = False
        self._images: ImageSet | None = None
        self._machine = VIRTUAL
        self._files_found = self._staged = False
        self._closed = False
        self.end_problems: list[Problem] = []  # what `close` could not undo, however the run went

    # --- the bench -------------------------------------------------------------------------------------------

    def __enter__(self) -> Run:
        """Raises LabError when the evidence's folder cannot be made; anything later is in the verdict."""
        with ExitStack() as stack:
            self._store = ArtifactStore(self._options.artifacts, self.place.name, datetime.now(UTC))
            stack.callback(self._store.close)
            timeline = Timeline(self._store.timeline, self._clock)
            self._narrator = narrator = Narrator(self._observer)

            def tell_both(event: Event) -> None:
                try:
                    timeline(event)
                except LabError as failure:  # the run ends, in order; whoever tells must not break off
                    self.note(failure)
                narrator(event)

            self._observer = tell_both
            self._stack = stack.pop_all()
        return self

    def catch_up(self) -> None:
        """Let the observer hear all that has happened, unless it stands still."""
        self._narrator.catch_up(CATCH_UP_S)

    @property
    def folder(self) -> Path:
        """Where this run's evidence lies."""
        return self._store.folder

    @property
    def started(self) -> datetime:
        """When the run began, in UTC."""
        return self._store.started

    def keep(self, name: str, text: str) -> None:
        """Put `text` into the evidence's file `name`. Raises LabError."""
        self._store.write(name, text)

    def open_bench(self) -> LabgridBench:
        """labgrid's target, this run's own from now on; before the first phase, since somebody may have it."""
        if self._bench is None:
            ports, coordinator = self._start_rack()
            self._check_files()  # before a place is queued for, which may take hours
            bench = LabgridBench(
                self._options.places,
                self.place.name,
                ports,
                acquisition=Acquisition(coordinator, self.place.lab.tags, self._options.wait_s),
                tell=lambda text: self._observer(Step(text)),
                ask=self._ask_person,
                names=self._resource_names,
            )
            bench.__enter__()
            self._stack.callback(self._leave_bench, bench)
            self._bench = bench
            self._go_to(bench.board)
        return self._bench

    def _resource_names(self, board: str) -> ResourceNames:
        place = self.place.on_board(board)
        return ResourceNames(place.uart.resource, place.ssh.resource)

    def _go_to(self, board: str) -> None:
        """From here on the place is what it is on the board that was acquired."""
        self.board = board
        before = self.place
        self.place = before.on_board(board)
        if before.boards and board not in before.boards:
            self._observer(Step(f"board {board} has no settings of its own under boards: the place's are taken"))
        if (self.place.images, self.place.hypervisor) != (before.images, before.hypervisor):
            self._check_files()

    def _ask_person(self, request: str) -> None:
        def tell(text: str) -> bool:
            shown = threading.Event()
            self._observer(Asked(text, shown.set))
            self.catch_up()
            return shown.is_set()

        ask_person(request, Deadline(self.place.deadlines.person_s), tell)

    def find_files(self, *, host_key: bool = True) -> None:
        """Which files are booted, and whether this hypervisor looks for them where they will be loaded.

        Before anything is acquired or switched on; the keys for SSH among them, which come last in a run. host_key:
        whether the board's must be known already. Raises UsageError.
        """
        if self._files_found:
            return
        if self.place.rack is not None:
            self._images = _rack_images(self.place.rack, lambda text: self._observer(Step(text)))
            self.place = with_rack(self.place, self._images.folder)
        self.place = on_every_board(self.place, lambda place: _with_keys(find_local_files(place), host_key=host_key))
        if self.place.rack is not None and self.place.rack.machine == OWN_HVISOR:
            self._prepare_own_hvisor()
        else:
            self._require_load_addresses()
        self._files_found = True

    def _require_load_addresses(self) -> None:
        said: dict[str, None] = {}  # each once: boards have most in common

        def compare(place: Place) -> Place:
            if place.hypervisor.board_rs is not None:
                said[require_load_addresses(place, place.hypervisor.board_rs)] = None
            return place

        on_every_board(self.place, compare)
        for text in said:
            self._observer(Step(text))

    def _prepare_own_hvisor(self) -> None:
        assert self._images is not None
        built = self.place.hypervisor
        board = read_board_file(built.board_rs, built.consts_rs) if built.board_rs is not None else None
        own = prepare(self.place, board, self._images.uboot, self.folder)
        self.place, self._machine = own.place, own.machine
        for note in own.notes:
            self._observer(Step(note))

    def stage(self, bench: LabgridBench) -> None:
        """Put the images where the board's TFTP server finds them, under names of this run's own."""
        if self._staged:
            return
        settings = None if self.place.uboot.loads_from_storage else self.place.tftp or bench.tftp
        stage: TftpStage | None = TftpFolder(settings, self.started) if isinstance(settings, TftpSettings) else settings
        if isinstance(stage, RemoteTftp):
            stage.clear(lambda name: is_stale(name, self.started))
        if stage is not None:
            self._stack.callback(self._unstage, stage)
            stem = run_stem(self.started)
            deadline = Deadline(self.place.deadlines.load_s)
            self.place = replace(
                self.place,
                images={
                    name: replace(image, remote=stage.put(staged_name(stem, name, image.path), image.path, deadline))
                    for name, image in self.place.images.items()
                },
            )
            self._observer(Step(f"{len(self.place.images)} images given to the TFTP server as {stem}-*"))
        self._staged = True

    def _unstage(self, stage: TftpStage) -> None:
        try:
            stage.remove()
        except LabError as failure:  # what was seen of the board stands all the same
            self._observer(Step(str(failure)))

    def _leave_bench(self, bench: LabgridBench) -> None:
        try:
            bench.__exit__(None, None, None)
        except LabError as failure:  # the place could not be given back
            self._record_end(failure)

    def open_console(self, bench: LabgridBench) -> Console:
        """The UART, recorded from now on."""
        if self._console is None:
            console = Console(bench.serial, self._store.folder, [self._receive], again=bench.serial_again)
            console.open(Deadline(self.place.deadlines.power_s))
            self._console = console
        return self._console

    def _start_rack(self) -> tuple[RackPorts | None, str]:
        """The virtual board's ports, or the address of the coordinator that it stands behind."""
        rack_settings = self.place.rack
        if rack_settings is None:
            return None, ""
        images = self._images
        assert images is not None, "the files are found before the rack is started"
        tftp = Path(tempfile.mkdtemp(prefix="hvrig-tftp-"))
        self._stack.callback(shutil.rmtree, tftp, ignore_errors=True)
        self.place = on_every_board(self.place, lambda place: replace(place, tftp=TftpSettings(folder=tftp)))
        if rack_settings.labgrid:
            lab = VirtualLab(uboot=images.uboot, tftp=tftp, places=[LAB_PLACE], log=self._store.folder / "rack.log")
            self._stack.callback(lab.stop)
            self._observer(Step("starting a labgrid coordinator, an exporter and a virtual board"))
            return None, lab.start(Deadline(START_S)).coordinator
        device = self._store.folder.resolve() / "tty" if rack_settings.uart == "device" else None
        rack = Rack(
            uboot=images.uboot,
            tftp=tftp,
            log=self._store.folder / "rack.log",
            machine=self._machine,
            uart_pty=device,
        )
        self._stack.callback(rack.stop)
        endpoints = rack.start(Deadline(self.place.deadlines.power_s))
        ports = RackPorts(endpoints.outlet_port, endpoints.uart_port, endpoints.ssh_port, str(device or ""))
        return ports, ""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Board off (unless it is to be kept on), recording ended, place released. Idempotent, bounded in time.

        Ctrl-C, SIGTERM and SIGHUP wait until it is done: a board must not stay on because somebody was impatient.
        """
        with _signals_wait(), self._stack:
            if self._closed:
                return
            self._closed = True
            if self.may_go_on:
                self._leave_phase()
            if self._shell is not None:
                self._shell.close()
            if self._bench is not None and self._bench.power.by_hand:
                # Nobody need be there any more, and what was found is found.
                self._observer(Step(f"switch the board of place {self.place.name} off by hand"))
            elif self._bench is not None and not self._options.keep_on:
                try:
                    self._bench.power.off(Deadline(self.place.deadlines.power_s))
                except LabError as failure:
                    self._record_end(failure)
            if self._console is not None:
                self._console.close()
            self._flush_watch()
            self.catch_up()

    @property
    def _uart_offset(self) -> int:
        return self._console.offset if self._console is not None else 0

    # --- the watch -------------------------------------------------------------------------------------------

    def _receive(self, data: bytes, t: float) -> None:
        """Called by the console's reader thread with each block of UART bytes."""
        with self._lock:
            events = self._watch.feed(data, t)
        self._take(events)

    def _flush_watch(self) -> None:
        try:
            with self._lock:
                events = self._watch.flush(self._clock())
            self._take(events)
        except Exception as error:  # a fault of hvrig's must not keep the board on, nor the verdict unwritten
            self.note(error)

    def _take(self, events: Sequence[WatchEvent]) -> None:
        for event in events:
            if isinstance(event, Alarm):
                if event.origin is Origin.BOARD and not self._hypervisor_runs:
                    continue  # U-Boot's own restart: its dialogue survives it, or says what it was
                self._latch.set(event)
                if self._ladder is not None:
                    self._ladder.alarm(event)
                self._observer(FaultSeen(event))
            elif isinstance(event, Finding):
                with self._lock:
                    # The same fault again, with how often it came, takes the place of the first telling.
                    which = event.kind, event.offset
                    if which in self._findings or len(self._findings) < FINDINGS_KEPT:
                        self._findings[which] = event
                if event.is_fault:
                    self._observer(FaultSeen(event))
            else:
                with self._lock:
                    if len(self._milestones) < MILESTONES_KEPT:
                        self._milestones.append(event)
                if event.mark is Mark.ECHO and self._ladder is not None:
                    self._ladder.marker(event.text)

    @property
    def _hypervisor_runs(self) -> bool:
        phase = self._phase
        return phase is not None and phase.silence_is_hang

    def describe_alarm(self) -> str:
        """The first fault, for a person."""
        first = self._latch.first
        return f"{first.kind} at byte {first.offset} of uart.log" if first is not None else "none"

    @property
    def alarms(self) -> int:
        """How many faults the watch has raised an alarm for until now."""
        return self._latch.count

    # --- phases ----------------------------------------------------------------------------------------------

    def entered(self, phase: Phase) -> None:
        """A phase begins, and the one before it has gone well (`hvrig.boot.sequence.BootListener`)."""
        self._leave_phase()
        began = self._clock()
        self._phases.append(PhaseRecord(phase, began, None, self._uart_offset))
        self._in_phase = True
        self._observer(PhaseBegan(phase, self._uart_offset))

    def loaded(self, file: BootedFile) -> None:
        """An image is in the board's memory, and proven (`hvrig.boot.sequence.BootListener`)."""
        self._booted = (*self._booted, file)
        self._observer(Step(f"{file.name}: {file.size} bytes, CRC-32 {file.crc32:08x} proven on the board"))

    def _leave_phase(self) -> None:
        if not self._in_phase:
            return
        self._in_phase = False
        ended = self._clock()
        last = self._phases[-1]
        self._phases[-1] = replace(last, t_end=ended)
        self._observer(PhaseEnded(last.phase, ended - last.t_start))

    @property
    def _phase(self) -> Phase | None:
        return self._phases[-1].phase if self._phases else None

    def note(self, error: BaseException) -> None:
        """Keep an error that came from outside the stages as the run's problem, unless it has one already."""
        self._record(error, self._phase)

    def _record(self, error: BaseException, phase: Phase | None) -> None:
        """Keep the first cause: what follows from it is not news."""
        if self._problem is None:
            self._problem = problem_of(error, phase)

    def _record_end(self, failure: LabError) -> None:
        self._record(failure, None)
        self.end_problems.append(problem_of(failure, None))

    @contextmanager
    def _problems_kept(self) -> Iterator[None]:
        """Turn what ends a stage into a Problem; a Ctrl-C goes on after it was noted."""
        try:
            yield
        except FaultStoppedBoot:
            pass  # the fault is in the findings
        except BaseException as error:
            self._record(error, self._phase)
            if not isinstance(error, HvrigError):
                raise
        if self._latch.is_set:
            self.console_grace()
        else:
            self._leave_phase()

    def console_grace(self) -> None:
        """After a fault the UART is recorded on for a moment: the other CPUs report too."""
        first = self._latch.first
        assert first is not None
        remaining = first.t + FAULT_GRACE_S - self._clock()
        if remaining > 0:
            time.sleep(remaining)
        self._flush_watch()

    @property
    def may_go_on(self) -> bool:
        """False once something was found or failed that ends the run."""
        return self._problem is None and not self._latch.is_set

    # --- the stages ------------------------------------------------------------------------------------------

    def boot(self) -> None:
        """Power to SSH. What fails is in the verdict; `may_go_on` tells."""
        with self._problems_kept():
            self._boot()

    def _boot(self) -> None:
        self.find_files()
        bench = self.open_bench()
        self.entered(Phase.POWER)
        console = self.open_console(bench)
        self.stage(bench)
        self.switch_off(bench, console)
        with self.switched_on(bench, console) as tap:
            bring_up(tap, self.place, self, self._clock)
        self.log_in(bench)

    def switch_off(self, bench: LabgridBench, console: Console) -> None:
        """Power off, and wait until a board that may have been on has run down, for the place's own delay at least."""
        deadline = Deadline(self.place.deadlines.power_s)
        was_on = bench.power.is_on(deadline)
        bench.power.off(deadline)
        if was_on is not False or console.offset:  # a quiet board is none that was off
            time.sleep(max(POWER_OFF_SETTLE_S, bench.power.delay_s))

    @contextmanager
    def switched_on(self, bench: LabgridBench, console: Console) -> Iterator[ConsoleTap]:
        """Power on; the dialogue's tap, opened before. What stops autoboot is sent while the outlet still answers.

        Reads from the tap raise FaultStoppedBoot once a fault was seen.
        """
        with self._lock:
            self._watch.expect_boot()
        self._booted = ()
        with console.tap() as tap:
            with _InterruptKeys(console, self.place.uboot):
                bench.power.on(Deadline(self.place.deadlines.power_s))
            yield _WatchedTap(tap, self._latch)

    def log_in(self, bench: LabgridBench) -> ParamikoShell:
        """The SSH connection to root-linux, which runs. Raises LabError or UsageError."""
        self.entered(Phase.SSH)
        with self._dead_board_told_apart():
            self._shell = shell = connect(bench.ssh, self.place.ssh, Deadline(self.place.deadlines.ssh_s))
            self._versions.update(_board_versions(shell, Deadline(self.place.deadlines.command_s)))
        return shell

    @contextmanager
    def _dead_board_told_apart(self) -> Iterator[None]:
        """What does not answer over SSH is asked on its console: a board that is dead there, too, is not the lab's.

        Raises BoardError in place of the LabError for such a board (decision 3).
        """
        try:
            yield
        except LabError as error:
            if self._console is None or self._latch.is_set:
                raise
            try:
                alive = self._console_alive(Deadline(self.place.deadlines.probe_s))
            except LabError:
                alive = True  # nobody can tell, and the lost UART is the lab's
            if alive:
                raise
            raise BoardError(
                f"root-linux had a shell on its console, and does not answer there any more, nor over SSH: "
                f"{error.message.rstrip('.')}.",
                "The last console lines show how it stands; nothing on the UART says why.",
                phase=self._phase or Phase.SSH,
                awaited="an answer on the console",
                tail=self._console.tail(),
            ) from error

    def _check_files(self) -> None:
        """The static check, before power-on. Its inputs may be old: a finding is told and does not stop the run."""
        try:
            self._files = read_inputs(MapInputs(place=self.place))
            report = check(self.place.name, self._files.memory, self._files.facts)
        except UsageError as error:
            report = nothing_checked(self.place.name, error.message, error.remedy)
        self._told(Look.STATIC, report)

    def check_live_layout(self) -> LayoutReport:
        """Ask the running board. Raises LabError where it does not answer, or where there is no connection to it."""
        return self._judge_answers(ask_board(self._connected(), Deadline(self.place.deadlines.command_s)))

    def _judge_answers(self, answers: BoardAnswers) -> LayoutReport:
        files = self._known_files()
        return check_live(self.place.name, self._memory_map(), files.facts, answers)

    def _check_board(self) -> LayoutReport:
        """The live check. A board that does not answer is left to the ladder, whose first question fails as well."""
        try:
            report = self.check_live_layout()
        except LabError as error:
            missing = Answer(None, f"{error.message}.", error.remedy)
            report = self._judge_answers(BoardAnswers(missing, missing))
        self._told(Look.LIVE, report)
        return report

    def _told(self, look: Look, report: LayoutReport) -> None:
        self._layout[look] = report
        self._observer(LayoutChecked(look, report))

    def gate(self) -> None:
        """Check the running board's memory layout and, unless that settles the matter, climb the ladder.

        What fails is in the verdict.
        """
        with self._problems_kept():
            self.entered(Phase.GATE)
            shell = self._shell
            assert shell is not None, "gate() comes after a boot() that went well"
            if self._check_board().certain is not None and not self._options.stress_anyway:
                return
            ladder = Ladder(
                shell=shell,
                gate=self.place.gate,
                root_linux=self.place.root_linux,
                deadlines=self.place.deadlines,
                hypervisor_range=self.hypervisor_range,
                console_alive=self._console_alive,
                observer=self._observer,
                rung_log=self._store.rung_log,
                clock=self._clock,
            )
            with self._lock:
                self._ladder = ladder
            if self._latch.first is not None:
                ladder.alarm(self._latch.first)
            try:
                with self._dead_board_told_apart():
                    ladder.climb()
            finally:
                self._rungs = tuple(ladder.results)
                self._fault_to_abort_s = ladder.fault_to_abort_s

    def boot_to_look(self) -> None:
        """Power to SSH, for `look`: no ladder is to follow, so that none is missing from the verdict."""
        self._only_looks = True
        self.boot()

    def look(self) -> LayoutReport | None:
        """Check the running board's memory layout and nothing else; None where that failed, which the verdict tells."""
        report: LayoutReport | None = None
        with self._problems_kept():
            with self._dead_board_told_apart():
                report = self.check_live_layout()
            self._layout[Look.LIVE] = report
            self._store.write("layout.json", layout_json(report, self.place.name, self._store.started))
        return report

    def _console_alive(self, deadline: Deadline) -> bool:
        assert self._console is not None
        with self._console.tap() as tap:
            return console_alive(tap, deadline)

    def begin_tests(self) -> None:
        """From here on a person's own tests use the board."""
        self.entered(Phase.TESTS)

    # --- what tests may use ----------------------------------------------------------------------------------

    def run_on_board(self, command: str, seconds: float) -> CommandResult:
        """A command in root-linux's shell. Raises LabError when there is no answer in time."""
        return self._connected().run(command, Deadline(seconds))

    def _connected(self) -> ParamikoShell:
        if self._shell is None:
            raise LabError("There is no SSH connection to root-linux.", "The boot before this did not reach SSH.")
        return self._shell

    def reboot(self) -> None:
        """Power-cycle the board and boot it again, to SSH.

        Raises the error that ended the boot, if one did.
        """
        if self._shell is not None:
            self._shell.close()
            self._shell = None
        try:
            self._boot()
        except FaultStoppedBoot:
            self.console_grace()
            raise BoardError(
                f"The board reported a fault while it booted: {self.describe_alarm()}.",
                "uart.log has the whole report.",
                phase=self._phase or Phase.POWER,
                awaited="the end of the boot",
            ) from None
        except HvrigError as error:
            self._record(error, self._phase)
            raise
        self.entered(Phase.TESTS)

    # --- the verdict -----------------------------------------------------------------------------------------

    @property
    def hypervisor_range(self) -> Range | None:
        """The hypervisor's memory: as it printed it itself, else as the place gives it."""
        hypervisor = self._memory_map().hypervisor
        return hypervisor.range if hypervisor is not None else None

    def _memory_map(self) -> MemoryMap:
        """What the hypervisor printed of its own layout, else what the place's files and the place itself say of it."""
        return with_printed(self._known_files().memory, self._printed_map())

    def _known_files(self) -> Known:
        """What the place's files give; only the place itself where they cannot be read, which the check has told."""
        if self._files is None:
            self._files = place_only(self.place)
        return self._files

    def _printed_map(self) -> MemoryMap:
        with self._lock:
            layouts = [f.fields for f in self._findings.values() if f.kind == "hypervisor-layout"]
        printed = MemoryMap()
        for fields in layouts[-1:]:
            start, core_end, pool, end = (
                value if isinstance(value, int) else None
                for value in (fields.get(name) for name in ("skernel", "core_end", "mem_pool_start", "hv_end"))
            )
            if start is not None and end is not None and start < end:
                printed = printed_map(start, core_end, pool, end, "printed while booting")
        return printed

    def _explain(self, findings: Sequence[Finding]) -> dict[int, Explanation]:
        memory = self._memory_map()
        return {f.offset: said for f in findings if (said := explain(memory, f)) is not None}

    def verdict(self) -> Verdict:
        """Judge what was seen until now, and write the evidence. May be called again when there is more."""
        with self._lock:
            findings = tuple(sorted(self._findings.values(), key=lambda finding: finding.offset))
            milestones = tuple(self._milestones)
        log_level = next((str(f.fields.get("log_level")) for f in findings if f.kind == "log-level"), None)
        console = self._console
        if console is not None and console.error is not None:
            self._record(console.error, None)
        evidence = Evidence(
            place=self.place.name,
            ladder=() if self._only_looks else self.place.gate.ladder,
            phases=phases_with_spl(self._phases, milestones),
            findings=findings,
            rungs=self._rungs,
            gaps=console.gaps if console is not None else (),
            booted=self._booted,
            problem=self._problem,
            log_level=log_level,
            fault_to_abort_s=self._fault_to_abort_s,
            explanations=self._explain(findings),
            layout=dict(self._layout),
            board=self.board,
        )
        verdict = judge(evidence, self._versions)
        try:
            self._store.write("verdict.json", to_json_text(verdict, self._store.started))
            self._store.write("junit.xml", to_junit(verdict, self._store.started))
        except LabError as failure:  # whoever called still learns what the run came to
            self.note(failure)
            verdict = judge(replace(evidence, problem=self._problem), self._versions)
        self._write_summary(verdict)
        return verdict

    def _write_summary(self, verdict: Verdict) -> None:
        """`summary.md`. It says nothing that verdict.json does not: without it the verdict stands all the same."""
        try:
            self._store.write(SUMMARY, summary_text(verdict, self._store.folder))
        except Exception as error:
            self._observer(Step(f"{SUMMARY} was not written: {error}"))


@dataclass(frozen=True)
class RunResult:
    """A run that is over: its verdict, the folder of its evidence, and when it began (UTC)."""

    verdict: Verdict
    folder: Path
    started: datetime


def run_gate(place: Place, options: RunOptions, observer: Observer) -> RunResult:
    """The whole main job: boot, gate, power off, verdict.

    Raises LabError when the evidence's folder cannot be made. A Ctrl-C ends the run in order: the board goes
    off, the verdict says that it was interrupted.
    """
    with Run(place, options, observer) as run:
        try:
            run.boot()
            if run.may_go_on:
                run.gate()
            run.close()
        except KeyboardInterrupt as interrupt:
            run.note(interrupt)
            run.close()
        except Exception as error:
            # A mistake of ours: it must end like any other run, with board off and a verdict that blames nobody else.
            run.note(error)
            with suppress(LabError):
                run.keep(TRACEBACK, "".join(traceback.format_exception(error)))
            run.close()
        return RunResult(run.verdict(), run.folder, run.started)


@dataclass(frozen=True)
class LayoutResult:
    """A look at a running board that is over. report: None where the board could not be looked at.

    failed: what the run came to, where the board did not boot or showed a fault; None where all went well.
    """

    report: LayoutReport | None
    failed: RunResult | None
    folder: Path


def look_at_layout(place: Place, options: RunOptions, observer: Observer) -> LayoutResult:
    """Boot, and check the memory layout on what really runs; no memtester. Raises and ends as `run_gate` does."""
    with Run(place, options, observer) as run:
        report: LayoutReport | None = None
        try:
            run.boot_to_look()
            if run.may_go_on:
                report = run.look()
            run.close()
        except KeyboardInterrupt as interrupt:
            run.note(interrupt)
            run.close()
        failed = None if report is not None and run.may_go_on else RunResult(run.verdict(), run.folder, run.started)
        return LayoutResult(report, failed, run.folder)


class _InterruptKeys:
    """Sends what stops autoboot while the outlet's own call is still under way: U-Boot may be quicker."""

    def __init__(self, console: Console, settings: UBootSettings) -> None:
        self._console = console
        self._settings = settings
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="hvrig-interrupt", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._stop.wait(self._settings.interrupt_interval_s):
            try:
                self._console.write(self._settings.interrupt.encode("ascii"))
            except LabError:
                return  # the dialogue meets the same dead console and reports it


@contextmanager
def _signals_wait() -> Iterator[None]:
    """What asks a run to end is put off until the block is done; Python lets only the main thread say so.

    A signal that is ignored, as nohup does with SIGHUP, stays ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    heard = [n for n in ENDING_SIGNALS if signal.getsignal(n) not in (signal.SIG_IGN, None)]
    old = {number: signal.signal(number, lambda n, _: came.append(n)) for number in heard}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
    if came:
        raise KeyboardInterrupt


def _with_keys(place: Place, *, host_key: bool) -> Place:
    """The same place, whose keys for SSH can be used."""
    private_key(place.ssh.key)
    if host_key:
        pinned_host_key(place.ssh.host_key)
    return place


def require_load_addresses(place: Place, board_rs: Path) -> str:
    """What comparing the place's load addresses with a board.rs came to, for a person.

    Raises UsageError where they disagree: hvisor would enter a kernel that is not there, and be blamed for it.
    """
    if not board_rs.is_file():
        return f"load addresses not compared: {board_rs} is not there"
    compared = compare_addresses(place, read_board_file(board_rs, place.hypervisor.consts_rs))
    if compared.wrong:
        raise UsageError(
            f"Place {place.name} does not load its images where this hvisor looks for them: "
            f"{'; '.join(map(str, compared.wrong))}.",
            "Mend the addresses under images in the places file, or give the board.rs that this hvisor.bin was built "
            "with (--board-rs).",
        )
    agreed = ", ".join(f"{name} {address:#x}" for name, address in compared.agreed.items())
    said = f"load addresses as in {board_rs}: {agreed}" if agreed else f"{board_rs}: no load address to compare"
    return "; ".join([said, *compared.notes])


def problem_of(error: BaseException, phase: Phase | None) -> Problem:
    """What an error that ended a run is to the judge; `phase` is where the run was."""
    if isinstance(error, BoardError):
        cause = Cause.HANG if error.phase.silence_is_hang else Cause.LAB
        return Problem(cause, error.phase, error.message, error.remedy, error.tail)
    if isinstance(error, UsageError):
        return Problem(Cause.USAGE, phase, error.message, error.remedy)
    if isinstance(error, HvrigError):
        return Problem(Cause.LAB, phase, error.message, error.remedy)
    if isinstance(error, KeyboardInterrupt):
        return Problem(Cause.INTERRUPTED, phase, "The run was interrupted.", "Run it again.")
    return Problem(
        Cause.LAB,
        phase,
        f"hvrig itself failed: {type(error).__name__}: {error}.",
        f"This is a fault of hvrig: report it with {TRACEBACK} and all else of the artifacts folder.",
    )


def phases_with_spl(phases: Sequence[PhaseRecord], milestones: Sequence[Milestone]) -> tuple[PhaseRecord, ...]:
    """The phases with SPL told apart from U-Boot where both were seen: hvrig only waits in it, the board does it."""
    told: list[PhaseRecord] = []
    for record in phases:
        here = [m for m in milestones if record.t_start <= m.t and (record.t_end is None or m.t <= record.t_end)]
        spl = next((m for m in here if m.mark is Mark.SPL), None)
        if record.phase is not Phase.UBOOT or spl is None:
            told.append(record)
            continue
        banner = next((m for m in here if m.mark is Mark.UBOOT_BANNER and m.offset > spl.offset), None)
        told.append(PhaseRecord(Phase.SPL, record.t_start, banner.t if banner else None, record.uart_offset))
        if banner is not None:
            told.append(replace(record, t_start=banner.t, uart_offset=banner.offset))
    return tuple(told)


def _host_versions() -> dict[str, str]:
    names = ("hvrig", "labgrid", "pexpect", "paramiko", "pyserial-labgrid", "pytest")
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in names}}


def _board_versions(shell: ParamikoShell, deadline: Deadline) -> dict[str, str]:
    """root-linux's kernel, by its own word."""
    result = shell.run("uname -r", deadline)
    return {"root-linux": result.stdout.decode("ascii", "replace").strip()[:100]}
