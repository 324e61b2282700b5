from dataclasses import replace
from pathlib import Path

import pytest

from hvrig.model.evidence import BankShare, Cause, Coverage, Gap, Outcome, Problem, Verdict
from hvrig.model.finding import Alarm, Finding, Origin
from hvrig.model.layout import Look, Rule, Unchecked
from hvrig.model.memory import Range
from hvrig.model.phase import Phase
from hvrig.report.text import WIDTH, duration, fault_line, to_text

UNCHECKED = Unchecked(Rule.LIVE_SYSTEM_RAM, "Permission denied.", "Log in as root.")
FOLDER = Path("artifacts/20261122T212500Z-virtual")


def test_pass(passed: Verdict) -> None:
    lines = to_text(passed, FOLDER).splitlines()
    assert lines[0] == "outcome: pass"
    assert not [line for line in lines if line.startswith("cause:")]
    assert "256M    pass         256 MiB  yes             15.3 s                 0" in lines
    assert "0x100000000 - 0x12f000000              752 MiB   8.5%  34.0%" in lines
    assert f"evidence: {FOLDER}" in lines


def test_fail(failed: Verdict) -> None:
    text = to_text(failed, FOLDER)
    lines = text.splitlines()
    assert lines[:2] == ["outcome: fail", "cause:   hypervisor-fault"]
    assert "What to do: Reserve the hypervisor's whole memory." in lines
    assert "1G      not run" in lines
    assert "        the hypervisor reported a fault" in lines
    assert "address 0x10016d300" in text
    assert "memtester was abandoned 0.21 s after the fault" in lines
    assert "  | : :error::from the board \\x00\\ufffe <&>" in lines
    assert "\x1b" not in text


def test_what_the_layout_checks_said(passed: Verdict, failed: Verdict) -> None:
    assert "memory layout, by the running board: no findings; rules 1, 9 checked" in to_text(passed, FOLDER)
    text = to_text(failed, FOLDER)
    for line in (
        "memory layout, by the files: 1 finding; rule 1 checked; 4 not, or not wholly",
        "memory layout, by the running board: 2 findings; rules 1, 9 checked",
        "  2. rule 9, live-system-ram: Linux has 0x40800000 - 0x449e6000 of it.",
        "  note: another tree",
    ):
        assert line in text.splitlines()
    blind = replace(failed.evidence.layout[Look.LIVE], checked=(), findings=(), unchecked=(UNCHECKED,))
    said = " ".join(
        to_text(replace(passed, evidence=replace(passed.evidence, layout={Look.LIVE: blind})), FOLDER).split()
    )
    assert "memory layout, by the running board: nothing could be checked" in said
    assert "not checked: rule 9, live-system-ram: Permission denied. Log in as root." in said


def test_silent_corruption_is_shown(passed: Verdict) -> None:
    stretch = Range(0x4050_0000, 0x4060_0000)
    banks = (BankShare(Range(0x4000_0000, 0x5400_0000), 256, 81920),)
    coverage = Coverage(256, banks, Range(0x4040_0000, 0x449E_6000), 256, (stretch,))
    rung = replace(passed.evidence.rungs[1], outcome=Outcome.FAIL, cause=Cause.LAYOUT, coverage=coverage)
    evidence = replace(passed.evidence, rungs=(passed.evidence.rungs[0], rung))
    text = to_text(replace(passed, outcome=Outcome.FAIL, cause=Cause.LAYOUT, evidence=evidence), FOLDER)
    assert "256M    fail         256 MiB  yes             15.3 s               256" in text
    assert "of it held by memtester: 0x40500000 - 0x40600000" in text


def test_unknown_range_is_no_zero(passed: Verdict) -> None:
    coverage = Coverage(16384, (), None, 0)
    rung = replace(passed.evidence.rungs[0], coverage=coverage)
    evidence = replace(passed.evidence, rungs=(rung,))
    text = to_text(replace(passed, evidence=evidence), FOLDER)
    assert "range unknown" in text


def test_narrow_whatever_the_board_says(failed: Verdict) -> None:
    long = "x" * 150 + "::error::" + "word " * 60
    faults = tuple(
        Finding(f"kind-{n}", Origin.HYPERVISOR, n, 1.0, fields={"message": long}, excerpt=long) for n in range(30)
    )
    evidence = replace(
        failed.evidence,
        ladder=tuple(f"{n}M" for n in range(64, 84)),
        rungs=tuple(replace(failed.evidence.rungs[1], size=f"{n}M", reason=long) for n in range(64, 84)),
        findings=faults,
        gaps=(Gap(5, 1.0, None, long),),
        problem=Problem(Cause.HANG, Phase.GATE, long, long, long + "\n" + long),
    )
    lines = to_text(replace(failed, summary=long, remedy=long, evidence=evidence), FOLDER).splitlines()
    assert max(map(len, lines)) <= WIDTH
    assert not [line for line in lines if line.strip().startswith("::")]
    assert "  and 22 more in verdict.json" in lines


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0004, "0.4 ms"),
        (0.0214, "21 ms"),
        (0.0999, "0.10 s"),
        (0.214, "0.21 s"),
        (4.04, "4.0 s"),
        (59.96, "1 min 00 s"),
        (65.2, "1 min 05 s"),
        (3900, "1 h 05 min"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_fault_line(failed: Verdict) -> None:
    assert fault_line(Alarm("panic", Origin.HYPERVISOR, 7, 1.0)) == "panic: byte 7 of uart.log"
    assert fault_line(failed.evidence.findings[2]) == (
        "hypervisor-panic: CPU 1, file src/zone.rs, line 303, 2 times, message did not survive, "
        "byte 9400 of uart.log, follows from the fault at byte 9000"
    )
