"""One climb: memtester at growing sizes, each rung with its pages, its marker and its verdict."""

from __future__ import annotations

import math
import re
import shlex
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

from hvrig.gate.inbox import Inbox, Job
from hvrig.gate.judgement import Judgement, RungFacts, judge_alarm, judge_end, memory_in_words, with_pages
from hvrig.gate.meminfo import Memory, parse_meminfo, require_fit
from hvrig.gate.memtester import MemtesterOutput, work
from hvrig.gate.pace import Pace
from hvrig.gate.pagemap import coverage, find_buffer, page_frames, pagemap_read, parse_iomem
from hvrig.model.deadline import Clock, Deadline
from hvrig.model.errors import LabError
from hvrig.model.evidence import Cause, Coverage, MemtestRun, Outcome, RungResult
from hvrig.model.finding import Alarm, Origin
from hvrig.model.marker import new_marker
from hvrig.model.memory import PAGE_SIZE, Range
from hvrig.model.place import DeadlineSettings, GateSettings, RootLinuxSettings
from hvrig.model.progress import Abandoned, Observer, RungBegan, RungEnded, RungProgress, Step
from hvrig.model.protocols import Shell
from hvrig.model.size import format_size, parse_size

# Progress is for people: more often than this nobody can read it.
_PROGRESS_INTERVAL_S = 0.2

# The marker is sent again after this share of the probe's time, in case bytes are lost on the UART.
_MARKER_SHARE = 0.25

# The slowest link over which the pages are still worth waiting for; 12 GiB have 24 MiB of pagemap.
_PAGEMAP_BYTES_PER_S = float(1 << 20)

# memtester's buffer need not begin and end at a page: these pages it may share.
_PAGES_AT_THE_EDGES = 2

# Longest answer taken from the board: maps of a small process, kernel log, /proc files.
_MAX_ANSWER = 1 << 20

_PID = re.compile(rb"^hvrig-pid (\d{1,10})\r?\n", re.MULTILINE)
_MAX_BEFORE_PID = 4096

# dmesg of Linux 4.x and newer: `Killed process 123 (memtester)`, `oom-kill:...,task=memtester,pid=123,uid=0`.
_OOM_KILLED = re.compile(rb"Killed process (\d{1,10})|oom-kill:[^\n]*,pid=(\d{1,10})")


class _AlarmRaisedError(Exception):
    """Leaves whatever the climb is waiting for: the alarm is `Ladder._alarm`."""


class _RungOverError(Exception):
    """The rung has come to a judgement before memtester ended."""

    def __init__(self, judgement: Judgement) -> None:
        super().__init__(judgement.reason)
        self.judgement = judgement


@dataclass(frozen=True)
class _Answer:
    """What a command on the board gave: status None if it did not end in time or the connection was lost."""

    status: int | None
    output: bytes
    lost: bool

    @property
    def text(self) -> str:
        return self.output.decode("ascii", "replace")

    @property
    def failure(self) -> str:
        """Why it is of no use."""
        if self.lost:
            return "the SSH connection was lost"
        return "no answer in time" if self.status is None else f"exit status {self.status}"


class _Rung:
    """What is known of the rung that is being climbed."""

    def __init__(self, size: str, index: int, test_mask: int | None, loops: int, clock: Clock) -> None:
        self.size = size
        self.index = index
        self.expected = parse_size(size)
        self.parser = MemtesterOutput(test_mask)
        self.work = self.expected * loops
        self.started = self.last_output = clock()
        self.last_progress = -math.inf
        self.job: Job | None = None
        self.pid: int | None = None
        self.head: bytearray | None = bytearray()
        self.coverage: Coverage | None = None
        self.coverage_missing = ""
        self.marker_seen = False

    def take(self, data: bytes) -> None:
        """Parse memtester's output, which follows the line that names its process."""
        if self.head is None:
            self.parser.feed(data)
            return
        self.head += data
        found = _PID.search(self.head)
        if found is None and len(self.head) < _MAX_BEFORE_PID:
            return
        if found is not None:
            self.pid = int(found[1])
            del self.head[found.start() : found.end()]
        self.flush()

    def flush(self) -> None:
        """Parse what was held back while the process's line was awaited."""
        if self.head is not None:
            self.parser.feed(bytes(self.head))
            self.head = None

    @property
    def run(self) -> MemtestRun:
        run = self.parser.run
        if self.coverage_missing:
            return replace(run, notes=(*run.notes, f"pages not known: {self.coverage_missing}"))
        return run


class Ladder:
    """One climb of a place's ladder.

    hypervisor_range: its memory, as far as known; None: pages are counted, but not compared.
    console_alive: asks root-linux for an answer on the console, False if none came before the deadline.
    rung_log: takes memtester's raw output as it comes: size as in the ladder, block.
    `results` holds the rungs so far, also when `climb` raises. fault_to_abort_s: from the alarm's time to
    memtester abandoned, None if no alarm came while it ran.
    `alarm` and `marker` may be called from any thread; all else belongs to the thread that climbs.
    """

    def __init__(
        self,
        *,
        shell: Shell,
        gate: GateSettings,
        root_linux: RootLinuxSettings,
        deadlines: DeadlineSettings,
        hypervisor_range: Range | None,
        console_alive: Callable[[Deadline], bool],
        observer: Observer,
        clock: Clock,
        rung_log: Callable[[str, bytes], None],
    ) -> None:
        self._shell = shell
        self._gate = gate
        self._console_device = root_linux.console
        self._deadlines = deadlines
        self._hypervisor_range = hypervisor_range
        self._console_alive = console_alive
        self._observer = observer
        self._clock = clock
        self._rung_log = rung_log
        self._inbox = Inbox()
        self._lock = threading.Lock()
        self._alarm: Alarm | None = None
        self._memtester: Job | None = None
        self._awaited_marker = ""
        self._marker_came = False
        self._memory: Memory | None = None
        self._banks: tuple[Range, ...] = ()
        # rung_bytes_per_s is stated for Random Value alone (mask 0x1); other masks have more to do for each byte.
        self._pace = Pace(deadlines.rung_bytes_per_s * work(0x1) / work(gate.test_mask))
        self.results: list[RungResult] = []
        self.fault_to_abort_s: float | None = None

    def alarm(self, alarm: Alarm) -> None:
        """A fault's first line has come: abandon memtester at once and wake the climb. The first alarm is kept."""
        with self._lock:
            if self._alarm is not None or alarm.origin is Origin.FACT:
                return
            if self._memtester is not None and not self._memtester.ended:
                self._memtester.abandon()
                self.fault_to_abort_s = self._clock() - alarm.t
            self._alarm = alarm
        self._inbox.put(alarm)

    def marker(self, text: str) -> None:
        """A marker has been seen on the UART."""
        self._inbox.put(text)

    def climb(self) -> tuple[RungResult, ...]:
        """Climb rung by rung, up to and with the first one that is not a pass.

        Raises UsageError if a rung cannot fit into root-linux's memory, LabError if its memory cannot be read.
        """
        try:
            self._read_memory()
        except _AlarmRaisedError:
            self._observer(Step("an alarm came before the first rung"))
        for index, size in enumerate(self._gate.ladder):
            result = self._climb_rung(size, index)
            self.results.append(result)
            self._observer(RungEnded(result))
            if result.outcome is not Outcome.PASS:
                break
        return tuple(self.results)

    # Before the first rung

    def _read_memory(self) -> None:
        self._memory = parse_meminfo(self._read_proc("/proc/meminfo"))
        self._banks = parse_iomem(self._read_proc("/proc/iomem"))
        self._observer(
            Step(f"root-linux has {format_size(self._memory.obtainable)} to give of {format_size(self._memory.total)}")
        )
        require_fit(self._gate.ladder, self._memory)

    def _read_proc(self, path: str) -> str:
        answer = self._ask(f"cat {path}", self._deadline(self._deadlines.probe_s))
        if answer.status != 0:
            raise LabError(
                f"{path} of root-linux could not be read over SSH: {answer.failure}",
                "check that root-linux answers over SSH; the console log shows how it stands",
            )
        return answer.text

    # One rung

    def _climb_rung(self, size: str, index: int) -> RungResult:
        rung = _Rung(size, index, self._gate.test_mask, self._gate.loops, self._clock)
        self._observer(RungBegan(size, index, len(self._gate.ladder)))
        try:
            self._check_alarm()
            judgement = self._test_rung(rung)
            self._check_alarm()
        except _AlarmRaisedError:
            judgement = self._judge_alarm(rung)
        except _RungOverError as over:
            judgement = with_pages(over.judgement, rung.coverage)
        finally:
            with self._lock:
                self._memtester = None
            if rung.job is not None and not rung.job.ended:
                rung.job.abandon()
        if rung.job is not None:
            rung.job.deliver()  # what came before it was abandoned is evidence
            rung.flush()
        seconds = self._clock() - rung.started
        if judgement.outcome is Outcome.PASS:
            self._pace.record(rung.work, seconds)
        return RungResult(
            size=size,
            outcome=judgement.outcome,
            cause=judgement.cause,
            reason=judgement.reason,
            run=rung.run,
            exit_status=rung.job.status if rung.job is not None else None,
            seconds=seconds,
            coverage=rung.coverage,
            marker_seen=rung.marker_seen,
        )

    def _judge_alarm(self, rung: _Rung) -> Judgement:
        assert self._alarm is not None
        if self.fault_to_abort_s is not None:
            self._observer(Abandoned(self.fault_to_abort_s))
        during = f"in the {rung.size} rung" if rung.job is not None else f"before the {rung.size} rung began"
        return with_pages(judge_alarm(self._alarm, during=during, can_have=self._can_have(rung)), rung.coverage)

    def _test_rung(self, rung: _Rung) -> Judgement:
        allowed = self._deadline(self._pace.allowed_s(rung.work))
        rung.job = job = Job(self._inbox, lambda data: self._take_memtester(rung, data))
        with self._lock:
            self._memtester = job
        self._check_alarm()
        self._start(job, self._memtester_command(rung.size), self._deadline(self._deadlines.probe_s))
        self._await(rung, job, allowed, lambda: rung.parser.run.locked)
        if rung.parser.run.locked and not (job.ended and job.status is None):
            try:
                rung.coverage = self._read_coverage(rung, job)
            except LabError as error:
                rung.coverage_missing = error.message
                self._observer(Step(f"{rung.size}: pages not known: {error.message}"))
            rung.marker_seen = self._prove_console()
        self._await(rung, job, allowed, lambda: False)
        rung.flush()
        if job.status is None:
            self._connection_lost(rung)
        return judge_end(
            RungFacts(
                size=rung.size,
                expected=rung.expected,
                run=rung.parser.run,
                exit_status=job.status or 0,
                oom_killed=job.status == 137 and self._oom_killed(rung),
                coverage=rung.coverage,
                coverage_missing=rung.coverage_missing,
                compare_pages=self._hypervisor_range is not None,
                marker_seen=rung.marker_seen,
                can_have=self._can_have(rung),
            )
        )

    def _memtester_command(self, size: str) -> str:
        mask = self._gate.test_mask
        masked = "unset MEMTESTER_TEST_MASK" if mask is None else f"export MEMTESTER_TEST_MASK={mask:#x}"
        memtester = shlex.join([self._gate.memtester, size.strip(), str(self._gate.loops)])
        # The outer shell stays: sshd reports a killed shell's signal, not its status, and paramiko reads statuses only.
        return f"sh -c {shlex.quote(f'echo hvrig-pid $$; {masked}; exec {memtester}')} 2>&1; exit $?"

    def _take_memtester(self, rung: _Rung, data: bytes) -> None:
        self._rung_log(rung.size, data)
        rung.take(data)
        now = rung.last_output = self._clock()
        if now - rung.last_progress < _PROGRESS_INTERVAL_S:
            return
        rung.last_progress = now
        fraction = rung.parser.fraction
        later = [parse_size(size) * self._gate.loops for size in self._gate.ladder[rung.index + 1 :]]
        left = self._pace.left_s(rung.work, fraction, now - rung.started, later)
        self._observer(RungProgress(rung.size, rung.parser.run, fraction, left))

    # Evidence besides memtester's word

    def _read_coverage(self, rung: _Rung, job: Job) -> Coverage:
        """Where the rung's memory is. Raises LabError if that cannot be found out."""
        if rung.pid is None:
            raise LabError("memtester's process is not known: the board did not print it")
        if rung.parser.page_size not in (None, PAGE_SIZE):
            raise LabError(f"root-linux has pages of {rung.parser.page_size} bytes, hvrig reads {PAGE_SIZE} only")
        maps = self._ask(f"cat /proc/{rung.pid}/maps", self._deadline(self._deadlines.probe_s))
        if maps.status != 0:
            raise LabError(self._unread(f"/proc/{rung.pid}/maps", maps, job))
        buffer = find_buffer(maps.text, rung.expected)
        if buffer is None:
            raise LabError(f"/proc/{rung.pid}/maps shows no mapping of {rung.expected} bytes")
        read = pagemap_read(buffer)
        pagemap = self._ask(
            f"dd if=/proc/{rung.pid}/pagemap bs={PAGE_SIZE} skip={read.skip} count={read.count} 2>/dev/null",
            self._deadline(self._deadlines.probe_s + read.count * PAGE_SIZE / _PAGEMAP_BYTES_PER_S),
            limit=read.count * PAGE_SIZE,
        )
        if pagemap.status != 0:
            raise LabError(self._unread(f"/proc/{rung.pid}/pagemap", pagemap, job))
        frames = page_frames(read.cut(pagemap.output))
        wanted = rung.expected // PAGE_SIZE
        found = coverage(frames, self._banks, self._hypervisor_range)
        if found.pages < wanted - _PAGES_AT_THE_EDGES and found.hypervisor_pages == 0:
            raise LabError(f"pagemap shows only {found.pages} of {wanted} pages")
        return found

    @staticmethod
    def _unread(path: str, answer: _Answer, job: Job) -> str:
        if job.ended:
            return "memtester had ended before its pages could be read: the rung is too small to be looked at"
        return f"{path} could not be read: {answer.failure}"

    def _prove_console(self) -> bool:
        """Have root-linux print a marker on its console, and wait until the watch has seen it on the UART."""
        self._awaited_marker = marker = new_marker()
        self._marker_came = False
        whole = self._deadline(self._deadlines.probe_s)
        device = shlex.quote(self._console_device)
        while not self._marker_came and not whole.expired:
            attempt = whole.capped(self._deadlines.probe_s * _MARKER_SHARE)
            self._ask(f"printf '\\n%s\\n' {marker} > {device}", attempt)
            while not self._marker_came and self._pump(attempt):
                pass
        return self._marker_came

    def _oom_killed(self, rung: _Rung) -> bool:
        log = self._ask("dmesg | tail -n 400", self._deadline(self._deadlines.probe_s))
        killed = {int(first or second) for first, second in _OOM_KILLED.findall(log.output)}
        return rung.pid in killed

    def _can_have(self, rung: _Rung) -> str:
        return memory_in_words(rung.expected, self._memory.obtainable if self._memory else None)

    # Waiting

    def _await(self, rung: _Rung, job: Job, allowed: Deadline, enough: Callable[[], bool]) -> None:
        """Wait until memtester has ended or it is `enough`; ask the board when memtester is silent or late.

        Raises _RungOverError when the board does not answer, or the rung takes longer than `allowed`.
        """
        asked = rung.last_output
        while not job.ended and not enough():
            asked = max(asked, rung.last_output)
            patience = self._deadlines.stall_s - (self._clock() - asked)
            if allowed.expired or patience <= 0:
                self._probe(rung)
                asked = self._clock()
            if allowed.expired and not job.ended:
                raise _RungOverError(self._too_slow(rung, allowed))
            self._pump(allowed.capped(max(0.0, patience)))

    def _probe(self, rung: _Rung) -> None:
        """Ask the board over SSH and on its console whether it lives. Raises _RungOverError unless both answer."""
        silent = self._clock() - rung.last_output
        probe_s = self._deadlines.probe_s
        ssh = self._ask("true", self._deadline(probe_s)).status is not None
        console = self._console_alive(self._deadline(probe_s))
        self._check_alarm()
        asked = f"memtester was silent for {silent:.1f} s in the {rung.size} rung"
        if not ssh and not console:
            reason = f"{asked}, and neither SSH nor the console answered within {probe_s:g} s each"
            raise _RungOverError(Judgement(Outcome.FAIL, Cause.HANG, reason))
        if not ssh:
            reason = f"{asked}, SSH did not answer within {probe_s:g} s, but the console did: look at the network"
            raise _RungOverError(Judgement(Outcome.INFRA, Cause.LAB, reason))
        if not console:
            reason = (
                f"{asked}, SSH answered, but the console did not within {probe_s:g} s: "
                "the UART would not have shown a fault"
            )
            raise _RungOverError(Judgement(Outcome.INFRA, Cause.NO_EVIDENCE, reason))

    def _connection_lost(self, rung: _Rung) -> None:
        console = self._console_alive(self._deadline(self._deadlines.probe_s))
        self._check_alarm()
        lost = f"the SSH connection was lost in the {rung.size} rung"
        if console:
            raise _RungOverError(
                Judgement(Outcome.INFRA, Cause.LAB, f"{lost}, but the console answered: look at the network")
            )
        reason = f"{lost}, and the console did not answer within {self._deadlines.probe_s:g} s"
        raise _RungOverError(Judgement(Outcome.FAIL, Cause.HANG, reason))

    def _too_slow(self, rung: _Rung, allowed: Deadline) -> Judgement:
        return Judgement(
            Outcome.INFRA,
            Cause.LAB,
            f"the {rung.size} rung was slower than expected: {rung.parser.fraction:.0%} done after "
            f"{allowed.elapsed:.0f} s of {allowed.seconds:.0f} s, although SSH and the console answer",
        )

    def _ask(self, command: str, deadline: Deadline, limit: int = _MAX_ANSWER) -> _Answer:
        """Run a short command on the board, while memtester and the watch go on being heard."""
        collected = bytearray()
        job = Job(self._inbox, collected.extend)
        self._start(job, command, deadline)
        try:
            while not job.ended and len(collected) <= limit and self._pump(deadline):
                pass
        finally:
            if not job.ended:
                job.abandon()
        return _Answer(job.status if job.ended else None, bytes(collected[:limit]), job.ended and job.status is None)

    def _start(self, job: Job, command: str, deadline: Deadline) -> None:
        try:
            job.attach(self._shell.start(command, job.output, job.end, deadline))
        except LabError:
            job.end(None)

    def _pump(self, deadline: Deadline) -> bool:
        """Deal with one message; False if none came before the deadline. Raises _AlarmRaisedError."""
        self._check_alarm()
        message = self._inbox.get(deadline.remaining)
        self._check_alarm()
        if isinstance(message, Job):
            message.deliver()
        elif isinstance(message, str) and message == self._awaited_marker:
            self._marker_came = True
        return message is not None

    def _check_alarm(self) -> None:
        if self._alarm is not None:
            raise _AlarmRaisedError

    def _deadline(self, seconds: float) -> Deadline:
        return Deadline(seconds, self._clock)
