from __future__ import annotations

from dataclasses import replace

import pytest

from hvrig.gate.judgement import Judgement, RungFacts, judge_alarm, judge_end, with_pages
from hvrig.model.evidence import Cause, Coverage, MemtestRun, Outcome
from hvrig.model.finding import Alarm, Origin
from hvrig.model.memory import Range

HYPERVISOR = Range(0x4040_0000, 0x4460_0000)
CLEAN = Coverage(pages=16384, banks=(), hypervisor_range=HYPERVISOR, hypervisor_pages=0)
TAKEN = replace(CLEAN, hypervisor_pages=16304)
RUN = MemtestRun(wanted_bytes=64 << 20, got_bytes=64 << 20, locked=True, loop=1, loops=1, done=True)
GOOD = RungFacts(
    size="64M",
    expected=64 << 20,
    run=RUN,
    exit_status=0,
    oom_killed=False,
    coverage=CLEAN,
    coverage_missing="",
    compare_pages=True,
    marker_seen=True,
    can_have="64 MiB wanted, 900 MiB could be had",
)


def test_a_rung_with_all_its_evidence_passes() -> None:
    assert judge_end(GOOD) == Judgement(Outcome.PASS, None, "")
    assert judge_end(replace(GOOD, coverage=None, compare_pages=False)).outcome is Outcome.PASS


@pytest.mark.parametrize(
    ("facts", "outcome", "cause", "said"),
    [
        (replace(GOOD, run=replace(RUN, got_bytes=1)), Outcome.INFRA, Cause.NO_EVIDENCE, "got 1 bytes of 67108864"),
        (replace(GOOD, run=replace(RUN, locked=False)), Outcome.INFRA, Cause.NO_EVIDENCE, "not locked"),
        (replace(GOOD, run=replace(RUN, wanted_bytes=5, got_bytes=5)), Outcome.INFRA, Cause.NO_EVIDENCE, "wants 5"),
        (replace(GOOD, run=replace(RUN, done=False)), Outcome.INFRA, Cause.NO_EVIDENCE, "did not print Done"),
        (replace(GOOD, run=MemtestRun()), Outcome.INFRA, Cause.NO_EVIDENCE, "not tested"),
        (replace(GOOD, marker_seen=False), Outcome.INFRA, Cause.NO_EVIDENCE, "would not have shown a fault either"),
        (
            replace(GOOD, coverage=None, coverage_missing="no pagemap"),
            Outcome.INFRA,
            Cause.NO_EVIDENCE,
            "not known whether memtester held the hypervisor's pages: no pagemap",
        ),
        (replace(GOOD, exit_status=1), Outcome.INFRA, Cause.NO_EVIDENCE, "could not allocate or lock"),
        (replace(GOOD, exit_status=127), Outcome.INFRA, Cause.LAB, "could not start memtester"),
        (replace(GOOD, exit_status=137), Outcome.INFRA, Cause.LAB, "signal 9"),
        (replace(GOOD, exit_status=137, oom_killed=True), Outcome.INFRA, Cause.USAGE, "64 MiB wanted, 900 MiB"),
        (replace(GOOD, exit_status=4), Outcome.FAIL, Cause.MEMORY_ERROR, "another test failed"),
        (
            replace(GOOD, exit_status=2, run=replace(RUN, failure_count=7, failures=("FAILURE: a",))),
            Outcome.FAIL,
            Cause.MEMORY_ERROR,
            "7 memory errors (exit status 2: the Stuck Address test failed), the first: FAILURE: a",
        ),
        (
            replace(GOOD, coverage=TAKEN),
            Outcome.FAIL,
            Cause.LAYOUT,
            "memtester held 16304 of the hypervisor's own pages (0x40400000 - 0x44600000), of 16384 pages in all",
        ),
        (replace(GOOD, coverage=TAKEN, marker_seen=False), Outcome.FAIL, Cause.LAYOUT, "the marker"),
        (replace(GOOD, coverage=TAKEN, exit_status=4), Outcome.FAIL, Cause.LAYOUT, "memory errors"),
    ],
)
def test_anything_less_does_not(facts: RungFacts, outcome: Outcome, cause: Cause, said: str) -> None:
    judgement = judge_end(facts)
    assert (judgement.outcome, judgement.cause) == (outcome, cause)
    assert said in judgement.reason


@pytest.mark.parametrize(
    ("kind", "origin", "outcome", "cause"),
    [
        ("unhandled-mmio-fault", Origin.HYPERVISOR, Outcome.FAIL, Cause.HYPERVISOR_FAULT),
        ("kernel-panic", Origin.KERNEL, Outcome.FAIL, Cause.KERNEL_FAULT),
        ("unexpected-reset", Origin.BOARD, Outcome.FAIL, Cause.UNEXPECTED_RESET),
        ("el3-exception", Origin.BOARD, Outcome.FAIL, Cause.HANG),
        ("tee-panic", Origin.BOARD, Outcome.FAIL, Cause.HANG),
        ("oom-kill", Origin.KERNEL, Outcome.INFRA, Cause.USAGE),
    ],
)
def test_alarms_by_origin(kind: str, origin: Origin, outcome: Outcome, cause: Cause) -> None:
    judgement = judge_alarm(Alarm(kind, origin, 0, 0.0), during="in the 4G rung", can_have="4 GiB wanted")
    assert (judgement.outcome, judgement.cause) == (outcome, cause)
    assert "in the 4G rung" in judgement.reason


def test_a_fault_is_stronger_evidence_than_the_pages() -> None:
    fault = Judgement(Outcome.FAIL, Cause.HYPERVISOR_FAULT, "the UART showed a fault")
    judged = with_pages(fault, TAKEN)
    assert judged.cause is Cause.HYPERVISOR_FAULT
    assert judged.reason.startswith("the UART showed a fault; memtester held 16304")
    assert with_pages(fault, CLEAN) == fault
