/* The stand-in hypervisor: what its parts know of each other. */
#pragma once

/* The build defines, as plain numbers: LOAD_ADDRESS, CORE_END, POOL_START, HV_END, CPUS, ZONE_KERNEL, ZONE_DTB,
   ZONE_LOW_START, ZONE_LOW_SIZE, ZONE_HIGH_START, ZONE_HIGH_SIZE. */
#define PER_CPU_SHIFT 19
#define PER_CPU_SIZE (1UL << PER_CPU_SHIFT)

#ifndef __ASSEMBLER__

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;

#define read_register(name) ({ u64 value_; asm volatile("mrs %0, " #name : "=r"(value_)); value_; })
#define write_register(name, value) asm volatile("msr " #name ", %0" : : "r"((u64)(value)))

/* The bottom of a CPU's area at CORE_END + cpu * PER_CPU_SIZE; its stack grows down from the area's top. */
struct per_cpu {
    u64 id;
    volatile u64 is_on;   /* Linux has started it */
    volatile u64 entry;   /* where Linux wants it, 0 while it is parked */
    volatile u64 context; /* Linux's x0 */
};

/* The guest's x0 - x30, as entry.S stores them. */
struct guest {
    u64 x[31];
};

/* console.c */
enum level { INFO, WARN, ERROR };
void print(const char *format, ...);
void record(enum level level, const char *target, const char *format, ...);

/* memory.c */
void build_zone(void);
void enter_stage2(void);
int emulate_access(u64 address, u64 syndrome, struct guest *guest);

/* main.c */
struct per_cpu *this_cpu(void);

/* entry.S */
extern char vectors[];
void secondary_entry(void);
_Noreturn void enter_guest(u64 entry, u64 context);
u64 call_firmware(u64 function, u64 a, u64 b, u64 c);
_Noreturn void stop(void);

#endif
