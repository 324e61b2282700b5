// Made up for these tests: the names and sizes of hvisor's src/consts.rs. Not hvisor's file.

pub use crate::memory::PAGE_SIZE;

pub const HV_HEAP_SIZE: usize = 1024 * 1024; // 1 MiB
pub const HV_MEM_POOL_SIZE: usize = 64 * 1024 * 1024;
pub const PER_CPU_SIZE: usize = 512 * 1024;
pub const PER_CPU_ARRAY_PTR: *mut VirtAddr = __core_end as _;
pub const INVALID_ADDRESS: usize = usize::MAX;
pub const MAX_CPU_NUM: usize = BOARD_NCPUS;

pub fn hv_end() -> VirtAddr {
    mem_pool_start() + HV_MEM_POOL_SIZE
}
