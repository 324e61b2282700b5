"""`hvrig doctor`: is this place ready for a run? One check after another, each with what was found and what to do.

The bench, the console, U-Boot and SSH are the pipeline's own, so that what passes here passes there; the UART is
recorded as in a run. A check that needs an earlier one which is not in order is skipped.
"""

from __future__ import annotations

import shlex
import shutil
import time
import traceback
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from importlib import metadata
from pathlib import Path

from hvrig.board.console import Console
from hvrig.boot.console_pexpect import TapSpawn
from hvrig.boot.sequence import load_images, prepare, start
from hvrig.boot.uboot import looks_like_wrong_baud
from hvrig.boot.uboot_dialogue import UBoot
from hvrig.doctor.board import (
    PowerOn,
    check_autoboot,
    check_baud,
    check_clock,
    check_memtester,
    check_power,
    check_recording,
    check_tftp,
)
from hvrig.doctor.host import check_disk, check_packages
from hvrig.doctor.host_metadata import installed_packages
from hvrig.doctor.port import check_access, check_latency, check_readers, clients_of
from hvrig.doctor.port_proc import access_to, adapter_of, device_holders, established, socket_holders
from hvrig.doctor.report import to_json_text
from hvrig.doctor.result import Checked, Fault, Result, exit_status, fail, needs_first, not_applicable, ok
from hvrig.gate.meminfo import needed_bytes, parse_meminfo, require_fit
from hvrig.gate.memtester import MemtesterOutput
from hvrig.gate.shell_paramiko import ParamikoShell, pinned_host_key, shown_host_key
from hvrig.lab.host_key import write_host_key
from hvrig.lab.labgrid_bench import LabgridBench
from hvrig.lab.resolver_socket import addresses_of
from hvrig.model.deadline import Clock, Deadline
from hvrig.model.errors import BoardError, HvrigError, LabError, PlaceHeldError, UsageError
from hvrig.model.evidence import BootedFile, Cause
from hvrig.model.phase import Phase
from hvrig.model.place import Place
from hvrig.model.progress import Event, Observer, Step
from hvrig.model.protocols import CommandResult, ConsoleTap
from hvrig.model.run import RunOptions
from hvrig.model.size import format_size, parse_size
from hvrig.pipeline import POWER_OFF_SETTLE_S, TRACEBACK, FaultStoppedBoot, Run, problem_of

# How often autoboot must be stopped: once may be luck, with a delay of zero.
TRIALS = 3

# How long a board without power is listened to, after a newline was typed at it.
LISTEN_S = 1.0

# What is locked to see whether it can be: above the 8 MiB that many systems let anybody lock.
LOCKED_SIZE = "16M"

# As in `hvrig.gate.ladder`: Random Value alone, the shortest test that there is.
_TEST_MASK = 0x1

_TITLES = {
    "python": "Python and packages",
    "files": "the local files are there",
    "labgrid": "labgrid is reachable",
    "place": "the place is free",
    "access": "permissions on the serial port",
    "readers": "nobody else reads the port",
    "uart": "the UART opens and is recorded",
    "latency": "the adapter's latency",
    "power": "power off and on does something on the UART",
    "baud": "the speed is right",
    "autoboot": "autoboot is stopped every time",
    "tftp": "the images come by TFTP",
    "boot": "hypervisor and root-linux start",
    "ssh": "SSH and host key",
    "memtester": "memtester is there and can lock memory",
    "memory": "the ladder fits into root-linux's memory",
    "clock": "board and host agree on the time",
    "watch": "no fault and no gap on the UART",
    "disk": "disk space for the evidence",
    "end": "the board is off and the place is given back",
}

_FAULT_OF_CAUSE = {Cause.HANG: Fault.BOARD, Cause.USAGE: Fault.SETTINGS}


@dataclass(frozen=True)
class Examined:
    """An examination that is over. folder: where its evidence lies. started: in UTC."""

    place: str
    checks: tuple[Checked, ...]
    interrupted: bool
    folder: Path
    started: datetime

    @property
    def end(self) -> str:
        """What became of board and place, in one clause."""
        return self.checks[-1].result.found

    @property
    def exit_status(self) -> int:
        """0, 1, 2 or 3 (`hvrig.doctor.result.exit_status`)."""
        return exit_status(self.checks)

    @property
    def json_text(self) -> str:
        """`doctor.json`."""
        return to_json_text(self.checks, self.place, self.started, str(self.folder), interrupted=self.interrupted)


def examine(
    place: Place,
    options: RunOptions,
    observer: Observer,
    tell: Callable[[Checked], object],
    *,
    learn_host_key: bool = False,
) -> Examined:
    """Make all checks; `tell` gets each as soon as it is made. `observer` hears of the steps in between.

    learn_host_key: believe the host key that the board shows, and write it where the place reads it. Raises LabError
    when the evidence's folder cannot be made. A Ctrl-C ends it in order: board off, place released.
    """
    steps: list[str] = []

    def hear(event: Event) -> None:
        if isinstance(event, Step):
            steps.append(event.text)
        observer(event)

    with Run(place, options, hear) as run:
        examination = _Examination(run, options, steps, tell, learn_host_key)
        interrupted = False
        try:
            examination.make_all()
        except KeyboardInterrupt:
            interrupted = True
        try:
            run.close()
        except KeyboardInterrupt:
            interrupted = True
        examination.make_last()
        examined = Examined(place.name, tuple(examination.checks), interrupted, run.folder, run.started)
        run.keep("doctor.json", examined.json_text)
        return examined


class _Examination:
    """The checks in their order, and what each leaves for those that follow."""

    def __init__(
        self,
        run: Run,
        options: RunOptions,
        steps: list[str],
        tell: Callable[[Checked], object],
        learn_host_key: bool,
        clock: Clock = time.monotonic,
    ) -> None:
        self._run = run
        self._options = options
        self._steps = steps
        self._tell = tell
        self._learn = learn_host_key
        self._clock = clock
        self._bench: LabgridBench | None = None
        self._console: Console | None = None
        self._shell: ParamikoShell | None = None
        self._ready: UBoot | None = None
        self._spawn: TapSpawn | None = None
        self._trials: list[PowerOn] = []
        self._loaded: list[BootedFile] = []
        self._held: PlaceHeldError | None = None
        self.checks: list[Checked] = []

    # --- the order -------------------------------------------------------------------------------------------

    def make_all(self) -> None:
        """Every check but the last, once."""
        self._check("python", lambda: check_packages(installed_packages()))
        self._check("files", self._files)
        # A virtual board is started from those files; a lab is there without them.
        self._check("labgrid", self._labgrid, *(("files",) if self._run.place.rack is not None else ()))
        self._check("place", self._place_free, "labgrid")
        self._check("access", self._access, "place")
        self._check("readers", self._readers, "access")
        self._check("uart", self._uart, "files", "readers")
        self._check("latency", self._latency, "uart")
        with ExitStack() as powered:
            self._check("power", lambda: self._power(powered), "uart")
            self._check("baud", self._baud, "power")
            self._check("autoboot", lambda: self._autoboot(powered), "baud")
            self._check("tftp", self._tftp, "autoboot")
            self._check("boot", self._boot, "tftp")
            self._check("ssh", self._ssh, "boot")
            self._check("memtester", self._memtester, "ssh")
            self._check("memory", self._memory, "ssh")
            self._check("clock", self._board_clock, "ssh")
            self._check("watch", self._watched, "boot")
        self._check("disk", self._disk)

    def make_last(self) -> None:
        """The check of how the run that was examined with has ended: after its end, and after a Ctrl-C, too."""
        self._check("end", self._ended)

    def _check(self, name: str, work: Callable[[], Result], *needs: str) -> None:
        """Make one check, unless one that it needs failed, or was itself skipped for such a reason."""
        began = self._clock()
        missing = [need for need in needs if need in self._not_in_order]
        result = needs_first(missing) if missing else self._result_of(work)
        checked = Checked(name, _TITLES[name], result, self._clock() - began)
        self.checks.append(checked)
        self._tell(checked)

    @property
    def _not_in_order(self) -> set[str]:
        return {c.name for c in self.checks if c.result.blocks}

    def _result_of(self, work: Callable[[], Result]) -> Result:
        try:
            return work()
        except FaultStoppedBoot:
            self._run.console_grace()
            return fail(
                f"the board reported a fault: {self._run.describe_alarm()}",
                "hvrig run says what it means; uart.log has the whole report.",
                Fault.BOARD,
                tail=self._tail,
            )
        except HvrigError as error:
            problem = problem_of(error, None)
            tail = problem.tail or (self._tail if isinstance(error, BoardError) else "")
            return fail(error.message.rstrip("."), error.remedy, _FAULT_OF_CAUSE.get(problem.cause, Fault.LAB), tail)
        except Exception as error:
            with suppress(LabError):
                self._run.keep(TRACEBACK, "".join(traceback.format_exception(error)))
            problem = problem_of(error, None)
            return fail(problem.message.rstrip("."), problem.remedy, Fault.LAB)

    @property
    def _tail(self) -> str:
        return self._console.tail() if self._console is not None else ""

    # --- lab and host ----------------------------------------------------------------------------------------

    def _labgrid(self) -> Result:
        version = metadata.version("labgrid")
        told = len(self._steps)
        try:
            self._bench = self._run.open_bench()
        except PlaceHeldError as held:
            self._held = held
            return ok(f"labgrid {version}; the coordinator answers")
        self._steps = self._steps[told:]
        return ok(f"labgrid {version}; UART at {self._bench.serial}, SSH at {self._bench.ssh}")

    def _place_free(self) -> Result:
        if self._held is not None:
            raise self._held
        about = [step for step in self._steps if step.startswith("place ")]
        return ok(about[-1] if about else "this machine's own: no coordinator lends it out")

    def _files(self) -> Result:
        self._run.find_files(host_key=not self._learn)
        return ok(f"{len(self._run.place.images)} images, the SSH key{'' if self._learn else ' and the host key'}")

    @property
    def _opened(self) -> LabgridBench:
        assert self._bench is not None, "a check that needs the bench comes after labgrid's"
        return self._bench

    def _access(self) -> Result:
        endpoint = self._opened.serial
        if endpoint.protocol != "local":
            return not_applicable(f"{endpoint} is a TCP port; its server has the device")
        return check_access(access_to(endpoint.device))

    def _readers(self) -> Result:
        endpoint = self._opened.serial
        if endpoint.protocol == "local":
            holders, unseen = device_holders(endpoint.device)
            return check_readers(endpoint, holders, (), unseen)
        here, elsewhere = clients_of(established(), addresses_of(endpoint.host), endpoint.port)
        holders, unseen = socket_holders(here)
        if here and not holders:
            return check_readers(endpoint, (), [*elsewhere, "this machine (another user's process)"], unseen)
        return check_readers(endpoint, holders, elsewhere, unseen)

    def _uart(self) -> Result:
        self._run.entered(Phase.POWER)
        self._console = self._run.open_console(self._opened)
        return ok(f"{self._opened.serial} is open, and recorded in {self._run.folder / 'uart.log'}")

    def _latency(self) -> Result:
        endpoint = self._opened.serial
        return check_latency(endpoint, adapter_of(endpoint.device) if endpoint.protocol == "local" else None)

    def _disk(self) -> Result:
        folder = self._run.folder
        speed = self._bench.serial.speed if self._bench is not None else 1_500_000
        place = self._run.place
        return check_disk(str(folder.parent), shutil.disk_usage(folder).free, speed, place.gate, place.deadlines)

    def _ended(self) -> Result:
        left = self._run.end_problems
        if left:
            return fail("; ".join(p.message.rstrip(".") for p in left), " ".join(p.remedy for p in left))
        if self._bench is None:
            return ok("no board was switched on, and this run holds no place")
        board = "switch the board off by hand" if self._bench.power.by_hand else "the board is off"
        return ok(f"{board}; the place is as it was before")

    # --- power, U-Boot ---------------------------------------------------------------------------------------

    def _power(self, powered: ExitStack) -> Result:
        self._run.switch_off(self._opened, self._recorded)
        with self._recorded.tap() as tap:
            _listen(tap, POWER_OFF_SETTLE_S)  # what the capacitors still feed
            tap.write(b"\r")
            heard = _listen(tap, LISTEN_S)
        self._trials.append(self._switch_on(powered, last=False))
        return check_power(heard, self._trials[0], LISTEN_S)

    @property
    def _recorded(self) -> Console:
        assert self._console is not None, "a check that needs the console comes after it was opened"
        return self._console

    def _baud(self) -> Result:
        endpoint = self._opened.serial
        return check_baud(self._trials[0], endpoint.speed, ours=endpoint.protocol != "raw")

    def _autoboot(self, powered: ExitStack) -> Result:
        while len(self._trials) < TRIALS:
            self._run.switch_off(self._opened, self._recorded)
            self._trials.append(self._switch_on(powered, last=len(self._trials) == TRIALS - 1))
        return check_autoboot(self._trials)

    def _switch_on(self, powered: ExitStack, *, last: bool) -> PowerOn:
        """Switch on and stop autoboot; after the last time U-Boot is kept at its prompt, until `powered` ends."""
        place, clock = self._run.place, self._clock
        before = self._recorded.offset
        began = clock()
        with ExitStack() as stack:
            tap = _Timed(stack.enter_context(self._run.switched_on(self._opened, self._recorded)), clock)
            self._run.entered(Phase.UBOOT)
            spawn = TapSpawn(tap)
            uboot = stack.enter_context(UBoot(spawn, place.uboot))
            trouble, remedy, tail = "", "", ""
            prompt_s: float | None = None
            try:
                uboot.interrupt(
                    Deadline(place.deadlines.uboot_s, clock), first_byte=Deadline(place.deadlines.first_byte_s, clock)
                )
                prompt_s = clock() - began
            except BoardError as error:
                trouble, remedy, tail = error.message, error.remedy, error.tail
            if last and prompt_s is not None:
                self._ready, self._spawn = uboot, spawn
                powered.enter_context(stack.pop_all())
        return PowerOn(
            first_byte_s=tap.first_at - began if tap.first_at is not None else None,
            received=self._recorded.offset - before,
            garbled=looks_like_wrong_baud(spawn.last_bytes),
            prompt_s=prompt_s,
            trouble=trouble,
            remedy=remedy,
            tail=tail,
        )

    def _tftp(self) -> Result:
        assert self._ready is not None
        self._run.stage(self._opened)
        prepare(self._ready, self._run.place, self._clock)
        self._run.entered(Phase.LOAD)
        began = self._clock()
        load_images(self._ready, self._run.place, self._load_listener, self._clock)
        return check_tftp(self._loaded, self._clock() - began)

    def _load_listener(self, file: BootedFile) -> None:
        self._loaded.append(file)
        self._run.loaded(file)

    # --- root-linux ------------------------------------------------------------------------------------------

    def _boot(self) -> Result:
        assert self._ready is not None
        assert self._spawn is not None
        began = self._clock()
        start(self._ready, self._spawn, self._run.place, self._run, self._clock)
        return ok(f"root-linux's shell on the console after {self._clock() - began:.1f} s")

    def _ssh(self) -> Result:
        endpoint = self._opened.ssh
        learned = self._learn_host_key() if self._learn else ""
        self._shell = self._run.log_in(self._opened)
        return ok(f"{endpoint}, host key {pinned_host_key(self._run.place.ssh.host_key)}{learned}")

    def _learn_host_key(self) -> str:
        place = self._run.place
        shown = shown_host_key(self._opened.ssh, Deadline(place.deadlines.ssh_s, self._clock))
        try:
            before = pinned_host_key(place.ssh.host_key)
        except UsageError:
            before = None
        if before == shown:
            return ": the place has it already"
        where = write_host_key(self._options.places, place.name, place.ssh.host_key, shown.line, self._run.board)
        self._run.place = replace(place, ssh=replace(place.ssh, host_key=shown.line))
        instead = f", in the stead of {before}" if before is not None else ""
        return f": written into {where}{instead}"

    def _on_board(self, command: str, seconds: float) -> CommandResult:
        assert self._shell is not None, "a check that needs SSH comes after it"
        return self._shell.run(command, Deadline(seconds, self._clock))

    def _memtester(self) -> Result:
        place = self._run.place
        name = place.gate.memtester
        size = min((LOCKED_SIZE, place.gate.ladder[0]), key=parse_size)
        wanted = parse_size(size)
        command = f"export MEMTESTER_TEST_MASK={_TEST_MASK:#x}; exec {shlex.join([name, size, '1'])}"
        done = self._on_board(
            f"sh -c {shlex.quote(command)} 2>&1; exit $?",
            place.deadlines.command_s + wanted / place.deadlines.rung_bytes_per_s,
        )
        output = MemtesterOutput(_TEST_MASK)
        output.feed(done.stdout)
        return check_memtester(name, wanted, done.status, output.run, done.stdout.decode("ascii", "replace"))

    def _memory(self) -> Result:
        ladder = self._run.place.gate.ladder
        answer = self._on_board("cat /proc/meminfo", self._run.place.deadlines.probe_s)
        memory = parse_meminfo(answer.stdout.decode("ascii", "replace"))
        require_fit(ladder, memory)
        return ok(
            f"the top rung {ladder[-1]} takes {format_size(needed_bytes(parse_size(ladder[-1])))} of "
            f"{format_size(memory.obtainable)} that can be had"
        )

    def _board_clock(self) -> Result:
        before = time.time()
        answer = self._on_board("date +%s", self._run.place.deadlines.probe_s)
        host = (before + time.time()) / 2
        try:
            board = float(answer.stdout)
        except ValueError:
            raise LabError("The board does not tell the time: date +%s printed no number", "Try it there.") from None
        return check_clock(board, host)

    def _watched(self) -> Result:
        if self._recorded.error is not None:
            raise self._recorded.error
        if self._run.alarms:
            raise FaultStoppedBoot
        return check_recording(self._recorded.offset, self._recorded.gaps)


class _Timed:
    """A console tap that remembers when its first bytes were read."""

    def __init__(self, tap: ConsoleTap, clock: Clock) -> None:
        self._tap = tap
        self._clock = clock
        self.first_at: float | None = None

    def read(self, deadline: Deadline) -> bytes:
        data = self._tap.read(deadline)
        if data and self.first_at is None:
            self.first_at = self._clock()
        return data

    def write(self, data: bytes) -> None:
        self._tap.write(data)


def _listen(tap: ConsoleTap, seconds: float) -> bytes:
    """All that comes for so long."""
    deadline = Deadline(seconds)
    heard = b""
    while not deadline.expired:
        heard += tap.read(deadline)
    return heard
