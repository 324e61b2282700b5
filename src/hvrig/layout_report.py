"""What a check of a board's memory layout came to, for a person.

Names of files and nodes come from the inputs, and are made harmless (decision 9).
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator

from hvrig.model.harmless import harmless
from hvrig.model.layout import LayoutFinding, LayoutReport, Rule, Stretch

_WIDTH = 100
_RANGE = re.compile(r"(0x[0-9a-f]+) - (?=0x)")


def to_text(report: LayoutReport) -> str:
    """The findings with their mends, then what was not checked, then one line that says what it came to."""
    lines = [harmless(line, keep_newlines=False) for line in _lines(report)]
    return "\n".join(lines) + "\n"


def _lines(report: LayoutReport) -> Iterator[str]:
    for finding in report.findings:
        yield from _finding(finding)
        yield ""
    for note in report.memory.notes:
        yield from _wrapped("note: ", note)
    grouped: dict[tuple[str, str], list[Rule]] = {}
    for one in report.unchecked:
        grouped.setdefault((one.why, one.remedy), []).append(one.rule)
    for (why, remedy), rules in grouped.items():
        yield from _wrapped(f"not checked: {_named(rules)}: ", f"{why} {remedy}")
    yield _summary(report)


def _finding(finding: LayoutFinding) -> Iterator[str]:
    where = finding.stretches[0].source if finding.stretches else ""
    yield f"{where}: rule {finding.rule.number}, {finding.rule.value}"
    yield from _wrapped("    ", finding.what)
    yield from (f"        {line}" for line in _table(finding.stretches))
    yield from _wrapped("    On the board: ", finding.consequence)
    in_file = f" [{finding.mend.file}]" if finding.mend.file else ""
    yield from _wrapped("    Mend: ", finding.mend.what + in_file)
    for line in finding.mend.text.splitlines():
        yield ("        " + line.expandtabs(4)).rstrip()


def _table(stretches: tuple[Stretch, ...]) -> Iterator[str]:
    rows = [(str(stretch.range), stretch.name, stretch.source) for stretch in stretches]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)] if rows else [0, 0]
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
