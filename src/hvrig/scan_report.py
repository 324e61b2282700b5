"""What a scan found, for a person, as JSON, and as annotations of a GitHub workflow.

Everything that came from a log, a file's name or a device tree is made harmless (decision 9).
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Mapping
from typing import Protocol

from hvrig.model.finding import Confidence, Finding, Origin, Severity
from hvrig.model.harmless import harmless, harmless_tree, workflow_command
from hvrig.model.memory_map import Explanation
from hvrig.report.findings import finding_fields, other_fields, shown_access
from hvrig.scan import STDIN, Scanned, ScannedFile

SCHEMA = "hvrig-scan/1"

_EXCERPT_LINES = 20
_WIDTH = 96  # of an explanation, indented by 4
# An ocean of faults must not fill the memory: so many are written in full, the rest is counted.
_JSON_FINDINGS = 10_000

Print = Callable[[str], None]


class Report(Protocol):
    """Takes findings as they come and each file's end; `close` after the last file."""

    def found(self, scanned: Scanned) -> None:
        """A finding, or one of before with its final count."""
        ...

    def end_of_file(self, summary: ScannedFile) -> None:
        """A file is through."""
        ...

    def close(self) -> None:
        """All files are through."""
        ...


def where(scanned: Scanned) -> str:
    """`file:line`."""
    return scanned.file if scanned.line is None else f"{scanned.file}:{scanned.line}"


def headline(finding: Finding) -> str:
    """One line that names a finding: kind, zone, CPU, access, message."""
    parts = [finding.kind]
    if finding.zone is not None:
        parts.append(f"zone {finding.zone}")
    if finding.cpu is not None:
        parts.append(f"CPU {finding.cpu}")
    access = shown_access(finding)
    if access["is_write"] is not None:
        size = f" of {access['size']} byte{'' if access['size'] == 1 else 's'}" if access["size"] is not None else ""
        parts.append(f"{'write' if access['is_write'] else 'read'}{size}")
    if access["address"] is not None:
        parts.append(f"address {access['address']}")
    if "message" in finding.fields:
        parts.append(str(finding.fields["message"]))
    return ", ".join(parts)


class TextReport:
    """For a person: each finding as soon as it is complete, a line for each file at its end."""

    def __init__(self, print_line: Print) -> None:
        self._print = print_line

    def found(self, scanned: Scanned) -> None:
        """A finding in a block of lines; a repeat in one; facts are in the file's last line."""
        finding = scanned.finding
        if not finding.is_fault:
            return
        if finding.count > 1:
            self._line(f"{where(scanned)}: {finding.kind} came {finding.count} times")
            return
        self._line(f"{where(scanned)}: {headline(finding)} (byte {finding.offset})")
        shown = {"value": shown_access(finding)["value"], **other_fields(finding)}
        listed = [f"{name} {value}" for name, value in shown.items() if value is not None and name != "message"]
        if finding.confidence is not Confidence.HIGH:
            listed.append("torn: its numbers are hints")
        if listed:
            self._line(f"    {', '.join(listed)}")
        if finding.missing:
            self._line(f"    did not survive: {', '.join(finding.missing)}")
        if finding.tied_to is not None:
            line = f"line {scanned.tied_line}, " if scanned.tied_line is not None else ""
            self._line(f"    follows from the finding at {line}byte {finding.tied_to}")
        if scanned.explanation is not None:
            explained = harmless(str(scanned.explanation), keep_newlines=False)
            for line in textwrap.wrap(explained, _WIDTH, break_long_words=False, break_on_hyphens=False):
                self._line(f"    {line}")
        lines = harmless(finding.excerpt).rstrip().split("\n")
        for line in lines[:_EXCERPT_LINES]:
            self._line(f"    | {line}")
        if len(lines) > _EXCERPT_LINES:
            self._line(f"    | ... {len(lines) - _EXCERPT_LINES} more lines")

    def end_of_file(self, summary: ScannedFile) -> None:
        """What the file came to, and what to know before it is believed."""
        found = f"{summary.faults} findings" if summary.faults != 1 else "1 finding"
        known = f", hypervisor at {summary.hypervisor}" if summary.hypervisor is not None else ""
        boots = f", {summary.boots} boots" if summary.boots > 1 else ""
        if summary.bytes or summary.error is None:
            self._line(f"{summary.file}: {found} in {summary.bytes} bytes, {summary.lines} lines{boots}{known}")
        for note in summary.notes:
            self._line(f"    note: {note}")

    def close(self) -> None:
        """Nothing is left to say."""

    def _line(self, text: str) -> None:
        self._print(harmless(text, keep_newlines=False))


class GithubReport:
    """Workflow commands: an `error` or `warning` for each fault, a `notice` for each file's notes.

    Format and escapes: GitHub, "Workflow commands", and actions/toolkit, `packages/core/src/command.ts`.
    """

    def __init__(self, print_line: Print) -> None:
        self._print = print_line

    def found(self, scanned: Scanned) -> None:
        """One annotation a fault; repeats add nothing to it."""
        finding = scanned.finding
        if not finding.is_fault or finding.count > 1:
            return
        text = headline(finding)
        if finding.tied_to is not None:
            text += f"\nFollows from the finding at line {scanned.tied_line or '?'}, byte {finding.tied_to}."
        if scanned.explanation is not None:
            text += f"\n{scanned.explanation}"
        text += f"\n{finding.excerpt.rstrip()}"
        level = "warning" if finding.severity is Severity.WARNING else "error"
        self._command(level, scanned.file, scanned.line, f"hvisor console: {finding.kind}", text)

    def end_of_file(self, summary: ScannedFile) -> None:
        """The notes: a clean log with one of them may be no evidence. And an error: what was not read is not clean."""
        if summary.error is not None:
            self._command("error", summary.file, None, "hvisor console", summary.error)
        for note in summary.notes:
            self._command("notice", summary.file, None, "hvisor console", note)

    def close(self) -> None:
        """Nothing is left to say."""

    def _command(self, level: str, file: str, line: int | None, title: str, text: str) -> None:
        properties: dict[str, str] = {}
        if file != STDIN:
            properties["file"] = file
            if line is not None:
                properties["line"] = str(line)
        properties["title"] = title
        self._print(workflow_command(level, properties, text))


class JsonReport:
    """One JSON document at the end (docs/scan.md)."""

    def __init__(self, print_line: Print) -> None:
        self._print = print_line
        self._found: dict[tuple[int, str, int], Mapping[str, object]] = {}
        self._files: list[Mapping[str, object]] = []
        self._left_off = 0

    def found(self, scanned: Scanned) -> None:
        """Keep a finding, or put one with its final count in its place."""
        finding = scanned.finding
        key = (len(self._files), finding.kind, finding.offset)  # a file may be given twice
        if key not in self._found and len(self._found) >= _JSON_FINDINGS:
            self._left_off += 1
            return
        self._found[key] = {
            "file": scanned.file,
            "line": scanned.line,
            **finding_fields(finding),
            "tied_to_line": scanned.tied_line,
            "explanation": _explanation(scanned.explanation),
        }

    def end_of_file(self, summary: ScannedFile) -> None:
        """Keep what the file came to."""
        hypervisor = summary.hypervisor
        self._files.append(
            {
                "file": summary.file,
                "bytes": summary.bytes,
                "lines": summary.lines,
                "findings": summary.faults,
                "boots": summary.boots,
                "log_level": summary.log_level,
                "hypervisor": {"start": f"{hypervisor.start:#x}", "end": f"{hypervisor.end:#x}"}
                if hypervisor
                else None,
                "notes": list(summary.notes),
                "error": summary.error,
            }
        )

    def close(self) -> None:
        """Print the document."""
        kept = list(self._found.values())
        document = {
            "schema": SCHEMA,
            "files": self._files,
            "findings": [each for each in kept if each["origin"] != Origin.FACT.value],
            "facts": [each for each in kept if each["origin"] == Origin.FACT.value],
            "left_off": self._left_off,
        }
        self._print(json.dumps(harmless_tree(document), indent=2))


def _explanation(explanation: Explanation | None) -> Mapping[str, str] | None:
    if explanation is None:
        return None
    return {"address": f"{explanation.address:#x}", "what": explanation.what, "cause": explanation.cause}


REPORTS: Mapping[str, Callable[[Print], Report]] = {"text": TextReport, "json": JsonReport, "github": GithubReport}
