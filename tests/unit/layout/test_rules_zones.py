from __future__ import annotations

from hvrig.layout.board_facts import BoardFacts, Controller
from hvrig.layout.rules import check
from hvrig.model.layout import LayoutFinding, Rule, Stretch
from hvrig.model.memory import Range
from hvrig.model.memory_map import MemoryMap, Region, Use

HYPERVISOR = Region("hypervisor", Use.HYPERVISOR, Range(0x40400000, 0x449E6000), "hvisor")
BANK = Region("memory@50000000", Use.TREE_MEMORY, Range(0x50000000, 0xC0000000), "z.dts /memory@50000000", zone=0)


def region(start: int, end: int, use: Use = Use.ZONE_RAM, zone: int = 0, source: str = "", **more: int) -> Region:
    where = source or ("board.rs:5" if zone == 0 else f"zone{zone}.json /memory_regions/0")
    return Region("RAM" if use is Use.ZONE_RAM else "device memory", use, Range(start, end), where, zone=zone, **more)


def findings(rule: Rule, *regions: Region, facts: BoardFacts | None = None) -> list[LayoutFinding]:
    report = check("b", MemoryMap((HYPERVISOR, *regions)), facts or BoardFacts(all_zones=True))
    return [finding for finding in report.findings if finding.rule is rule]


def test_memory_that_no_region_has_is_to_be_added_or_taken_out() -> None:
    (found,) = findings(Rule.UNMAPPED_MEMORY, BANK, region(0x50000000, 0xA0000000))
    assert found.wrong == (Range(0xA0000000, 0xC0000000),)
    assert found.mend.file == "board.rs"
    assert found.mend.text == (
        "HvConfigMemoryRegion { mem_type: MEM_TYPE_RAM, physical_start: 0xa0000000, virtual_start: 0xa0000000, "
        "size: 0x20000000 },"
    )
    assert [stretch.name for stretch in found.stretches] == ["memory@50000000", "RAM"]


def test_what_lies_behind_the_hypervisor_is_to_be_reserved_with_it() -> None:
    """The grid's last block of the hypervisor, and memory far from it, are two findings."""
    bank = Region("memory@40000000", Use.TREE_MEMORY, Range(0x40000000, 0x60000000), "z.dts /memory", zone=0)
    near, far = findings(Rule.UNMAPPED_MEMORY, bank, region(0x40000000, 0x40400000), region(0x44A00000, 0x50000000))
    assert (near.wrong, far.wrong) == ((Range(0x449E6000, 0x44A00000),), (Range(0x50000000, 0x60000000),))
    assert near.mend.text == "hvisor@40400000 { no-map; reg = <0x0 0x40400000 0x0 0x4600000>; };"
    assert near.mend.file == "z.dts"
    assert "HvConfigMemoryRegion" in far.mend.text


def test_memory_of_another_zone_is_not_to_be_added() -> None:
    (found,) = findings(
        Rule.UNMAPPED_MEMORY, BANK, region(0x50000000, 0xA0000000), region(0xA0000000, 0xC0000000, zone=1)
    )
    assert found.mend.text == ""
    assert found.mend.file == "z.dts"


def test_another_zones_memory_that_zone_0_hands_out() -> None:
    (found,) = findings(
        Rule.ZONES_OVERLAP, BANK, region(0x50000000, 0xC0000000), region(0x50000000, 0x80000000, zone=1)
    )
    assert found.wrong == (Range(0x50000000, 0x80000000),)
    assert found.mend.text == "zone1@50000000 { no-map; reg = <0x0 0x50000000 0x0 0x30000000>; };"
    assert found.mend.file == "z.dts"


def test_another_zones_memory_that_is_reserved() -> None:
    held = Region("nonroot@50000000", Use.RESERVED, Range(0x50000000, 0x80000000), "z.dts /r/n", zone=0)
    assert not findings(Rule.ZONES_OVERLAP, BANK, held, region(0x50000000, 0x80000000, zone=1))


def test_files_for_the_same_zone_are_alternatives() -> None:
    one = region(0xD0000000, 0xE0000000, zone=1, source="zone1-linux.json /memory_regions/0")
    other = region(0xD0000000, 0xE0000000, zone=1, source="zone1-ruxos.json /memory_regions/0")
    device = region(0xD0000000, 0xD0001000, Use.ZONE_DEVICE, zone=1, source="zone1-ruxos.json /memory_regions/1")
    assert not findings(Rule.ZONES_OVERLAP, BANK, one, other)
    (found,) = findings(Rule.REGION_CONFLICT, BANK, region(0x50000000, 0x60000000), one, other, device)
    assert found.mend.file == "zone1-ruxos.json"
    assert found.mend.text == (
        '{"type": "ram", "physical_start": "0xd0001000", "virtual_start": "0xd0001000", "size": "0xffff000"},'
    )


def test_another_zone_over_the_hypervisor_and_over_a_third() -> None:
    over, third = region(0x40000000, 0x41000000, zone=1), region(0x40800000, 0x40900000, zone=2)
    found = findings(Rule.ZONES_OVERLAP, over, third)
    assert [(one.zone, one.wrong) for one in found] == [
        (1, (Range(0x40400000, 0x41000000),)),
        (2, (Range(0x40800000, 0x40900000),)),
        (2, (Range(0x40800000, 0x40900000),)),
    ]


def test_other_zones_that_may_be_there_are_not_checked() -> None:
    report = check("b", MemoryMap((HYPERVISOR, BANK)), BoardFacts())
    assert Rule.ZONES_OVERLAP not in report.checked
    assert Rule.ZONES_OVERLAP in {one.rule for one in report.unchecked}
    report = check("b", MemoryMap((HYPERVISOR, BANK)), BoardFacts(all_zones=True))
    assert Rule.ZONES_OVERLAP in report.checked
    assert Rule.ZONES_OVERLAP not in {one.rule for one in report.unchecked}


def test_a_board_without_device_tree_takes_its_regions_for_memory() -> None:
    facts = BoardFacts(all_zones=True, has_device_tree=False)
    root, other = region(0x5000000, 0x10000000, guest_start=0), region(0x8000000, 0x9000000, zone=1)
    report = check("b", MemoryMap((HYPERVISOR, root, other)), facts)
    assert [(one.rule, one.wrong) for one in report.findings] == [
        (Rule.ZONES_OVERLAP, (Range(0x8000000, 0x9000000),)),
    ]
    tree_rules = {Rule.UNRESERVED, Rule.WRONG_RESERVATION, Rule.UNMAPPED_MEMORY}
    assert not tree_rules & ({*report.checked} | {one.rule for one in report.unchecked})


def test_a_device_region_over_the_interrupt_controller_is_split_around_it() -> None:
    controller = Controller(Stretch("gicd", Range(0x8000000, 0x8010000), "board.rs:9"), zone=0)
    (found,) = findings(
        Rule.REGION_CONFLICT,
        region(0x7000000, 0x9000000, Use.ZONE_DEVICE),
        facts=BoardFacts(controllers=(controller,)),
    )
    assert found.wrong == (Range(0x8000000, 0x8010000),)
    assert [line.split("physical_start: ")[1] for line in found.mend.text.splitlines()] == [
        "0x7000000, virtual_start: 0x7000000, size: 0x1000000 },",
        "0x8010000, virtual_start: 0x8010000, size: 0xff0000 },",
    ]


def test_where_the_interrupt_controller_is_may_not_be_known() -> None:
    root = region(0x50000000, 0x60000000)
    for controllers, known in ((None, False), ((), True)):
        report = check("b", MemoryMap((root,)), BoardFacts(controllers=controllers))
        assert Rule.REGION_CONFLICT in report.checked
        assert (Rule.REGION_CONFLICT not in {one.rule for one in report.unchecked}) is known


def test_another_zones_tree_is_looked_at_without_zone_0s() -> None:
    ram = region(0x50000000, 0x60000000, zone=1)
    bank = Region("memory", Use.TREE_MEMORY, Range(0x50000000, 0x61000000), "z1.dts:3 /memory", zone=1)
    held = Region("held", Use.RESERVED, Range(0x60800000, 0x61000000), "z1.dts:9 /reserved-memory/held", zone=1)
    facts = BoardFacts(zone_trees=(MemoryMap((ram, bank, held)),))
    report = check("b", MemoryMap((HYPERVISOR, ram)), facts)
    (found,) = report.findings
    assert (found.rule, found.zone, found.wrong) == (Rule.UNMAPPED_MEMORY, 1, (Range(0x60000000, 0x60800000),))
    assert '"physical_start": "0x60000000"' in found.mend.text
    assert found.mend.file == "zone1.json"
    assert Rule.UNMAPPED_MEMORY in report.checked
    assert "Zone 0's regions are not known." in {one.why for one in report.unchecked if one.rule is found.rule}
