"""Fuzz the readers of the memory layout's inputs, the rules and the reports with atheris: nothing but UsageError.

`pip install atheris`, then `python benchmarks/fuzz_layout.py -max_total_time=600 -max_len=512 CORPUS` (libFuzzer's
options). The first byte picks the reader; of the others, one from 128 on stands for a piece of that input's language.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path

import atheris  # type: ignore[import-not-found, import-untyped, unused-ignore]

with atheris.instrument_imports(include=["hvrig.layout", "hvrig.layout_report", "hvrig.layout_sarif"]):
    import libfdt

    from hvrig.layout.board_facts import BoardFacts
    from hvrig.layout.board_rs import read_board
    from hvrig.layout.device_tree import read_device_tree
    from hvrig.layout.dtc_subprocess import node_lines
    from hvrig.layout.elf import read_link_addresses
    from hvrig.layout.hypervisor import runtime_sizes
    from hvrig.layout.linker_script import read_linked_start
    from hvrig.layout.rules import check as check_rules
    from hvrig.layout.rust_source import Constants, RustSource
    from hvrig.layout.uimage import read_uimage
    from hvrig.layout.zone_json import is_zone_config, read_zone_config
    from hvrig.layout_report import REPORTS, Checked
    from hvrig.layout_sarif import to_sarif
    from hvrig.model.errors import UsageError
    from hvrig.model.memory import Range
    from hvrig.model.memory_map import MemoryMap, Region, Use

_HYPERVISOR = MemoryMap((Region("hypervisor", Use.HYPERVISOR, Range(0x500000, 0x4AE6000), "hvisor"),))
_NUMBERS = ["0x500000", "0x4ae6000", "0xffff_ffff_ffff_ffff", "4096", "(1 << 63)", "0", "1", "u64::MAX", "N"]
_RUST = [
    *("pub const ", "static ", "ROOT_ZONE_MEMORY_REGIONS", "BOARD_PHYSMEM_LIST", "ROOT_ARCH_ZONE_CONFIG", ": T = "),
    *("&[", "[", "];", "HvConfigMemoryRegion { ", " },", "mem_type: MEM_TYPE_RAM, ", "mem_type: MEM_TYPE_IO, "),
    *("physical_start: ", "virtual_start: ", "size: ", "gicd_base: ", "gicd_size: ", "// ", "/* ", " */", "\n"),
    *(" as usize", " + ", " * ", " / ", " - ", " << ", "(", ")", ", ", "; 3]", "MemoryType::Normal", "NAME", ";"),
    *("PER_CPU_SIZE: usize = ", "HV_MEM_POOL_SIZE: usize = ", "BOARD_NCPUS: usize = ", "ROOT_ZONE_DTB_ADDR: u64 = "),
    *("#[cfg(x)]", "X { "),
    *_NUMBERS,
]
_JSON = [
    *('{"zone_id": 1, ', '"memory_regions": [', '{"type": "ram", ', '"physical_start": ', '"virtual_start": '),
    *('"size": ', '"0x1000"', '"0xffffffffffffffff"', "4096", "-1", "null", "true", "}", "]", ", ", "[", "{"),
    *('"arch_config": {', '"plic_base": ', '"plic_size": ', '"kernel_load_paddr": ', '"dtb_filepath": ""', "\n"),
    *('"\\u202e"', "1e400"),
]
_LINKER = [
    *("BASE", " = ", ". = ", "skernel", ";", "\n", "SECTIONS {", "}", "ALIGN(4K)", "/*", "*/", " + ", "<<", "(", ")"),
    *("~", *_NUMBERS),
]
_ANNOTATED = ["/ {", "\t", "a@1 {", "};", " /* f.dts:3:1-4:2 */", "\n", "p = <1>;", '"', "l: ", ", "]
_NODES = ["memory@0", "reserved-memory", "hvisor@500000", "soc", "a", "cpus"]
_PROPERTIES = ["reg", "ranges", "device_type", "status", "#address-cells", "#size-cells", "no-map", "reusable"]


def _expanded(data: bytes, pieces: list[str]) -> bytes:
    return b"".join(pieces[byte % len(pieces)].encode() if byte >= 128 else bytes([byte]) for byte in data)


def _blob(data: bytes) -> bytes:
    """A tree that libfdt writes, by the bytes: nodes, properties with cells, reservations."""
    tree = libfdt.FdtSw(size_hint=1 << 16)
    at, depth = 0, 0

    def byte() -> int:
        nonlocal at
        at += 1
        return data[at - 1] if at <= len(data) else 0

    for _ in range(byte() % 3):
        tree.add_reservemap_entry(byte() << 20, byte() << 56)
    tree.finish_reservemap()
    tree.begin_node("")
    while at < len(data):
        match byte() % 4:
            case 0 if depth < 5:
                tree.begin_node(_NODES[byte() % len(_NODES)])
                depth += 1
            case 1 if depth:
                tree.end_node()
                depth -= 1
            case 2:
                name = _PROPERTIES[byte() % len(_PROPERTIES)]
                value = {"device_type": b"memory\0", "status": b"okay\0", "no-map": b"", "reusable": b""}.get(name)
                cells = b"".join((byte() << (8 * (byte() % 4))).to_bytes(4, "big") for _ in range(byte() % 7))
                tree.property(name, cells if value is None else value)
            case 3:
                tree.property(_PROPERTIES[byte() % len(_PROPERTIES)], bytes(byte() for _ in range(byte() % 9)))
    for _ in range(depth + 1):
        tree.end_node()
    return bytes(tree.as_fdt().as_bytearray())


def _read_rust(data: bytes) -> MemoryMap:
    source = RustSource(_expanded(data, _RUST), "f")
    runtime_sizes(Constants((source,)))
    board = read_board(source)
    facts = BoardFacts(physical_memory=board.physical_memory, controllers=board.controllers, all_zones=True)
    _reported(_HYPERVISOR + board.map, facts)
    return board.map


def _read_tree(blob: bytes) -> MemoryMap:
    tree = read_device_tree(blob, "f")
    facts = BoardFacts(
        cells=tree.cells,
        has_reserved_memory=tree.has_reserved_memory,
        reserved_memory_fault=tree.reserved_memory_fault,
        ignored=tree.ignored,
    )
    _reported(_HYPERVISOR + tree.map, facts)
    return tree.map


def _read_json(data: bytes) -> MemoryMap:
    text = _expanded(data, _JSON).decode("utf-8", "replace")
    is_zone_config(text)
    return MemoryMap(read_zone_config(text, "f").regions)


def _reported(memory: MemoryMap, facts: BoardFacts) -> None:
    checked = Checked((check_rules("b", memory, facts),))
    for report in REPORTS.values():
        report(checked)
    to_sarif(checked, Path("/"))


_READERS: list[Callable[[bytes], object]] = [
    _read_rust,
    lambda data: _read_tree(_blob(data)),
    _read_tree,
    _read_json,
    lambda data: read_linked_start(_expanded(data, _LINKER).decode("utf-8", "replace"), "f"),
    lambda data: read_uimage(data, "f"),
    lambda data: read_link_addresses(io.BytesIO(data), "f"),
    lambda data: node_lines(_expanded(data, _ANNOTATED).decode("utf-8", "replace")),
]


def check(data: bytes) -> None:
    """Raise what a reader raises, unless it is a UsageError that names the file."""
    if not data:
        return
    said = "f"
    found: object = None
    try:
        found = _READERS[data[0] % len(_READERS)](data[1:])
    except UsageError as error:
        said = error.message
    assert said.startswith("f"), said
    if isinstance(found, MemoryMap) and found.regions:
        _reported(_HYPERVISOR + found, BoardFacts(all_zones=True))


def main() -> None:
    """libFuzzer's loop."""
    atheris.Setup(sys.argv, check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
