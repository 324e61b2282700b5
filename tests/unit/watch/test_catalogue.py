from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hvrig.model.finding import Alarm, Finding, Origin, WatchEvent
from hvrig.watch.catalogue import KINDS, UNEXPECTED_RESET, Kind, as_markdown

Watched = Callable[[bytes], list[WatchEvent]]

OF_LINES = [kind for kind in KINDS if kind.name != UNEXPECTED_RESET]


@pytest.mark.parametrize("kind", OF_LINES, ids=lambda kind: kind.name)
def test_a_sample_is_found_as_its_kind_and_nothing_else(kind: Kind, watched: Watched) -> None:
    events = watched(b"before it\r\n" + kind.sample.encode() + b"\r\nafter it\r\n")
    found = [event for event in events if isinstance(event, Finding)]
    assert [each.kind for each in found] == [kind.name]
    assert found[0].offset == len(b"before it\r\n")
    alarms = [event for event in events if isinstance(event, Alarm)]
    assert [each.kind for each in alarms] == ([] if kind.origin is Origin.FACT else [kind.name])


@pytest.mark.parametrize("kind", [kind for kind in OF_LINES if kind.line_is_message], ids=lambda kind: kind.name)
def test_a_line_is_its_own_message_without_the_prefix(kind: Kind, watched: Watched) -> None:
    (found,) = (event for event in watched(kind.sample.encode() + b"\r\n") if isinstance(event, Finding))
    message = str(found.fields["message"])
    assert kind.sample.endswith(message)
    assert not message.startswith(("[", "("))


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("[   12.345678] WARN  CPU3 hvisor: (hvisor::memory::mmio:109) Zone 2 unhandled mmio fault MMIOAccess {",
         "unhandled-mmio-fault"),
        ("EL2 Exception: Instruction Abort, ELR_EL2: 0x0, FAR_EL2: 0x0", "el2-exception"),
        ("Unhandled EL2 Exception: EC=0x2f", "el2-exception"),
        ("[ERROR 0] (hvisor::arch::aarch64::trap:120) Unsupported Exception EC:0x1!", "el2-exception"),
        ("[ERROR 0] (hvisor::memory::mmio:99) mmio handler returned error: [src/x.rs:1:2] I/O error",
         "mmio-handler-error"),
        ("root zone has some error", "hypervisor-panic"),
        ("Kernel panic - not syncing: VFS: Unable to mount root fs", "kernel-panic"),
        ("[    1.000000][    T1] Kernel panic - not syncing: Fatal exception", "kernel-panic"),
        ("trying mlock ...Kernel panic - not syncing: Fatal exception", "kernel-panic"),
        ("testing  12Kernel panic - not syncing: Fatal exception", "kernel-panic"),
        ("[    1.000000] Internal error: Oops: 0000000096000004 [#1] SMP", "kernel-oops"),
        ("[    1.000000] Oops - undefined instruction: 0 [#1]", "kernel-oops"),
        ("[    1.000000] BUG: scheduling while atomic: swapper/0/1/0x00000002", "kernel-bug"),
        ("[    1.000000] BUG: KASAN: slab-out-of-bounds in foo+0x10/0x20", "kernel-bug"),
        ("[    1.000000] Unhandled fault: synchronous external abort (0x96000210) at 0xffffffc0", "external-abort"),
        ("[    1.000000] rcu: INFO: rcu_sched detected stalls on CPUs/tasks:", "rcu-stall"),
        ("[    1.000000] rcu: INFO: rcu_preempt detected expedited stalls on CPUs/tasks: { 1-... }", "rcu-stall"),
        ("[    1.000000] Memory cgroup out of memory: Killed process 9 (memtester)", "oom-kill"),
        ("[    1.000000] Out of memory: Kill process 214 (memtester) score 900 or sacrifice child", "oom-kill"),
        ("[    1.000000] Out of memory (oom_kill_allocating_task): Killed process 214 (memtester)", "oom-kill"),
        ("[    1.000000] BUG kmalloc-256 (Not tainted): Poison overwritten", "kernel-bug"),
        ("[    1.000000] BUG anon_vma (Not tainted): Redzone overwritten", "kernel-bug"),
        ("[    1.000000] list_del corruption. prev->next should be ffff, but was 0", "kernel-bug"),
        ("[    1.000000] list_add corruption. next->prev should be prev", "kernel-bug"),
        ("[    1.000000] rcu: INFO: rcu_tasks detected stalls on tasks:", "rcu-stall"),
        ("[    1.000000] Bad mode in Error handler detected on CPU0, code 0xbf000000 -- SError", "kernel-oops"),
        ("[    1.000000] Unhandled 64-bit el1h sync exception on CPU0, ESR 0x96000004", "kernel-oops"),
        ("[    1.000000] Insufficient stack space to handle exception!", "kernel-oops"),
        ("[    T1] Kernel panic - not syncing: Fatal exception", "kernel-panic"),
        ("linaro-alip login: Kernel panic - not syncing: Fatal exception", "kernel-panic"),
        ("root@x:~# Kernel panic - not syncing: Fatal exception", "kernel-panic"),
        ("[  OK  ] Started fooKernel panic - not syncing: x\r\n---[ end Kernel panic - not syncing: x ]---",
         "kernel-panic"),
        ("Kernel panic - not syncing: x\r\n---[ end Kernel panic - not syncing: x ]---", "kernel-panic"),
        ("trying mlock ...Unable to handle kernel NULL pointer dereference", "kernel-oops"),
        ("Unhandled Exception from lower EL.\r\nx30            = 0x1", "el3-exception"),
        ("ERROR:   Unhandled External Abort received on 0x80000000 from EL2", "el3-exception"),
        ("PANIC at PC : 0x0000000000041234", "el3-exception"),
        ("ASSERT: plat/rockchip/rk3588/x.c:12", "el3-exception"),
        ("E/TC:? 0 Panic at core/arch/arm/kernel/boot.c:91 <init>", "tee-panic"),
        ('"Irq" handler, esr 0x96000004', "u-boot-exception"),
        ('"Fiq" handler, esr 0x96000004', "u-boot-exception"),
    ],
)  # fmt: skip
def test_other_shapes_of_the_same_kinds(line: str, kind: str, watched: Watched) -> None:
    events = watched(b"\n" + line.encode() + b"\r\n")
    assert [event.kind for event in events if isinstance(event, Finding)] == [kind]


@pytest.mark.parametrize(
    "line",
    [
        "[    0.000000] Kernel command line: console=ttyAMA0 panic=10 oops=panic softlockup_panic=1",
        "=> setenv bootargs panic=0 panic_on_oops=1",
        "root@linaro-alip:/# dmesg | grep panic",
        "/ # dmesg | grep -E 'Oops|BUG: |Kernel panic - not syncing'",
        "/ # grep \"unhandled mmio fault\" uart.log; grep 'panic occurred: ' uart.log",
        "FAILURE: 0x00000000deadbeef != 0xdeadbeefdeadbeef at offset 0x00001000.",
        "FAILURE: possible bad address line at offset 0x00001000.",
        "[    0.000000] rcu: Hierarchical RCU implementation.",
        "[    0.100000] SMCCC: SOC_ID: ARCH_SOC_ID not implemented, skipping ....",
        "[    1.000000] systemd[1]: Started Notify about kernel oops and BUG: reports.",
        "cc1: internal compiler error: Oops, no",
        "  Image Name:   U-Boot 2023.01 for a board",
        "Checking Oops: handler, kernel BUG at tests ok",
        "CPU 0 has entered. the building",
        '            println!("Unhandled EL2 Exception: EC={:#x?}", ec);',
        "php-fpm[12345] Internal error: no space",
        "[pip 23.0.1] Internal error: no network",
        "1.5] Oops - no",
        "he self-detected stall on CPU",
        "[WARN  0] (hvisor::arch::aarch64::trap:415) unsupported smc standard service 0x84000050",
        "Failed to fetch instructions for the parcel",
    ],
)
def test_plain_text_is_no_finding_and_no_mark(line: str, watched: Watched) -> None:
    assert watched(b"\n" + line.encode() + b"\r\n") == []


def test_the_page_of_the_catalogue_is_up_to_date() -> None:
    page = Path(__file__).parents[3] / "docs" / "fault-catalogue.md"
    assert page.read_text(encoding="utf-8") == as_markdown()
