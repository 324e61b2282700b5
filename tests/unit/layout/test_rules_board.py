from __future__ import annotations

from hvrig.layout.board_facts import BoardFacts, Load, PhysicalStretch
from hvrig.layout.rules import check
from hvrig.model.layout import LayoutFinding, LayoutReport, Rule
from hvrig.model.memory import Range
from hvrig.model.memory_map import MemoryMap, Region, Use

HYPERVISOR = Region("hypervisor", Use.HYPERVISOR, Range(0x500000, 0x4AE6000), "hvisor")
BANK = Region("memory", Use.TREE_MEMORY, Range(0x200000, 0x20000000), "z.dts /memory", zone=0)


def image(name: str, start: int, size: int) -> Region:
    return Region(f"image {name}", Use.IMAGE, Range(start, start + size), "place desk")


def report(*regions: Region, facts: BoardFacts | None = None) -> LayoutReport:
    return check("b", MemoryMap(regions), facts)


def of(found: LayoutReport, rule: Rule) -> list[LayoutFinding]:
    return [finding for finding in found.findings if finding.rule is rule]


def test_an_image_in_the_hypervisors_memory_goes_elsewhere() -> None:
    (found,) = of(report(HYPERVISOR, BANK, image("kernel", 0x4000000, 0x2000000)), Rule.IMAGE_OVERLAP)
    assert found.wrong == (Range(0x4000000, 0x4AE6000),)
    assert "at 0x6000000 for example" in found.mend.what


def test_the_hypervisors_own_image_may_lie_where_it_will_be() -> None:
    assert not of(report(HYPERVISOR, image("hvisor", 0x500000, 0x200000)), Rule.IMAGE_OVERLAP)


def test_images_over_each_other() -> None:
    (found,) = of(
        report(HYPERVISOR, image("kernel", 0x9400000, 0x8000000), image("zone0_dtb", 0x10000000, 0x20000)),
        Rule.IMAGE_OVERLAP,
    )
    assert found.wrong == (Range(0x10000000, 0x10020000),)
    assert [stretch.name for stretch in found.stretches] == ["image zone0_dtb", "image kernel"]
    assert "example" not in found.mend.what


def test_an_image_of_unknown_size_is_checked_at_its_address() -> None:
    loads = (Load("kernel", 0x9400000, "board.rs:7"), Load("dtb", 0x600000, "board.rs:8"))
    found = report(HYPERVISOR, image("kernel", 0x9400000, 0x1000), facts=BoardFacts(loads=loads))
    (finding,) = of(found, Rule.IMAGE_OVERLAP)
    assert finding.wrong == (Range(0x600000, 0x600001),)
    assert finding.mend.file == "board.rs"
    assert ["image dtb" in one.why for one in found.unchecked if one.rule is Rule.IMAGE_OVERLAP] == [True]


def test_images_without_a_hypervisor_are_checked_in_part() -> None:
    found = report(image("a", 0, 16), image("b", 8, 16))
    assert len(of(found, Rule.IMAGE_OVERLAP)) == 1
    assert any(one.rule is Rule.IMAGE_OVERLAP for one in found.unchecked)


def listed(*ends: tuple[int, int], kind: str = "Normal") -> BoardFacts:
    return BoardFacts(
        physical_memory=tuple(PhysicalStretch(Range(*pair), kind, f"board.rs:{i}") for i, pair in enumerate(ends))
    )


def ram(start: int, end: int) -> Region:
    return Region("RAM", Use.ZONE_RAM, Range(start, end), "board.rs:9", zone=0)


def test_a_list_that_is_right() -> None:
    facts = listed((0, 0x200000), (0x200000, 0x8400000), (0x9400000, 0xA000000))
    assert not of(report(ram(0x110000, 0x8400000), facts=facts), Rule.PHYSICAL_MEMORY_LIST)


def test_a_list_that_does_not_ascend() -> None:
    (found,) = of(report(facts=listed((0x400000, 0x800000), (0x200000, 0x400000))), Rule.PHYSICAL_MEMORY_LIST)
    assert found.wrong == (Range(0x200000, 0x400000),)
    (found,) = of(report(facts=listed((0, 0x800000), (0x600000, 0xA00000))), Rule.PHYSICAL_MEMORY_LIST)
    assert found.wrong == (Range(0x600000, 0x800000),)


def test_a_list_off_the_grid() -> None:
    (found,) = of(report(facts=listed((0x100000, 0x400000), kind="Device")), Rule.PHYSICAL_MEMORY_LIST)
    assert found.mend.text == "(0x0, 0x400000, MemoryType::Device),"


def test_memory_that_the_list_lacks() -> None:
    facts = listed((0, 0x200000), (0x600000, 0x800000))
    (found,) = of(report(ram(0x100000, 0x700000), facts=facts), Rule.PHYSICAL_MEMORY_LIST)
    assert found.wrong == (Range(0x200000, 0x600000),)
    assert found.mend.text == "(0x200000, 0x600000, MemoryType::Normal),"


def test_a_board_without_a_list_has_nothing_to_check() -> None:
    assert Rule.PHYSICAL_MEMORY_LIST in report(facts=BoardFacts(physical_memory=())).checked
    assert Rule.PHYSICAL_MEMORY_LIST not in report().checked
