from __future__ import annotations

import pytest

from hvrig.layout.board_facts import BoardFacts
from hvrig.layout.rules import check
from hvrig.model.layout import LayoutFinding, LayoutReport, Rule
from hvrig.model.memory import Range
from hvrig.model.memory_map import MemoryMap, Region, Use

HYPERVISOR = Region("hypervisor", Use.HYPERVISOR, Range(0x500000, 0x4AE6000), "hvisor")
PARTS = (
    Region("binary", Use.HYPERVISOR_PART, Range(0x500000, 0x6E6000), "hvisor"),
    Region("per-CPU areas", Use.HYPERVISOR_PART, Range(0x6E6000, 0xAE6000), "hvisor"),
    Region("frame pool", Use.HYPERVISOR_PART, Range(0xAE6000, 0x4AE6000), "hvisor"),
)
NODE = "hvisor@500000 { no-map; reg = <0x0 0x500000 0x0 0x4600000>; };"


def bank(start: int, end: int, zone: int = 0) -> Region:
    return Region(f"memory@{start:x}", Use.TREE_MEMORY, Range(start, end), f"z.dts /memory@{start:x}", zone=zone)


def held(start: int, end: int, name: str = "hvisor", use: Use = Use.RESERVED) -> Region:
    node = f"{name}@{start:x}"
    return Region(f"{node} (no-map)", use, Range(start, end), f"z.dts /reserved-memory/{node}", zone=0)


def ram(start: int, end: int, guest: int | None = None, use: Use = Use.ZONE_RAM) -> Region:
    return Region("RAM", use, Range(start, end), "board.rs:7", zone=0, guest_start=guest)


def checked(*regions: Region, hypervisor: tuple[Region, ...] = (HYPERVISOR, *PARTS), **facts: object) -> LayoutReport:
    return check("b", MemoryMap((*hypervisor, *regions)), BoardFacts(**facts))  # type: ignore[arg-type]


def of(report: LayoutReport, rule: Rule) -> LayoutFinding | None:
    found = [finding for finding in report.findings if finding.rule is rule]
    assert len(found) <= 1
    return found[0] if found else None


X3300 = (bank(0x200000, 0x8400000), held(0x480000, 0x880000), ram(0x200000, 0x8400000))


def test_the_x3300_breaks_rules_1_2_and_3() -> None:
    report = checked(*X3300)
    assert [finding.rule for finding in report.findings] == [
        Rule.UNRESERVED,
        Rule.WRONG_RESERVATION,
        Rule.ZONE_MAPS_HYPERVISOR,
    ]
    first, second, third = report.findings
    assert first.wrong == second.wrong == (Range(0x880000, 0x4AE6000),)
    assert first.mend.text == second.mend.text == NODE
    assert first.mend.file == second.mend.file == "z.dts"
    assert [s.name for s in first.stretches] == ["memory@200000", "hvisor@480000 (no-map)", "hypervisor"]
    assert [s.range for s in second.stretches] == [Range(0x480000, 0x880000), HYPERVISOR.range]
    assert "per-CPU areas and frame pool" in first.consequence
    assert "binary" not in first.consequence
    assert third.wrong == (HYPERVISOR.range,)
    assert third.mend.file == "board.rs"
    assert third.mend.text.splitlines() == [
        "HvConfigMemoryRegion { mem_type: MEM_TYPE_RAM, physical_start: 0x200000, virtual_start: 0x200000, "
        "size: 0x300000 },",
        "HvConfigMemoryRegion { mem_type: MEM_TYPE_RAM, physical_start: 0x4b00000, virtual_start: 0x4b00000, "
        "size: 0x3900000 },",
    ]


def test_the_mended_x3300_is_clean() -> None:
    mended = (bank(0x200000, 0x8400000), held(0x500000, 0x4B00000), ram(0x200000, 0x500000), ram(0x4B00000, 0x8400000))
    assert checked(*mended).findings == ()


@pytest.mark.parametrize("name", ["/memreserve/", "firmware@500000"])
def test_any_reservation_that_covers_it_is_enough(name: str) -> None:
    whole = Region(name, Use.RESERVED, Range(0x500000, 0x4B00000), "z.dts /x", zone=0)
    stale = held(0x9000000, 0x9400000)
    assert checked(bank(0x200000, 0x8400000), whole, stale).findings == ()


def test_reservations_that_cover_it_together_are_enough() -> None:
    parts = (held(0x400000, 0x900000, "a"), held(0x900000, 0x5000000, "b"), held(0x600000, 0x700000, "c"))
    assert checked(bank(0x200000, 0x8400000), *parts).findings == ()


def test_memory_that_leaves_it_out_needs_no_reservation() -> None:
    assert checked(bank(0x200000, 0x500000), bank(0x4AE6000, 0x8400000), held(0x480000, 0x880000)).findings == ()


def test_a_page_that_is_reserved_in_part_is_not_handed_out() -> None:
    assert checked(bank(0x200000, 0x8400000), held(0x500000, 0x4AE5010)).findings[0].rule is Rule.WRONG_RESERVATION
    assert of(checked(bank(0x200000, 0x8400000), held(0x500000, 0x4AE5010)), Rule.UNRESERVED) is None


def test_what_is_reusable_is_handed_out() -> None:
    report = checked(bank(0x200000, 0x8400000), held(0x500000, 0x4B00000, use=Use.REUSABLE))
    found = of(report, Rule.UNRESERVED)
    assert found is not None
    assert found.wrong == (HYPERVISOR.range,)
    wrong = of(report, Rule.WRONG_RESERVATION)
    assert wrong is not None
    assert "until a driver asks" in wrong.what


def test_memory_for_drivers_over_the_hypervisor_is_not_taken_for_its_reservation() -> None:
    report = checked(bank(0x200000, 0x8400000), held(0x500000, 0x4B00000, "linux,cma", Use.REUSABLE))
    assert [finding.rule for finding in report.findings] == [Rule.UNRESERVED]


def test_a_reservation_elsewhere_that_has_its_name() -> None:
    report = checked(bank(0x200000, 0x8400000), held(0x6000000, 0x6400000), held(0x7000000, 0x7100000, "vendor_hvx"))
    wrong = of(report, Rule.WRONG_RESERVATION)
    assert wrong is not None
    assert [s.range for s in wrong.stretches] == [Range(0x6000000, 0x6400000), HYPERVISOR.range]


def test_a_tree_without_memory_node_still_shows_a_wrong_reservation() -> None:
    report = checked(held(0x480000, 0x880000))
    assert [finding.rule for finding in report.findings] == [Rule.WRONG_RESERVATION]
    assert [(one.rule, "no memory node" in one.why) for one in report.unchecked if one.rule.number < 4] == [
        (Rule.UNRESERVED, True),
        (Rule.ZONE_MAPS_HYPERVISOR, False),
    ]


def test_a_tree_without_reserved_memory_gets_one() -> None:
    found = of(checked(bank(0x200000, 0x8400000), has_reserved_memory=False, cells=(1, 1)), Rule.UNRESERVED)
    assert found is not None
    assert found.mend.text.startswith("reserved-memory {")
    assert "reg = <0x500000 0x4600000>;" in found.mend.text


def test_reservations_that_linux_ignores_are_shown_and_the_mend_is_a_parent_that_it_takes() -> None:
    report = checked(
        bank(0x200000, 0x8400000),
        reserved_memory_fault="it has no ranges",
        ignored=(held(0x500000, 0x4B00000),),
    )
    first, second = report.findings
    assert (first.rule, second.rule) == (Rule.UNRESERVED, Rule.WRONG_RESERVATION)
    assert first.wrong == second.wrong == (HYPERVISOR.range,)
    assert "hvisor@500000 (no-map) is 0x500000 - 0x4b00000, which Linux ignores: it has no ranges" in second.what
    for found in (first, second):
        assert "a /reserved-memory that Linux does not ignore (it has no ranges)" in found.mend.what
        assert "\tranges;" in found.mend.text
        assert NODE in found.mend.text


def test_excluded_from_the_regions_but_not_reserved_faults_at_once() -> None:
    report = checked(bank(0x200000, 0x8400000), ram(0x200000, 0x500000), ram(0x4B00000, 0x8400000))
    found = of(report, Rule.UNRESERVED)
    assert found is not None
    assert found.consequence.startswith("No region of the zone has 0x500000 - 0x4ae6000")
    assert of(report, Rule.ZONE_MAPS_HYPERVISOR) is None


def test_reserved_but_not_excluded_from_the_regions() -> None:
    report = checked(bank(0x200000, 0x8400000), held(0x500000, 0x4B00000), ram(0x200000, 0x8400000))
    assert [finding.rule for finding in report.findings] == [Rule.ZONE_MAPS_HYPERVISOR]
    assert "nothing holds it to that" in report.findings[0].consequence


def test_addresses_of_the_zone_are_not_physical_ones() -> None:
    """The zone sees the hypervisor's memory 1 GiB higher."""
    report = checked(bank(0x40000000, 0x48000000), ram(0x0, 0x8000000, guest=0x40000000))
    found = of(report, Rule.UNRESERVED)
    assert found is not None
    assert found.wrong == (HYPERVISOR.range,)
    assert "reg = <0x0 0x40500000 0x0 0x4600000>" in found.mend.text
    assert checked(bank(0x200000, 0x8400000), ram(0x40200000, 0x48400000, guest=0x200000)).findings == ()


def test_a_device_region_over_the_hypervisor_lets_the_zone_in_as_well() -> None:
    report = checked(bank(0x10000000, 0x20000000), ram(0x10000000, 0x20000000), ram(0, 0x600000, use=Use.ZONE_DEVICE))
    found = of(report, Rule.ZONE_MAPS_HYPERVISOR)
    assert found is not None
    assert found.wrong == (Range(0x500000, 0x600000),)
    assert "MEM_TYPE_IO" in found.mend.text
    assert checked(ram(0x10000000, 0x20000000), ram(0, 0x600000, use=Use.ZONE_VIRTIO)).findings == ()


def test_a_region_inside_the_hypervisor_has_nothing_to_paste() -> None:
    found = of(checked(ram(0x600000, 0x700000)), Rule.ZONE_MAPS_HYPERVISOR)
    assert found is not None
    assert found.mend.text == ""


def test_a_range_that_is_a_bound_is_said_to_be_one() -> None:
    report = checked(*X3300, hypervisor_exact=False)
    assert {one.rule.number for one in report.unchecked} >= {1, 2, 3}
    assert all("or later" in one.why for one in report.unchecked if one.rule.number < 4)
    assert "0x4a00000>" in report.findings[0].mend.text
    assert "4 MiB allowed" in report.findings[0].mend.what


def test_nothing_known_is_nothing_checked() -> None:
    report = checked(hypervisor=())
    assert report.checked == ()
    assert {one.rule.number for one in report.unchecked} >= {1, 2, 3}
    assert report.exit_status == 4
