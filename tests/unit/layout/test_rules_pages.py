"""The rules against a model that looks at one page after the other."""

from __future__ import annotations

import itertools
import re

from hypothesis import given
from hypothesis import strategies as st

from hvrig.layout.board_facts import BoardFacts, Controller, PhysicalStretch
from hvrig.layout.rules import check
from hvrig.model.layout import LayoutReport, Rule, Stretch
from hvrig.model.memory import PAGE_SIZE, Range
from hvrig.model.memory_map import ZONE_USES, MemoryMap, Region, Use

_PAGES = 24


def pages(stretch: Range) -> set[int]:
    assert stretch.start % PAGE_SIZE == stretch.end % PAGE_SIZE == 0
    return set(range(stretch.start // PAGE_SIZE, stretch.end // PAGE_SIZE))


@st.composite
def stretches(draw: st.DrawFn) -> Range:
    start = draw(st.integers(0, _PAGES - 1))
    return Range(start * PAGE_SIZE, draw(st.integers(start + 1, _PAGES)) * PAGE_SIZE)


@st.composite
def regions(draw: st.DrawFn) -> Region:
    uses = sorted(ZONE_USES, key=lambda use: use.value)
    use = draw(st.sampled_from([*uses, Use.ZONE_RAM, Use.TREE_MEMORY, Use.RESERVED, Use.REUSABLE, Use.IMAGE]))
    stretch = draw(stretches())
    zone = draw(st.sampled_from([0, 0, 0, 1, 2])) if use in ZONE_USES else 0
    guest = draw(st.integers(0, _PAGES) | st.none()) if use in ZONE_USES else None
    name = draw(st.sampled_from(["hvisor@0", "x@1"]))
    return Region(
        name, use, stretch, f"file{zone}:1", zone=zone, guest_start=None if guest is None else guest * PAGE_SIZE
    )


MAPS = st.builds(
    lambda hypervisor, others: MemoryMap((Region("hypervisor", Use.HYPERVISOR, hypervisor, "elf"), *others)),
    stretches(),
    st.lists(regions(), max_size=7).map(tuple),
)


class Model:
    """What each page is, for a map."""

    def __init__(self, memory: MemoryMap) -> None:
        self.memory = memory
        self.hypervisor = self.of(Use.HYPERVISOR)
        self.free = self.of(Use.TREE_MEMORY) - self.of(Use.RESERVED)

    def of(self, *uses: Use, zone: int | None = None) -> set[int]:
        """Physical pages."""
        return {page for region in self.memory.of(*uses, zone=zone) for page in pages(region.range)}

    def guest(self, *uses: Use, zone: int) -> set[int]:
        return {page for region in self.memory.of(*uses, zone=zone) for page in pages(region.guest)}

    def behind(self, page: int) -> int:
        """The physical page of zone 0's page."""
        return self.memory.physical(0, page * PAGE_SIZE) // PAGE_SIZE

    def sees_hypervisor(self, page: int) -> bool:
        """Whether any region of zone 0 has the hypervisor at this page, or the page is its own address."""
        having = [r for r in self.memory.of(*ZONE_USES, zone=0) if page in pages(r.guest)]
        if not having:
            return page in self.hypervisor
        return any(page - (r.guest.start - r.range.start) // PAGE_SIZE in self.hypervisor for r in having)


def wrong(report: LayoutReport, rule: Rule, zone: int | None = None) -> set[int]:
    found = [f for f in report.findings if f.rule is rule and (zone is None or f.zone == zone)]
    assert all(f.wrong for f in found)
    return {page for f in found for part in f.wrong for page in pages(part)}


@given(MAPS)
def test_findings_agree_with_the_pages(memory: MemoryMap) -> None:
    report = check("b", memory, BoardFacts(all_zones=True))
    model = Model(memory)
    has_tree = bool(memory.of(Use.TREE_MEMORY))
    has_ram = bool(memory.of(Use.ZONE_RAM, zone=0))

    assert wrong(report, Rule.UNRESERVED) == ({model.behind(p) for p in model.free} & model.hypervisor)
    assert (Rule.UNRESERVED in report.checked) == has_tree

    seen = {page for page in range(2 * _PAGES + 1) if model.sees_hypervisor(page)}
    lacking = (seen & model.of(Use.TREE_MEMORY) if has_tree else seen) - model.of(Use.RESERVED)
    meant = [r for r in memory.of(Use.RESERVED, Use.REUSABLE) if "hvisor" in r.name]
    meant += [r for r in memory.of(Use.RESERVED) if pages(r.range) & seen]
    assert wrong(report, Rule.WRONG_RESERVATION) == (lacking if meant else set())

    mapped = model.of(Use.ZONE_RAM, Use.ZONE_DEVICE, Use.ZONE_OTHER, zone=0) & model.hypervisor
    assert wrong(report, Rule.ZONE_MAPS_HYPERVISOR) == (mapped if has_ram else set())

    unmapped = model.free - model.guest(Use.ZONE_RAM, zone=0) - seen
    assert wrong(report, Rule.UNMAPPED_MEMORY) == (unmapped if has_ram and has_tree else set())

    others = {page for zone in (1, 2) for page in model.of(Use.ZONE_RAM, zone=zone)}
    devices = {page for zone in (1, 2) for page in model.of(Use.ZONE_DEVICE, Use.ZONE_OTHER, zone=zone)}
    shared = model.of(Use.ZONE_RAM, zone=1) & model.of(Use.ZONE_RAM, zone=2)
    handed_out = {model.behind(page) for page in model.free}
    expected = ((others | devices) & model.hypervisor) | (others & handed_out) | shared
    assert wrong(report, Rule.ZONES_OVERLAP) == expected

    for zone in (0, 1, 2):
        kinds = [model.guest(use, zone=zone) for use in (Use.ZONE_RAM, Use.ZONE_DEVICE, Use.ZONE_VIRTIO)]
        mixed = (kinds[0] & kinds[1]) | (kinds[0] & kinds[2]) | (kinds[1] & kinds[2])
        has_regions = bool(memory.of(*ZONE_USES, zone=0))
        assert wrong(report, Rule.REGION_CONFLICT, zone) == (mixed if has_regions else set())


@given(MAPS, stretches())
def test_regions_over_the_interrupt_controller(memory: MemoryMap, registers: Range) -> None:
    controller = Controller(Stretch("gicd", registers, "file0:9"), zone=0)
    without = check("b", memory, BoardFacts(controllers=()))
    report = check("b", memory, BoardFacts(controllers=(controller,)))
    added = [f for f in report.findings if f not in without.findings]
    covered = Model(memory).guest(Use.ZONE_RAM, Use.ZONE_DEVICE, Use.ZONE_OTHER, zone=0) & pages(registers)
    has_regions = bool(memory.of(*ZONE_USES, zone=0))
    found = {page for f in added for part in f.wrong for page in pages(part)}
    assert found == (covered if has_regions else set())


@given(MAPS)
def test_images_overlap_pairwise(memory: MemoryMap) -> None:
    report = check("b", memory)
    images = [pages(image.range) for image in memory.of(Use.IMAGE)]
    twice = {page for page in range(_PAGES) if sum(page in image for image in images) > 1}
    others = {page for image in memory.of(Use.IMAGE) if "hvisor" not in image.name for page in pages(image.range)}
    assert wrong(report, Rule.IMAGE_OVERLAP) == twice | (others & Model(memory).hypervisor)


@given(MAPS)
def test_what_was_not_checked_is_said_and_has_no_findings(memory: MemoryMap) -> None:
    report = check("b", memory)
    static = {rule for rule in Rule if rule is not Rule.LIVE_SYSTEM_RAM}
    assert static == set(report.checked) | {one.rule for one in report.unchecked}
    assert {finding.rule for finding in report.findings} <= set(report.checked)
    assert report.exit_status == (1 if report.findings else 4)


MIB = 1 << 20
_UNITS = 12  # of 1 MiB: every second edge is off the grid of 2 MiB

ENTRY = re.compile(r"\((0x[0-9a-f]+), (0x[0-9a-f]+), MemoryType::Normal\),")


def units(stretch: Range) -> set[int]:
    """The stretch in MiB."""
    assert stretch.start % MIB == stretch.end % MIB == 0
    return set(range(stretch.start // MIB, stretch.end // MIB))


@st.composite
def whole_mib(draw: st.DrawFn) -> Range:
    start = draw(st.integers(0, _UNITS - 1))
    return Range(start * MIB, draw(st.integers(start + 1, _UNITS)) * MIB)


@given(st.lists(whole_mib(), max_size=4), st.lists(whole_mib(), max_size=3))
def test_the_physical_memory_list_agrees_with_its_parts(listed: list[Range], rams: list[Range]) -> None:
    entries = tuple(PhysicalStretch(one, "Normal", f"board.rs:{number}") for number, one in enumerate(listed, 1))
    memory = MemoryMap(
        tuple(Region("RAM", Use.ZONE_RAM, ram, "board.rs:9", zone=number) for number, ram in enumerate(rams))
    )
    report = check("b", memory, BoardFacts(physical_memory=entries))
    found = [finding for finding in report.findings if finding.rule is Rule.PHYSICAL_MEMORY_LIST]
    said = sorted(
        (finding.stretches[0].source, sorted(u for part in finding.wrong for u in units(part))) for finding in found
    )

    covered = {unit for one in listed for unit in units(one)}
    expected = []
    for number, (before, one) in enumerate(itertools.pairwise(listed), 2):
        if min(units(one)) <= max(units(before)):
            expected.append((f"board.rs:{number}", sorted(units(one) & units(before) or units(one))))
    for number, one in enumerate(listed, 1):
        if min(units(one)) % 2 or max(units(one)) % 2 == 0:
            expected.append((f"board.rs:{number}", sorted(units(one))))
    for ram in rams:
        if listed and units(ram) - covered:
            expected.append(("board.rs:1", sorted(units(ram) - covered)))
    assert said == sorted(expected)

    for finding in found:
        if "not wholly in" not in finding.what:
            continue
        added = [Range(int(start, 0), int(end, 0)) for start, end in ENTRY.findall(finding.mend.text)]
        assert all(
            (set(finding.wrong) and part.start % (2 * MIB) == 0) or part.start in {r.end for r in listed}
            for part in added
        )
        for part in added:
            assert part.start % (2 * MIB) == 0 or part.start in {one.end for one in listed}
            assert part.end % (2 * MIB) == 0 or part.end in {one.start for one in listed}
        lacking = {unit for part in finding.wrong for unit in units(part)}
        together = {unit for part in added for unit in units(part)}
        assert lacking <= together
        assert not together & covered
        # No more than what completes blocks of 2 MiB.
        assert together <= {unit for at in lacking for unit in (at & ~1, at | 1)}
