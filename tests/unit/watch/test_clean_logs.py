from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from hvrig.model.finding import Alarm, Finding, Mark, Milestone, WatchEvent
from hvrig.watch import Watch

Capture = Callable[[str], bytes]

CLEAN = Path(__file__).parents[2] / "data" / "uart" / "clean"
LOGS = sorted(CLEAN.glob("*.gz"))
# The board starts: behind an empty line, as U-Boot prints it.
BOOT = re.compile(rb"(?<=\n\r\n)U-Boot 20\d\d\.\d\d[^\n]* \(")


def read(name: str) -> bytes:
    return gzip.decompress((CLEAN / f"{name}.log.gz").read_bytes())


def events_of(log: bytes) -> list[WatchEvent]:
    """All events of a log whose boots were all asked for."""
    watch = Watch()
    events: list[WatchEvent] = []
    at = 0
    for boot in BOOT.finditer(log):
        events += watch.feed(log[at : boot.start()], 0.0)
        watch.expect_boot()
        at = boot.start()
    return events + watch.feed(log[at:], 0.0) + watch.flush(0.0)


def wrong(events: list[WatchEvent]) -> list[WatchEvent]:
    return [each for each in events if isinstance(each, Alarm) or (isinstance(each, Finding) and each.is_fault)]


# A kernel's messages out of its image can be told from a kernel's own only behind a boot (docs/scan.md).
ALONE = [log for log in LOGS if not log.name.startswith("host-strings")]


@pytest.mark.parametrize("log", ALONE, ids=lambda log: log.name)
def test_nothing_is_found_in_a_clean_log(log: Path) -> None:
    assert wrong(events_of(gzip.decompress(log.read_bytes()))) == []


@pytest.mark.parametrize("log", [log for log in LOGS if log.name.startswith("host-")], ids=lambda log: log.name)
def test_a_host_s_terminal_behind_a_boot(log: Path) -> None:
    """The same at the console of a board that has booted."""
    assert wrong(events_of(read("virtual-poweroff") + b"\r\n" + gzip.decompress(log.read_bytes()))) == []


def test_the_logs_of_the_board_are_what_they_should_be() -> None:
    for name, boots in [
        ("virtual-gate", 1),
        ("virtual-gate-and-second-boot", 2),
        ("virtual-shell-session", 1),
        ("virtual-uboot-session", 1),
        ("virtual-poweroff", 1),
        ("virtual-reboot", 1),
    ]:
        events = events_of(read(name))
        linux = [e for e in events if isinstance(e, Milestone) and e.mark is Mark.LINUX_BOOTING]
        # `dmesg` shows the kernel's first line again.
        assert len(linux) >= boots, name
        assert [e.kind for e in events if isinstance(e, Finding)].count("hypervisor-layout") == boots, name
    assert b"reboot: Power down" in read("virtual-poweroff")
    assert b"reboot: Restarting system" in read("virtual-reboot")


def test_a_boot_that_nobody_asked_for_is_seen_in_them() -> None:
    """The expectation in the other tests is what makes them clean."""
    watch = Watch()
    log = read("virtual-reboot")
    kinds = [e.kind for e in watch.feed(log, 0.0) + watch.flush(0.0) if isinstance(e, Finding) and e.is_fault]
    assert kinds == ["unexpected-reset"]


# What a person types, and what tools show, at a console whose board has booted.
PROMPT = b"root@linaro-alip:/# "
TYPED = [
    b"grep -r unhandled mmio fault /var/log",
    b"echo Zone 0 unhandled mmio fault MMIOAccess {",
    b"echo panic occurred: PanicInfo {",
    b"# panic occurred: panicked at somewhere",
    b"vi MMIOAccess { PanicInfo {",
    b"echo mmio_handle_access: Invalid argument",
    b"echo hypercall error: none",
    b"echo Failed to fetch instruction",
    b"echo zone 1 has some error, please shut it down",
    b"dmesg | grep Kernel panic - not syncing",
    b"echo EL2 Exception: none",
    b"echo mmio handler returned error",
    b"printf 'is_write: true,'",
    b"strings u-boot.bin | grep U-Boot 2017.09",
    b"echo Hello, start HVISOR",
    b"setenv bootargs panic=10 oops=panic",
]
SHOWN = [
    b"unhandled mmio fault MMIOAccess {      is what hvisor prints",
    b"panic occurred: PanicInfo {",
    b"root zone has some error: the panic's message",
    b"struct MMIOAccess {\r\n    address: u64,\r\n    size: u8,\r\n    is_write: bool,\r\n    value: u64,\r\n}",
    b"pub struct PanicInfo {\r\n    message: Option<&'a fmt::Arguments>,\r\n    line: u32,\r\n}",
    b"src/panic.rs:24:    error!(panic occurred: {:#?}",
    b"src/memory/mmio.rs:109:        warn!(Zone {} unhandled mmio fault {:#x?}",
    b"src/panic.c:12:8: warning: unused variable in PanicInfo {",
    b"   12 | struct MMIOAccess {",
    b"old-uart.log:[WARN  1] (hvisor::memory::mmio:109) Zone 0 unhandled mmio fault MMIOAccess {",
    b"/var/log/uart-old.log:512:[ERROR 0] (hvisor::arch::aarch64::trap:251) mmio_handle_access: [src/x.rs:1:2]",
    b"/var/log/kern.log:[   12.345678] Kernel panic - not syncing: Fatal exception",
    b"dmesg.txt:99:[   12.345678] Unable to handle kernel NULL pointer dereference",
    b"<0>[   12.345678] Kernel panic - not syncing: Fatal exception",
    b"<4>[   12.345678] Internal error: Oops: 96000004 [#1] SMP",
    b"<1>[   12.345678] Unable to handle kernel paging request at virtual address ffffffc011223344",
    b"Nov 24 15:03:48 debian kernel: Kernel panic - not syncing: Fatal exception",
    b"2026-11-24T15:03:48.123456+01:00 debian kernel: [   12.345678] Kernel panic - not syncing: Fatal exception",
    b"Nov 24 15:03:48 debian kernel: [   12.345678] Kernel panic - not syncing: Fatal exception",
    b"512:[WARN  1] (hvisor::memory::mmio:109) Zone 0 unhandled mmio fault MMIOAccess {",
    b"   512\t[WARN  1] (hvisor::memory::mmio:109) Zone 0 unhandled mmio fault MMIOAccess {",
    b"    512 [WARN  1] (hvisor::memory::mmio:109) Zone 0 unhandled mmio fault MMIOAccess {",
    b"Kernel panic - not syncing: %s",
    b"0Kernel panic - not syncing: %s",
    b"Oops - undefined instruction",
    b"Oops: something went wrong, try again",
    b"Internal error: the parser gave up",
    b"BUG: see https://example.org/1",
    b"Out of memory: Killed process %d (%s) total-vm:%lukB",
    b"Unable to handle kernel %s at virtual address %016lx",
    b"INFO: task %s:%d blocked for more than %ld seconds.",
    b'"Synchronous Abort" handler, esr 0x%08lx, far 0x%lx',
    b'Bad mode in "Error" handler, esr 0x%08lx',
    b"EL2 Exception: what to do about it",
    b"bootdelay=2\r\nU-Boot 2017.09-g5f53abfa1e-221223 #zzz (Dec 26 2022 - 09:10:09 +0800)\r\nversion",
    b"Hello, start HVISOR at {:#x?}!",
    b"| `Hello, start HVISOR at 0x40400000!` | once for each CPU |",
    b"`message: Some(\\n root zone has some error,\\n ),`",
    b"Hello, start HVISOR at \r\nBooting CPU ",
    b"hypercall error: {:#x?}",
    b"Failed to fetch instruction at {:#x?}",
    b"libfoo: BUG: soft lockup - CPU# is what the kernel says",
]


@pytest.mark.parametrize(
    "line", [*(PROMPT + each for each in TYPED), *TYPED, *SHOWN], ids=lambda each: repr(each)[2:60]
)
def test_what_is_typed_and_shown_is_no_fault(line: bytes) -> None:
    said = b"[    0.000000] Booting Linux on physical CPU 0x0\r\n" + PROMPT + b"cat notes\r\n" + line + b"\r\n" + PROMPT
    assert wrong(events_of(said + b"\r\n" * 50)) == []


def test_a_fault_s_words_in_notes_do_not_hide_a_fault(capture: Capture) -> None:
    notes = gzip.decompress((CLEAN / "host-compile.log.gz").read_bytes())
    boot, fault = capture("hvisor-qemu-ok.raw.log"), capture("hvisor-qemu-fault.raw.log")
    at = fault.index(b"trying mlock ...")
    alone = [e.kind for e in events_of(boot + fault[at:]) if isinstance(e, Finding) and e.is_fault]
    assert "unhandled-mmio-fault" in alone
    both = [e for e in events_of(boot + notes + fault[at:]) if isinstance(e, Finding) and e.is_fault]
    assert [e.kind for e in both] == alone
    assert both[0].fields["address"] == 0x407BF000


@pytest.mark.parametrize(
    "said",
    [
        # A compiler's line that a fault breaks.
        b"src/a.c:12:8: warning: unu[WARN  1] (hvisor::memory::mmio:109) Zone 0 unhandled mmio fault MMIOAccess {\r\n",
        # All of the head lost: the fields are what is believed.
        b"trying mlock ...Zone 0 unhandled mmio fault MMIOAccess {\r\n    address: 0x10,\r\n    size: 0x1,\r\n",
        # The same behind grep's file name, by the lines that follow.
        b"old.log:[WARN  1] (hvisor::memory::mmio:109) Zone 0 unhandled mmio fault MMIOAccess {\r\n"
        b"    address: 0x10,\r\n    size: 0x1,\r\n    is_write: true,\r\n    value: 0x0,\r\n}\r\n",
        # Words far behind their head, a guest's line between.
        b"[WARN  1] (hvisor::memory::mmio:109) [    1.000000] br0: up\r\nZone 0 unhandled mmio fault MMIOAccess {\r\n",
    ],
)
def test_a_fault_in_such_a_place_is_still_one(said: bytes) -> None:
    assert [e.kind for e in events_of(said) if isinstance(e, Finding)] == ["unhandled-mmio-fault"]


def test_the_alarm_of_words_without_a_head_comes_with_their_proof() -> None:
    watch = Watch()
    assert watch.feed(b"Zone 0 unhandled mmio fault MMIOAccess {\r\n    address: 0x10,\r\n", 1.0) == []
    (alarm,) = watch.feed(b"    size: 0x1,\r\n", 2.0)
    assert isinstance(alarm, Alarm)
    assert (alarm.offset, alarm.t) == (0, 2.0)
