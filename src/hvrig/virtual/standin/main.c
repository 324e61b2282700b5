/* Boot, PSCI for the zone, and the reports when the zone does what it may not. */
#include "standin.h"

/* Exception classes (ESR_EL2.EC). */
#define FROM_SMC 0x17
#define GUEST_INSTRUCTION_ABORT 0x20
#define OWN_INSTRUCTION_ABORT 0x21
#define GUEST_DATA_ABORT 0x24
#define OWN_DATA_ABORT 0x25

/* PSCI 1.1 functions and results (Arm DEN 0022). */
#define CPU_OFF 0x84000002UL
#define CPU_ON 0xc4000003UL
#define AFFINITY_INFO 0xc4000004UL
#define SUCCESS 0
#define INVALID_PARAMETERS (-2)
#define ALREADY_ON (-4)

#define AFFINITY_MASK 0xff00ffffffUL

/* HCR_EL2: EL1 is AArch64, SMC is trapped, stage 2 is on. CPTR_EL2: RES1 bits only, nothing is trapped. */
#define HCR (1UL << 31 | 1UL << 19 | 1UL)
#define CPTR 0x33ffUL
/* SCTLR_EL1 and _EL2: RES1 bits, MMU and caches off. */
#define SCTLR_EL1_OFF 0x30d00800UL
#define SCTLR_EL2_OFF 0x30c50830UL

static u64 board_dtb;
static u64 arrivals;

static struct per_cpu *cpu_area(u64 cpu)
{
    return (struct per_cpu *)(CORE_END + cpu * PER_CPU_SIZE);
}

struct per_cpu *this_cpu(void)
{
    return cpu_area(read_register(tpidr_el2));
}

static void announce(u64 cpu)
{
    struct per_cpu *area = cpu_area(cpu);
    write_register(tpidr_el2, cpu);
    write_register(sctlr_el2, SCTLR_EL2_OFF);
    write_register(vbar_el2, (u64)vectors);
    print("Hello, start HVISOR at %x!\n", (u64)LOAD_ADDRESS);
    area->id = cpu;
    area->is_on = area->entry = area->context = 0;
    print("Booting CPU %d: %x arch:%x, DTB: %x\n", cpu, (u64)area, (u64)&area->entry, board_dtb);
}

/* Returns when every CPU has called it for this round, counted from 1. */
static void wait_for_all(u64 round)
{
    __atomic_fetch_add(&arrivals, 1, __ATOMIC_ACQ_REL);
    while (__atomic_load_n(&arrivals, __ATOMIC_ACQUIRE) < round * CPUS)
        ;
}

/* What EL2 decides about EL1 on this CPU: the zone sees the real CPU, timer and GIC interface. */
static void prepare_guest_state(void)
{
    write_register(hcr_el2, HCR);
    write_register(cptr_el2, CPTR);
    write_register(hstr_el2, 0);
    write_register(vpidr_el2, read_register(midr_el1));
    write_register(vmpidr_el2, read_register(mpidr_el1));
    write_register(cnthctl_el2, 3);
    write_register(cntvoff_el2, 0);
    write_register(S3_4_C12_C9_5, 0xf); /* ICC_SRE_EL2: system registers, and EL1 may use them */
    asm volatile("isb");
    write_register(S3_4_C12_C11_0, 0); /* ICH_HCR_EL2: no virtual interrupts */
    enter_stage2();
}

/* Wait until Linux asks for this CPU, then go where it says. */
static _Noreturn void run_guest(void)
{
    struct per_cpu *area = this_cpu();
    while (!area->entry)
        asm volatile("wfe");
    u64 entry = area->entry, context = area->context;
    area->entry = 0;
    write_register(sctlr_el1, SCTLR_EL1_OFF);
    record(INFO, "hvisor::arch::aarch64::cpu:202", "cpu %d started at %x", area->id, entry);
    enter_guest(entry, context);
}

_Noreturn void secondary_main(u64 cpu)
{
    announce(cpu);
    print("Secondary CPU %d has entered.\n", cpu);
    wait_for_all(1);
    wait_for_all(2); /* the zone is built */
    prepare_guest_state();
    record(INFO, "hvisor::cpu_data:74", "CPU%d: Idling the CPU before starting VM...", cpu);
    run_guest();
}

_Noreturn void primary_main(u64 cpu, u64 dtb)
{
    board_dtb = dtb;
    announce(cpu);
    for (u64 other = 1; other < CPUS; other++) {
        long result = call_firmware(CPU_ON, other, (u64)secondary_entry, other);
        if (result != SUCCESS) {
            print("PSCI CPU_ON of CPU %d failed: -%d\n", other, (u64)-result);
            stop();
        }
    }
    print("Primary CPU %d has entered.\n", cpu);
    wait_for_all(1);
    record(INFO, "hvisor:114", "Logging is enabled.");
    record(INFO, "hvisor:115", "__core_end = %x", (u64)CORE_END);
    record(INFO, "hvisor:116", "mem_pool_start = %x", (u64)POOL_START);
    record(INFO, "hvisor:117", "hv_end = %x", (u64)HV_END);
    record(INFO, "hvisor:120", "Hypervisor initialization in progress...");
    record(INFO, "hvisor:121", "build_mode: standin, log_level: info, arch: aarch64, stats: off");
    build_zone();
    wait_for_all(2);
    prepare_guest_state();
    record(INFO, "hvisor:161", "Primary CPU init late...");
    record(INFO, "hvisor::cpu_data:77", "CPU%d: Running the VM...", cpu);
    this_cpu()->is_on = 1;
    this_cpu()->context = ZONE_DTB;
    this_cpu()->entry = ZONE_KERNEL;
    run_guest();
}

static long start_cpu(u64 affinity, u64 entry, u64 context)
{
    affinity &= AFFINITY_MASK;
    if (affinity >= CPUS)
        return INVALID_PARAMETERS;
    struct per_cpu *area = cpu_area(affinity);
    if (area->is_on)
        return ALREADY_ON;
    area->is_on = 1;
    area->context = context;
    area->entry = entry;
    asm volatile("dsb ish; sev");
    return SUCCESS;
}

/* PSCI's CPU functions are ours, since CPUs must wake in EL2; all else is the machine's, so that `poweroff` and
   `reboot` work. */
static void handle_smc(struct guest *guest)
{
    write_register(elr_el2, read_register(elr_el2) + 4);
    switch (guest->x[0]) {
    case CPU_ON:
        guest->x[0] = start_cpu(guest->x[1], guest->x[2], guest->x[3]);
        break;
    case AFFINITY_INFO:
        guest->x[0] = (guest->x[1] & AFFINITY_MASK) < CPUS ? !cpu_area(guest->x[1] & AFFINITY_MASK)->is_on
                                                            : (u64)INVALID_PARAMETERS;
        break;
    case CPU_OFF:
        this_cpu()->is_on = 0;
        run_guest();
    default:
        guest->x[0] = call_firmware(guest->x[0], guest->x[1], guest->x[2], guest->x[3]);
    }
}

/* hvisor's report of an access that no device answers, and its panic. Size, direction and value are taken from the
   syndrome as hvisor does: where it is not valid (cache operations, pairs) they read 0x1 and x0. */
static _Noreturn void report_unhandled(u64 address, u64 syndrome, const struct guest *guest)
{
    int is_write = syndrome >> 6 & 1;
    u64 number = syndrome >> 16 & 31;
    record(WARN, "hvisor::memory::mmio:109",
           "Zone 0 unhandled mmio fault MMIOAccess {\n"
           "    address: %x,\n"
           "    size: %x,\n"
           "    is_write: %s,\n"
           "    value: %x,\n"
           "}",
           address, 1UL << (syndrome >> 22 & 3), is_write ? "true" : "false",
           is_write && number < 31 ? guest->x[number] : 0);
    record(ERROR, "hvisor::arch::aarch64::trap:251",
           "mmio_handle_access: [src/memory/mmio.rs:110:13] Invalid argument");
    record(ERROR, "hvisor::panic:24",
           "panic occurred: PanicInfo {\n"
           "    message: root zone has some error,\n"
           "    location: Location {\n"
           "        file: \"src/zone.rs\",\n"
           "        line: 407,\n"
           "        col: 9,\n"
           "    },\n"
           "    can_unwind: true,\n"
           "    force_no_backtrace: false,\n"
           "}");
    stop();
}

void handle_guest(struct guest *guest)
{
    u64 syndrome = read_register(esr_el2), class = syndrome >> 26 & 0x3f;
    u64 address = (read_register(hpfar_el2) & ~0xfUL) << 8 | (read_register(far_el2) & 0xfff);
    switch (class) {
    case FROM_SMC:
        handle_smc(guest);
        return;
    case GUEST_DATA_ABORT:
        if (!emulate_access(address, syndrome, guest))
            report_unhandled(address, syndrome, guest);
        write_register(elr_el2, read_register(elr_el2) + 4);
        return;
    case GUEST_INSTRUCTION_ABORT:
        record(ERROR, "hvisor::arch::aarch64::trap:211", "Failed to fetch instruction (op=%d) at %x, ELR_EL2=%x!",
               syndrome >> 6 & 1, address, read_register(elr_el2));
        stop();
    default:
        record(ERROR, "hvisor::arch::aarch64::trap:150", "Unsupported Exception EC:%x!", class);
        record(ERROR, "hvisor::arch::aarch64::trap:154", "esr_el2: iss %x", syndrome & 0x1ffffff);
        stop();
    }
}

_Noreturn void handle_own(void)
{
    u64 syndrome = read_register(esr_el2), class = syndrome >> 26 & 0x3f;
    u64 return_address = read_register(elr_el2), address = read_register(far_el2);
    if (class == OWN_DATA_ABORT || class == OWN_INSTRUCTION_ABORT)
        print("EL2 Exception: %s Abort, ELR_EL2: %x, ESR_EL2: %x, FAR_EL2: %x\n",
              class == OWN_DATA_ABORT ? "Data" : "Instruction", return_address, syndrome, address);
    else
        print("Unhandled EL2 Exception: EC=%x ELR=%x ESR=%x FAR=%x\n", class, return_address, syndrome, address);
    stop();
}
