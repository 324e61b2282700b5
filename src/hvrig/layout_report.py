"""What a check of memory layouts came to, for a person, as JSON, and as annotations of a GitHub workflow.

Names of files and nodes come from the inputs, and are made harmless (decision 9).
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from hvrig.model.errors import UsageError
from hvrig.model.harmless import harmless, harmless_tree, workflow_command
from hvrig.model.layout import LayoutFinding, LayoutReport, Rule, Stretch
from hvrig.model.source_text import SourcePlace, place_of
from hvrig.report.layout import layout_fields, source_fields

SCHEMA = "hvrig-layout-check/1"

_WIDTH = 100
_RANGE = re.compile(r"(0x[0-9a-f]+) - (?=0x)")
_INCOMPLETE = 4


@dataclass(frozen=True)
class Unreadable:
    """A board whose inputs could not be read."""

    board: str
    error: UsageError

    @property
    def where(self) -> SourcePlace | None:
        """The file and line that the error begins with, None where it has no line."""
        where = place_of(self.error.message.partition(": ")[0])
        return where if where.line is not None else None


@dataclass(frozen=True)
class Checked:
    """What checking one or more boards came to."""

    reports: tuple[LayoutReport, ...]
    unreadable: tuple[Unreadable, ...] = ()

    @property
    def exit_status(self) -> int:
        """0 all checked and clean, 1 findings, 2 unreadable input, 4 clean but incomplete."""
        if self.unreadable:
            return 2
        statuses = {report.exit_status for report in self.reports}
        return 1 if 1 in statuses else max(statuses, default=0)


def to_text(checked: Checked) -> str:
    """The findings with their mends, what was not checked, then a line a board that says what it came to.

    Of several boards, what was not checked is told once for all boards that lack the same.
    """
    several = len(checked.reports) + len(checked.unreadable) > 1
    lines = list(_several_lines(checked) if several else _lines_of_all(checked))
    lines += [_summary(report) for report in checked.reports]
    lines += [f"{failed.board}: cannot be read" for failed in checked.unreadable]
    if several:
        lines.append(_total(checked))
    return "".join(harmless(line, keep_newlines=False).rstrip() + "\n" for line in lines)


def to_json(checked: Checked) -> str:
    """One document (docs/layout-check.md). Addresses are texts: they may need all of 64 bits."""
    document = {
        "schema": SCHEMA,
        "exit_status": checked.exit_status,
        "boards": [_report_fields(report) for report in checked.reports],
        "unreadable": [
            {"board": failed.board, "message": failed.error.message, "remedy": failed.error.remedy}
            for failed in checked.unreadable
        ],
    }
    return json.dumps(harmless_tree(document), indent=2) + "\n"


def to_github(checked: Checked) -> str:
    """An annotation a finding, at the line to mend; what was not checked, and what could not be read, as well."""
    lines: list[str] = []
    for report in checked.reports:
        for finding in report.findings:
            where = place_of(main_stretch(finding).source)
            properties = {"file": where.file}
            if where.line is not None:
                properties["line"] = str(where.line)
            properties["title"] = f"{report.board}: {_named([finding.rule])}"
            lines.append(workflow_command("error", properties, "\n".join(_sentences(finding))))
        for why, remedy, rules in _unchecked(report):
            title = {"title": f"{report.board}: not checked: {_named(rules)}"}
            lines.append(workflow_command("notice", title, f"{why} {remedy}"))
    for failed in checked.unreadable:
        text = f"{failed.error.message}\n{failed.error.remedy}"
        at = failed.where
        properties = {} if at is None else {"file": at.file, "line": str(at.line)}
        lines.append(workflow_command("error", {**properties, "title": f"{failed.board}: cannot be read"}, text))
    return "".join(f"{line}\n" for line in lines)


REPORTS: Mapping[str, Callable[[Checked], str]] = {"text": to_text, "json": to_json, "github": to_github}


def main_stretch(finding: LayoutFinding) -> Stretch:
    """The stretch to be mended first, of those that stand in a file."""
    in_files = (stretch for stretch in finding.stretches if _is_in_file(stretch))
    return next(in_files, finding.stretches[0])


def _is_in_file(stretch: Stretch) -> bool:
    where = place_of(stretch.source)
    return where.line is not None or bool(where.node)


def _lines_of_all(checked: Checked) -> Iterator[str]:
    for report in checked.reports:
        yield from _findings(report)
        yield from _notes(report)
        for why, remedy, rules in _unchecked(report):
            yield from _wrapped(f"not checked: {_named(rules)}: ", f"{why} {remedy}")


def _several_lines(checked: Checked) -> Iterator[str]:
    for report in checked.reports:
        if report.findings:
            yield report.board
            yield "=" * len(report.board)
            yield from _findings(report)
            yield from _notes(report)
            yield ""
    lacking: dict[tuple[tuple[Rule, ...], str], dict[str, str]] = {}
    for report in checked.reports:
        for why, remedy, rules in _unchecked(report):
            lacking.setdefault((tuple(rules), remedy), {}).setdefault(report.board, why)
    for (together, remedy), boards in lacking.items():
        first, why = next(iter(boards.items()))
        of = f"{len(boards)} boards, {first} for one: " if len(boards) > 1 else f"{first}: "
        yield from _wrapped(f"not checked: {_named(list(together))}, of {of}", f"{why} {remedy}")
    if lacking:
        yield ""


def _findings(report: LayoutReport) -> Iterator[str]:
    for finding in report.findings:
        yield from _finding(finding)
        yield ""


def _notes(report: LayoutReport) -> Iterator[str]:
    for note in report.memory.notes:
        yield from _wrapped("note: ", note)


def _finding(finding: LayoutFinding) -> Iterator[str]:
    yield f"{finding.stretches[0].source}: {_named([finding.rule])}"
    yield from _wrapped("    ", finding.what)
    yield from (f"        {line}" for line in _table(finding.stretches))
    yield from _wrapped("    On the board: ", finding.consequence)
    in_file = f" [{finding.mend.file}]" if finding.mend.file else ""
    yield from _wrapped("    Mend: ", finding.mend.what + in_file)
    yield from (f"        {line.expandtabs(4)}" for line in finding.mend.text.splitlines())


def _sentences(finding: LayoutFinding) -> list[str]:
    said = [finding.what, f"On the board: {finding.consequence}", f"Mend: {finding.mend.what}", finding.mend.text]
    return [text for text in said if text]


def _unchecked(report: LayoutReport) -> list[tuple[str, str, list[Rule]]]:
    """Why, what to give, and the rules: those with the same reason together."""
    grouped: dict[tuple[str, str], list[Rule]] = {}
    for one in report.unchecked:
        rules = grouped.setdefault((one.why, one.remedy), [])
        if one.rule not in rules:
            rules.append(one.rule)
    return [(why, remedy, rules) for (why, remedy), rules in grouped.items()]


def _table(stretches: tuple[Stretch, ...]) -> Iterator[str]:
    rows = [(str(stretch.range), stretch.name, stretch.source) for stretch in stretches]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    return (f"{row[0]:<{widths[0]}}  {row[1]:<{widths[1]}}  {row[2]}" for row in rows)


def _named(rules: list[Rule]) -> str:
    if len(rules) == 1:
        return f"rule {rules[0].number}, {rules[0].value}"
    return f"rules {', '.join(str(rule.number) for rule in rules)}"


def _wrapped(head: str, text: str) -> list[str]:
    """Lines of text, none of which ends within a range."""
    lines = textwrap.wrap(
        _RANGE.sub("\\1\N{NO-BREAK SPACE}-\N{NO-BREAK SPACE}", text),
        _WIDTH,
        initial_indent=head,
        subsequent_indent="    " + " " * (len(head) - len(head.lstrip())),
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [line.replace("\N{NO-BREAK SPACE}", " ") for line in lines]


def _summary(report: LayoutReport) -> str:
    count = len(report.findings)
    rules = ", ".join(str(rule.number) for rule in report.checked) or "none"
    said = f"{report.board}: {count or 'no'} finding{'' if count == 1 else 's'}; rules checked: {rules}"
    missing = sorted({one.rule.number for one in report.unchecked})
    return said + (f"; not, or not wholly: {', '.join(map(str, missing))}" if missing else "")


def _total(checked: Checked) -> str:
    statuses = [report.exit_status for report in checked.reports]
    counts = (
        (statuses.count(1), "with findings"),
        (statuses.count(_INCOMPLETE), "without, but not wholly checked"),
        (statuses.count(0), "clean"),
        (len(checked.unreadable), "not readable"),
    )
    said = ", ".join(f"{n} {what}" for n, what in counts if n)
    return f"{len(statuses) + len(checked.unreadable)} boards: {said}; --board ARCH/NAME shows one with all its notes"


def _report_fields(report: LayoutReport) -> Mapping[str, object]:
    hypervisor = report.memory.hypervisor
    return {
        "board": report.board,
        "exit_status": report.exit_status,
        "hypervisor": None
        if hypervisor is None
        else {
            "name": hypervisor.name,
            "start": f"{hypervisor.range.start:#x}",
            "end": f"{hypervisor.range.end:#x}",
            **source_fields(hypervisor.source),
        },
        **layout_fields(report),
    }
