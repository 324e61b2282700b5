"""A verdict as a person reads it at the end of a run. Pure: no colours, at most 100 columns (paths apart)."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path

from hvrig.model.evidence import Coverage, Evidence, RungResult, Verdict
from hvrig.model.finding import Alarm, Finding
from hvrig.model.harmless import harmless
from hvrig.model.layout import Look
from hvrig.model.memory import Range
from hvrig.model.size import format_size
from hvrig.report.findings import other_fields, shown_access
from hvrig.report.layout import LOOKS, finding_line, layout_summary, unchecked_line

WIDTH = 100
_FAULTS_SHOWN = 8
_TAIL_LINES = 12
_RUNGS_ABREAST = 7  # columns of the coverage table that fit beside a bank's addresses


def to_text(verdict: Verdict, folder: Path) -> str:
    """The whole verdict, ending with a newline. `folder`: where the evidence lies."""
    evidence = verdict.evidence
    blocks = [
        _head(verdict),
        _prose(verdict),
        _phases(evidence),
        _layout(evidence),
        _rungs(evidence),
        _banks(evidence),
        _faults(evidence),
        _gaps(evidence),
        _tail(evidence),
        _where(folder),
    ]
    text = "\n\n".join("\n".join(lines) for block in blocks if (lines := list(block)))
    return harmless(text) + "\n"


def duration(seconds: float) -> str:
    """Seconds as `0.4 ms`, `21 ms`, `0.21 s`, `4.2 s`, `1 min 05 s` or `1 h 05 min`."""
    if seconds < 0.0995:
        return f"{1000 * seconds:.1f} ms" if seconds < 0.00995 else f"{1000 * seconds:.0f} ms"
    if seconds < 1:
        return f"{seconds:.2f} s"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def fault_line(fault: Alarm | Finding) -> str:
    """A fault in one harmless line: kind, zone, CPU, access, and whatever else its report said."""
    parts = [*(_particulars(fault) if isinstance(fault, Finding) else ()), f"byte {fault.offset} of uart.log"]
    if isinstance(fault, Finding) and fault.tied_to is not None:
        parts.append(f"follows from the fault at byte {fault.tied_to}")
    return harmless(f"{fault.kind}: {', '.join(parts)}", keep_newlines=False)


def ladder_results(evidence: Evidence) -> Mapping[str, RungResult | None]:
    """Each size of the ladder with its result, None where the run did not get to it."""
    results = {rung.size: rung for rung in evidence.rungs}
    return {size: results.get(size) for size in evidence.ladder}


def _particulars(finding: Finding) -> Iterator[str]:
    said = shown_access(finding)
    if finding.zone is not None:
        yield f"zone {finding.zone}"
    if finding.cpu is not None:
        yield f"CPU {finding.cpu}"
    if said["address"] is not None:
        yield f"address {said['address']}"
    if said["is_write"] is not None:
        size = f"{said['size']}-byte " if said["size"] is not None else ""
        yield f"{size}{'write' if said['is_write'] else 'read'}"
    if said["value"] is not None:
        yield f"value {said['value']}"
    yield from (f"{name} {value}" for name, value in other_fields(finding).items())
    if finding.count > 1:
        yield f"{finding.count} times"
    if finding.missing:
        yield f"{' and '.join(finding.missing)} did not survive"


def _wrapped(text: str, first: str = "", rest: str = "") -> list[str]:
    return textwrap.wrap(
        harmless(text, keep_newlines=False), WIDTH, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False
    )


def _quoted(text: str) -> Iterator[str]:
    """The last lines of what the board said, marked as such."""
    for line in harmless(text).strip("\n").split("\n")[-_TAIL_LINES:]:
        yield from textwrap.wrap(line, WIDTH, initial_indent="  | ", subsequent_indent="  | ") or ["  |"]


def _head(verdict: Verdict) -> Iterator[str]:
    yield f"outcome: {verdict.outcome.value}"
    if verdict.cause:
        yield f"cause:   {verdict.cause.value}"
    yield f"place:   {harmless(verdict.evidence.where, keep_newlines=False)}"
    if verdict.phase:
        yield f"phase:   {verdict.phase.value}"


def _prose(verdict: Verdict) -> Iterator[str]:
    yield from _wrapped(verdict.summary)
    if verdict.remedy:
        yield from _wrapped(verdict.remedy, "What to do: ", "  ")


def _phases(evidence: Evidence) -> Iterator[str]:
    if evidence.phases:
        times = [f"{record.phase.value} {_length(record.t_start, record.t_end)}" for record in evidence.phases]
        yield from _wrapped(", ".join(times), "phases: ", "  ")


def _length(start: float, end: float | None) -> str:
    return "not ended" if end is None else duration(end - start)


def _layout(evidence: Evidence) -> Iterator[str]:
    """What each check said; why a rule was not checked on the board, where that matters most."""
    for look in Look:
        if look not in evidence.layout:
            continue
        report = evidence.layout[look]
        yield from _wrapped(f"{LOOKS[look]}: {layout_summary(report)}", "", "  ")
        for number, finding in enumerate(report.findings, start=1):
            yield from _wrapped(finding_line(finding), f"  {number}. ", "     ")
        if look is Look.LIVE or not report.checked:
            for one in report.unchecked:
                yield from _wrapped(unchecked_line(one), "  ", "    ")
        for note in report.memory.notes:
            yield from _wrapped(f"note: {note}", "  ", "    ")


def _rungs(evidence: Evidence) -> Iterator[str]:
    if not evidence.ladder:
        return
    yield "rung    outcome          got  locked            time  hypervisor pages"
    for size, rung in ladder_results(evidence).items():
        if rung is None:
            yield f"{size:<7} not run"
            continue
        got = "-" if rung.run.got_bytes is None else format_size(rung.run.got_bytes)
        locked = "yes" if rung.run.locked else "no"
        yield (
            f"{size:<7} {rung.outcome.value:<7} {got:>12}  {locked:<6} {duration(rung.seconds):>15}"
            f"  {hypervisor_pages(rung.coverage):>16}"
        )
        if rung.reason:
            yield from _wrapped(rung.reason, "        ", "        ")


def hypervisor_pages(coverage: Coverage | None) -> str:
    """How many of the hypervisor's pages a rung held; why there is no number, where there is none."""
    if coverage is None:
        return "not read"
    return str(coverage.hypervisor_pages) if coverage.hypervisor_range else "range unknown"


def _banks(evidence: Evidence) -> Iterator[str]:
    """Which share of each bank of RAM each rung held: a row a bank, a column a rung."""
    seen = {rung.size: rung.coverage for rung in evidence.rungs if rung.coverage}
    banks = sorted({share.bank for coverage in seen.values() for share in coverage.banks})
    sizes = list(seen) if banks else []
    for start in range(0, len(sizes), _RUNGS_ABREAST):
        abreast = sizes[start : start + _RUNGS_ABREAST]
        yield f"{'share of each bank of RAM held':<46}" + "".join(f"{size:>7}" for size in abreast)
        for bank in banks:
            shares = "".join(f"{_share(seen[size], bank):>7}" for size in abreast)
            yield f"{bank!s:<32}  {format_size(bank.size):>12}{shares}"
    known = sorted({c.hypervisor_range for c in seen.values() if c.hypervisor_range})
    for part in known:
        yield f"hypervisor's memory: {part}"
    stretches = sorted({stretch for coverage in seen.values() for stretch in coverage.hypervisor_stretches})
    if stretches:
        yield from _wrapped("of it held by memtester: " + ", ".join(map(str, stretches)), "", "  ")


def _share(coverage: Coverage, bank: Range) -> str:
    for share in coverage.banks:
        if share.bank == bank and share.pages:
            return f"{100 * share.pages_held / share.pages:.1f}%"
    return "-"


def _faults(evidence: Evidence) -> Iterator[str]:
    faults = [finding for finding in evidence.findings if finding.is_fault]
    if not faults:
        return
    yield "faults that the board reported:"
    for number, fault in enumerate(faults[:_FAULTS_SHOWN], start=1):
        yield from _wrapped(fault_line(fault), f"  {number}. ", "     ")
    if len(faults) > _FAULTS_SHOWN:
        yield f"  and {len(faults) - _FAULTS_SHOWN} more in verdict.json"
    if faults[0].excerpt:
        yield "the first one's text:"
        yield from _quoted(faults[0].excerpt)
    if evidence.fault_to_abort_s is not None:
        yield f"memtester was abandoned {duration(evidence.fault_to_abort_s)} after the fault"


def _gaps(evidence: Evidence) -> Iterator[str]:
    for gap in evidence.gaps:
        length = f"for {duration(gap.t_end - gap.t_start)}" if gap.t_end is not None else "to the end"
        yield from _wrapped(f"the UART was not recorded {length}, at byte {gap.offset}: {gap.reason}", "", "  ")


def _tail(evidence: Evidence) -> Iterator[str]:
    if evidence.problem and evidence.problem.tail.strip():
        yield "the console's last lines:"
        yield from _quoted(evidence.problem.tail)


def _where(folder: Path) -> Iterator[str]:
    yield f"evidence: {folder}"
    yield "  uart.log, verdict.json, junit.xml, timeline.jsonl, memtester-<size>.log (docs/verdict.md)"
