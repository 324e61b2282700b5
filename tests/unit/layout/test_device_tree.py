from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvrig.layout.device_tree import read_device_tree
from hvrig.model.errors import UsageError
from hvrig.model.memory import Range
from hvrig.model.memory_map import MemoryMap, Use

DATA = Path(__file__).parents[2] / "data" / "layout"
ZONE0 = (DATA / "zone0.dtb").read_bytes()


TWO_CELLS = "#address-cells = <2>; #size-cells = <2>;"


def compiled(nodes: str, head: str = TWO_CELLS, before: str = "") -> bytes:
    """The blob of a tree with these nodes, by dtc itself."""
    text = f"/dts-v1/;\n{before}\n/ {{ {head} {nodes} }};"
    command = ["dtc", "-q", "-f", "-I", "dts", "-O", "dtb"]
    return subprocess.run(command, input=text.encode(), capture_output=True, check=True, timeout=20).stdout


def ranges(memory: MemoryMap, use: Use) -> list[Range]:
    return [region.range for region in memory.of(use)]


def test_the_blob_beside_its_source_is_that_sources() -> None:
    command = ["dtc", "-q", "-I", "dts", "-O", "dtb", str(DATA / "zone0.dts")]
    assert subprocess.run(command, capture_output=True, check=True, timeout=20).stdout == ZONE0


def test_memory_reservations_and_devices() -> None:
    tree = read_device_tree(ZONE0, "zone0.dtb").map
    assert ranges(tree, Use.TREE_MEMORY) == [
        Range(0x200000, 0x8400000),
        Range(0x9400000, 0xF0000000),
        Range(0x100000000, 0x3FC000000),
    ], "several banks in one reg; zero pairs and disabled nodes do not count"
    assert [(r.name, r.range, r.source) for r in tree.of(Use.RESERVED)] == [
        ("/memreserve/", Range(0x200000, 0x210000), "zone0.dtb /memreserve/"),
        ("hvisor@480000 (no-map)", Range(0x480000, 0x880000), "zone0.dtb /reserved-memory/hvisor@480000"),
    ]
    assert [(r.name, r.range) for r in tree.of(Use.TREE_DEVICE)] == [
        ("serial@feb50000", Range(0xFEB50000, 0xFEB50100)),
        ("gpio@8000", Range(0xFD008000, 0xFD008100)),
        ("i2c@a000", Range(0xFD00A000, 0xFD00A100)),
    ], "through their bus's ranges; not CPUs, not what is disabled, not what is on the I2C bus"
    assert all(region.zone == 0 for region in tree.regions)
    assert len(tree.notes) == 1
    assert "/reserved-memory/cma" in tree.notes[0]


def test_one_cell_addresses() -> None:
    blob = compiled(
        'memory { device_type = "memory"; reg = <0x40200000 0x30000000>; };', "#address-cells = <1>; #size-cells = <1>;"
    )
    assert ranges(read_device_tree(blob, "t").map, Use.TREE_MEMORY) == [Range(0x40200000, 0x70200000)]


def test_cells_that_are_not_said_are_two_and_one() -> None:
    blob = compiled('memory@0 { device_type = "memory"; reg = <0x1 0x0 0x1000>; };', "")
    assert ranges(read_device_tree(blob, "t").map, Use.TREE_MEMORY) == [Range(0x100000000, 0x100001000)]


def test_only_what_linux_takes_for_memory_is_memory() -> None:
    blob = compiled('memory@0 { reg = <0 0 0 0x1000>; }; memory@1 { device_type = "memory1"; reg = <0 1 0 0x1000>; };')
    assert ranges(read_device_tree(blob, "t").map, Use.TREE_MEMORY) == []


def test_nested_buses_translate_one_after_the_other() -> None:
    blob = compiled(
        """soc { #address-cells = <1>; #size-cells = <1>; ranges = <0x0 0x1 0x0 0x10000000>;
             bus@1000000 { #address-cells = <1>; #size-cells = <1>; ranges = <0x0 0x1000000 0x1000>,
                                                                            <0x5000 0xf0000000 0x1000>,
                                                                            <0x8000 0x2000000 0x1000>;
               a@10 { reg = <0x10 0x4>; };
               beyond@ffc { reg = <0xffc 0x8>; };
               outside@5000 { reg = <0x5000 0x4>; };
               moved@8010 { reg = <0x8010 0x4>; };
             };
             same { #address-cells = <1>; #size-cells = <1>; ranges; b@20 { reg = <0x20 0x4>; }; };
             pci { #address-cells = <3>; #size-cells = <2>; ranges = <0 0 0 0 0 0>; c { reg = <0 0 0 0 0>; }; };
           };"""
    )
    devices = {region.name: region.range for region in read_device_tree(blob, "t").map.of(Use.TREE_DEVICE)}
    assert devices == {
        "a@10": Range(0x101000010, 0x101000014),
        "moved@8010": Range(0x102000010, 0x102000014),
        "b@20": Range(0x100000020, 0x100000024),
    }


def test_a_disabled_bus_disables_what_is_on_it() -> None:
    blob = compiled(
        'bus { status = "disabled"; ranges; #address-cells = <2>; #size-cells = <2>; d { reg = <0 1 0 1>; }; };'
    )
    assert read_device_tree(blob, "t").map.regions == ()


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        ('memory@0 { device_type = "memory"; reg = <0xffffffff 0xffffffff 0 2>; };', "t /memory@0: reg ends beyond"),
        ("#address-cells = <9>;", "t /: #address-cells"),
        ("#size-cells = [00];", "t /: #size-cells"),
        ('#address-cells = <3>; memory@0 { device_type = "memory"; };', "t /memory@0: memory in a tree with #address"),
    ],
)
def test_a_tree_that_contradicts_itself_is_refused_with_the_node(nodes: str, said: str) -> None:
    with pytest.raises(UsageError) as refused:
        read_device_tree(compiled(nodes, "" if nodes.startswith("#") else TWO_CELLS), "t")
    assert refused.value.message.startswith(said)


RESERVED = "hvisor@500000 { no-map; reg = <0 0x500000 0 0x4600000>; };"


@pytest.mark.parametrize(
    ("head", "why"),
    [
        ("#address-cells = <2>; #size-cells = <2>;", "it has no ranges"),
        ("ranges; #address-cells = <2>;", "it has no #size-cells, the root's is <2>"),
        ("ranges; #size-cells = <2>;", "it has no #address-cells, the root's is <2>"),
        ("ranges; #address-cells = <1>; #size-cells = <2>;", "its #address-cells is <1>, the root's is <2>"),
        ("ranges; #address-cells = <2>; #size-cells = <1>;", "its #size-cells is <1>, the root's is <2>"),
        ("ranges; #address-cells = <9>; #size-cells = <2>;", "its #address-cells is <9>, the root's is <2>"),
    ],
)
def test_a_reserved_memory_that_linux_ignores_reserves_nothing(head: str, why: str) -> None:
    tree = read_device_tree(compiled(f"reserved-memory {{ {head} {RESERVED} }};"), "t")
    assert tree.map.of(Use.RESERVED) == ()
    assert tree.reserved_memory_fault == why
    assert tree.has_reserved_memory
    if "<2>; #size-cells = <2>" in head:
        assert [r.range for r in tree.ignored] == [Range(0x500000, 0x4B00000)]
    assert tree.map.notes[0] == f"t /reserved-memory: Linux ignores all of it: {why}."


def test_a_reserved_memory_that_linux_takes() -> None:
    taken = "ranges; #address-cells = <2>; #size-cells = <2>;"
    for status in ("", 'status = "disabled";'):  # of the parent, which Linux does not ask
        tree = read_device_tree(compiled(f"reserved-memory {{ {status} {taken} {RESERVED} }};"), "t")
        assert ranges(tree.map, Use.RESERVED) == [Range(0x500000, 0x4B00000)]
        assert not tree.reserved_memory_fault


@pytest.mark.parametrize(
    ("child", "note"),
    [
        ("hvisor@500000 { reg = <0 0x500000 0>; };", "reg is not in whole entries: Linux leaves the node out"),
        ('hvisor@500000 { status = "disabled"; reg = <0 0x500000 0 0x4600000>; };', ""),
        ('hvisor@500000 { status = ""; reg = <0 0x500000 0 0x4600000>; };', ""),
        (f"parts {{ ranges; #address-cells = <2>; #size-cells = <2>; {RESERVED} }};", "children of /reserved-memory"),
    ],
)
def test_a_reservation_that_linux_leaves_out(child: str, note: str) -> None:
    head = "ranges; #address-cells = <2>; #size-cells = <2>;"
    tree = read_device_tree(compiled(f"reserved-memory {{ {head} {child} }};"), "t")
    assert tree.map.of(Use.RESERVED, Use.REUSABLE) == ()
    assert any(note in one for one in tree.map.notes) if note else not tree.map.notes


def test_usable_memory_counts_before_reg() -> None:
    usable = "linux,usable-memory = <0 0x100000 0 0x1000>"
    blob = compiled(f'memory@0 {{ device_type = "memory"; reg = <0 0 0 0x8000000>; {usable}; }};')
    assert ranges(read_device_tree(blob, "t").map, Use.TREE_MEMORY) == [Range(0x100000, 0x101000)]


def test_what_is_too_much_for_whole_entries_of_memory_is_left() -> None:
    tree = read_device_tree(compiled('memory@0 { device_type = "memory"; reg = <0 0 0 0x1000 0 7 1>; };'), "t")
    assert ranges(tree.map, Use.TREE_MEMORY) == [Range(0, 0x1000)]
    assert "12 bytes more than whole entries" in tree.map.notes[0]


def test_memory_deeper_in_the_tree_is_older_kernels_memory() -> None:
    tree = read_device_tree(compiled('m { memory@0 { device_type = "memory"; reg = <0 0x1000 0 0x1000>; }; };'), "t")
    assert ranges(tree.map, Use.TREE_MEMORY) == [Range(0x1000, 0x2000)]
    assert "older kernels" in tree.map.notes[0]


def test_memory_reservations_end_at_the_first_of_size_0() -> None:
    blob = compiled("", before="/memreserve/ 0x1000 0x1000; /memreserve/ 0x5000 0; /memreserve/ 0x8000 0x1000;")
    assert ranges(read_device_tree(blob, "t").map, Use.RESERVED) == [Range(0x1000, 0x2000)]


@pytest.mark.parametrize(
    "bad",
    [
        "d { reg = <0 1 2>; };",
        "d { reg = <0xffffffff 0xffffffff 0 2>; };",
        "b { ranges = <1>; #address-cells = <2>; #size-cells = <2>; e { reg = <0 1 0 1>; }; };",
        "b { ranges; #address-cells = <9>; #size-cells = [00]; e { reg = <0 1 0 1>; }; };",
    ],
)
def test_a_device_that_cannot_be_understood_does_not_cost_the_tree(bad: str) -> None:
    tree = read_device_tree(compiled(f'memory@0 {{ device_type = "memory"; reg = <0 0 0 0x1000>; }}; {bad}'), "t")
    assert ranges(tree.map, Use.TREE_MEMORY) == [Range(0, 0x1000)]
    assert tree.map.of(Use.TREE_DEVICE) == ()


def test_nodes_are_where_their_source_has_them() -> None:
    lines = {"/memory@200000": "zone0.dts:10", "/serial@feb50000": "soc.dtsi:4"}
    tree = read_device_tree(ZONE0, "zone0.dts", lines=lines)
    assert tree.map.of(Use.TREE_MEMORY)[0].source == "zone0.dts:10 /memory@200000"
    assert {r.source for r in tree.map.of(Use.TREE_DEVICE)} >= {"soc.dtsi:4 /serial@feb50000"}


@pytest.mark.parametrize("blob", [b"", b"/dts-v1/;", ZONE0[:-1], ZONE0[:40], b"\xd0\x0d\xfe\xed" + bytes(60)])
def test_what_is_no_whole_blob_is_refused(blob: bytes) -> None:
    with pytest.raises(UsageError, match=r"^zone0\.dtb: not a whole device tree blob"):
        read_device_tree(blob, "zone0.dtb")


def test_a_blob_without_a_root_node_is_refused() -> None:
    """Found by fuzzing: libfdt takes it for whole, and has no node to give."""
    structure = int.from_bytes(ZONE0[8:12], "big")
    empty = ZONE0[:structure] + b"\0\0\0\x09" + ZONE0[structure + 4 :]
    with pytest.raises(UsageError, match=r"^zone0\.dtb: a damaged device tree blob"):
        read_device_tree(empty, "zone0.dtb")


@given(st.data())
def test_a_damaged_blob_is_read_or_refused(data: st.DataObject) -> None:
    blob = bytearray(ZONE0)
    for _ in range(data.draw(st.integers(1, 6))):
        blob[data.draw(st.integers(0, len(blob) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.one_of(st.just(len(blob)), st.integers(0, len(blob))))
    refused = None
    try:
        read_device_tree(bytes(blob[:cut]), "zone0.dtb")
    except UsageError as error:
        refused = error.message
    assert refused is None or refused.startswith("zone0.dtb")
