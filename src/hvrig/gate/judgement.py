"""What a rung came to: the rules, apart from how the facts were got."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hvrig.gate.memtester import EXIT_ADDRESS_LINES, EXIT_NOT_STARTED, EXIT_OTHER_TEST, describe_exit
from hvrig.model.evidence import Cause, Coverage, MemtestRun, Outcome
from hvrig.model.finding import Alarm, Origin
from hvrig.model.size import format_size

# The watch's name for an OOM kill: a wrong size for this board, not a fault of the hypervisor.
OOM_KILL = "oom-kill"

_CAUSE_OF_ORIGIN = {
    Origin.HYPERVISOR: Cause.HYPERVISOR_FAULT,
    Origin.KERNEL: Cause.KERNEL_FAULT,
    Origin.BOARD: Cause.UNEXPECTED_RESET,
}
# The secure firmware stopped, and the board with it: nothing was reset, and who made it stop is not said. Of the causes
# there are, a hang is what it comes to, and blames nobody.
_CAUSE_OF_KIND = {"el3-exception": Cause.HANG, "tee-panic": Cause.HANG}
_SUBJECT_OF_ORIGIN = {
    Origin.HYPERVISOR: "the hypervisor",
    Origin.KERNEL: "root-linux's kernel",
    Origin.BOARD: "the board",
}
_FAILED_TEST = EXIT_ADDRESS_LINES | EXIT_OTHER_TEST
_FIRST_SIGNAL_STATUS = 129


@dataclass(frozen=True)
class Judgement:
    """An outcome with its cause (None with PASS) and one sentence that says why ("" with PASS)."""

    outcome: Outcome
    cause: Cause | None
    reason: str


@dataclass(frozen=True)
class RungFacts:
    """What is known of a rung whose memtester ended by itself.

    expected: bytes of the rung. oom_killed: root-linux's kernel log says that it killed memtester for memory.
    coverage_missing: why there is no coverage. can_have: how much memory the board could give, in words.
    """

    size: str
    expected: int
    run: MemtestRun
    exit_status: int
    oom_killed: bool
    coverage: Coverage | None
    coverage_missing: str
    compare_pages: bool
    marker_seen: bool
    can_have: str


def judge_end(facts: RungFacts) -> Judgement:
    """Judge a rung that ended by itself, without an alarm."""
    return with_pages(_judge_memtester(facts), facts.coverage)


def judge_alarm(alarm: Alarm, *, during: str, can_have: str) -> Judgement:
    """Judge a rung that an alarm ended, which is not of origin FACT. during: `in the 4G rung`."""
    if alarm.kind == OOM_KILL:
        return _did_not_fit(during, can_have)
    reason = f"the UART showed {alarm.kind} of {_SUBJECT_OF_ORIGIN[alarm.origin]} {during}"
    return Judgement(Outcome.FAIL, _CAUSE_OF_KIND.get(alarm.kind, _CAUSE_OF_ORIGIN[alarm.origin]), reason)


def with_pages(judgement: Judgement, coverage: Coverage | None) -> Judgement:
    """A page in the hypervisor's memory is a FAIL by itself; only a fault, a reset or a hang is stronger evidence."""
    if coverage is None or coverage.hypervisor_pages == 0:
        return judgement
    held = (
        f"memtester held {coverage.hypervisor_pages} of the hypervisor's own pages ({coverage.hypervisor_range}), "
        f"of {coverage.pages} pages in all"
    )
    reason = f"{held}; {judgement.reason}" if judgement.reason else held
    if judgement.outcome is Outcome.FAIL and judgement.cause is not Cause.MEMORY_ERROR:
        return replace(judgement, reason=f"{judgement.reason}; {held}")
    return Judgement(Outcome.FAIL, Cause.LAYOUT, reason)


def _judge_memtester(facts: RungFacts) -> Judgement:
    run, status = facts.run, facts.exit_status
    small = status < _FIRST_SIGNAL_STATUS and status not in (126, 127)
    if run.failure_count or (small and status & _FAILED_TEST):
        first = f", the first: {run.failures[0]}" if run.failures else ""
        return Judgement(
            Outcome.FAIL,
            Cause.MEMORY_ERROR,
            f"memtester found {run.failure_count} memory errors ({describe_exit(status)}){first}",
        )
    if facts.oom_killed:
        return _did_not_fit(f"in the {facts.size} rung", facts.can_have)
    if small and status & EXIT_NOT_STARTED:
        return _not_tested(facts, describe_exit(status))
    if status:
        return Judgement(Outcome.INFRA, Cause.LAB, f"memtester did not run to its end: {_with_notes(status, run)}")
    if run.wanted_bytes != facts.expected:
        return _not_tested(facts, f"memtester says that it wants {run.wanted_bytes} bytes, not {facts.expected}")
    if run.got_bytes != run.wanted_bytes:
        return _not_tested(facts, f"memtester got {run.got_bytes} bytes of {run.wanted_bytes}")
    if not run.locked:
        return _not_tested(facts, "memtester's memory was not locked")
    if not run.done:
        return _not_tested(facts, "memtester ended with status 0, but did not print Done.")
    if not facts.marker_seen:
        return Judgement(
            Outcome.INFRA,
            Cause.NO_EVIDENCE,
            "the marker that was printed on the board's console was not seen on the UART: "
            "the UART would not have shown a fault either",
        )
    if facts.compare_pages and facts.coverage is None:
        return Judgement(
            Outcome.INFRA,
            Cause.NO_EVIDENCE,
            f"it is not known whether memtester held the hypervisor's pages: {facts.coverage_missing}",
        )
    return Judgement(Outcome.PASS, None, "")


def _with_notes(status: int, run: MemtestRun) -> str:
    return "; ".join((describe_exit(status), *run.notes))


def _not_tested(facts: RungFacts, why: str) -> Judgement:
    notes = "".join(f"; {note}" for note in facts.run.notes)
    return Judgement(
        Outcome.INFRA, Cause.NO_EVIDENCE, f"the size {facts.size} was not tested: {why}{notes} ({facts.can_have})"
    )


def _did_not_fit(during: str, can_have: str) -> Judgement:
    return Judgement(
        Outcome.INFRA, Cause.USAGE, f"root-linux ran out of memory {during}: the rung did not fit ({can_have})"
    )


def memory_in_words(expected: int, obtainable: int | None) -> str:
    """The numbers that go with a rung that did not fit."""
    if obtainable is None:
        return f"{format_size(expected)} wanted"
    return f"{format_size(expected)} wanted, {format_size(obtainable)} could be had before the first rung"
