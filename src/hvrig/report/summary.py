"""A verdict as Markdown: `summary.md`, and a GitHub job's summary; and as annotations of a job. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain

from hvrig.model.evidence import Cause, Evidence, Outcome, RungResult, Verdict
from hvrig.model.finding import Finding
from hvrig.model.harmless import workflow_command
from hvrig.model.layout import LayoutFinding, LayoutReport, Look
from hvrig.model.size import format_size
from hvrig.report.findings import other_fields, shown_access
from hvrig.report.layout import LOOKS, finding_line, layout_summary, unchecked_line
from hvrig.report.markdown import as_block, as_code, as_details, as_table, as_text
from hvrig.report.text import duration, fault_line, hypervisor_pages, ladder_results

_MARKS = {Outcome.PASS: "✅", Outcome.FAIL: "❌", Outcome.INFRA: "⚠️"}
_FAULTS_SHOWN = 20
_RUNGS_SHOWN = 50
_FINDINGS_SHOWN = 20

# GitHub shows ten annotations of a level a step; one is the verdict's.
ANNOTATIONS = 10


def to_summary(verdict: Verdict, folder: str, files: Sequence[str], artifacts_url: str = "") -> str:
    """The verdict with all that explains it, ending with a newline.

    folder: the name of the evidence's folder. files: the names of what lies in it. artifacts_url: the page that the
    folder can be loaded from; where it is empty, the files are linked as neighbours of the Markdown.
    """
    evidence = verdict.evidence
    blocks = [
        *_head(verdict),
        list(_rungs(evidence)),
        *_faults(evidence),
        *_layout(evidence),
        *_gaps(evidence),
        *_console(evidence),
        list(_phases(evidence)),
        *_where(folder, files, artifacts_url),
        list(as_details("What was tested", _tested(verdict))),
    ]
    return "\n\n".join("\n".join(lines) for lines in blocks if lines) + "\n"


def to_short_summary(verdict: Verdict) -> str:
    """Only what the verdict says, for where there is no room for more."""
    return "\n\n".join("\n".join(lines) for lines in _head(verdict)) + "\n"


def to_annotations(verdict: Verdict) -> list[str]:
    """GitHub workflow commands: an error for a verdict that is no pass and one for each fault, warnings of the files.

    What the files say of the memory layout may be old: it is a warning, as it is no failure in `junit.xml`.
    """
    evidence = verdict.evidence
    errors: list[str] = []
    if verdict.outcome is not Outcome.PASS:
        remedy = f"\nWhat to do: {verdict.remedy}" if verdict.remedy else ""
        errors.append(workflow_command("error", {"title": _title(verdict)}, verdict.summary + remedy))
    for fault in _faults_of(evidence):
        said = evidence.explanations.get(fault.offset)
        text = fault_line(fault) + (f"\n{said}" if said else "")
        errors.append(workflow_command("error", {"title": f"{fault.kind} on {evidence.where}"}, text))
    static = evidence.layout.get(Look.STATIC)
    warnings = [
        workflow_command(
            "warning",
            {"title": f"memory layout of {evidence.place}, by the files"},
            f"{finding_line(found)} {found.consequence}\n{found.mend.what}\n{found.mend.text}".rstrip(),
        )
        for found in (static.findings if static else ())
    ]
    return errors[:ANNOTATIONS] + warnings[:ANNOTATIONS]


def _title(verdict: Verdict) -> str:
    cause = f", {verdict.cause.value}" if verdict.cause else ""
    return f"{verdict.outcome.value}{cause}: memory gate on {verdict.evidence.where}"


def _head(verdict: Verdict) -> Iterator[list[str]]:
    yield [f"## {_MARKS[verdict.outcome]} {as_text(_title(verdict))}"]
    yield [as_text(verdict.summary)]
    if verdict.remedy:
        yield [f"**What to do:** {as_text(verdict.remedy)}"]
    if verdict.outcome is Outcome.INFRA and verdict.cause is not Cause.INTERRUPTED:
        yield ["hvrig could not look: this says nothing about the board, its hypervisor or its kernel."]


def _rungs(evidence: Evidence) -> Iterator[str]:
    results = list(ladder_results(evidence).items())
    head = ("memtester", "outcome", "got:", "locked", "time:", "hypervisor's pages held:", "")
    yield from as_table(head, (_rung(size, rung) for size, rung in results[:_RUNGS_SHOWN]))
    if len(results) > _RUNGS_SHOWN:
        yield ""
        yield f"{len(results) - _RUNGS_SHOWN} more rungs are in verdict.json."


def _rung(size: str, rung: RungResult | None) -> list[str]:
    if rung is None:
        return [as_text(size), "not run", "", "", "", "", ""]
    got = "" if rung.run.got_bytes is None else format_size(rung.run.got_bytes)
    return [
        as_text(size),
        f"{_MARKS[rung.outcome]} {rung.outcome.value}",
        got,
        "yes" if rung.run.locked else "no",
        duration(rung.seconds),
        hypervisor_pages(rung.coverage),
        as_text(rung.reason),
    ]


def _faults_of(evidence: Evidence) -> list[Finding]:
    return [finding for finding in evidence.findings if finding.is_fault]


def _faults(evidence: Evidence) -> Iterator[list[str]]:
    faults = _faults_of(evidence)
    if not faults:
        return
    yield ["### Faults on the UART"]
    yield list(
        as_table(
            ("", "fault", "zone", "CPU", "address", "access", "more", "times:", "byte of uart.log:"),
            (_fault(number, fault) for number, fault in enumerate(faults[:_FAULTS_SHOWN], start=1)),
        )
    )
    if len(faults) > _FAULTS_SHOWN:
        yield [f"{len(faults) - _FAULTS_SHOWN} more faults are in verdict.json."]
    explained = [
        f"- fault {number}: {as_text(str(said))}"
        for number, fault in enumerate(faults[:_FAULTS_SHOWN], start=1)
        if (said := evidence.explanations.get(fault.offset))
    ]
    if explained:
        yield ["What lies there, and why:"]
        yield explained
    if evidence.fault_to_abort_s is not None:
        yield [f"memtester was abandoned {duration(evidence.fault_to_abort_s)} after the fault."]
    yield list(as_details("The first one's text", as_block(faults[0].excerpt, "text")))


def _fault(number: int, fault: Finding) -> list[str]:
    said = shown_access(fault)
    access = ""
    if said["is_write"] is not None:
        size = f"{said['size']}-byte " if said["size"] is not None else ""
        access = f"{size}{'write' if said['is_write'] else 'read'}"
        access += f" of {said['value']}" if said["value"] is not None and said["is_write"] else ""
    more = [f"{name} {value}" for name, value in other_fields(fault).items()]
    if fault.tied_to is not None:
        more.append(f"follows from the fault at byte {fault.tied_to}")
    if fault.missing:
        more.append(f"{' and '.join(fault.missing)} did not survive")
    return [
        str(number),
        as_text(fault.kind),
        "" if fault.zone is None else str(fault.zone),
        "" if fault.cpu is None else str(fault.cpu),
        "" if said["address"] is None else as_code(str(said["address"])),
        as_text(access),
        as_text("; ".join(more)),
        str(fault.count),
        str(fault.offset),
    ]


def _layout(evidence: Evidence) -> Iterator[list[str]]:
    """What the running board proves comes first; what the files say again is not told twice."""
    if not evidence.layout:
        return
    yield ["### Memory layout"]
    told: set[str] = set()
    reports = [(look, evidence.layout[look]) for look in (Look.LIVE, Look.STATIC) if look in evidence.layout]
    for look, report in reports:
        yield [f"**{_by(look)}:** {layout_summary(report)}."]
        for found in report.findings[:_FINDINGS_SHOWN]:
            yield from _layout_finding(found, told)
        if len(report.findings) > _FINDINGS_SHOWN:
            yield [f"{len(report.findings) - _FINDINGS_SHOWN} more findings are in verdict.json."]
    unchecked = chain.from_iterable(_unchecked(look, report) for look, report in reports)
    yield list(as_details("What could not be checked", unchecked))


def _by(look: Look) -> str:
    """`By the running board`."""
    return LOOKS[look].removeprefix("memory layout, ").capitalize()


def _layout_finding(found: LayoutFinding, told: set[str]) -> Iterator[list[str]]:
    """told: the sentences and the texts to paste that stand above already."""
    line = finding_line(found)
    what = f"rule {found.rule.number}, {found.rule.value}, as above." if line in told else f"{line} {found.consequence}"
    into = f" ({as_text(found.mend.file)})" if found.mend.file and found.mend.text else ""
    yield [f"- {as_text(what)} **What to do:** {as_text(found.mend.what)}{into}"]
    if found.mend.text not in told:
        # It stands outside the list: a fence in an item would end where its indentation does.
        yield list(as_block(found.mend.text, "dts"))
    told |= {line, found.mend.text}


def _unchecked(look: Look, report: LayoutReport) -> Iterator[str]:
    for said in (*map(unchecked_line, report.unchecked), *(f"note: {note}" for note in report.memory.notes)):
        yield f"- {_by(look).lower()}: {as_text(said)}"


def _gaps(evidence: Evidence) -> Iterator[list[str]]:
    if not evidence.gaps:
        return
    yield ["### The UART was not recorded"]
    rows = (
        [
            str(gap.offset),
            "to the end" if gap.t_end is None else duration(gap.t_end - gap.t_start),
            as_text(gap.reason),
        ]
        for gap in evidence.gaps[:_FAULTS_SHOWN]
    )
    yield list(as_table(("byte of uart.log:", "for", "why"), rows))
    if len(evidence.gaps) > _FAULTS_SHOWN:
        yield [f"{len(evidence.gaps) - _FAULTS_SHOWN} more gaps are in verdict.json."]


def _console(evidence: Evidence) -> Iterator[list[str]]:
    if evidence.problem and evidence.problem.tail.strip():
        yield ["### The console's last lines"]
        yield list(as_block(evidence.problem.tail, "text"))


def _phases(evidence: Evidence) -> Iterator[str]:
    times = [
        f"{record.phase.value} {'not ended' if record.t_end is None else duration(record.t_end - record.t_start)}"
        for record in evidence.phases[:_FINDINGS_SHOWN]
    ]
    if times:
        yield f"Phases: {', '.join(times)}."


def _where(folder: str, files: Sequence[str], artifacts_url: str) -> Iterator[list[str]]:
    yield ["### Evidence"]
    if artifacts_url:
        names = ", ".join(as_code(name) for name in files)
        yield [f"Folder {as_code(folder)} in [the artifacts of this job's run]({artifacts_url}): {names}."]
    else:
        yield [f"Folder {as_code(folder)}: {', '.join(f'[{as_text(name)}]({name})' for name in files)}."]


def _tested(verdict: Verdict) -> Iterator[str]:
    rows = (
        [
            as_text(file.name),
            as_code(file.path),
            f"`{file.address:#x}`",
            str(file.size),
            f"`{file.crc32:08x}`",
            as_code(file.sha256),
        ]
        for file in verdict.evidence.booted[:_FINDINGS_SHOWN]
    )
    table = list(as_table(("image", "file", "loaded at", "bytes:", "CRC-32 on the board", "SHA-256 of the file"), rows))
    yield from table
    said = [f"{name} {version}" for name, version in verdict.versions.items()]
    if verdict.evidence.log_level:
        said.append(f"the hypervisor's log level {verdict.evidence.log_level}")
    if table and said:
        yield ""
    yield from chain([f"With {as_text(', '.join(said))}."] if said else [])
