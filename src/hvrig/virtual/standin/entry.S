/* The ways into EL2 and out of it: reset, secondary CPUs, exceptions, the guest's first instruction. */
#include "standin.h"

/* sp := the top of CPU x0's area. Clobbers x1 and x2. */
.macro set_stack
    add     x1, x0, #1
    lsl     x1, x1, #PER_CPU_SHIFT
    ldr     x2, =CORE_END
    add     x1, x1, x2
    mov     sp, x1
.endm

/* U-Boot enters with the MMU off, x0 = the board's device tree. */
    .section .text.entry, "ax"
    .global _start
_start:
    mov     x19, x0
    mov     x0, #0
    set_stack
    mov     x1, x19
    b       primary_main

/* PSCI enters with the MMU off, x0 = the CPU's number. */
    .global secondary_entry
secondary_entry:
    set_stack
    b       secondary_main

/* enter_guest(entry, context): to EL1 with interrupts masked, as PSCI and the arm64 boot protocol ask.
   The stack is dropped: a later exception starts at its top. */
    .global enter_guest
enter_guest:
    msr     elr_el2, x0
    mov     x3, #0x3c5              /* EL1h, DAIF masked */
    msr     spsr_el2, x3
    mov     x4, x1
    mrs     x0, tpidr_el2
    set_stack
    mov     x0, x4
    mov     x1, xzr
    mov     x2, xzr
    mov     x3, xzr
    eret

/* call_firmware(function, a, b, c): an SMC to the machine's PSCI. */
    .global call_firmware
call_firmware:
    smc     #0
    ret

/* This CPU does nothing any more, as hvisor's does after a panic. With its interrupt interface shut
   (ICC_IGRPEN1_EL1), nothing wakes it, and the machine that plays it has nothing to do. */
    .global stop
stop:
    msr     daifset, #0xf
    msr     S3_0_C12_C12_7, xzr
    isb
1:  wfi
    b       1b

/* An exception of the guest: its registers are stored, handled, and loaded again. */
guest_exception:
    stp     x2, x3, [sp, #16]
    stp     x4, x5, [sp, #32]
    stp     x6, x7, [sp, #48]
    stp     x8, x9, [sp, #64]
    stp     x10, x11, [sp, #80]
    stp     x12, x13, [sp, #96]
    stp     x14, x15, [sp, #112]
    stp     x16, x17, [sp, #128]
    stp     x18, x19, [sp, #144]
    stp     x20, x21, [sp, #160]
    stp     x22, x23, [sp, #176]
    stp     x24, x25, [sp, #192]
    stp     x26, x27, [sp, #208]
    stp     x28, x29, [sp, #224]
    str     x30, [sp, #240]
    mov     x0, sp
    bl      handle_guest
    ldp     x2, x3, [sp, #16]
    ldp     x4, x5, [sp, #32]
    ldp     x6, x7, [sp, #48]
    ldp     x8, x9, [sp, #64]
    ldp     x10, x11, [sp, #80]
    ldp     x12, x13, [sp, #96]
    ldp     x14, x15, [sp, #112]
    ldp     x16, x17, [sp, #128]
    ldp     x18, x19, [sp, #144]
    ldp     x20, x21, [sp, #160]
    ldp     x22, x23, [sp, #176]
    ldp     x24, x25, [sp, #192]
    ldp     x26, x27, [sp, #208]
    ldp     x28, x29, [sp, #224]
    ldr     x30, [sp, #240]
    ldp     x0, x1, [sp], #256
    eret

/* A vector for what only the hypervisor's own mistakes, or its overwritten memory, can raise. */
.macro own_exception
    .balign 0x80
    b       handle_own
.endm

    .balign 0x800
    .global vectors
vectors:
    .rept 8                         /* from EL2 itself, on either stack pointer */
    own_exception
    .endr
    .balign 0x80                    /* from EL1 and EL0, AArch64, synchronous */
    stp     x0, x1, [sp, #-256]!
    b       guest_exception
    .rept 7                         /* interrupts go to EL1, and there is no AArch32 guest */
    own_exception
    .endr
