"""What a scan prints: for a person, for a program, for GitHub; and nothing that acts."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvrig.layout.inputs import MapInputs, read_map
from hvrig.model.finding import Confidence, Finding, Origin, Severity
from hvrig.model.memory import Range
from hvrig.model.memory_map import Explanation, MemoryMap
from hvrig.scan import Scan, Scanned, ScannedFile
from hvrig.scan_report import REPORTS

DATA = Path(__file__).parents[1] / "data"
X3300 = read_map(MapInputs(board_rs=DATA / "layout" / "x3300-board.rs"))
EVIL = "\x1b[2J\x1b]0;title\x07::error::no\n::stop-commands::x\n##[error]no\r\u202etxt%0A"


def printed(form: str, found: Iterable[Scanned], *summaries: ScannedFile) -> str:
    lines: list[str] = []
    report = REPORTS[form](lines.append)
    for scanned in found:
        report.found(scanned)
    for summary in summaries:
        report.end_of_file(summary)
    report.close()
    return "\n".join(lines)


def of_log(form: str, name: str, memory: MemoryMap = X3300) -> str:
    scan = Scan(name, memory)
    found = scan.feed((DATA / "uart" / name).read_bytes()) + scan.finish()
    return printed(form, found, scan.summary())


def evil(text: str) -> Scanned:
    finding = Finding(
        "kernel-panic", Origin.KERNEL, offset=7, t=0.0, fields={"message": text, "file": text}, excerpt=text
    )
    return Scanned(f"up{text}.log", 3, finding, None, Explanation(16, text, text))


def test_a_person_reads_what_where_and_why() -> None:
    text = of_log("text", "uart-issue221.log")
    lines = text.split("\n")
    assert lines[0] == (
        "uart-issue221.log:13: unhandled-mmio-fault, zone 0, CPU 1, write of 1 byte, address 0xb600000 (byte 553)"
    )
    assert lines[1] == "    value 0xffffff800b600000"
    assert lines[2].startswith("    0xb600000 is RAM of zone 0, 0x9400000 - 0x10000000")
    assert "    | [WARN  1] (hvisor::memory::mmio:109) Zone 0 unhandled mmio fault MMIOAccess {" in lines
    assert "    follows from the finding at line 13, byte 553" in lines
    assert "    file src/zone.rs, line 303, col 9" in lines
    assert lines[-1] == "uart-issue221.log: 4 findings in 1685 bytes, 52 lines"


def test_repeats_missing_fields_torn_reports_and_long_excerpts() -> None:
    finding = Finding(
        "kernel-oops",
        Origin.KERNEL,
        offset=7,
        t=0.0,
        missing=("address", "value"),
        excerpt="\n".join(f"line {n}" for n in range(30)),
        confidence=Confidence.LOW,
    )
    again = Finding("kernel-oops", Origin.KERNEL, offset=7, t=0.0, count=17)
    text = printed("text", [Scanned("a.log", None, finding, None, None), Scanned("a.log", 4, again, None, None)])
    assert "a.log: kernel-oops (byte 7)" in text
    assert "torn: its numbers are hints" in text
    assert "did not survive: address, value" in text
    assert "... 10 more lines" in text
    assert text.endswith("a.log:4: kernel-oops came 17 times")


def test_facts_are_no_findings_for_a_person_or_github() -> None:
    fact = Scanned("a.log", 1, Finding("log-level", Origin.FACT, 0, 0.0, severity=Severity.INFO), None, None)
    assert printed("text", [fact]) == printed("github", [fact]) == ""


def test_json_is_one_document_with_files_findings_and_facts() -> None:
    document = json.loads(of_log("json", "hvisor-qemu-fault.raw.log"))
    assert document["schema"] == "hvrig-scan/1"
    (file,) = document["files"]
    assert (file["findings"], file["log_level"]) == (3, "info")
    assert file["hypervisor"] == {"start": "0x40400000", "end": "0x447b0000"}
    fault, panic, _ = document["findings"]
    assert (fault["kind"], fault["file"], fault["line"]) == ("unhandled-mmio-fault", "hvisor-qemu-fault.raw.log", 533)
    assert (fault["address"], fault["is_write"], fault["size"]) == ("0x407bf000", True, 1)
    assert fault["explanation"]["address"] == "0x407bf000"
    assert (panic["tied_to"], panic["tied_to_line"]) == (fault["uart_offset"], 533)
    assert {fact["kind"] for fact in document["facts"]} == {"hypervisor-layout", "log-level"}


def test_a_file_that_was_not_read_to_its_end_says_so_in_every_form() -> None:
    summary = ScannedFile("a.log.gz", 9, 1, 0, 1, None, None, (), "a.log.gz cannot be read to its end: EOF.")
    assert "::error file=a.log.gz,title=hvisor console::a.log.gz cannot be read" in printed("github", [], summary)
    (file,) = json.loads(printed("json", [], summary))["files"]
    assert (file["bytes"], file["boots"], file["error"]) == (9, 1, "a.log.gz cannot be read to its end: EOF.")
    # The message itself goes to stderr.
    assert printed("text", [], summary) == "a.log.gz: 0 findings in 9 bytes, 1 lines"
    unread = ScannedFile("b.log", 0, 0, 0, 0, None, None, (), "b.log cannot be read.")
    assert printed("text", [], unread) == ""


def test_json_keeps_a_findings_final_count_and_counts_what_is_too_much() -> None:
    once = [Scanned("a", 1, Finding("rcu-stall", Origin.KERNEL, n, 0.0), None, None) for n in range(10_002)]
    again = Scanned("a", 1, Finding("rcu-stall", Origin.KERNEL, 0, 0.0, count=5), None, None)
    document = json.loads(printed("json", [*once, again]))
    assert len(document["findings"]) == 10_000
    assert document["findings"][0]["count"] == 5
    assert document["left_off"] == 2


def test_github_annotates_each_fault_once() -> None:
    lines = of_log("github", "uart-issue221.log").split("\n")
    assert len(lines) == 4
    assert lines[0].startswith(
        "::error file=uart-issue221.log,line=13,title=hvisor console%3A unhandled-mmio-fault::unhandled-mmio-fault, "
        "zone 0, CPU 1, write of 1 byte, address 0xb600000%0A0xb600000 is RAM of zone 0"
    )
    assert "Follows from the finding at line 13, byte 553." in lines[1]


def test_githubs_escapes_levels_and_files() -> None:
    warning = Finding("oom-kill", Origin.KERNEL, 0, 0.0, excerpt="100% a:b,c", severity=Severity.WARNING)
    repeat = Finding("oom-kill", Origin.KERNEL, 0, 0.0, count=2)
    lines = printed(
        "github",
        [
            Scanned("a,b:c.log", 1, warning, None, None),
            Scanned("-", 1, warning, None, None),
            Scanned("-", 1, repeat, None, None),
        ],
        ScannedFile("a.log", 1, 1, 0, 1, None, Range(0, 1), ("a\nnote",)),
    ).split("\n")
    assert lines == [
        "::warning file=a%2Cb%3Ac.log,line=1,title=hvisor console%3A oom-kill::oom-kill%0A100%25 a:b,c",
        "::warning title=hvisor console%3A oom-kill::oom-kill%0A100%25 a:b,c",
        "::notice file=a.log,title=hvisor console::a%0Anote",
    ]


_COMMAND = re.compile(r"^\s*::|##\w*\[", re.MULTILINE)


def _acts(form: str, text: str) -> bool:
    """Whether printed text holds terminal control, or a workflow command that a log brought in."""
    if form == "github":
        text = re.sub(r"^::(?:error|warning|notice) ", "", text, flags=re.MULTILINE)
    return bool(_COMMAND.search(text)) or any(unicodedata.category(c)[0] == "C" and c not in "\n\t" for c in text)


@pytest.mark.parametrize("form", REPORTS)
def test_nothing_of_a_log_acts_in_what_is_printed(form: str) -> None:
    summary = ScannedFile(EVIL, 1, 1, 1, 1, EVIL, None, (EVIL,), EVIL)
    text = printed(form, [evil(EVIL)], summary)
    assert not _acts(form, text)
    assert "stop-commands" in text, "it is shown, not hidden"
    if form == "github":
        assert len(text.split("\n")) == 3


@given(st.text(alphabet=st.characters(), max_size=60))
def test_no_text_of_any_kind_acts(text: str) -> None:
    for form in REPORTS:
        assert not _acts(form, printed(form, [evil(text)], ScannedFile(text, 1, 1, 1, 1, text, None, (text,), text)))
