"""Verdicts to report: one that failed, as issue 221 does, and one that passed."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from hvrig.model.evidence import (
    BankShare,
    BootedFile,
    Cause,
    Coverage,
    Evidence,
    MemtestRun,
    Outcome,
    PhaseRecord,
    RungResult,
    Verdict,
)
from hvrig.model.finding import Finding, Origin
from hvrig.model.layout import LayoutFinding, LayoutReport, Look, Mend, Rule, Stretch, Unchecked
from hvrig.model.memory import Range
from hvrig.model.memory_map import MemoryMap
from hvrig.model.phase import Phase

LOW = Range(0x4000_0000, 0x5400_0000)
HIGH = Range(0x1_0000_0000, 0x1_2F00_0000)
HYPERVISOR = Range(0x4040_0000, 0x449E_6000)
MIB = 1 << 20
T_POWER = 5000.0
OPEN = Range(0x4080_0000, 0x449E_6000)
CLEAN = {
    Look.STATIC: LayoutReport(
        "virtual", MemoryMap(), (Rule.UNRESERVED,), (), (Unchecked(Rule.UNMAPPED_MEMORY, "No regions.", "Give them."),)
    ),
    Look.LIVE: LayoutReport("virtual", MemoryMap(), (Rule.UNRESERVED, Rule.LIVE_SYSTEM_RAM), (), ()),
}


def layout_finding(rule: Rule) -> LayoutFinding:
    return LayoutFinding(
        rule,
        f"Linux has {OPEN} of it.",
        (Stretch("System RAM", Range(0x4080_0000, 0x5400_0000), "/proc/iomem"), Stretch("hypervisor", HYPERVISOR, "x")),
        (OPEN,),
        "It dies.",
        Mend("Reserve it.", "hvisor@40400000 {\n::error::\x1b[2J };", "zone0.dts"),
        0,
    )


def rung_that_passed(size_mib: int, seconds: float) -> RungResult:
    pages = size_mib * MIB // 4096
    run = MemtestRun(size_mib * MIB, size_mib * MIB, True, 1, 1, "", ("Stuck Address", "Random Value"), done=True)
    banks = (BankShare(LOW, 0, LOW.size // 4096), BankShare(HIGH, pages, HIGH.size // 4096))
    coverage = Coverage(pages, banks, HYPERVISOR, 0)
    return RungResult(f"{size_mib}M", Outcome.PASS, None, "", run, 0, seconds, coverage, True)


@pytest.fixture
def started() -> datetime:
    return datetime(2026, 11, 22, 21, 25, 0, tzinfo=UTC)


@pytest.fixture
def passed() -> Verdict:
    evidence = Evidence(
        place="virtual",
        ladder=("64M", "256M"),
        phases=(
            PhaseRecord(Phase.POWER, T_POWER, T_POWER + 0.3, 0),
            PhaseRecord(Phase.UBOOT, T_POWER + 0.3, T_POWER + 2.5, 12),
            PhaseRecord(Phase.GATE, T_POWER + 2.5, T_POWER + 21.8, 4000),
        ),
        findings=(Finding("layout", Origin.FACT, 1000, T_POWER + 2, fields={"hv_end": 0x449E_6000, "part": "hv_end"}),),
        rungs=(rung_that_passed(64, 4.0), rung_that_passed(256, 15.3)),
        booted=(BootedFile("hvisor", "images/hvisor.bin", 0x4C00_0000, 300_000, 0x00C0FFEE, "ab" * 32),),
        log_level="info",
        layout=CLEAN,
    )
    return Verdict(Outcome.PASS, None, "All of it passed.", "", None, evidence, {"hvrig": "0.1.0"})


@pytest.fixture
def failed(passed: Verdict) -> Verdict:
    mmio = Finding(
        "unhandled-mmio-fault",
        Origin.HYPERVISOR,
        9000,
        T_POWER + 23.25,
        zone=0,
        cpu=1,
        fields={"address": 0x1_0016_D300, "size": 8, "is_write": True, "value": 0xFFFF_FFFF_FFFF_FFFF},
        excerpt="\x1b[33m[WARN  1]\x1b[m Zone 0 unhandled mmio fault\n::error::from the board \x00\ufffe <&>\n",
    )
    panic = Finding(
        "hypervisor-panic",
        Origin.HYPERVISOR,
        9400,
        T_POWER + 23.3,
        cpu=1,
        fields={"file": "src/zone.rs", "line": 303},
        missing=("message",),
        tied_to=9000,
        count=2,
    )
    rung = RungResult(
        "768M",
        Outcome.FAIL,
        Cause.HYPERVISOR_FAULT,
        "the hypervisor reported a fault",
        MemtestRun(768 * MIB, 768 * MIB, failures=("FAILURE: 0x1 != 0x2 at offset 0x3.",), failure_count=7),
        None,
        1.4,
        None,
        False,
    )
    evidence = replace(
        passed.evidence,
        place="virtual-under-reserved",
        ladder=("64M", "256M", "768M", "1G"),
        findings=(*passed.evidence.findings, mmio, panic),
        rungs=(*passed.evidence.rungs, rung),
        phases=(*passed.evidence.phases[:-1], PhaseRecord(Phase.GATE, T_POWER + 2.5, None, 4000)),
        fault_to_abort_s=0.21,
        layout={
            Look.STATIC: replace(CLEAN[Look.STATIC], findings=(layout_finding(Rule.UNRESERVED),)),
            Look.LIVE: replace(
                CLEAN[Look.LIVE],
                findings=(layout_finding(Rule.UNRESERVED), layout_finding(Rule.LIVE_SYSTEM_RAM)),
                memory=MemoryMap((), ("another tree",)),
            ),
        },
    )
    return Verdict(
        Outcome.FAIL,
        Cause.HYPERVISOR_FAULT,
        "The hypervisor reported unhandled mmio fault.",
        "Reserve the hypervisor's whole memory.",
        Phase.GATE,
        evidence,
        {"hvrig": "0.1.0"},
    )
