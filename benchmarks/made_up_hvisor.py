"""A made-up tree of hvisor's shape: 18 boards of four architectures, each written in another way, all of them clean.

The shapes are hvisor's (`platform/ARCH/BOARD/...`, arrays and slices, several names for zone 0's tree, alternative
zones, virtio backends' JSON); names and numbers are made up. Tests break one thing at a time; a benchmark measures the
whole.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

CPUS = 8
PER_CPU = 512 << 10
POOL = 64 << 20
RUNTIME = CPUS * PER_CPU + POOL
BINARY_ALLOWANCE = 4 << 20
GRID = 2 << 20
RAM = 0x8000_0000

CONSTS = f"""// Made up.
pub const HV_HEAP_SIZE: usize = 1024 * 1024;
/* pub const HV_MEM_POOL_SIZE: usize = 16 * 1024 * 1024; */
pub const HV_MEM_POOL_SIZE: usize = 64 * 1024 * 1024;
pub const PER_CPU_SIZE: usize = 512 * 1024; // {PER_CPU} bytes
pub const MAX_CPU_NUM: usize = BOARD_NCPUS;
"""


@dataclass(frozen=True)
class MadeUpBoard:
    """How one board is written. base: of its memory; linked: where the hypervisor is linked.

    number: how board.rs writes a number. table: `array` or `slice`. tree: zone 0's file. cells: of its root.
    """

    name: str
    base: int = 0x4000_0000
    linked: int = 0x4040_0000
    number: Callable[[int], str] = hex
    table: str = "slice"
    tree: str = "zone0.dts"
    cells: int = 2
    includes: bool = False
    makefile: bool = False

    @property
    def start(self) -> int:
        """The hypervisor's physical start."""
        if self.name.startswith("x86_64"):
            return self.linked - 0xFFFF_FF80_0000_0000
        return self.linked & ((1 << 48) - 1)

    @property
    def reserved(self) -> tuple[int, int]:
        """Start and end of what is kept for the hypervisor."""
        return self.start, self.start + -(-(RUNTIME + BINARY_ALLOWANCE) // GRID) * GRID

    @property
    def zone1(self) -> tuple[int, int]:
        """Start and end of zone 1's RAM."""
        return self.base + 0x4000_0000, self.base + 0x5000_0000


def underscored(value: int) -> str:
    """`0x4000_0000`."""
    digits = f"{value:x}"
    groups = [digits[max(at - 4, 0) : at] for at in range(len(digits), 0, -4)]
    return "0x" + "_".join(reversed(groups))


def decimal(value: int) -> str:
    """`1073741824u64 as usize as u64`."""
    return f"{value}u64 as usize as u64" if value else "0"


def summed(value: int) -> str:
    """`(1 << 30) + 0x1000`."""
    high = 1 << max(value.bit_length() - 1, 0)
    return f"((1 << {value.bit_length() - 1}) + {value - high:#x})" if value else "0x0"


BOARDS = (
    MadeUpBoard("aarch64/alder", 0x0, 0x0050_0000),
    MadeUpBoard("aarch64/birch", number=underscored, table="array"),
    MadeUpBoard("aarch64/cedar", number=decimal, tree="cedar_limit_zone0.dts"),
    MadeUpBoard("aarch64/elder", number=summed, includes=True),
    MadeUpBoard("aarch64/fir", tree="fir-root.dts", makefile=True, table="array"),
    MadeUpBoard("aarch64/hazel", tree="linux1.dts"),
    MadeUpBoard("aarch64/larch", 0x8000_0000, 0x9010_0000, number=underscored),
    MadeUpBoard("aarch64/maple", cells=1, number=underscored, table="array"),
    MadeUpBoard("aarch64/oak", includes=True, number=summed, table="array"),
    MadeUpBoard("aarch64/pine"),
    MadeUpBoard("aarch64/rowan", number=decimal),
    MadeUpBoard("riscv64/spruce", 0x8000_0000, 0x8020_0000),
    MadeUpBoard("riscv64/willow", 0x8000_0000, 0x8020_0000, number=underscored, table="array"),
    MadeUpBoard("riscv64/yew", 0x8000_0000, 0x8020_0000, tree="yew-zone0.dts"),
    MadeUpBoard("loongarch64/ash", 0x1_0000_0000, 0x9000_0001_0001_0000),
    MadeUpBoard("loongarch64/beech", 0x1_8000_0000, 0x9000_0001_F000_0000, number=underscored, table="array"),
    MadeUpBoard("x86_64/poplar", 0x0, 0xFFFF_FF80_0020_0000),
    MadeUpBoard("x86_64/walnut", 0x0, 0xFFFF_FF80_0020_0000, number=underscored, table="array"),
)


def write_tree(root: Path, devices: int = 150) -> None:
    """Write the tree; each device tree gets so many devices."""
    (root / "src").mkdir(parents=True)
    (root / "src" / "consts.rs").write_text(CONSTS)
    for board in BOARDS:
        folder = root / "platform" / board.name
        (folder / "configs").mkdir(parents=True)
        (folder / "board.rs").write_text(board_rs(board))
        (folder / "linker.ld").write_text(linker_ld(board))
        for name in ("zone1-linux.json", "zone1-rtos.json"):
            (folder / "configs" / name).write_text(zone_json(board))
        (folder / "configs" / "virtio.json").write_text('{"zones": [{"id": 1, "memory_region": []}]}\n')
        if board.name.startswith("x86_64"):
            continue
        dts = folder / "image" / "dts"
        dts.mkdir(parents=True)
        (dts / board.tree).write_text(zone0_dts(board, devices))
        (dts / "zone1-linux.dts").write_text(zone1_dts(board))
        if board.includes:
            (dts / "made-up.h").write_text(f"#define BASE {board.base:#x}\n#define SIZE {RAM:#x}\n")
        if board.makefile:
            stem = board.tree.removesuffix(".dts")
            (folder / "platform.mk").write_text(
                f"# zone0_dtb := x/old.dtb\nzone0_dtb    := $(image_dir)/dts/{stem}.dtb\n"
            )


def board_rs(board: MadeUpBoard) -> str:
    """`board.rs`."""
    n = board.number
    moved = 0x500_0000 if board.name.startswith("x86_64") else 0
    low, high = board.reserved
    if moved:
        ram = [(moved, 0, RAM // 2 - moved)]
    else:
        ram = [(board.base, board.base, low - board.base), (high, high, board.base + RAM - high)]
    entries = [
        f"    HvConfigMemoryRegion {{ mem_type: MEM_TYPE_RAM, physical_start: {n(start)}, virtual_start: {n(guest)}, "
        f"size: {n(size)} }},"
        for start, guest, size in ram
        if size
    ]
    entries.append("    SERIAL, // by name")
    entries.append(
        f"    // HvConfigMemoryRegion {{ mem_type: MEM_TYPE_RAM, physical_start: {n(low)}, virtual_start: {n(low)}, "
        f"size: {n(0x1000)} }},"
    )
    entries.append(
        "    /* HvConfigMemoryRegion { mem_type: MEM_TYPE_RAM, physical_start: 0, virtual_start: 0, size: 1 }, */"
    )
    count = len([entry for entry in entries if entry.lstrip().startswith(("Hv", "SERIAL"))])
    kind = f"[HvConfigMemoryRegion; {count}]" if board.table == "array" else "&[HvConfigMemoryRegion]"
    mark = "" if board.table == "array" else "&"
    controller = {
        "aarch64": "gic_config: GicConfig::Gicv2(Gicv2Config { gicd_base: 0xF_F100_0000, gicd_size: 0x1_0000 })",
        "riscv64": "plic_base: 0xc00_0000, plic_size: 0x400_0000",
        "loongarch64": "dummy: 0",
        "x86_64": "ioapic_base: IOAPIC, ioapic_size: 0x1000",
    }[board.name.partition("/")[0]]
    dtb = 0 if moved else board.base + 0xF00_0000
    joined = "\n".join(entries)
    return f"""// Made up.
use crate::{{arch::zone::HvArchZoneConfig, config::*}};

pub const BOARD_NAME: &str = "{board.name.partition("/")[2]}";
pub const BOARD_NCPUS: usize = {CPUS};
pub const IOAPIC: usize = 0xfec0_0000;

#[rustfmt::skip]
pub const BOARD_PHYSMEM_LIST: &[(u64, u64, MemoryType)] = &[
    ({n(board.base)}, {n(board.base + RAM)}, MemoryType::Normal),
    ({n(board.base + RAM)}, {n(board.base + RAM + 0x1000_0000)}, MemoryType::Device),
];

pub const ROOT_ZONE_DTB_ADDR: u64 = {n(dtb)};
pub const ROOT_ZONE_KERNEL_ADDR: u64 = {n(board.base + 0x2000_0000)};

const SERIAL: HvConfigMemoryRegion = HvConfigMemoryRegion {{
    mem_type: MEM_TYPE_IO,
    physical_start: {n(0xF_F000_0000)},
    virtual_start: {n(0xF_F000_0000)},
    size: 4 * 1024,
}};

pub const ROOT_ZONE_MEMORY_REGIONS: {kind} = {mark}[
{joined}
];

pub const ROOT_ARCH_ZONE_CONFIG: HvArchZoneConfig = HvArchZoneConfig {{ {controller} }};
"""


def linker_ld(board: MadeUpBoard) -> str:
    """`linker.ld`."""
    return f"""ENTRY(arch_entry)
/* BASE_ADDRESS = 0x1000; */
BASE_ADDRESS = {board.linked:#x};

SECTIONS
{{
    . = BASE_ADDRESS;
    skernel = .;
    .text : {{ *(.text.entry) *(.text .text.*) }}
    . = ALIGN(4K);
    __core_end = .;
}}
__hv_end = __core_end + HV_EXTENDED_SIZE;
"""


def zone_json(board: MadeUpBoard) -> str:
    """A zone 1."""
    start, end = board.zone1
    region = {"type": "ram", "physical_start": hex(start), "virtual_start": hex(start), "size": hex(end - start)}
    virtio = {"type": "virtio", "physical_start": "0xff9d0000", "virtual_start": "0xff9d0000", "size": "0x1000"}
    zone = {
        "name": "linux2",
        "zone_id": 1,
        "memory_regions": [region, virtio],
        "kernel_filepath": "./Image",
        "dtb_filepath": "./zone1-linux.dtb",
        "dtb_load_paddr": hex(start),
        "kernel_load_paddr": hex(start + 0x40_0000),
        "arch_config": {},
    }
    return json.dumps(zone, indent="\t") + "\n"


def zone1_dts(board: MadeUpBoard) -> str:
    """Zone 1's device tree."""
    start, end = board.zone1
    return f"""/dts-v1/;

/ {{
\t#address-cells = <2>;
\t#size-cells = <2>;

\tmemory@{start:x} {{
\t\tdevice_type = "memory";
\t\treg = <{start >> 32:#x} {start & 0xFFFF_FFFF:#x} 0x0 {end - start:#x}>;
\t}};
}};
"""


def zone0_dts(board: MadeUpBoard, devices: int) -> str:
    """Zone 0's device tree, with so many devices."""

    def cells(*values: int) -> str:
        high = [f"{value >> 32:#x} {value & 0xFFFF_FFFF:#x}" for value in values]
        return " ".join(high if board.cells == 2 else map(hex, values))

    size = cells(board.base, RAM)
    if board.includes:
        size = "0x0 BASE 0x0 SIZE"
    low, high = board.reserved
    start, end = board.zone1
    nodes = "\n".join(
        f"""\t\tserial@{at:x} {{
\t\t\tcompatible = "made-up,serial";
\t\t\treg = <{at:#x} 0x1000>;
\t\t\tinterrupts = <0 {at & 0xFF} 4>;
\t\t\tstatus = "okay";
\t\t}};"""
        for at in range(0, devices * 0x1000, 0x1000)
    )
    head = '#include "made-up.h"\n' if board.includes else ""
    return f"""/dts-v1/;
{head}
/ {{
\t#address-cells = <{board.cells}>;
\t#size-cells = <{board.cells}>;
\tmodel = "made up {{ }}; // no comment";

\tmemory@{board.base:x} {{
\t\tdevice_type = "memory";
\t\treg = <{size}>;
\t}};

\treserved-memory {{
\t\t#address-cells = <{board.cells}>;
\t\t#size-cells = <{board.cells}>;
\t\tranges;

\t\thvisor@{low:x} {{
\t\t\tno-map;
\t\t\treg = <{cells(low, high - low)}>;
\t\t}};

\t\tnonroot@{start:x} {{
\t\t\tno-map;
\t\t\treg = <{cells(start, end - start)}>;
\t\t}};
\t}};

\tsoc {{
\t\tcompatible = "simple-bus";
\t\t#address-cells = <1>;
\t\t#size-cells = <1>;
\t\tranges = <0x0 {cells(0xFE00_0000)} 0x1000000>;
{nodes}
\t}};
}};
"""


if __name__ == "__main__":
    write_tree(Path(sys.argv[1]))
