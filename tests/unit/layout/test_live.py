from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvrig.layout.board_facts import BoardFacts
from hvrig.layout.live import IOMEM, TREE, Answer, BoardAnswers, ask_board, check_live
from hvrig.model.deadline import Deadline
from hvrig.model.layout import LayoutReport, Rule
from hvrig.model.memory import Range
from hvrig.model.memory_map import MemoryMap, Region, Use
from hvrig.model.protocols import CommandResult, EndSink, OutputSink, RunningCommand

DATA = Path(__file__).parents[2] / "data" / "iomem"
HYPERVISOR = Region("hypervisor", Use.HYPERVISOR, Range(0x40400000, 0x449E6000), "printed while booting")
KNOWN = MemoryMap((HYPERVISOR,))
NODE = "hvisor@40400000 { no-map; reg = <0x0 0x40400000 0x0 0x4600000>; };"


def answers(place: str) -> BoardAnswers:
    return BoardAnswers(
        Answer((DATA / f"{place}.txt").read_bytes()),
        Answer((DATA / f"{place}.dtb").read_bytes()),
    )


def check(place: str, known: MemoryMap = KNOWN, **changes: Answer) -> LayoutReport:
    return check_live("b", known, BoardFacts(), replace(answers(place), **changes))


def rules(report: LayoutReport) -> list[int]:
    return [finding.rule.number for finding in report.findings]


def test_a_board_with_everything_reserved_is_clean() -> None:
    report = check("virtual")
    assert (report.findings, report.unchecked, report.exit_status) == ((), (), 0)
    assert [rule.number for rule in report.checked] == [1, 2, 9]


def test_a_board_with_too_little_reserved_is_caught_by_its_tree_and_by_its_kernel() -> None:
    report = check("virtual-under-reserved")
    assert rules(report) == [1, 2, 9]
    live = report.findings[-1]
    assert live.wrong == (Range(0x40800000, 0x449E6000),)
    assert [(s.name, s.range, s.source) for s in live.stretches] == [
        ("System RAM", Range(0x40800000, 0x54000000), IOMEM),
        ("hvisor@40400000 (no-map)", Range(0x40400000, 0x40800000), f"{TREE} /reserved-memory/hvisor@40400000"),
        ("hypervisor", HYPERVISOR.range, "printed while booting"),
    ]
    assert live.mend.text == NODE
    assert {finding.mend.file for finding in report.findings} == {"the device tree that root-linux is booted with"}
    assert "65.9 MiB of the hypervisor's 69.9 MiB" in live.what
    assert report.exit_status == 1


def test_the_kernel_counts_without_its_tree_and_the_tree_without_the_kernel() -> None:
    no_tree = check("virtual-under-reserved", tree=Answer(None, "Permission denied"))
    assert (rules(no_tree), [one.rule.number for one in no_tree.unchecked]) == ([9], [1, 2])
    assert no_tree.findings[0].mend.text == NODE
    hidden = Answer(b"00000000-00000000 : System RAM\n")
    no_iomem = check("virtual-under-reserved", iomem=hidden)
    assert (rules(no_iomem), [one.rule.number for one in no_iomem.unchecked]) == ([1, 2], [9])
    assert "only zeros" in no_iomem.unchecked[0].why
    assert "root" in no_iomem.unchecked[0].remedy


def test_nothing_is_clean_that_could_not_be_looked_at() -> None:
    blind = check("virtual", iomem=Answer(None, "a"), tree=Answer(None, "b"))
    assert (blind.findings, blind.checked, blind.exit_status) == ((), (), 4)
    unknown = check("virtual", known=MemoryMap())
    assert (unknown.findings, unknown.exit_status) == ((), 4)
    assert {one.rule.number for one in unknown.unchecked} == {1, 2, 9}


def test_what_the_kernel_merely_keeps_for_itself_still_breaks_rule_1() -> None:
    """Inside a stretch that the kernel took for itself at boot: nobody gets it, and nobody reserved it."""
    inside = replace(HYPERVISOR, range=Range(0x46000000, 0x46200000))
    report = check("virtual", known=MemoryMap((inside,)))
    assert rules(report) == [1, 2]


def test_a_zone_that_sees_its_memory_elsewhere_is_looked_at_where_it_sees_it() -> None:
    """The kernel's 0x44a00000 is what the hypervisor has at 0x4000000."""
    ram = Region("RAM", Use.ZONE_RAM, Range(0x4000000, 0x4100000), "board.rs:7", zone=0, guest_start=0x44A00000)
    low = replace(HYPERVISOR, range=Range(0x3F00000, 0x4002000))
    report = check("virtual", known=MemoryMap((low, ram)))
    live = [finding for finding in report.findings if finding.rule is Rule.LIVE_SYSTEM_RAM]
    assert [finding.wrong for finding in live] == [(Range(0x4000000, 0x4002000),)]


def test_what_no_region_of_the_zone_has_faults_at_the_first_touch() -> None:
    ram = Region("RAM", Use.ZONE_RAM, Range(0x50000000, 0x54000000), "board.rs:7", zone=0)
    report = check("virtual-under-reserved", known=MemoryMap((HYPERVISOR, ram)))
    assert "first touch" in report.findings[-1].consequence
    assert 4 in rules(report), "the tree gives memory that no region has"


def test_a_kernel_that_does_not_show_what_it_reserves_is_asked_for_its_tree() -> None:
    """As on riscv, and before Linux 4.19: System RAM has no `reserved` in it, whatever is reserved."""
    iomem = Answer(b"40000000-53ffffff : System RAM\n  50410000-5178ffff : Kernel code\n")
    reserved = check("virtual", iomem=iomem)
    assert (rules(reserved), reserved.unchecked) == ([], ())
    open_to_all = check("virtual-under-reserved", iomem=iomem)
    assert rules(open_to_all) == [1, 2, 9]
    assert open_to_all.findings[-1].wrong == (Range(0x40800000, 0x449E6000),)
    blind = check("virtual", iomem=iomem, tree=Answer(None, "Permission denied"))
    assert (blind.findings, [one.rule.number for one in blind.unchecked]) == ((), [1, 2, 9])


def test_a_board_that_runs_with_another_tree_than_the_file_says_so() -> None:
    filed = Region("memory", Use.TREE_MEMORY, Range(0x40000000, 0x80000000), "zone0.dtb /memory@40000000", zone=0)
    held = Region("hvisor", Use.RESERVED, HYPERVISOR.range, "zone0.dtb /reserved-memory/hvisor", zone=0)
    report = check("virtual-under-reserved", known=MemoryMap((HYPERVISOR, filed, held)))
    assert rules(report) == [1, 2, 9], "the file does not count"
    assert [note.startswith("The running kernel's tree has other") for note in report.memory.notes] == [True, True]
    assert "zone0.dtb: 0x40400000 - 0x40800000, not 0x40400000 - 0x449e6000" in report.memory.notes[1]


@given(st.binary(), st.binary())
def test_garbage_is_unchecked(iomem: bytes, tree: bytes) -> None:
    report = check_live("b", KNOWN, BoardFacts(), BoardAnswers(Answer(iomem), Answer(tree)))
    assert (report.findings, report.exit_status) == ((), 4)
    assert {one.rule.number for one in report.unchecked} == {1, 2, 9}


class Board:
    """A shell that has some files."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = files

    def run(self, command: str, deadline: Deadline) -> CommandResult:
        assert not deadline.expired
        path = command.removeprefix("cat ")
        if path not in self._files:
            return CommandResult(1, b"", f"cat: {path}: Permission denied\nmore\n".encode())
        return CommandResult(0, self._files[path], b"")

    def start(self, command: str, output: OutputSink, end: EndSink, deadline: Deadline) -> RunningCommand:
        raise NotImplementedError


def test_both_files_are_asked_for() -> None:
    assert ask_board(Board({IOMEM: b"a", TREE: b"\x00b"}), Deadline(5)) == BoardAnswers(Answer(b"a"), Answer(b"\x00b"))


@pytest.mark.parametrize("size", [None, (16 << 20) + 1])
def test_what_cannot_be_read_is_said(size: int | None) -> None:
    answer = ask_board(Board({} if size is None else {TREE: bytes(size)}), Deadline(5)).tree
    assert answer.data is None
    assert ("Permission denied" in answer.why) if size is None else (str(size) in answer.why)
