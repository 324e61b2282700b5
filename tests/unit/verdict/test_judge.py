from __future__ import annotations

from dataclasses import replace

import pytest

from hvrig.model.evidence import (
    BankShare,
    Cause,
    Coverage,
    Evidence,
    Gap,
    MemtestRun,
    Outcome,
    PhaseRecord,
    Problem,
    RungResult,
)
from hvrig.model.finding import Finding, Origin
from hvrig.model.layout import LayoutFinding, LayoutReport, Look, Mend, Rule, Stretch, Unchecked
from hvrig.model.memory import Range
from hvrig.model.memory_map import Explanation, MemoryMap
from hvrig.model.phase import Phase
from hvrig.verdict.judge import judge, phase_at

HYPERVISOR = Range(0x40400000, 0x449E6000)
BANK = Range(0x40000000, 0x54000000)


def rung(size: str, outcome: Outcome = Outcome.PASS, cause: Cause | None = None, reason: str = "") -> RungResult:
    done = outcome is Outcome.PASS
    return RungResult(
        size=size,
        outcome=outcome,
        cause=cause,
        reason=reason,
        run=MemtestRun(wanted_bytes=1 << 26, got_bytes=1 << 26, locked=done, done=done, test="Random Value"),
        exit_status=0 if done else None,
        seconds=4.0,
        coverage=Coverage(16384, (BankShare(BANK, 0, 81920),), HYPERVISOR, 0),
        marker_seen=True,
    )


PHASES = tuple(
    PhaseRecord(phase, float(i), i + 1.0, i * 1000)
    for i, phase in enumerate(
        [Phase.POWER, Phase.UBOOT, Phase.LOAD, Phase.HYPERVISOR, Phase.ROOT_LINUX, Phase.SSH, Phase.GATE]
    )
)
OVERLAP = LayoutFinding(
    rule=Rule.LIVE_SYSTEM_RAM,
    what="The running kernel has 65.9 MiB of the hypervisor's 69.9 MiB as System RAM that is not reserved: 0x40800000.",
    stretches=(Stretch("System RAM", BANK, "/proc/iomem"), Stretch("hypervisor", HYPERVISOR, "printed while booting")),
    wrong=(Range(0x40800000, 0x449E6000),),
    consequence="It dies.",
    mend=Mend("Reserve the whole range.", "hvisor@40400000 { no-map; };", "zone0.dts"),
)
CLEAN = LayoutReport("desk", MemoryMap(), (Rule.UNRESERVED, Rule.LIVE_SYSTEM_RAM), (), ())
FOUND = replace(CLEAN, findings=(replace(OVERLAP, rule=Rule.UNRESERVED), OVERLAP))
BLIND = LayoutReport(
    "desk", MemoryMap(), (), (), (Unchecked(Rule.LIVE_SYSTEM_RAM, "It shows only zeros.", "Log in as root."),)
)
GOOD = Evidence(place="desk", ladder=("1G", "2G"), phases=PHASES, rungs=(rung("1G"), rung("2G")), log_level="info")
MMIO = Finding(
    kind="unhandled-mmio-fault",
    origin=Origin.HYPERVISOR,
    offset=6500,
    t=6.5,
    zone=0,
    cpu=1,
    fields={"address": 0xB600000, "size": 1, "is_write": True},
)


def test_everything_proven_is_a_pass() -> None:
    verdict = judge(GOOD)
    assert (verdict.outcome, verdict.cause, verdict.exit_status) == (Outcome.PASS, None, 0)
    assert "no page of the hypervisor was in its hands" in verdict.summary


def test_a_pass_does_not_claim_pages_it_did_not_compare() -> None:
    blind = replace(GOOD, rungs=tuple(replace(r, coverage=None) for r in GOOD.rungs))
    verdict = judge(blind)
    assert verdict.outcome is Outcome.PASS
    assert "is not known" in verdict.summary
    assert "hypervisor.start" in verdict.remedy


@pytest.mark.parametrize(
    "evidence",
    [
        replace(GOOD, rungs=()),
        replace(GOOD, rungs=GOOD.rungs[:1]),
        replace(GOOD, rungs=GOOD.rungs[::-1]),
        replace(GOOD, ladder=(), rungs=()),
    ],
)
def test_a_ladder_that_was_not_climbed_is_never_a_pass(evidence: Evidence) -> None:
    verdict = judge(evidence)
    assert (verdict.outcome, verdict.cause, verdict.exit_status) == (Outcome.INFRA, Cause.NO_EVIDENCE, 3)


def test_a_hypervisor_fault_names_address_access_and_rung() -> None:
    failed = replace(rung("2G", Outcome.FAIL, Cause.HYPERVISOR_FAULT), run=MemtestRun(got_bytes=1 << 31))
    verdict = judge(replace(GOOD, rungs=(rung("1G"), failed), findings=(MMIO,)))
    assert (verdict.outcome, verdict.cause, verdict.exit_status) == (Outcome.FAIL, Cause.HYPERVISOR_FAULT, 1)
    assert verdict.phase is Phase.GATE
    for part in ("0xb600000", "1-byte write", "zone 0", "CPU 1", "2G", "trying mlock", "1G passed before"):
        assert part in verdict.summary


def test_a_fault_with_memtester_on_the_hypervisors_pages_says_so() -> None:
    held = Coverage(100, (), HYPERVISOR, 42)
    verdict = judge(replace(GOOD, rungs=(replace(rung("1G"), coverage=held),), findings=(MMIO,)))
    assert "42 pages" in verdict.summary


def test_a_faults_address_is_explained() -> None:
    said = Explanation(0xB600000, "RAM of zone 0", "Its tables were most likely overwritten.")
    panic = Finding(kind="hypervisor-panic", origin=Origin.HYPERVISOR, offset=6400, t=6.4)
    verdict = judge(replace(GOOD, findings=(panic, MMIO), explanations={MMIO.offset: said}))
    assert "unhandled mmio fault at 0xb600000" in verdict.summary
    assert "the address is RAM of zone 0" in verdict.summary
    assert verdict.remedy == said.cause


def test_the_hypervisor_comes_before_the_kernel_and_both_before_a_lost_lab() -> None:
    oops = Finding(kind="kernel-oops", origin=Origin.KERNEL, offset=6400, t=6.4)
    lost = Problem(Cause.LAB, Phase.GATE, "SSH was lost", "look")
    assert judge(replace(GOOD, findings=(oops, MMIO), problem=lost)).cause is Cause.HYPERVISOR_FAULT
    assert judge(replace(GOOD, findings=(oops,), problem=lost)).cause is Cause.KERNEL_FAULT
    verdict = judge(replace(GOOD, problem=lost))
    assert (verdict.outcome, verdict.cause, verdict.exit_status) == (Outcome.INFRA, Cause.LAB, 3)


def test_an_oom_kill_is_no_fault_of_the_hypervisor() -> None:
    oom = Finding(kind="oom-kill", origin=Origin.KERNEL, offset=6400, t=6.4)
    too_big = rung("2G", Outcome.INFRA, Cause.USAGE, "was killed: it needs 2048 MiB of 1900 MiB")
    verdict = judge(replace(GOOD, findings=(oom,), rungs=(rung("1G"), too_big)))
    assert (verdict.outcome, verdict.cause, verdict.exit_status) == (Outcome.INFRA, Cause.USAGE, 2)
    assert "1900 MiB" in verdict.summary


def test_a_reset_while_the_hypervisor_runs_fails() -> None:
    reset = Finding(kind="unexpected-reset", origin=Origin.BOARD, offset=6500, t=0.0)
    verdict = judge(replace(GOOD, findings=(reset,)))
    assert (verdict.outcome, verdict.cause) == (Outcome.FAIL, Cause.UNEXPECTED_RESET)


def test_a_reset_in_u_boot_is_the_labs_and_only_where_it_ended_the_run() -> None:
    reset = Finding(kind="unexpected-reset", origin=Origin.BOARD, offset=1500, t=0.0)
    survived = judge(replace(GOOD, findings=(reset,)))
    assert survived.outcome is Outcome.PASS
    assert "reset itself before the hypervisor ran" in survived.summary
    problem = Problem(Cause.LAB, Phase.UBOOT, "U-Boot has started 3 times", "power supply?")
    ended = judge(replace(GOOD, findings=(reset,), rungs=(), problem=problem))
    assert (ended.outcome, ended.cause) == (Outcome.INFRA, Cause.LAB)


def test_an_exception_after_the_start_is_the_hypervisors_and_no_reset() -> None:
    fields: dict[str, int | bool | str] = {"message": '"Synchronous Abort" handler, esr 0x96000004', "esr": 0x96000004}
    exception = Finding(kind="u-boot-exception", origin=Origin.BOARD, offset=3500, t=0.0, fields=fields)
    reset = Finding(kind="unexpected-reset", origin=Origin.BOARD, offset=3900, t=0.0)
    verdict = judge(replace(GOOD, findings=(exception, reset), rungs=()))
    assert (verdict.outcome, verdict.cause, verdict.phase) == (
        Outcome.FAIL,
        Cause.HYPERVISOR_FAULT,
        Phase.HYPERVISOR,
    )
    assert "reset" not in verdict.summary
    assert "0x96000004" in verdict.summary
    again = judge(replace(GOOD, findings=(replace(reset, offset=3400), exception), rungs=()))
    assert again.cause is Cause.UNEXPECTED_RESET


@pytest.mark.parametrize("kind", ["el3-exception", "tee-panic"])
def test_a_stop_of_the_secure_firmware_blames_nobody(kind: str) -> None:
    stop = Finding(kind=kind, origin=Origin.BOARD, offset=3500, t=0.0, fields={"message": "PANIC at PC : 0x4"})
    verdict = judge(replace(GOOD, findings=(stop,), rungs=()))
    assert (verdict.outcome, verdict.cause) == (Outcome.FAIL, Cause.HANG)
    assert "firmware" in verdict.summary
    assert "0x4" in verdict.summary


def test_an_exception_of_u_boots_own_that_it_survived_is_no_reset() -> None:
    exception = Finding(kind="u-boot-exception", origin=Origin.BOARD, offset=1500, t=0.0)
    survived = judge(replace(GOOD, findings=(exception,)))
    assert survived.outcome is Outcome.PASS
    assert "reset" not in survived.summary


def test_what_the_board_said_is_made_harmless() -> None:
    evil = replace(MMIO, fields={"message": "\x1b[2J\n::error::x"})
    verdict = judge(replace(GOOD, findings=(evil,)))
    assert not set(verdict.summary) & {"\x1b", "\n"}
    assert "::error::" not in verdict.summary


def test_pages_of_the_hypervisor_in_memtesters_hands_fail_a_rung_that_passed() -> None:
    layout = rung("2G", Outcome.FAIL, Cause.LAYOUT, "memtester held 16304 pages of the hypervisor's memory")
    verdict = judge(replace(GOOD, rungs=(rung("1G"), layout)))
    assert (verdict.outcome, verdict.cause) == (Outcome.FAIL, Cause.LAYOUT)
    assert "16304 pages" in verdict.summary
    assert "Reserve the hypervisor's whole memory, 0x40400000 - 0x449e6000" in verdict.remedy


def test_memory_of_the_hypervisor_in_linuxs_hands_is_a_fail_before_the_first_rung() -> None:
    verdict = judge(replace(GOOD, rungs=(), layout={Look.LIVE: FOUND}))
    assert (verdict.outcome, verdict.cause, verdict.phase, verdict.exit_status) == (
        *(Outcome.FAIL, Cause.LAYOUT, Phase.GATE),
        1,
    )
    for part in ("0x40800000", "0x40400000 - 0x449e6000 (printed while booting)", "settles it without memtester"):
        assert part in verdict.summary
    assert "Reserve the whole range. hvisor@40400000 { no-map; };" in verdict.remedy
    assert "--stress-anyway" in verdict.remedy


def test_a_range_that_only_the_place_gives_may_be_old() -> None:
    by_place = replace(OVERLAP, stretches=(Stretch("hypervisor", HYPERVISOR, "place desk"),))
    verdict = judge(replace(GOOD, rungs=(), layout={Look.LIVE: replace(FOUND, findings=(by_place,))}))
    assert verdict.cause is Cause.LAYOUT
    assert "mend the range that place desk gives" in verdict.remedy


@pytest.mark.parametrize(
    ("failed", "said"),
    [
        (None, "memtester 1G, 2G passed all the same"),
        (rung("2G", Outcome.FAIL, Cause.MEMORY_ERROR, "FAILURE lines"), "memtester 2G: FAILURE lines; 1G passed"),
        (rung("2G", Outcome.FAIL, Cause.HANG, "no answer"), "memtester 2G: no answer"),
        (rung("2G", Outcome.INFRA, Cause.LAB, "SSH was lost"), "SSH was lost"),
    ],
)
def test_what_memtester_came_to_does_not_take_the_overlap_away(failed: RungResult | None, said: str) -> None:
    """With --stress-anyway."""
    rungs = (rung("1G"), failed or rung("2G"))
    verdict = judge(replace(GOOD, rungs=rungs, layout={Look.LIVE: FOUND}))
    assert (verdict.outcome, verdict.cause) == (Outcome.FAIL, Cause.LAYOUT)
    assert said in verdict.summary


def test_what_the_board_showed_comes_before_what_the_check_foresaw() -> None:
    held = rung("2G", Outcome.FAIL, Cause.LAYOUT, "memtester held 16304 pages")
    assert "16304 pages" in judge(replace(GOOD, rungs=(rung("1G"), held), layout={Look.LIVE: FOUND})).summary
    fault = judge(replace(GOOD, findings=(MMIO,), layout={Look.LIVE: FOUND}))
    assert fault.cause is Cause.HYPERVISOR_FAULT
    oops = replace(MMIO, kind="kernel-oops", origin=Origin.KERNEL)
    kernel = judge(replace(GOOD, findings=(oops,), layout={Look.LIVE: FOUND}))
    assert kernel.cause is Cause.KERNEL_FAULT
    for verdict in (fault, kernel):
        assert "had found it coming: the running kernel has 65.9 MiB" in verdict.summary
    lost = Problem(Cause.LAB, Phase.GATE, "SSH was lost", "")
    assert judge(replace(GOOD, rungs=(), problem=lost, layout={Look.LIVE: FOUND})).cause is Cause.LAYOUT


def test_a_reservation_that_holds_is_not_blamed() -> None:
    panic = replace(MMIO, kind="hypervisor-panic", fields={})
    assert "Linux has probably overwritten" in judge(replace(GOOD, findings=(panic,))).remedy
    assert "Linux has probably overwritten" in judge(replace(GOOD, findings=(panic,), layout={Look.LIVE: BLIND})).remedy
    sound = judge(replace(GOOD, findings=(panic,), layout={Look.LIVE: CLEAN}))
    assert "keeps off the hypervisor's memory" in sound.remedy
    assert "Reserve" not in sound.remedy


def test_only_the_running_kernel_is_certain() -> None:
    """Files may be old, and a tree is not yet what the kernel makes of it: said, and no fail."""
    uncertain = replace(FOUND, findings=FOUND.findings[:1])
    for layout in ({Look.STATIC: uncertain, Look.LIVE: CLEAN}, {Look.STATIC: CLEAN, Look.LIVE: uncertain}):
        verdict = judge(replace(GOOD, layout=layout))
        assert verdict.outcome is Outcome.PASS
        assert "the memory layout has 1 finding all the same" in verdict.summary


@pytest.mark.parametrize(
    ("layout", "said"),
    [
        ({Look.STATIC: CLEAN, Look.LIVE: CLEAN}, "the running kernel keeps off the hypervisor's memory."),
        ({Look.LIVE: BLIND}, "could not be seen (it shows only zeros)"),
        ({}, "the running kernel's memory map was not looked at"),
    ],
)
def test_a_pass_says_what_the_layout_check_saw(layout: dict[Look, LayoutReport], said: str) -> None:
    verdict = judge(replace(GOOD, layout=layout))
    assert verdict.outcome is Outcome.PASS
    assert said in verdict.summary


def test_silence_is_a_hang_only_while_the_cable_is_sound() -> None:
    hung = replace(GOOD, rungs=(rung("1G"), rung("2G", Outcome.FAIL, Cause.HANG, "no answer for 30 s")))
    assert judge(hung).cause is Cause.HANG
    assert judge(hung).outcome is Outcome.FAIL
    torn = judge(replace(hung, gaps=(Gap(10, 6.0, None, "connection closed"),)))
    assert (torn.outcome, torn.cause) == (Outcome.INFRA, Cause.NO_EVIDENCE)
    boot = Problem(Cause.HANG, Phase.ROOT_LINUX, "no prompt", "look")
    assert judge(replace(GOOD, rungs=(), problem=boot)).outcome is Outcome.FAIL
    assert judge(replace(GOOD, rungs=(), problem=boot, gaps=(Gap(10, 6.0, 8.0, "x"),))).outcome is Outcome.INFRA


def test_a_gap_refuses_a_pass() -> None:
    verdict = judge(replace(GOOD, gaps=(Gap(6200, 6.0, 8.0, "adapter unplugged"),)))
    assert (verdict.outcome, verdict.cause) == (Outcome.INFRA, Cause.NO_EVIDENCE)
    for part in ("byte 6200", "2.0 s", "adapter unplugged"):
        assert part in verdict.summary


@pytest.mark.parametrize(
    ("level", "outcome"),
    [
        ("off", Outcome.INFRA),
        ("OFF", Outcome.INFRA),
        ("error", Outcome.PASS),
        ("warn", Outcome.PASS),
        (None, Outcome.PASS),
    ],
)
def test_a_mute_hypervisor_proves_nothing(level: str | None, outcome: Outcome) -> None:
    assert judge(replace(GOOD, log_level=level)).outcome is outcome


def test_an_interrupted_run_is_not_a_pass() -> None:
    verdict = judge(replace(GOOD, problem=Problem(Cause.INTERRUPTED, Phase.GATE, "interrupted", "")))
    assert (verdict.outcome, verdict.exit_status) == (Outcome.INFRA, 3)


def test_what_failed_after_the_whole_ladder_says_that_it_had_passed() -> None:
    off = Problem(Cause.LAB, None, "The outlet did not answer.", "look at it")
    said = judge(replace(GOOD, problem=off)).summary
    assert said == "The outlet did not answer; the whole ladder had passed before."
    part = judge(replace(GOOD, problem=off, rungs=GOOD.rungs[:1], ladder=("1G", "2G"))).summary
    assert part == "The outlet did not answer; 1G passed before."


def test_phase_at_is_the_one_that_had_begun() -> None:
    assert phase_at(GOOD, 0) is Phase.POWER
    assert phase_at(GOOD, 2999) is Phase.LOAD
    assert phase_at(GOOD, 10**9) is Phase.GATE
