// Made up for these tests: the shape of an hvisor board.rs, with the numbers that hvisor publishes for
// the sysoul-x3300. Not hvisor's file.

use crate::config::*;

pub const BOARD_NAME: &str = "sysoul-x3300";
pub const BOARD_NCPUS: usize = 8;

#[rustfmt::skip]
pub const BOARD_PHYSMEM_LIST: &[(u64, u64, MemoryType)] = &[
    //        start,            end, type
    (  0x0000_0000,   0x0020_0000, MemoryType::Device),
    (  0x0020_0000,   0x0840_0000, MemoryType::Normal),
    (  0x0940_0000,   0xf000_0000, MemoryType::Normal),
    (  0xf000_0000, 0x1_0000_0000, MemoryType::Device),
    (0x1_0000_0000, 0x3_fc00_0000, MemoryType::Normal),
 // (0x3_fc50_0000, 0x3_fff0_0000, MemoryType::Normal),
    (0x3_fc40_0000, 0x4_0000_0000, MemoryType::Normal),
    (0x4_f000_0000, 0x5_0000_0000, MemoryType::Normal),
];

pub const ROOT_ZONE_DTB_ADDR: u64 = 0x1000_0000;
pub const ROOT_ZONE_KERNEL_ADDR: u64 = 0x1040_0000;
pub const ROOT_ZONE_CPUS: u64 = (1 << 2) - 1;

pub const ROOT_ZONE_MEMORY_REGIONS: &[HvConfigMemoryRegion] = &[
    HvConfigMemoryRegion { mem_type: MEM_TYPE_RAM, physical_start: 0x0020_0000, virtual_start: 0x0020_0000, size: 0x0820_0000 },
    // HvConfigMemoryRegion { mem_type: MEM_TYPE_RAM, physical_start: 0x0940_0000, virtual_start: 0x0940_0000, size: 0xe6c0_0000 },
    HvConfigMemoryRegion { mem_type: MEM_TYPE_RAM, physical_start: 0x0940_0000, virtual_start: 0x0940_0000, size: 0x06c0_0000 },
    HvConfigMemoryRegion { mem_type: MEM_TYPE_RAM, physical_start: 0x1000_0000, virtual_start: 0x1000_0000, size: 0x1000_0000 },
    HvConfigMemoryRegion { mem_type: MEM_TYPE_RAM, physical_start: 0x2000_0000, virtual_start: 0x2000_0000, size: 0x8000_0000 },
    HvConfigMemoryRegion { mem_type: MEM_TYPE_RAM, physical_start: 0xa000_0000, virtual_start: 0xa000_0000, size: 0x5000_0000 },
    HvConfigMemoryRegion { mem_type: MEM_TYPE_RAM, physical_start: 0x1_0000_0000, virtual_start: 0x1_0000_0000, size: 0x2_fc00_0000 },
    HvConfigMemoryRegion { mem_type: MEM_TYPE_RAM, physical_start: 0x3_fc50_0000, virtual_start: 0x3_fc50_0000, size: 0x03a0_0000 },
    HvConfigMemoryRegion { mem_type: MEM_TYPE_RAM, physical_start: 0x4_f000_0000, virtual_start: 0x4_f000_0000, size: 0x1000_0000 },
    HvConfigMemoryRegion { mem_type: MEM_TYPE_RAM, physical_start: 0x0011_0000, virtual_start: 0x0011_0000, size: 0x000f_0000 },
    HvConfigMemoryRegion { mem_type: MEM_TYPE_IO, physical_start: 0xfb00_0000, virtual_start: 0xfb00_0000, size: 0x0020_0000 },
    HvConfigMemoryRegion { mem_type: MEM_TYPE_IO, physical_start: 0xfc00_0000, virtual_start: 0xfc00_0000, size: 0x0200_0000 },
    HvConfigMemoryRegion { mem_type: MEM_TYPE_IO, physical_start: 0xfe00_0000, virtual_start: 0xfe00_0000, size: 0x0060_0000 },
    HvConfigMemoryRegion { mem_type: MEM_TYPE_IO, physical_start: 0xfea0_0000, virtual_start: 0xfea0_0000, size: 0x0050_0000 },
    HvConfigMemoryRegion { mem_type: MEM_TYPE_IO, physical_start: 0x0010_f000, virtual_start: 0x0010_f000, size: 0x1000 },
    HvConfigMemoryRegion { mem_type: MEM_TYPE_IO, physical_start: 0xff00_1000, virtual_start: 0xff00_1000, size: 0x000e_e000 },
    HvConfigMemoryRegion { mem_type: MEM_TYPE_IO, physical_start: 0x0010_0000, virtual_start: 0x0010_0000, size: 0xf000 },
];
