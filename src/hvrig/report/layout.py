"""What the checks of the memory layout came to, in a verdict: its fields, and its lines for a person."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from hvrig.model.harmless import harmless, harmless_tree
from hvrig.model.layout import LayoutFinding, LayoutReport, Look, Rule, Unchecked
from hvrig.model.memory import Range
from hvrig.model.source_text import place_of

SCHEMA = "hvrig-layout-live/1"

# What a person calls them.
LOOKS = {Look.STATIC: "memory layout, by the files", Look.LIVE: "memory layout, by the running board"}


def layout_fields(report: LayoutReport) -> dict[str, object]:
    """A check for `verdict.json`."""
    return {
        "checked": [rule.value for rule in report.checked],
        "findings": [_finding(finding) for finding in report.findings],
        "unchecked": [
            {"rule": one.rule.value, "number": one.rule.number, "why": one.why, "remedy": one.remedy}
            for one in report.unchecked
        ],
        "notes": list(report.memory.notes),
    }


def layout_json(report: LayoutReport, place: str, started: datetime) -> str:
    """`layout.json`: a check by itself, where there is no verdict. started: with its time zone."""
    head = {"schema": SCHEMA, "place": place, "started": f"{started.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"}
    said = harmless_tree({**head, "exit_status": report.exit_status, **layout_fields(report)})
    return json.dumps(said, indent=2, ensure_ascii=False) + "\n"


def layout_summary(report: LayoutReport) -> str:
    """`2 findings; rules 1, 2, 5 checked; 3, 4 not, or not wholly`."""
    if not report.checked:
        return "nothing could be checked"
    count = len(report.findings)
    said = f"{count or 'no'} finding{'' if count == 1 else 's'}; "
    said += f"rule{'' if len(report.checked) == 1 else 's'} {_numbers(report.checked)} checked"
    missing = _numbers(tuple(one.rule for one in report.unchecked))
    return said + (f"; {missing} not, or not wholly" if missing else "")


def finding_line(finding: LayoutFinding) -> str:
    """A finding in one harmless line."""
    return harmless(f"rule {finding.rule.number}, {finding.rule.value}: {finding.what}", keep_newlines=False)


def unchecked_line(one: Unchecked) -> str:
    """What could not be checked, and why, in one harmless line."""
    return harmless(
        f"not checked: rule {one.rule.number}, {one.rule.value}: {one.why} {one.remedy}", keep_newlines=False
    )


def _numbers(rules: tuple[Rule, ...]) -> str:
    return ", ".join(str(number) for number in sorted({rule.number for rule in rules}))


def _finding(finding: LayoutFinding) -> dict[str, object]:
    return {
        "rule": finding.rule.value,
        "number": finding.rule.number,
        "zone": finding.zone,
        "what": finding.what,
        "wrong": [_range(part) for part in finding.wrong],
        "stretches": [
            {"name": stretch.name, **_range(stretch.range), **source_fields(stretch.source)}
            for stretch in finding.stretches
        ],
        "consequence": finding.consequence,
        "mend": {"what": finding.mend.what, "text": finding.mend.text, "file": finding.mend.file},
    }


def source_fields(source: str) -> dict[str, object]:
    """A source as it is written, and its parts; line and node are null where there is none."""
    where = place_of(source)
    return {"source": source, "file": where.file, "line": where.line, "node": where.node or None}


def _range(part: Range) -> dict[str, object]:
    return {"start": f"{part.start:#x}", "end": f"{part.end:#x}"}
