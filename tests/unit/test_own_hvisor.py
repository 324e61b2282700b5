"""What a hvisor of one's own is made of before the boot; booted in tests/virtual/test_own_hvisor.py."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import libfdt
import pytest

from hvrig import own_hvisor
from hvrig.lab.places import load_place
from hvrig.layout.device_tree import read_device_tree
from hvrig.layout.inputs import read_board_file
from hvrig.model.errors import UsageError
from hvrig.model.memory import Range
from hvrig.model.memory_map import Use
from hvrig.model.place import Place
from hvrig.own_hvisor import OwnBoot, free_address, prepare
from hvrig.virtual.machine import Machine

PLACES = Path(__file__).parents[2] / "lab" / "places.yaml"
MIB = 1 << 20


def board_rs(kernel: int, dtb: int, *ram: tuple[int, int]) -> str:
    regions = "".join(
        f"HvConfigMemoryRegion {{ mem_type: MEM_TYPE_RAM, physical_start: {start:#x}, virtual_start: {start:#x}, "
        f"size: {size:#x} }},\n"
        for start, size in ram
    )
    return (
        f"pub const BOARD_NCPUS: usize = 4;\npub const ROOT_ZONE_DTB_ADDR: u64 = {dtb:#x};\n"
        f"pub const ROOT_ZONE_KERNEL_ADDR: u64 = {kernel:#x};\n"
        f"pub const ROOT_ZONE_MEMORY_REGIONS: &[HvConfigMemoryRegion] = &[\n{regions}];\n"
    )


STOCK = board_rs(0xA040_0000, 0xA000_0000, (0x5000_0000, 0x7000_0000))
INSIDE = board_rs(0x5040_0000, 0x4F00_0000, (0x4000_0000, 0x1400_0000), (0x1_0000_0000, 0x2F00_0000))


def uimage(data: bytes = bytes(10_000), load: int = 0x4040_0000) -> bytes:
    head = struct.pack(">7I4B32s", 0x27051956, 0, 0, len(data), load, load, zlib.crc32(data), 5, 22, 2, 0, b"hvisor")
    return head[:4] + struct.pack(">I", zlib.crc32(head)) + head[8:] + data


def zone_tree(reserved_size: int = 0x3000_0000) -> bytes:
    made = libfdt.Fdt.create_empty_tree(8192)
    made.setprop_u32(0, "#address-cells", 2)
    made.setprop_u32(0, "#size-cells", 2)
    node = made.add_subnode(0, "memory@50000000")
    made.setprop_str(node, "device_type", "memory")
    made.setprop(node, "reg", struct.pack(">QQ", 0x5000_0000, 0x7000_0000))
    made.add_subnode(0, "reserved-memory")
    for name in ("#address-cells", "#size-cells"):
        made.setprop_u32(made.path_offset("/reserved-memory"), name, 2)
    made.setprop(made.path_offset("/reserved-memory"), "ranges", b"")
    node = made.add_subnode(made.path_offset("/reserved-memory"), "nonroot@50000000")
    made.setprop(node, "reg", struct.pack(">QQ", 0x5000_0000, reserved_size))
    made.pack()
    return bytes(made.as_bytearray())


Prepare = Callable[..., OwnBoot]


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    def dumped(machine: Machine, uboot: Path) -> bytes:
        assert uboot.name == "u-boot.bin"
        return f"the tree of {machine.memory_mib}".encode()

    monkeypatch.setattr(own_hvisor, "dump_device_tree", dumped)
    for name, data in {
        "hvisor.bin": uimage(),
        "zone0.dtb": zone_tree(),
        "Image": bytes(100),
        "initrd.gz": bytes(7 * MIB),
        "board.dtb": b"",
    }.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "made").mkdir()
    return tmp_path


def own_place(files: Path, **rack: str) -> Place:
    place = load_place(PLACES, "virtual-hvisor")
    names = {"hvisor": "hvisor.bin", "zone0_dtb": "zone0.dtb", "kernel": "Image", "initrd": "initrd.gz"}
    images = {name: replace(image, path=files / names.get(name, "board.dtb")) for name, image in place.images.items()}
    assert place.rack is not None
    return replace(place, images=images, rack=replace(place.rack, **rack))  # type: ignore[arg-type]


def prepared(files: Path, board: str | None = None, **rack: str) -> OwnBoot:
    found = None
    if board is not None:
        (files / "board.rs").write_text(board)
        found = read_board_file(files / "board.rs")
    return prepare(own_place(files, **rack), found, files / "u-boot.bin", files / "made")


def test_stock_addresses_without_a_board_rs(files: Path) -> None:
    own = prepared(files)
    images = own.place.images
    assert {name: image.address for name, image in images.items()} == {
        "kernel": 0xA040_0000,
        "initrd": 0x8000_0000,
        "zone0_dtb": 0xA000_0000,
        "board_dtb": 0x4000_0000,
        "hvisor": 0x4C00_0000,
    }
    assert (own.machine.cpus, own.machine.memory_mib) == (4, 2048)
    assert images["board_dtb"].path.read_bytes() == b"the tree of 2048"
    assert images["zone0_dtb"].path == files / "made" / "zone0.dtb"
    assert (files / "zone0.dtb").read_bytes() == zone_tree()
    written = read_device_tree(images["zone0_dtb"].path.read_bytes(), "zone0.dtb").map
    assert [region.range for region in written.of(Use.RESERVED)] == [Range(0x5000_0000, 0x8000_0000)]


def test_addresses_memory_and_machine_follow_the_board_rs(files: Path) -> None:
    own = prepared(files, INSIDE, memory="board-rs", reserved="70M")
    images = own.place.images
    assert (images["kernel"].address, images["zone0_dtb"].address) == (0x5040_0000, 0x4F00_0000)
    assert own.machine.memory_mib == 0x1_2F00_0000 - 0x4000_0000 >> 20
    written = read_device_tree(images["zone0_dtb"].path.read_bytes(), "zone0.dtb").map
    assert [region.range for region in written.of(Use.TREE_MEMORY)] == [
        Range(0x4000_0000, 0x5400_0000),
        Range(0x1_0000_0000, 0x1_2F00_0000),
    ]
    assert Range(0x4040_0000, 0x4040_0000 + 70 * MIB) in [region.range for region in written.of(Use.RESERVED)]
    initrd = Range(images["initrd"].address, images["initrd"].address + 7 * MIB)
    for taken in (Range(0x4040_0000, 0x44A0_0000), Range(0x4F00_0000, 0x4F20_0000), Range(0x5040_0000, 0x5400_0000)):
        assert initrd.overlap(taken) is None
    assert any("70" in note or "reserved-memory" in note for note in own.notes)


def test_the_file_system_keeps_off_what_the_tree_reserves(files: Path) -> None:
    (files / "zone0.dtb").write_bytes(zone_tree(0x4800_0000))
    assert prepared(files).place.images["initrd"].address == 0x9800_0000


def refusal(files: Path, board: str | None = None, **rack: str) -> str:
    with pytest.raises(UsageError) as raised:
        prepared(files, board, **rack)
    return str(raised.value)


def test_a_hvisor_that_is_no_uimage_is_refused(files: Path) -> None:
    (files / "hvisor.bin").write_bytes(b"\x7fELF" + bytes(1000))
    assert "hvisor.bin: byte 0: the magic" in refusal(files)


def test_a_tree_that_is_none_is_refused(files: Path) -> None:
    (files / "zone0.dtb").write_bytes(b"/dts-v1/;")
    assert "zone0.dtb: not a whole device tree blob" in refusal(files)


def test_another_number_of_cpus_is_refused(files: Path) -> None:
    said = refusal(files, STOCK.replace("NCPUS: usize = 4", "NCPUS: usize = 8"))
    assert "BOARD_NCPUS = 8" in said
    assert "has 4 CPUs" in said


def test_a_kernel_outside_of_zone_0s_ram_is_refused(files: Path) -> None:
    said = refusal(files, STOCK.replace("0xa0400000", "0x40200000"))
    assert "kernel is loaded at 0x40200000, which is in none of zone 0's RAM: 0x50000000 - 0xc0000000" in said


def test_ram_that_the_machine_cannot_have_is_refused(files: Path) -> None:
    assert "does not fit QEMU's virt machine" in refusal(files, STOCK.replace("0x70000000", "0x7000_0000_0000"))


def test_ram_without_room_for_the_file_system_is_refused(files: Path) -> None:
    board = STOCK.replace("0x50000000", "0x9fe00000").replace("0x70000000", "0x1000000")
    assert "has no room for root-linux's file system of 7340032 bytes" in refusal(files, board)


def test_all_cannot_be_reserved_of_a_hypervisor_without_an_end(files: Path) -> None:
    assert "where the hypervisor ends is not known" in refusal(files, reserved="all")


def test_the_first_room_is_taken_if_it_is_free() -> None:
    ram = [Range(0, 16 * MIB), Range(32 * MIB, 64 * MIB)]
    assert free_address(ram, [], 4 * MIB, first=5 * MIB) == 5 * MIB
    assert free_address(ram, [Range(0, 7 * MIB)], 4 * MIB, first=5 * MIB) == 8 * MIB
    assert free_address(ram, [Range(0, 13 * MIB)], 4 * MIB, first=5 * MIB) == 32 * MIB
    assert free_address(ram, [], 33 * MIB, first=0) is None
