from __future__ import annotations

import pytest

from hvrig.explain import explain
from hvrig.model.finding import Finding, Origin
from hvrig.model.memory import Range
from hvrig.model.memory_map import Explanation, MemoryMap, Region, Use

HYPERVISOR = Region("hypervisor", Use.HYPERVISOR, Range(0x500000, 0x4AE6000), "hvisor")
POOL = Region("frame pool", Use.HYPERVISOR_PART, Range(0xAE6000, 0x4AE6000), "hvisor")
LOW_RAM = Region("RAM", Use.ZONE_RAM, Range(0x200000, 0x8400000), "board.rs:28", zone=0)
RAM = Region("RAM", Use.ZONE_RAM, Range(0x9400000, 0x10000000), "board.rs:30", zone=0)
DEVICE = Region("device memory", Use.ZONE_DEVICE, Range(0xFE000000, 0xFE600000), "board.rs:40", zone=0)
VIRTIO = Region("virtio device memory", Use.ZONE_VIRTIO, Range(0xFF9D0000, 0xFF9D1000), "zone1.json", zone=1)
FIRMWARE = Region("memory (MEM_TYPE_ROM)", Use.ZONE_OTHER, Range(0xF0000, 0x100000), "board.rs:50", zone=0)
ZONE1 = Region("RAM", Use.ZONE_RAM, Range(0x50000000, 0x60000000), "zone1.json", zone=1)
MOVED = Region("RAM", Use.ZONE_RAM, Range(0x600000, 0x700000), "zone2.json", zone=2, guest_start=0x40000000)
LOW_BANK = Region("memory@200000", Use.TREE_MEMORY, Range(0x200000, 0x8400000), "zone0.dtb /memory@200000", zone=0)
BANK = Region("memory@200000", Use.TREE_MEMORY, Range(0x9400000, 0xF0000000), "zone0.dtb /memory@200000", zone=0)
TOO_LITTLE = Region("hvisor@480000", Use.RESERVED, Range(0x480000, 0x880000), "zone0.dtb /r/hvisor@480000", zone=0)
ENOUGH = Region("hvisor@500000", Use.RESERVED, Range(0x500000, 0x4C00000), "zone0.dtb /r/hvisor@500000", zone=0)
RAMOOPS = Region("ramoops@110000", Use.RESERVED, Range(0x110000, 0x200000), "zone0.dtb /r/ramoops@110000", zone=0)
MMC = Region("mmc@fe2c0000", Use.TREE_DEVICE, Range(0xFE2C0000, 0xFE2C4000), "zone0.dtb /mmc@fe2c0000", zone=0)
GPU = Region("gpu@fb000000", Use.TREE_DEVICE, Range(0xFB000000, 0xFB200000), "zone0.dtb /gpu@fb000000", zone=0)


def fault(address: int | None, zone: int | None = 0) -> Finding:
    fields = {} if address is None else {"address": address}
    return Finding("unhandled-mmio-fault", Origin.HYPERVISOR, offset=0, t=0.0, zone=zone, fields=fields)


def explained(address: int, *regions: Region, zone: int | None = 0) -> Explanation:
    explanation = explain(MemoryMap(regions), fault(address, zone))
    assert explanation is not None
    assert explanation.address == address
    return explanation


def test_ram_that_the_hypervisor_no_longer_knows() -> None:
    said = explained(0xB600000, LOW_RAM, RAM)
    assert said.what == "RAM of zone 0, 0x9400000 - 0x10000000 (board.rs:30)"
    assert "tables were most likely overwritten" in said.cause
    assert "reserves the hypervisor's whole memory, [skernel, hv_end)" in said.cause
    assert "all of 0x500000 - 0x4ae6000 (hvisor)" in explained(0xB600000, RAM, HYPERVISOR).cause


def test_with_the_device_tree_the_stretch_that_is_not_reserved_is_named() -> None:
    said = explained(0xB600000, RAM, HYPERVISOR, LOW_BANK, BANK, TOO_LITTLE)
    assert "gives the kernel 0x880000 - 0x4ae6000 of the hypervisor's" in said.cause
    assert "reserve it with no-map" in said.cause


def test_a_device_tree_that_reserves_everything_is_not_blamed() -> None:
    said = explained(0xB600000, RAM, HYPERVISOR, LOW_BANK, BANK, ENOUGH)
    assert "booted with this tree" in said.cause
    assert "no-map" not in said.cause


def test_inside_the_hypervisor_reserved_in_one_place_and_not_in_the_other() -> None:
    said = explained(0x1000000, HYPERVISOR, POOL, RAM)
    assert said.what == "inside the hypervisor's own memory, 0x500000 - 0x4ae6000 (hvisor), in its frame pool"
    assert "in one place and not in the other" in said.cause
    assert "Reserve 0x500000 - 0x4ae6000 with no-map" in said.cause


def test_inside_the_hypervisor_and_given_to_the_zone_besides() -> None:
    said = explained(0x1000000, HYPERVISOR, LOW_RAM)
    assert "and RAM of zone 0, 0x200000 - 0x8400000 (board.rs:28)" in said.what
    assert "split that region around 0x500000 - 0x4ae6000" in said.cause


def test_inside_the_hypervisor_and_reserved() -> None:
    said = explained(0x1000000, HYPERVISOR, ENOUGH)
    assert "reserved as hvisor@500000" in said.what
    assert "booted with this tree" in said.cause


def test_inside_the_hypervisor_only_after_translation() -> None:
    assert "inside the hypervisor's own memory" in explained(0x40000010, HYPERVISOR, MOVED, zone=2).what


def test_devices_of_the_zone() -> None:
    said = explained(0xFE2C0010, DEVICE, MMC)
    assert said.what == (
        "device memory of zone 0, 0xfe000000 - 0xfe600000 (board.rs:40), where the device tree has mmc@fe2c0000"
    )
    assert "overwritten" in said.cause
    virtio = explained(0xFF9D0000, VIRTIO, zone=1)
    assert "a virtio device of zone 1" in virtio.what
    assert "backend" in virtio.cause
    assert "memory (MEM_TYPE_ROM) of zone 0" in explained(0xF0000, FIRMWARE).what


def test_another_zones_memory() -> None:
    said = explained(0x50001000, RAM, ZONE1)
    assert said.what == "RAM of zone 1, 0x50000000 - 0x60000000 (zone1.json), and not of zone 0"
    assert "another zone" in said.cause


@pytest.mark.parametrize(
    ("address", "tree", "what", "cause"),
    [
        (0xA0000000, BANK, "memory that zone 0's device tree gives its kernel", "add it to them as RAM"),
        (0xFB000010, GPU, "the device gpu@fb000000", "miss this device"),
        (0x110000, RAMOOPS, "reserved as ramoops@110000", "add it to the zone's regions"),
        (0x70000000000, None, "in no region of zone 0", "miss something that its device tree gives"),
    ],
)
def test_a_hole_in_the_zones_regions(address: int, tree: Region | None, what: str, cause: str) -> None:
    said = explained(address, RAM, *([tree] if tree else []))
    assert said.what.startswith("in no region of zone 0")
    assert what in said.what
    assert cause in said.cause


def test_without_the_zones_regions_nothing_is_claimed_of_them() -> None:
    outside = explained(0xB600000, HYPERVISOR)
    assert outside.what == "outside the hypervisor's own memory, 0x500000 - 0x4ae6000 (hvisor)"
    assert "Give board.rs to tell" in outside.cause
    bank = explained(0xB600000, HYPERVISOR, LOW_BANK, BANK)
    assert bank.what.startswith("memory that zone 0's device tree gives")
    assert "give board.rs" in bank.cause
    assert "check that the zone's regions contain it" in explained(0x110000, RAMOOPS).cause


def test_a_report_that_does_not_say_whose_access_it_was_is_zone_0s() -> None:
    assert explained(0xB600000, RAM, zone=None).what.startswith("RAM of zone 0")


def test_nothing_is_said_where_nothing_is_known() -> None:
    assert explain(MemoryMap((RAM,)), fault(None)) is None
    assert explain(MemoryMap(), fault(0xB600000)) is None
    assert explain(MemoryMap((POOL,)), fault(0xB600000)) is None


def far(address: int, *regions: Region) -> Explanation | None:
    fault = Finding("el2-exception", Origin.HYPERVISOR, offset=0, t=0.0, fields={"elr": 0x501000, "far": address})
    return explain(MemoryMap(regions), fault)


@pytest.mark.parametrize(
    ("address", "what", "cause"),
    [
        (
            0x1000000,
            "inside the hypervisor's own memory, 0x500000 - 0x4ae6000 (hvisor), in its frame pool",
            "page tables",
        ),
        (0x501000, "inside the hypervisor's own memory, 0x500000 - 0x4ae6000 (hvisor)", "could not reach its own"),
        (0xB600000, "RAM of zone 0, 0x9400000 - 0x10000000 (board.rs:30)", "itself faulted there"),
        (0xFE000010, "device memory of zone 0, 0xfe000000 - 0xfe600000 (board.rs:40)", "itself faulted there"),
        (0x18, "next to address 0", "pointer that was never set"),
        (0xDEADBEEF000, "in nothing that is known", "wild pointer"),
    ],
)
def test_where_the_hypervisor_itself_faulted(address: int, what: str, cause: str) -> None:
    said = far(address, HYPERVISOR, POOL, RAM, DEVICE)
    assert said is not None
    assert (said.address, said.what) == (address, what)
    assert cause in said.cause
    assert "reserves all of 0x500000 - 0x4ae6000 (hvisor)" in said.cause


def test_the_stretch_that_is_not_reserved_is_named_for_the_hypervisors_own_fault_too() -> None:
    said = far(0x1000000, HYPERVISOR, LOW_BANK, TOO_LITTLE)
    assert said is not None
    assert "gives the kernel 0x880000 - 0x4ae6000" in said.cause


def test_far_alone_says_little_where_nothing_is_known() -> None:
    assert far(0xDEADBEEF000) is None
    assert far(0x18) is not None
    uboot = Finding("u-boot-exception", Origin.BOARD, offset=0, t=0.0, fields={"far": 0x1000000})
    assert explain(MemoryMap((HYPERVISOR,)), uboot) is None


def test_an_instruction_that_a_zone_could_not_fetch_is_explained_as_its_access() -> None:
    fetch = Finding("instruction-fetch-failure", Origin.HYPERVISOR, offset=0, t=0.0, fields={"address": 0xB600000})
    said = explain(MemoryMap((RAM, HYPERVISOR)), fetch)
    assert said is not None
    assert said.what == "RAM of zone 0, 0x9400000 - 0x10000000 (board.rs:30)"
