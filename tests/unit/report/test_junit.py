import xml.etree.ElementTree as ET
from dataclasses import replace
from datetime import datetime

import pytest

from hvrig.model.evidence import Cause, Evidence, Gap, Outcome, PhaseRecord, Problem, Verdict
from hvrig.model.phase import Phase
from hvrig.report.junit import to_junit


def suite(verdict: Verdict, started: datetime) -> ET.Element:
    found = ET.fromstring(to_junit(verdict, started).encode()).find("testsuite")
    assert found is not None
    return found


def results(tree: ET.Element) -> dict[str, str]:
    """Each test case's name with the tag of its result, `pass` where there is none."""
    tags = ("failure", "error", "skipped")
    return {
        case.attrib["name"]: next((child.tag for child in case if child.tag in tags), "pass")
        for case in tree.iter("testcase")
    }


def test_pass(passed: Verdict, started: datetime) -> None:
    tree = suite(passed, started)
    assert results(tree) == {
        "layout-static": "pass",
        "boot": "pass",
        "layout-live": "pass",
        "memtester-64M": "pass",
        "memtester-256M": "pass",
        "evidence": "pass",
    }
    assert tree.attrib["name"] == "memory-gate"
    assert tree.attrib["tests"] == "6"
    assert (tree.attrib["failures"], tree.attrib["errors"], tree.attrib["skipped"]) == ("0", "0", "0")
    rung = tree.findall("testcase")[4]
    assert rung.attrib["classname"] == "hvrig.virtual"
    assert rung.attrib["time"] == "15.3"
    assert "65536 of 192512 pages" in (rung.findtext("system-out") or "")


def test_failed_rung(failed: Verdict, started: datetime) -> None:
    tree = suite(failed, started)
    assert results(tree) == {
        "layout-static": "pass",
        "boot": "pass",
        "layout-live": "failure",
        "memtester-64M": "pass",
        "memtester-256M": "pass",
        "memtester-768M": "failure",
        "memtester-1G": "skipped",
        "evidence": "pass",
    }
    assert (tree.attrib["failures"], tree.attrib["errors"], tree.attrib["skipped"]) == ("2", "0", "1")
    overlap, failure = tree.iter("failure")
    assert (overlap.attrib["type"], overlap.attrib["message"]) == ("layout", "Linux has 0x40800000 - 0x449e6000 of it.")
    static = tree.findall("testcase")[0].findtext("system-out") or ""
    assert "rule 1, hypervisor-unreserved: Linux has" in static
    assert "not checked: rule 4" in static
    assert failure.attrib["type"] == "hypervisor-fault"
    text = failure.text or ""
    assert "address 0x10016d300" in text
    assert "FAILURE: 0x1 != 0x2" in text
    assert "7 FAILURE lines in all" in text
    assert "Reserve the hypervisor's whole memory." in text
    # What XML 1.0 forbids is shown by number, what it reserves is quoted.
    assert "\\x00\\ufffe <&>" in text
    assert "not reached: The hypervisor reported" in next(tree.iter("skipped")).attrib["message"]


def test_boot_that_failed(started: datetime) -> None:
    problem = Problem(Cause.LAB, Phase.POWER, "the outlet is dead", "plug it in", "x\x1b[2J\x07")
    evidence = Evidence("desk", ("1G", "2G"), (PhaseRecord(Phase.POWER, 1.0, None, 0),), problem=problem)
    verdict = Verdict(Outcome.INFRA, Cause.LAB, "the outlet is dead", "plug it in", Phase.POWER, evidence)
    tree = suite(verdict, started)
    assert results(tree) == {
        "layout-static": "skipped",
        "boot": "error",
        "layout-live": "skipped",
        "memtester-1G": "skipped",
        "memtester-2G": "skipped",
        "evidence": "pass",
    }
    assert "x\\x07" in (next(tree.iter("error")).text or "")


def test_a_check_that_could_see_nothing_is_no_success(passed: Verdict, started: datetime) -> None:
    blind = {look: replace(report, checked=()) for look, report in passed.evidence.layout.items()}
    found = results(suite(replace(passed, evidence=replace(passed.evidence, layout=blind)), started))
    assert (found["layout-static"], found["layout-live"]) == ("skipped", "skipped")


def test_the_layout_alone_carries_the_verdict(failed: Verdict, started: datetime) -> None:
    stopped = replace(failed, cause=Cause.LAYOUT, evidence=replace(failed.evidence, rungs=(), findings=()))
    found = results(suite(stopped, started))
    assert (found["boot"], found["layout-live"], found["memtester-64M"], found["evidence"]) == (
        *("pass", "failure", "skipped"),
        "pass",
    )


@pytest.mark.parametrize(("outcome", "tag"), [(Outcome.INFRA, "error"), (Outcome.FAIL, "failure")])
def test_never_green_without_a_pass(passed: Verdict, started: datetime, outcome: Outcome, tag: str) -> None:
    evidence = replace(passed.evidence, gaps=(Gap(1, 2.0, 3.0, "lost"),))
    verdict = Verdict(outcome, Cause.NO_EVIDENCE, "The UART was not recorded.", "", None, evidence)
    assert results(suite(verdict, started))["evidence"] == tag
