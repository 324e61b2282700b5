from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from tests.unit.report.page import NASTY, no_command, page

from hvrig.model.evidence import Cause, Gap, Outcome, Problem, Verdict
from hvrig.model.finding import Finding, Origin
from hvrig.model.layout import Look
from hvrig.model.memory_map import Explanation
from hvrig.report.summary import ANNOTATIONS, to_annotations, to_short_summary, to_summary

FOLDER = "20261122T212500Z-virtual"
FILES = ["memtester-64M.log", "uart.log", "verdict.json"]
OURS = {"h2", "h3", "p", "strong", "code", "pre", "ul", "li", "a", "details", "summary"} | {
    "table",
    "thead",
    "tbody",
    "tr",
    "th",
    "td",
}


def test_pass(passed: Verdict) -> None:
    lines = to_summary(passed, FOLDER, FILES).splitlines()
    assert lines[0] == "## ✅ pass: memory gate on virtual"
    assert "| 256M | ✅ pass | 256 MiB | yes | 15.3 s | 0 |  |" in lines
    assert "Faults" not in "\n".join(lines)
    assert any("[uart.log](uart.log)" in line for line in lines)
    assert any(f"`{'ab' * 32}`" in line and "`00c0ffee`" in line for line in lines)


def test_fail(failed: Verdict) -> None:
    said = Explanation(0x1_0016_D300, "free memory of zone 0", "hvisor lost its tables.")
    text = to_summary(
        replace(failed, evidence=replace(failed.evidence, explanations={9000: said})), FOLDER, FILES, "https://ci/1#a"
    )
    lines = text.splitlines()
    assert lines[0] == "## ❌ fail, hypervisor-fault: memory gate on virtual-under-reserved"
    assert "**What to do:** Reserve the hypervisor's whole memory." in lines
    assert "| 1G | not run |  |  |  |  |  |" in lines
    row = next(line for line in lines if line.startswith("| 1 | unhandled-mmio-fault"))
    assert "| 0 | 1 | `0x10016d300` | 8-byte write of 0xffffffffffffffff |" in row
    assert row.endswith("| 1 | 9000 |")
    assert any("follows from the fault at byte 9000; message did not survive | 2 | 9400 |" in line for line in lines)
    assert "- fault 1: 0x10016d300 is free memory of zone 0. hvisor lost its tables." in lines
    said_of_layout = (
        "- rule 1, hypervisor-unreserved: Linux has 0x40800000 - 0x449e6000 of it. It dies. **What to do:**"
    )
    assert text.count(said_of_layout) == 1
    assert "- rule 1, hypervisor-unreserved, as above. **What to do:** Reserve it. (zone0.dts)" in lines
    assert text.count("```dts") == 1
    assert "memtester was abandoned 0.21 s after the fault." in lines
    assert "[the artifacts of this job's run](https://ci/1#a)" in text
    assert "(uart.log)" not in text, "a job's summary is not where the files are"


def test_infra(passed: Verdict) -> None:
    evidence = replace(
        passed.evidence,
        gaps=(Gap(77, 1.0, None, "the adapter | went"),),
        problem=Problem(Cause.LAB, None, "m", "r", "U-Boot 2017.09\n=> "),
    )
    text = to_summary(replace(passed, outcome=Outcome.INFRA, cause=Cause.LAB, evidence=evidence), FOLDER, FILES)
    assert "hvrig could not look: this says nothing about the board" in text
    assert "| 77 | to the end | the adapter &#124; went |" in text
    assert "```text\nU-Boot 2017.09\n=> \n```" in text


def test_short(failed: Verdict) -> None:
    assert to_summary(failed, FOLDER, FILES).startswith(to_short_summary(failed).rstrip())


def hostile(verdict: Verdict, text: str) -> Verdict:
    """The board says `text` wherever it may say something."""
    evidence = verdict.evidence
    faults = tuple(
        replace(finding, excerpt=text, fields={**finding.fields, "message": text}, kind=finding.kind)
        for finding in evidence.findings
    )
    rungs = tuple(replace(rung, reason=text, coverage=None) for rung in evidence.rungs)
    layout = {
        look: replace(
            report,
            findings=tuple(
                replace(found, what=text, consequence=text, mend=replace(found.mend, what=text, text=text, file=text))
                for found in report.findings
            ),
            memory=replace(report.memory, notes=(text,)),
            unchecked=tuple(replace(one, why=text) for one in report.unchecked),
        )
        for look, report in evidence.layout.items()
    }
    return replace(
        verdict,
        summary=text,
        remedy=text,
        versions={"root-linux": text},
        evidence=replace(
            evidence,
            place=text,
            findings=faults,
            rungs=rungs,
            layout=layout,
            gaps=(Gap(1, 1.0, 2.0, text),),
            problem=Problem(Cause.LAB, None, text, text, text),
            explanations={9000: Explanation(1, text, text)},
            log_level=text,
        ),
    )


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(NASTY)
def test_nothing_acts_whatever_the_board_says(failed: Verdict, text: str) -> None:
    written = to_summary(hostile(failed, text), FOLDER, FILES, "https://ci.example/1")
    read = page(written)
    assert set(read.tags) <= OURS
    assert read.tags.count("a") == 1
    assert read.tags.count("h2") == 1
    assert read.tags.count("h3") in {4, 5}, "the console may have said nothing"
    assert read.tags.count("tr") == (1 + 4) + (1 + 2) + (1 + 1) + (1 + 1)
    assert no_command(written)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(NASTY)
def test_an_annotation_is_one_command(failed: Verdict, text: str) -> None:
    lines = to_annotations(hostile(failed, text))
    assert [line.split(" ")[0] for line in lines] == ["::error"] * 3 + ["::warning"]
    for line in lines:
        assert "\n" not in line
        assert "\r" not in line
        # The command's own marks, and what is inside a text cannot be at a line's beginning.
        assert not any(part.lstrip().startswith("::") for part in line.split("%0A")[1:])


def test_annotations(failed: Verdict, passed: Verdict) -> None:
    first, mmio, panic, warning = to_annotations(failed)
    assert first.startswith("::error title=fail%2C hypervisor-fault%3A memory gate on virtual-under-reserved::The hyp")
    assert first.endswith("%0AWhat to do: Reserve the hypervisor's whole memory.")
    assert mmio.startswith("::error title=unhandled-mmio-fault on virtual-under-reserved::unhandled-mmio-fault: zone 0")
    assert panic.startswith("::error title=hypervisor-panic on")
    assert warning.startswith("::warning title=memory layout of virtual-under-reserved%2C by the files::rule 1")
    assert to_annotations(passed) == []


def test_no_more_annotations_than_are_shown(failed: Verdict) -> None:
    many = tuple(Finding("oops", Origin.KERNEL, n, 1.0) for n in range(100))
    static = failed.evidence.layout[Look.STATIC]
    layout = {Look.STATIC: replace(static, findings=static.findings * 30)}
    lines = to_annotations(replace(failed, evidence=replace(failed.evidence, findings=many, layout=layout)))
    assert len([line for line in lines if line.startswith("::error")]) == ANNOTATIONS
    assert len([line for line in lines if line.startswith("::warning")]) == ANNOTATIONS


def test_a_flood_stays_far_below_what_github_takes(failed: Verdict) -> None:
    flood = hostile(failed, "<x" * 100_000)
    many = tuple(replace(flood.evidence.findings[1], offset=n) for n in range(500))
    size = len(to_summary(replace(flood, evidence=replace(flood.evidence, findings=many)), FOLDER, FILES).encode())
    assert size < 1 << 19
