/* The pool, the zone's stage-2 tables and region list in it, and accesses to what the zone may not touch itself. */
#include "standin.h"

#define PAGE 0x1000UL
#define ENTRIES (PAGE / sizeof(u64))
#define TABLE 3UL
#define BLOCK 1UL
#define ACCESS_FLAG (1UL << 10)
#define READ_WRITE (3UL << 6)
#define INNER_SHAREABLE (3UL << 8)
#define NORMAL (0xfUL << 2 | INNER_SHAREABLE)
#define DEVICE (0x1UL << 2)
#define ADDRESS_MASK 0xfffffff000UL

/* 40-bit guest addresses walked from level 1: 1024 entries, two tables side by side (VTCR_EL2: RES1, 40-bit
   output, inner shareable, write-back walks, start level 1, T0SZ 24). */
#define ROOT_SIZE (2 * PAGE)
#define VTCR (1UL << 31 | 2UL << 16 | 3UL << 12 | 1UL << 10 | 1UL << 8 | 1UL << 6 | 24)

/* The GIC's distributor: trapped, as in hvisor, and carried out here. Everything else of the GIC is the zone's. */
#define GICD_START 0x08000000UL
#define GICD_SIZE 0x10000UL

enum kind { NONE, RAM, IO, TRAPPED };

struct region {
    u64 kind, start, size;
};

/* RAM as zone 0's memory node gives it, then what QEMU's virt machine has besides: everything below 1 GiB,
   PCIe's configuration space, PCIe's high window. */
static const struct region zone0[] = {
    {RAM, ZONE_LOW_START, ZONE_LOW_SIZE},
    {RAM, ZONE_HIGH_START, ZONE_HIGH_SIZE},
    {IO, 0, GICD_START},
    {TRAPPED, GICD_START, GICD_SIZE},
    {IO, GICD_START + GICD_SIZE, 0x40000000 - GICD_START - GICD_SIZE},
    {IO, 0x4010000000, 0x10000000},
    {IO, 0x8000000000, 0x8000000000},
};
#define REGIONS (sizeof zone0 / sizeof *zone0)

/* hvisor's flags, for the log: read, write, execute, I/O; none where every access is trapped. */
static const u64 flags[] = {[RAM] = 0x7, [IO] = 0x17, [TRAPPED] = 0};

static u64 next_frame = POOL_START;
static u64 *root;
static struct region *regions; /* REGIONS of them, in the pool */

static void *allocate(u64 size, u64 alignment)
{
    u64 start = (next_frame + alignment - 1) & ~(alignment - 1);
    next_frame = start + size;
    for (u64 *word = (u64 *)start; word < (u64 *)next_frame; word++)
        *word = 0;
    return (void *)start;
}

static u64 *next_table(u64 *entry)
{
    if (!*entry)
        *entry = (u64)allocate(PAGE, PAGE) | TABLE;
    return (u64 *)(*entry & ADDRESS_MASK);
}

/* Map [start, end) to itself with the largest blocks that fit. */
static void map(u64 start, u64 end, u64 attributes)
{
    for (u64 size; start < end; start += size) {
        int shift = 30;
        u64 *entry = &root[start >> shift];
        while (start & ((1UL << shift) - 1) || end - start < 1UL << shift) {
            shift -= 9;
            entry = &next_table(entry)[start >> shift & (ENTRIES - 1)];
        }
        size = 1UL << shift;
        *entry = start | attributes | READ_WRITE | ACCESS_FLAG | (size == PAGE ? TABLE : BLOCK);
    }
}

void build_zone(void)
{
    root = allocate(ROOT_SIZE, ROOT_SIZE);
    regions = allocate(PAGE, PAGE);
    for (u64 i = 0; i < REGIONS; i++) {
        u64 start = zone0[i].start, size = zone0[i].size;
        regions[i] = zone0[i];
        if (zone0[i].kind != TRAPPED)
            map(start, start + size, zone0[i].kind == RAM ? NORMAL : DEVICE);
        record(INFO, "hvisor::memory::mm:112", "region.start: %x, size: %x, flags: %x", start, size, flags[zone0[i].kind]);
    }
    record(INFO, "hvisor::arch::aarch64::zone:59", "VM stage 2 page_table_root: %x, tables and regions: %x..%x",
           (u64)root, (u64)POOL_START, next_frame);
}

void enter_stage2(void)
{
    write_register(vtcr_el2, VTCR);
    write_register(vttbr_el2, (u64)root);
    asm volatile("dsb ish; isb; tlbi vmalls12e1is; dsb ish; isb" : : : "memory");
}

/* Carry out the guest's trapped access to `address`. 0: the region list has no device there, or the syndrome
   does not say which register is meant; nothing was done. */
int emulate_access(u64 address, u64 syndrome, struct guest *guest)
{
    const struct region *region = regions;
    while (region < regions + REGIONS && (region->kind != TRAPPED || address - region->start >= region->size))
        region++;
    if (region == regions + REGIONS || !(syndrome >> 24 & 1))
        return 0;
    u64 size = syndrome >> 22 & 3, number = syndrome >> 16 & 31, value = number < 31 ? guest->x[number] : 0;
    if (syndrome >> 6 & 1) {
        switch (size) {
        case 0: *(volatile u8 *)address = value; break;
        case 1: *(volatile u16 *)address = value; break;
        case 2: *(volatile u32 *)address = value; break;
        case 3: *(volatile u64 *)address = value; break;
        }
        return 1;
    }
    switch (size) {
    case 0: value = *(volatile u8 *)address; break;
    case 1: value = *(volatile u16 *)address; break;
    case 2: value = *(volatile u32 *)address; break;
    case 3: value = *(volatile u64 *)address; break;
    }
    if (number < 31)
        guest->x[number] = value;
    return 1;
}
