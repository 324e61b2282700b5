"""A verdict as JUnit XML, for the CI services that show it. Pure.

One suite, `memory-gate`. Its test cases are always the same for a place, so that a service can follow them from
run to run: `layout-static`, `boot`, `layout-live`, one `memtester-<size>` for each rung of the ladder, and `evidence`.
A static finding is told and no failure: what it was found in may be old. FAIL is a failure, INFRA an error, what was
not reached is skipped. The verdict itself is carried by what caused it; where neither the boot, the layout nor a rung
did (a fault after the ladder, a gap in the recording), by `evidence`: a run that did not pass never makes a green
report.
"""

from __future__ import annotations

import io
from datetime import UTC, datetime

from junitparser import Error, Failure, JUnitXml, Skipped, TestCase, TestSuite
from junitparser.junitparser import FinalResult

from hvrig.model.evidence import Cause, Outcome, RungResult, Verdict
from hvrig.model.harmless import harmless
from hvrig.model.layout import Look
from hvrig.model.phase import Phase
from hvrig.report.layout import finding_line, layout_summary, unchecked_line
from hvrig.report.text import fault_line, ladder_results

SUITE = "memory-gate"


def to_junit(verdict: Verdict, started: datetime) -> str:
    """The verdict as an XML document, declaration included. `started`: when the run began, with its time zone."""
    evidence = verdict.evidence
    suite = TestSuite(SUITE)
    suite.timestamp = f"{started.astimezone(UTC):%Y-%m-%dT%H:%M:%S}"
    suite.add_property("place", harmless(evidence.place, keep_newlines=False))
    suite.add_property("board", harmless(evidence.board, keep_newlines=False))
    suite.add_property("outcome", verdict.outcome.value)
    suite.add_property("cause", verdict.cause.value if verdict.cause else "")
    for name, version in verdict.versions.items():
        suite.add_property(harmless(name, keep_newlines=False), harmless(version, keep_newlines=False))
    cases = [_layout(verdict, Look.STATIC), _boot(verdict), _layout(verdict, Look.LIVE)]
    cases += [_rung(verdict, size, rung) for size, rung in ladder_results(evidence).items()]
    cases.append(_evidence(verdict, carried=any(case.is_failure or case.is_error for case in cases)))
    for case in cases:
        suite.add_testcase(case)
    document = JUnitXml("hvrig")
    document.add_testsuite(suite)
    buffer = io.BytesIO()
    document.write(buffer, pretty=True)
    return buffer.getvalue().decode("utf-8")


def _case(verdict: Verdict, name: str, seconds: float) -> TestCase:
    classname = harmless(f"hvrig.{verdict.evidence.place}", keep_newlines=False)
    return TestCase(name, classname, round(seconds, 3))


def _result(outcome: Outcome, cause: Cause | None, message: str, details: str) -> FinalResult:
    result = (Failure if outcome is Outcome.FAIL else Error)(
        harmless(message, keep_newlines=False), cause.value if cause else outcome.value
    )
    result.text = harmless(details)
    return result


def _layout(verdict: Verdict, look: Look) -> TestCase:
    """A check that was not made, or could check nothing, is skipped; what the running kernel proves is a failure."""
    case = _case(verdict, f"layout-{look.value}", 0)
    report = verdict.evidence.layout.get(look)
    if report is None:
        case.result = [Skipped(harmless(f"not reached: {verdict.summary}", keep_newlines=False))]
        return case
    lines = [*map(finding_line, report.findings), *map(unchecked_line, report.unchecked)]
    if look is Look.LIVE and report.certain is not None:
        case.result = [_result(Outcome.FAIL, Cause.LAYOUT, report.certain.what, _details(verdict))]
    elif not report.checked:
        case.result = [Skipped("nothing could be checked")]
    case.system_out = harmless("\n".join([layout_summary(report), *lines]))
    return case


def _boot(verdict: Verdict) -> TestCase:
    """Every phase before the gate."""
    boot = [record for record in verdict.evidence.phases if record.phase.order < Phase.GATE.order]
    case = _case(verdict, "boot", sum(record.t_end - record.t_start for record in boot if record.t_end is not None))
    reached = bool(verdict.evidence.rungs) or any(
        record.phase.order >= Phase.GATE.order for record in verdict.evidence.phases
    )
    if not reached and verdict.outcome is not Outcome.PASS:
        case.result = [_result(verdict.outcome, verdict.cause, verdict.summary, _details(verdict))]
    case.system_out = "\n".join(f"{r.phase.value}: from byte {r.uart_offset} of uart.log" for r in boot)
    return case


def _rung(verdict: Verdict, size: str, rung: RungResult | None) -> TestCase:
    if rung is None:
        case = _case(verdict, f"memtester-{size}", 0)
        case.result = [Skipped(harmless(f"not reached: {verdict.summary}", keep_newlines=False))]
        return case
    case = _case(verdict, f"memtester-{size}", rung.seconds)
    if rung.outcome is not Outcome.PASS:
        details = [rung.reason, *rung.run.notes, *rung.run.failures]
        if rung.run.failure_count > len(rung.run.failures):
            details.append(f"{rung.run.failure_count} FAILURE lines in all")
        if rung is verdict.evidence.rungs[-1]:
            details.append(_details(verdict))
        case.result = [_result(rung.outcome, rung.cause, rung.reason, "\n".join(details))]
    if rung.coverage:
        shares = [f"{share.bank}: {share.pages_held} of {share.pages} pages" for share in rung.coverage.banks]
        known = rung.coverage.hypervisor_range
        held = f"{known}: {rung.coverage.hypervisor_pages} pages" if known else "range unknown"
        case.system_out = "\n".join(["memory held:", *shares, f"of the hypervisor's own, {held}"])
    return case


def _evidence(verdict: Verdict, *, carried: bool) -> TestCase:
    case = _case(verdict, "evidence", 0)
    if verdict.outcome is not Outcome.PASS and not carried:
        case.result = [_result(verdict.outcome, verdict.cause, verdict.summary, _details(verdict))]
    case.system_out = harmless(verdict.summary)
    return case


def _details(verdict: Verdict) -> str:
    faults = [finding for finding in verdict.evidence.findings if finding.is_fault]
    problem = verdict.evidence.problem
    parts = [
        verdict.summary,
        f"What to do: {verdict.remedy}" if verdict.remedy else "",
        *map(fault_line, faults),
        *(fault.excerpt for fault in faults[:1]),
        problem.tail if problem else "",
    ]
    return "\n".join(part for part in parts if part)
