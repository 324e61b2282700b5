"""A verdict as JSON: `verdict.json`, described by docs/verdict.md and `verdict.schema.json`.

Addresses are strings (`hvrig.report.findings` says why). Times are seconds since the run's first phase began.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime

from hvrig.model.evidence import BootedFile, Coverage, Evidence, Gap, PhaseRecord, Problem, RungResult, Verdict
from hvrig.model.finding import Finding
from hvrig.model.harmless import harmless_tree
from hvrig.model.layout import Look
from hvrig.model.memory import Range
from hvrig.report.findings import finding_fields
from hvrig.report.layout import layout_fields

SCHEMA = "hvrig-verdict/1"

_MICROSECOND_DIGITS = 6


def to_json(verdict: Verdict, started: datetime) -> dict[str, object]:
    """The verdict as plain dicts, lists, strings and numbers; all text is harmless to print.

    started: when the run began, with its time zone.
    """
    evidence = verdict.evidence
    t0 = _time_zero(evidence)
    tree: dict[str, object] = {
        "schema": SCHEMA,
        "place": evidence.place,
        "board": evidence.board or None,
        "started": f"{started.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "t0_monotonic": None if t0 is None else round(t0, _MICROSECOND_DIGITS),
        "outcome": verdict.outcome.value,
        "cause": verdict.cause.value if verdict.cause else None,
        "exit_status": verdict.exit_status,
        "summary": verdict.summary,
        "remedy": verdict.remedy,
        "phase": verdict.phase.value if verdict.phase else None,
        "problem": _problem(evidence.problem),
        "layout": {
            look.value: layout_fields(evidence.layout[look]) if look in evidence.layout else None for look in Look
        },
        "ladder": list(evidence.ladder),
        "phases": [_phase(record, t0) for record in evidence.phases],
        "rungs": [_rung(rung) for rung in evidence.rungs],
        "faults": [_finding(finding, evidence, t0) for finding in evidence.findings if finding.is_fault],
        "facts": [_finding(finding, evidence, t0) for finding in evidence.findings if not finding.is_fault],
        "gaps": [_gap(gap, t0) for gap in evidence.gaps],
        "fault_to_abort_s": _seconds(evidence.fault_to_abort_s),
        "log_level": evidence.log_level,
        "booted": [_booted(file) for file in evidence.booted],
        "versions": dict(verdict.versions),
    }
    return {key: harmless_tree(value) for key, value in tree.items()}


def to_json_text(verdict: Verdict, started: datetime) -> str:
    """The same as one indented JSON document that ends with a newline."""
    return json.dumps(to_json(verdict, started), indent=2, ensure_ascii=False) + "\n"


def _time_zero(evidence: Evidence) -> float | None:
    """When the run's first phase began; without phases, the first thing that has a time."""
    if evidence.phases:
        return evidence.phases[0].t_start
    times = [finding.t for finding in evidence.findings] + [gap.t_start for gap in evidence.gaps]
    return min(times, default=None)


def _seconds(value: float | None, since: float | None = 0.0) -> float | None:
    return None if value is None or since is None else round(value - since, _MICROSECOND_DIGITS)


def _finding(finding: Finding, evidence: Evidence, t0: float | None) -> dict[str, object]:
    said = evidence.explanations.get(finding.offset)
    return {
        **finding_fields(finding),
        "explanation": None if said is None else {"what": said.what, "cause": said.cause},
        "t": _seconds(finding.t, t0),
    }


def _phase(record: PhaseRecord, t0: float | None) -> dict[str, object]:
    return {
        "phase": record.phase.value,
        "t": _seconds(record.t_start, t0),
        "seconds": _seconds(record.t_end, record.t_start),
        "uart_offset": record.uart_offset,
    }


def _gap(gap: Gap, t0: float | None) -> dict[str, object]:
    return {
        "uart_offset": gap.offset,
        "t": _seconds(gap.t_start, t0),
        "seconds": _seconds(gap.t_end, gap.t_start),
        "reason": gap.reason,
    }


def _problem(problem: Problem | None) -> dict[str, object] | None:
    if problem is None:
        return None
    return {
        "cause": problem.cause.value,
        "phase": problem.phase.value if problem.phase else None,
        "message": problem.message,
        "remedy": problem.remedy,
        "tail": problem.tail,
    }


def _rung(rung: RungResult) -> dict[str, object]:
    run = rung.run
    return {
        "size": rung.size,
        "outcome": rung.outcome.value,
        "cause": rung.cause.value if rung.cause else None,
        "reason": rung.reason,
        "wanted_bytes": run.wanted_bytes,
        "got_bytes": run.got_bytes,
        "locked": run.locked,
        "seconds": _seconds(rung.seconds),
        "exit_status": rung.exit_status,
        "marker_seen": rung.marker_seen,
        "done": run.done,
        "loop": run.loop,
        "loops": run.loops,
        "test": run.test,
        "tests_done": list(run.tests_done),
        "failure_count": run.failure_count,
        "failures": list(run.failures),
        "notes": list(run.notes),
        "coverage": _coverage(rung.coverage),
    }


def _coverage(coverage: Coverage | None) -> dict[str, object] | None:
    if coverage is None:
        return None
    return {
        "pages": coverage.pages,
        "banks": [
            {**_range(share.bank), "pages_held": share.pages_held, "pages": share.pages} for share in coverage.banks
        ],
        "hypervisor_range": _range(coverage.hypervisor_range) if coverage.hypervisor_range else None,
        "hypervisor_pages": coverage.hypervisor_pages,
        "hypervisor_stretches": [_range(stretch) for stretch in coverage.hypervisor_stretches],
    }


def _range(part: Range) -> dict[str, object]:
    return {"start": f"{part.start:#x}", "end": f"{part.end:#x}"}


def _booted(file: BootedFile) -> dict[str, object]:
    return {
        "name": file.name,
        "path": file.path,
        "address": f"{file.address:#x}",
        "bytes": file.size,
        "crc32": f"{file.crc32:08x}",
        "sha256": file.sha256,
    }
