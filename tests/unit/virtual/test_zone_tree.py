from __future__ import annotations

import libfdt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvrig.layout.device_tree import read_device_tree
from hvrig.model.errors import UsageError
from hvrig.model.memory import Range
from hvrig.model.memory_map import Use
from hvrig.virtual.zone_tree import TreeChanges, changed_tree

INITRD = Range(0x8000_0000, 0x8070_0001)
PLAIN = TreeChanges(bootargs="console=ttyAMA0", initrd=INITRD)


def tree(
    *, cells: int = 2, chosen: bool = True, reserved: dict[str, Range] | None = None, memory: bool = True
) -> bytes:
    """A small tree, written by libfdt."""
    made = libfdt.Fdt.create_empty_tree(8192)
    made.setprop_u32(0, "#address-cells", cells)
    made.setprop_u32(0, "#size-cells", cells)
    if memory:
        node = made.add_subnode(0, "memory@50000000")
        made.setprop_str(node, "device_type", "memory")
        made.setprop(node, "reg", reg(Range(0x5000_0000, 0x7000_0000), cells))
    if chosen:
        node = made.add_subnode(0, "chosen")
        made.setprop_str(node, "bootargs", "root=/dev/vda")
        made.setprop_str(node, "stdout-path", "/pl011@9000000")
    if reserved is not None:
        made.add_subnode(0, "reserved-memory")
        for name in ("#address-cells", "#size-cells"):
            made.setprop_u32(made.path_offset("/reserved-memory"), name, cells)
        made.setprop(made.path_offset("/reserved-memory"), "ranges", b"")
        for name, stretch in reserved.items():
            node = made.add_subnode(made.path_offset("/reserved-memory"), name)
            made.setprop(node, "reg", reg(stretch, cells))
            made.setprop(made.path_offset(f"/reserved-memory/{name}"), "no-map", b"")
    made.pack()
    return bytes(made.as_bytearray())


def reg(stretch: Range, cells: int) -> bytes:
    return stretch.start.to_bytes(4 * cells, "big") + stretch.size.to_bytes(4 * cells, "big")


def prop(blob: bytes, path: str, name: str) -> bytes:
    read = libfdt.FdtRo(blob)
    return bytes(read.getprop(read.path_offset(path), name))


def ranges(blob: bytes, use: Use) -> list[Range]:
    return [region.range for region in read_device_tree(blob, "zone0.dtb").map.of(use)]


@pytest.mark.parametrize("chosen", [True, False])
def test_bootargs_and_initrd_are_written_and_the_rest_is_left(chosen: bool) -> None:
    given = tree(chosen=chosen, reserved={"nonroot@60000000": Range(0x6000_0000, 0x7000_0000)})
    written = changed_tree(given, "zone0.dtb", PLAIN)
    assert prop(written, "/chosen", "bootargs") == b"console=ttyAMA0\0"
    assert int.from_bytes(prop(written, "/chosen", "linux,initrd-start"), "big") == INITRD.start
    assert int.from_bytes(prop(written, "/chosen", "linux,initrd-end"), "big") == INITRD.end
    if chosen:
        assert prop(written, "/chosen", "stdout-path") == b"/pl011@9000000\0"
    for use in (Use.TREE_MEMORY, Use.RESERVED):
        assert ranges(written, use) == ranges(given, use)
    assert b"root=/dev/vda" not in written or not chosen


def test_memory_takes_the_place_of_all_that_was_memory() -> None:
    banks = [Range(0x4000_0000, 0x5400_0000), Range(0x1_0000_0000, 0x1_2F00_0000)]
    written = changed_tree(tree(), "zone0.dtb", TreeChanges(bootargs="", initrd=INITRD, memory=banks))
    assert ranges(written, Use.TREE_MEMORY) == banks


@pytest.mark.parametrize("there", [None, {}, {"hvisor@40400000": Range(0x4040_0000, 0x4080_0000)}])
def test_a_reservation_takes_the_place_of_what_touches_it(there: dict[str, Range] | None) -> None:
    other = {"nonroot@60000000": Range(0x6000_0000, 0x7000_0000)}
    given = tree(reserved=None if there is None else {**other, **there})
    wanted = Range(0x4040_0000, 0x44A0_0000)
    written = changed_tree(given, "zone0.dtb", TreeChanges(bootargs="", initrd=INITRD, reserved=wanted))
    assert sorted(ranges(written, Use.RESERVED)) == sorted([wanted, *([] if there is None else other.values())])
    assert prop(written, "/reserved-memory/hvisor@40400000", "no-map") == b""


def test_cells_that_are_too_narrow_are_said() -> None:
    high = [Range(0x1_0000_0000, 0x1_2F00_0000)]
    with pytest.raises(UsageError, match="1 address and 1 size cells cannot hold"):
        changed_tree(tree(cells=1), "zone0.dtb", TreeChanges(bootargs="", initrd=INITRD, memory=high))


def test_the_given_bytes_stay_as_they_are() -> None:
    given = tree()
    before = bytes(given)
    changed_tree(given, "zone0.dtb", PLAIN)
    assert given == before


@pytest.mark.parametrize("blob", [b"", b"not a tree", tree()[:-40], tree()[:100]])
def test_what_is_no_tree_is_refused(blob: bytes) -> None:
    with pytest.raises(UsageError, match=r"zone0\.dtb: not a whole device tree blob"):
        changed_tree(blob, "zone0.dtb", PLAIN)


pages = st.integers(0, (1 << 40) // 4096 - 1).map(lambda page: page * 4096)
stretches = st.builds(lambda start, size: Range(start, start + size), pages, pages.map(lambda size: size + 4096))


@given(st.lists(stretches, min_size=1, max_size=4), stretches, st.text(st.characters(codec="ascii", min_codepoint=32)))
def test_what_was_written_is_read_back(banks: list[Range], reserved: Range, bootargs: str) -> None:
    changes = TreeChanges(bootargs=bootargs, initrd=INITRD, memory=banks, reserved=reserved)
    written = changed_tree(tree(reserved={}), "zone0.dtb", changes)
    assert ranges(written, Use.TREE_MEMORY) == banks
    assert ranges(written, Use.RESERVED) == [reserved]
    assert prop(written, "/chosen", "bootargs") == bootargs.encode() + b"\0"
