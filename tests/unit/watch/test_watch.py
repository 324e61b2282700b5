from __future__ import annotations

import re
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hvrig.model.finding import Alarm, Confidence, Finding, Mark, Milestone, Origin, WatchEvent
from hvrig.watch import Watch

from .stream_pieces import PIECES

Capture = Callable[[str], bytes]
Watched = Callable[[bytes], list[WatchEvent]]

QEMU = ["hvisor-qemu-ok", "hvisor-qemu-stock-ok", "hvisor-qemu-fault", "hvisor-qemu-fault-log-error"]


def findings(events: Sequence[WatchEvent]) -> list[Finding]:
    return [event for event in events if isinstance(event, Finding)]


def faults(events: Sequence[WatchEvent]) -> list[Finding]:
    return [finding for finding in findings(events) if finding.is_fault]


def alarms(events: Sequence[WatchEvent]) -> list[Alarm]:
    return [event for event in events if isinstance(event, Alarm)]


def marks(events: Sequence[WatchEvent]) -> list[tuple[Mark, str]]:
    return [(event.mark, event.text) for event in events if isinstance(event, Milestone)]


def fed(blocks: Sequence[bytes]) -> list[WatchEvent]:
    """All events of the blocks and a flush, with all times 0."""
    watch = Watch()
    events = [event for block in blocks for event in watch.feed(block, 0.0)] + watch.flush(0.0)
    return [replace(event, t=0.0) for event in events]


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


# --- the captures -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["hvisor-qemu-ok.raw.log", "hvisor-qemu-stock-ok.raw.log", "uart-rk3588-boot.log"])
def test_nothing_is_wrong_in_the_good_captures(name: str, capture: Capture, watched: Watched) -> None:
    events = watched(capture(name))
    assert faults(events) == []
    assert alarms(events) == []


def test_marks_and_facts_of_a_boot(capture: Capture, watched: Watched) -> None:
    events = watched(capture("hvisor-qemu-ok.raw.log"))
    assert marks(events) == [
        (Mark.UBOOT_BANNER, ""),
        (Mark.AUTOBOOT, ""),
        (Mark.STARTING_KERNEL, ""),
        *[(Mark.HYPERVISOR_HELLO, "")] * 4,
        *[(Mark.CPU_ENTERED, cpu) for cpu in "0213"],
        (Mark.LINUX_BOOTING, ""),
    ]
    layout, level = findings(events)
    assert layout.kind == "hypervisor-layout"
    assert layout.origin is Origin.FACT
    assert layout.fields == {
        "skernel": 0x40400000,
        "core_end": 0x405B0000,
        "mem_pool_start": 0x407B0000,
        "hv_end": 0x447B0000,
    }
    assert level.kind == "log-level"
    assert level.fields == {"log_level": "info"}


def test_marks_of_an_rk3588(capture: Capture, watched: Watched) -> None:
    events = watched(capture("uart-rk3588-boot.log") + b"\r\n\r\nU-Boot 2017.09-g5f53abfa1e (Dec 26 2022)\r\n")
    assert [mark for mark, _ in marks(events)] == [Mark.SPL, Mark.SPL, Mark.SPL, Mark.AUTOBOOT, Mark.UBOOT_BANNER]
    assert faults(events) == []


def test_the_fault_capture(capture: Capture, watched: Watched) -> None:
    data = capture("hvisor-qemu-fault.raw.log")
    events = watched(data)
    fault, tied, other = faults(events)
    assert fault.kind == "unhandled-mmio-fault"
    assert (fault.zone, fault.cpu) == (0, 0)
    assert fault.fields == {"address": 0x407BF000, "size": 1, "is_write": True, "value": 0xFFFF0000007BF000}
    assert data[fault.offset :].startswith(b"[\x1b[93mWARN ")
    assert fault.excerpt.startswith("[WARN  0] (hvisor::memory::mmio:109) Zone 0 unhandled mmio fault MMIOAccess {\n")
    assert fault.excerpt.endswith("}\n")
    assert tied.fields["message"] == "root zone has some error"
    assert tied.tied_to == fault.offset
    assert (other.kind, other.tied_to) == ("hypervisor-panic", None)
    assert other.fields["file"] == "src/cpu_data.rs"
    assert {alarm.offset for alarm in alarms(events)} == {fault.offset, tied.offset, other.offset}


def test_the_fault_without_its_own_line(capture: Capture, watched: Watched) -> None:
    events = watched(capture("hvisor-qemu-fault-log-error.raw.log"))
    layout, *rest = findings(events)
    assert layout.fields == {"skernel": 0x40400000}
    assert layout.missing == ("core_end", "mem_pool_start", "hv_end")
    panic, access, tied = rest
    assert (panic.kind, panic.fields["file"], panic.tied_to) == ("hypervisor-panic", "src/cpu_data.rs", None)
    assert access.kind == "mmio-handler-error"
    assert access.fields["message"] == "mmio_handle_access: [src/memory/mmio.rs:110:13] Invalid argument"
    assert (tied.kind, tied.fields["file"], tied.tied_to) == ("hypervisor-panic", "src/zone.rs", access.offset)


def test_issue_221_two_cpus_kept_apart(capture: Capture, watched: Watched) -> None:
    one, one_panic, two, two_panic = faults(watched(capture("uart-issue221.log")))
    assert (one.zone, one.cpu, one.fields["address"], one.fields["is_write"]) == (0, 1, 0xB600000, True)
    assert (two.zone, two.cpu, two.fields["address"], two.fields["is_write"]) == (0, 0, 0x3EC045A08, False)
    assert (one_panic.cpu, one_panic.tied_to) == (1, one.offset)
    assert (two_panic.cpu, two_panic.tied_to) == (0, two.offset)
    assert one_panic.fields == two_panic.fields
    assert one.missing == two.missing == one_panic.missing == two_panic.missing == ()


# --- alarms and reports -----------------------------------------------------------------------------------------------

MMIO_LINE = b"[WARN  1] (hvisor::memory::mmio:109) Zone 0 unhandled mmio fault MMIOAccess {\r\n"


def test_an_alarm_comes_with_the_words_and_before_the_newline() -> None:
    watch = Watch()
    assert watch.feed(b"got  768MB, trying mlock ...[WARN  1] (x:1) Zone 0 unhandled mmio faul", 1.0) == []
    assert watch.feed(b"t", 2.0) == [Alarm("unhandled-mmio-fault", Origin.HYPERVISOR, 28, 2.0)]
    assert watch.feed(b" MMIOAccess {\r\n address: 0x1000,\r\n", 3.0) == []
    (finding,) = findings(watch.flush(4.0))
    assert finding.t == 2.0
    assert finding.fields == {"address": 0x1000}
    assert finding.missing == ("size", "is_write", "value")


def test_a_report_that_never_ends_is_cut_off() -> None:
    watch = Watch()
    watch.feed(MMIO_LINE, 1.0)
    (finding,) = findings(watch.feed(b"guest line\r\n" * 50, 2.0))
    assert finding.missing == ("address", "size", "is_write", "value")
    assert len(finding.excerpt.splitlines()) == 40


def test_a_fault_in_a_line_without_an_end() -> None:
    watch = Watch()
    events = watch.feed(b"\x08|\x08/" * 5000 + b"EL2 Exception: Data Abort, " + b"\x08|\x08/" * 5000, 1.0)
    assert [alarm.kind for alarm in alarms(events)] == ["el2-exception"]
    assert [finding.kind for finding in findings(events)] == ["el2-exception"]


def test_a_hung_task_inside_of_anothers_line_begins_with_its_own_words() -> None:
    torn, whole = (
        b"[ 9364.966491] INFO: task kwork",
        b"[ 2295.317556] INFO: task kworker/0:1:123 blocked for more than 120",
    )
    (found,) = faults(fed([torn + whole + b" seconds.\r\n"]))
    assert (found.kind, found.offset) == ("hung-task", len(torn))


def test_a_cpus_report_cut_by_another_cpus_whole_report() -> None:
    other = MMIO_LINE.replace(b"WARN  1", b"WARN  0") + (
        b"    address: 0x2000,\r\n    size: 0x2,\r\n    is_write: true,\r\n    value: 0x22,\r\n}\r\n"
    )
    first = b"    address: 0x1000,\r\n    si"
    second = b"    size: 0x1,\r\n    is_write: false,\r\n    value: 0x11,\r\n}\r\n"
    inner, outer = faults(fed([MMIO_LINE + first + other + second]))
    assert (inner.cpu, inner.fields) == (0, {"address": 0x2000, "size": 2, "is_write": True, "value": 0x22})
    assert (outer.cpu, outer.fields) == (1, {"address": 0x1000, "size": 1, "is_write": False, "value": 0x11})


def test_a_line_without_an_end_is_cut_where_it_is_however_it_comes() -> None:
    other = b"[ERROR 0] (hvisor:1) hypercall error: " + b"y" * 4070
    data = MMIO_LINE + other + b"    address: 0x1000,\r\n    size: 0x1,\r\n}\r\n"
    events = fed([data])
    assert faults(events)[1].fields == {"address": 0x1000, "size": 1}
    assert fed(cut(data, 512)) == events


def test_a_fault_causes_one_panic() -> None:
    panic = (
        b"[ERROR 1] (hvisor::panic:24) panic occurred: PanicInfo {\r\n    message: root zone has some error,\r\n"
        b'    location: Location {\r\n        file: "src/%s.rs",\r\n        line: 1,\r\n        col: 2,\r\n'
        b"    },\r\n}\r\n"
    )
    first, second, fault = faults(fed([MMIO_LINE + b"}\r\n" + panic % b"zone" + panic % b"cpu"]))
    assert (first.tied_to, second.tied_to) == (fault.offset, None)
    watch = Watch()
    watch.feed(MMIO_LINE + b"}\r\n", 0.0)
    watch.flush(0.0)
    assert [each.tied_to for each in faults(watch.feed(panic % b"zone", 0.0))] == [None]


def test_a_fault_without_its_closing_brace_ends_with_the_line_that_follows_it() -> None:
    watch = Watch()
    watch.feed(MMIO_LINE + b"    address: 0x1000,\r\n", 1.0)
    follows = b"[ERROR 1] (hvisor::arch::aarch64::trap:251) mmio_handle_access: [src/memory/mmio.rs:110:13] Inv\r\n"
    assert watch.feed(follows, 2.0) == []
    (fault,) = findings(watch.feed(b"guest\r\n" * 8, 2.0))
    assert fault.fields == {"address": 0x1000}
    whole = b"    size: 0x1,\r\n    is_write: true,\r\n    value: 0x0,\r\n"
    watch.feed(MMIO_LINE.replace(b"WARN  1", b"WARN  2") + b"    address: 0x2000,\r\n" + whole, 1.0)
    (fault,) = findings(watch.feed(follows.replace(b"ERROR 1", b"ERROR 2"), 2.0))
    assert fault.fields["address"] == 0x2000


def test_the_second_of_two_access_errors_is_a_finding_of_its_own() -> None:
    error = b"[ERROR 1] (hvisor::arch::aarch64::trap:251) mmio_handle_access: [src/memory/mmio.rs:110:13] Inv\r\n"
    assert {each.kind for each in faults(fed([MMIO_LINE + b"}\r\n" + error + error]))} == {
        "unhandled-mmio-fault",
        "mmio-handler-error",
    }


def test_the_timestamped_log_shape() -> None:
    line = b"guest[   12.345678] WARN  CPU3 hvisor: (hvisor::memory::mmio:109) Zone 2 unhandled mmio fault MMIOAccess {"
    (fault,) = faults(fed([line + b"\n}\n"]))
    assert (fault.cpu, fault.zone, fault.offset) == (3, 2, 5)


def test_an_oops_its_details_and_its_panic() -> None:
    kernel = (
        b"[    9.000000] Unable to handle kernel NULL pointer dereference at virtual address 0000000000000010\r\n"
        b"[    9.000001] Internal error: Oops: 0000000096000004 [#1] SMP\r\n"
        b"[    9.000002] CPU: 1 PID: 214 Comm: memtester Not tainted 6.1.0\r\n"
        b"[    9.000003] ---[ end trace 0000000000000000 ]---\r\n"
        b"[    9.000004] Kernel panic - not syncing: Oops: Fatal exception\r\n"
        b"[    9.000005] ---[ end Kernel panic - not syncing: Oops: Fatal exception ]---\r\n"
    )
    oops, panic = faults(fed([kernel]))
    assert (oops.kind, oops.cpu) == ("kernel-oops", 1)
    assert str(oops.fields["message"]).startswith("Unable to handle kernel NULL pointer")
    assert (panic.kind, panic.tied_to) == ("kernel-panic", oops.offset)


def test_an_oom_kill_says_who_was_killed() -> None:
    line = b"[   33.123456] Out of memory: Killed process 214 (memtester) total-vm:788072kB\r\n"
    (kill,) = faults(fed([line]))
    assert kill.origin is Origin.KERNEL
    assert (kill.fields["pid"], kill.fields["process"]) == (214, "memtester")


ACCESS = b"MMIOAccess {\r\n    address: 0x8,\r\n    size: 0x4,\r\n    is_write: false,\r\n    value: 0x0,\r\n}\r\n"
TRACES = [
    b"[TRACE 1] (hvisor::device::irqchip::gicv3::vgic:40) gicd mmio = " + ACCESS,
    b"[DEBUG 1] (hvisor::arch::aarch64::trap:240) handle_dabt: " + ACCESS,
    b"[   12.345678] INFO  CPU1 hvisor: (hvisor::arch::aarch64::trap:240) handle_dabt: " + ACCESS,
]
FAULT = MMIO_LINE + (b"    address: 0x1000,\r\n    size: 0x1,\r\n    is_write: true,\r\n    value: 0x22,\r\n}\r\n")
FAULT_FIELDS = {"address": 0x1000, "size": 1, "is_write": True, "value": 0x22}


@pytest.mark.parametrize("trace", TRACES)
@pytest.mark.parametrize("torn", [0, 60, 72, 90, 110])
def test_a_structure_in_a_trace_is_no_fault(trace: bytes, torn: int) -> None:
    assert fed([trace]) == []
    assert fed([trace[:torn] + b"\x08|\x08/" + trace[torn:]]) == []
    assert fed([b"guest\r\ntrying ml" + trace + b"ock\r\n" + trace]) == []


@pytest.mark.parametrize("trace", TRACES)
def test_a_fault_behind_a_trace_and_inside_of_one_is_found_once(trace: bytes) -> None:
    (fault,) = faults(fed([trace + FAULT + trace]))
    assert (fault.cpu, fault.fields) == (1, FAULT_FIELDS)
    inside = trace.index(b"size")
    (fault,) = faults(fed([trace[:inside] + FAULT.replace(b"WARN  1", b"WARN  0") + trace[inside:]]))
    assert (fault.cpu, fault.fields) == (0, FAULT_FIELDS)
    (fault,) = faults(fed([trace + FAULT[40:]]))  # without its head
    assert fault.fields == FAULT_FIELDS
    (fault,) = faults(fed([trace + FAULT[:60] + b"\x08|" + FAULT[60:]]))
    assert fault.fields == FAULT_FIELDS


BOOTING = b"[    0.000000] Booting Linux on physical CPU 0x0\r\n"


def test_a_kernel_that_prints_its_levels_is_heard() -> None:
    panic = b"<0>[   12.345678] Kernel panic - not syncing: Oops\r\n"
    assert [each.kind for each in faults(fed([b"\r\n<6>" + BOOTING + panic]))] == ["kernel-panic"]
    assert faults(fed([b"\r\n" + BOOTING + b"# dmesg -r\r\n<6>" + BOOTING + panic])) == []


@pytest.mark.parametrize(
    "said",
    [
        "mmio_handle_access: [src/memory/mmio.rs:110:13] Invalid argument",
        "hypercall error: x",
        "Failed to fetch instruction at 0x500000",
        "zone 1 has some error, please shut down it",
    ],
)
@pytest.mark.parametrize("shape", ["    message: %s,\r\n", "    message: Some(\r\n        %s,\r\n    ),\r\n"])
def test_a_panic_with_another_fault_s_words_is_one_finding(said: str, shape: str) -> None:
    panic = (
        "[ERROR 1] (hvisor::panic:24) panic occurred: PanicInfo {\r\n" + shape % said + "    location: Location {\r\n"
        '        file: "src/x.rs",\r\n        line: 1,\r\n        col: 2,\r\n    },\r\n}\r\n'
    )
    (found,) = faults(fed([panic.encode()]))
    assert (found.kind, found.fields["message"], found.missing) == ("hypervisor-panic", said, ())
    other = b"[ERROR 0] (hvisor::arch::aarch64::trap:290) hypercall error: y\r\n"  # of another CPU
    assert len(faults(fed([panic.encode().replace(b"    location", other + b"    location")]))) == 2


def test_a_fault_that_breaks_into_a_panic_s_message_is_one_of_its_own() -> None:
    begun = b"[ERROR 1] (hvisor::panic:24) panic occurred: PanicInfo {\r\n    message: called `Option::unw"
    found = faults(fed([begun + b"EL2 Exception: Data Abort, ELR_EL2: 0x10\r\nrap()`,\r\n"]))
    assert {each.kind for each in found} == {"hypervisor-panic", "el2-exception"}


def test_a_message_behind_a_date_and_one_with_an_assertion_s_text() -> None:
    panic = (
        "[ERROR 1] (hvisor::panic:24) panic occurred: PanicInfo {\r\n    message: Some(\r\n"
        "        root zone has some error,\r\n    ),\r\n"
    )
    dated = "".join(f"[2026-11-24 15:03:48.123] {line}\r\n" for line in panic.split("\r\n")[:-1])
    (found,) = faults(fed([dated.encode()]))
    assert found.fields["message"] == "root zone has some error"
    asserted = (
        b"[ERROR 1] (hvisor::panic:24) panic occurred: PanicInfo {\r\n    message: assertion `left == right` failed: b"
    )
    (found,) = faults(fed([asserted + b"\r\n  left: 1\r\n right: 2,\r\n"]))
    assert found.fields["message"] == "assertion `left == right` failed: b"


@pytest.mark.parametrize("date", [b"[2026-11-24 15:03:48.123] ", b"2026-11-24T15:03:48 ", b"[15:03:48.123] "])
def test_a_log_with_dates_before_its_lines_is_a_uart_s(date: bytes) -> None:
    lines = BOOTING + FAULT + b"[   12.345678] Kernel panic - not syncing: x\r\n"
    found = faults(fed([b"".join(date + line for line in lines.splitlines(keepends=True))]))
    assert {each.kind for each in found} == {"unhandled-mmio-fault", "kernel-panic"}


def test_a_quiet_kernel_is_known_by_its_first_stamp() -> None:
    hello, program = b"\r\nHello, start HVISOR at 0x500000!\r\n", b"Internal error: could not open the database\r\n"
    stamped = hello + b"[    1.000000] usb 1-1: new device\r\n" + program + b"BUG: please report\r\n"
    assert faults(fed([stamped])) == []
    assert fed(cut(stamped, 1)) == fed([stamped])
    own = b"[    1.000000] INFO  CPU0 hvisor: (hvisor:117) x\r\n"  # hvisor's own stamp says nothing of the kernel
    panic = b"Kernel panic - not syncing: x\r\n"
    assert [each.kind for each in faults(fed([hello + own + panic]))] == ["kernel-panic"]


def test_dmesg_s_stamps_do_not_hide_what_a_kernel_without_them_says() -> None:
    said = BOOTING[15:] + b"# dmesg\r\n" + BOOTING + b"Kernel panic - not syncing: x\r\n"
    assert [each.kind for each in faults(fed([said]))] == ["kernel-panic"]


def test_a_newer_ddr_banner_is_a_mark() -> None:
    banner = b"DDR 9fa84341ce typ 24/09/06-09:51:11,fwver: v1.18\r\n"
    assert marks(fed([b"\r\n" + banner])) == [(Mark.SPL, "")]


def test_an_oops_whose_trace_another_took_is_not_sure() -> None:
    line = b"[    1.000000] BUG: Bad page state\r\n"
    assert [each.confidence for each in faults(fed([line]))] == [Confidence.LOW]


def test_repeats_are_counted_and_told_at_the_flush() -> None:
    stall = b"[   47.%06d] rcu: INFO: rcu_preempt self-detected stall on CPU\r\n"
    watch = Watch()
    events = [event for n in range(5) for event in watch.feed(stall % n, float(n))]
    assert [type(event) for event in events] == [Alarm, Finding]
    (counted,) = findings(watch.flush(9.0))
    assert (counted.offset, counted.count) == (0, 5)
    assert watch.flush(9.0) == []
    assert [type(event) for event in watch.feed(stall % 6, 10.0)] == [Alarm, Finding]


def test_a_second_different_fault_on_a_cpu_has_an_alarm_too() -> None:
    line = b"[    1.000000] BUG: %s\r\n[    1.000001] ---[ end trace 0 ]---\r\n"
    events = fed([line % b"Bad page state", line % b"KASAN: use-after-free", line % b"Bad page state"])
    assert len({alarm.offset for alarm in alarms(events)}) == 2
    assert {finding.count for finding in faults(events)} == {1, 2}


def test_what_the_board_sends_cannot_control_a_terminal() -> None:
    head = b"[ERROR 0] (hvisor::arch::aarch64::trap:290) "
    (fault,) = faults(fed([head + b"hypercall error: \x1b]0;title\x07\x9b31m\x1b[2J\x00\x08::error::x\r\n"]))
    assert re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", fault.excerpt + str(fault.fields)) is None


# --- marks and resets -------------------------------------------------------------------------------------------------


def test_a_marker_is_echoed_wherever_it_stands() -> None:
    marker = b"hvrig-mark-0123456789abcdef"
    events = fed([b"trying mlock ..." + marker + b"\r\n"])
    assert marks(events) == [(Mark.ECHO, marker.decode())]


def test_a_reset_in_root_linux(capture: Capture) -> None:
    boot = capture("hvisor-qemu-ok.raw.log")
    events = fed([boot, boot])
    (reset,) = faults(events)
    assert (reset.kind, reset.origin) == ("unexpected-reset", Origin.BOARD)
    assert reset.fields == {"seen": "u-boot-banner", "phase": "root-linux"}
    assert (boot + boot)[reset.offset :].startswith(b"U-Boot 2023.01")
    assert [alarm.offset for alarm in alarms(events)] == [reset.offset]
    assert [each.kind for each in findings(events)].count("hypervisor-layout") == 2


def test_a_boot_that_was_asked_for_is_no_reset(capture: Capture) -> None:
    boot = capture("hvisor-qemu-ok.raw.log")
    watch = Watch()
    events = watch.feed(boot, 0.0)
    watch.expect_boot()
    events += watch.feed(boot, 0.0) + watch.flush(0.0)
    assert faults(events) == []


def test_a_fault_comes_anew_after_a_boot(capture: Capture) -> None:
    boot = capture("hvisor-qemu-fault.raw.log")
    watch = Watch()
    first = watch.feed(boot, 0.0)
    watch.expect_boot()
    second = watch.feed(boot, 0.0)
    assert [each.kind for each in faults(first)] == [each.kind for each in faults(second)]
    assert len(alarms(second)) == 3


def test_a_reset_closes_the_report_it_cut() -> None:
    watch = Watch()
    watch.feed(b"\r\n\r\nU-Boot 2023.01 (Jun 22 2026)\r\n", 0.0)
    watch.feed(MMIO_LINE + b"    address: 0x1000,\r\n", 1.0)
    events = watch.feed(b"\r\nDDR V1.12 52218f4949 cym 23/07/06\r\n", 2.0)
    assert [each.kind for each in findings(events)] == ["unhandled-mmio-fault", "unexpected-reset"]
    assert findings(events)[1].fields == {"seen": "spl", "phase": "u-boot"}


def test_a_late_hello_is_a_reset(capture: Capture) -> None:
    hello = b"Hello, start HVISOR at 0x40400000!\r\n"
    (reset,) = faults(fed([capture("hvisor-qemu-ok.raw.log"), hello, hello]))
    assert reset.fields == {"seen": "hypervisor-hello", "phase": "root-linux"}


def test_the_version_command_of_uboot_is_no_reset() -> None:
    banner = b"U-Boot 2023.01 (Jun 22 2026)\r\n"
    events = fed([b"\r\n\r\n" + banner + b"=> version\r\n" + banner + b"gcc 12\r\n=> "])
    assert faults(events) == []
    assert marks(events) == [(Mark.UBOOT_BANNER, "")]


def test_a_kernel_report_behind_a_torn_head_does_not_come_of_the_cuts() -> None:
    data = (
        b"ERROR\x1b[m \x1b[m1\x1b[m] \x1b[m(hvisor::h:31m[    1.000000] Internal error: 04 [#1] SMP\r\n"
        b"EL2 Exception[   12.345678] DEBUG CPU2 hvisor: (hvisor::arch::aarch64:" + b"x" * 253
    )
    assert fed(cut(data, 1)) == fed([data])


_HELLO_LINE = b"Hello, start HVISOR at 0x40400000!\r\n"
_STAMPED_START = b"[   12.345678] "


@pytest.mark.parametrize(
    "between",
    [
        _STAMPED_START + b"Unable to handle kernet \n\r\n\r\n\r\n\r\n\r\n\r\n" + _HELLO_LINE,
        _HELLO_LINE + _STAMPED_START + b"INFO  CPU0 hvisor: (hvisor:1) x\r\n",
        _HELLO_LINE + _STAMPED_START + b"x\r\n[    0.000000] Booting Linux on physical CPU 0x0\r\n",
        _HELLO_LINE + _STAMPED_START + b"random: crng init\r\nBooting Linux on physical CPU 0x0\r\n",
    ],
)
def test_whether_a_kernel_has_stamps_does_not_come_of_the_cuts(between: bytes) -> None:
    data = b"\n" + between + b"Memory cgroup out of memory: Killed process 1\r\n" + b"x\r\n" * 200
    whole = fed([data])
    for size in (1, 7, 64):
        assert fed([data[at : at + size] for at in range(0, len(data), size)]) == whole


# --- properties -------------------------------------------------------------------------------------------------------

STREAMS = st.lists(PIECES, max_size=60).map(b"".join)


@settings(max_examples=400, deadline=None)
@given(STREAMS, st.lists(st.integers(1, 300), min_size=1, max_size=20))
def test_the_same_bytes_give_the_same_events_however_they_are_cut(data: bytes, sizes: list[int]) -> None:
    blocks: list[bytes] = []
    rest = data
    while rest:
        size = sizes[len(blocks) % len(sizes)]
        blocks.append(rest[:size])
        rest = rest[size:]
    assert fed(blocks) == fed([data])


@settings(max_examples=150, deadline=None)
@given(STREAMS)
def test_byte_by_byte_is_the_same(data: bytes) -> None:
    assert fed(cut(data, 1)) == fed([data])


@pytest.mark.parametrize("name", [f"{name}.raw.log" for name in QEMU] + ["uart-issue221.log", "uart-rk3588-boot.log"])
@pytest.mark.parametrize("size", [1, 2, 7, 16, 100, 4096, 5000])
def test_the_captures_cut_in_any_pieces(name: str, size: int, capture: Capture) -> None:
    data = capture(name)
    assert fed(cut(data, size)) == fed([data])


@settings(max_examples=200, deadline=None)
@given(STREAMS)
def test_every_fault_had_an_alarm_and_offsets_are_in_the_stream(data: bytes) -> None:
    events = fed([data])
    alarmed = {(alarm.kind, alarm.offset) for alarm in alarms(events)}
    assert all((fault.kind, fault.offset) in alarmed for fault in faults(events))
    assert all(0 <= event.offset < len(data) for event in events)
    assert all(fault.tied_to is None or fault.tied_to < fault.offset for fault in faults(events))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=3000), STREAMS)
def test_never_an_exception(noise: bytes, data: bytes) -> None:
    fed([noise, data, noise])


@pytest.mark.parametrize(
    "flood",
    [
        b"x",
        b"\x1b",
        b"\x1b[",
        MMIO_LINE,
        b"PanicInfo {",
        b"[    1.000000] BUG: x\r\n",
        b"Hello, start HVISOR at 0x1!\r\n",
        b"\r\n\r\nU-Boot 2023.01 (\r\n",
        b"[WARN  1] (hvisor::memory::mmio:109) Zone 0 unhandled mmio fault MMIO",
        b"[TRACE 1] (hvisor::device::irqchip::gicv3::vgic:40) gicd mmio = MMIOAccess {\r\n",
    ],
)
def test_memory_is_bounded_whatever_floods_in(flood: bytes) -> None:
    watch = Watch()
    block = flood * (4096 // len(flood))
    for _ in range(20):
        watch.feed(block, 0.0)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(60):
        watch.feed(block, 0.0)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    # What is kept at most was put down before and is traced anew: less than came in.
    assert grown < 150_000


_BOOT = b"[    0.000000] Booting Linux on physical CPU 0x0\r\n"
_MMIO = (
    b"[WARN  1] (hvisor::memory::mmio:109) Zone 0 unhandled mmio fault MMIOAccess {\r\n    address: 0xb600000,\r\n"
    b"    size: 0x1,\r\n    is_write: true,\r\n    value: 0x0,\r\n}\r\n"
)
_PANIC = (
    b"[ERROR 1] (hvisor::panic:24) panic occurred: PanicInfo {\r\n    message: %s,\r\n    location: Location {\r\n"
    b'        file: "%s",\r\n        line: 303,\r\n        col: 9,\r\n    },\r\n}\r\n'
)


@pytest.mark.parametrize(
    "stamp",
    [
        b"[   12.34567] ",
        b"[   12345678] ",
        b"   12.345678] ",
        b"[   12.345678 ",
        b"[   12.345678]",
        b"[   1.345678] ",
        b"[   12.3x45678] ",
        b"[   1x2.345678] ",
        b"[   12.345678] x",
        b"[12345678.345678] ",
        b"5678] ",
    ],
)
@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (b"Kernel panic - not syncing: x", "kernel-panic"),
        (b"rcu: INFO: rcu_preempt self-detected stall on CPU", "rcu-stall"),
        (b"INFO: task kworker/0:1:123 blocked for more than 120 seconds.", "hung-task"),
        (b"watchdog: BUG: soft lockup - CPU#1 stuck for 22s! [memtester:214]", "soft-lockup"),
        (b"Out of memory: Killed process 214 (memtester)", "oom-kill"),
        (b"SError Interrupt on CPU1, code 0x00000000be000011 -- SError", "serror"),
    ],
)
def test_a_damaged_timestamp_hides_no_kernel_fault(stamp: bytes, words: bytes, kind: str) -> None:
    (found,) = faults(fed([_BOOT + stamp + words + b"\r\n"]))
    whole = re.match(rb"\[[ \d]+\.\d{6}\]", stamp) is not None  # what is left of it looks like one
    assert (found.kind, found.confidence is Confidence.HIGH) == (kind, whole)


def test_a_report_that_breaks_into_a_timestamp_hides_no_kernel_fault() -> None:
    found = faults(fed([_BOOT + b"[   12.34" + _MMIO + b"5678] Kernel panic - not syncing: x\r\n"]))
    assert [each.kind for each in found] == ["unhandled-mmio-fault", "kernel-panic"]


@pytest.mark.parametrize(
    "line",
    [
        b"[   12.345678] INF: task kworker/0:1:123 blocked for more than 120 seconds.",
        b"[   12.345678] rcu INFO: rcu_preempt self-detected stall on CPU",
        b"[   12.345678] watchic.dog: BUG: soft lockup - CPU#1 stuck for 22s!",
    ],
)
def test_what_stands_before_rare_words_may_be_damaged(line: bytes) -> None:
    assert len(faults(fed([_BOOT + line + b"\r\n"]))) == 1


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (b"watchdog: BUG: soft lockup - CPU#1 stuck for 22s! [memtester:214]", "soft-lockup"),
        (b"rcu: INFO: rcu_preempt self-detected stall on CPU", "rcu-stall"),
        (b"Out of memory: Killed process 214 (memtester)", "oom-kill"),
    ],
)
def test_a_kernel_without_timestamps_speaks_up_behind_memtesters_open_line(words: bytes, kind: str) -> None:
    boot = b"Booting Linux on physical CPU 0x0\r\ngot  64MB (67108864 bytes), trying mlock ..."
    assert [each.kind for each in faults(fed([boot + words + b"\r\n"]))] == [kind]


@pytest.mark.parametrize("message", [b"root zone has ome error", b"root zone has so   : me error"])
def test_a_panic_whose_message_is_torn_is_tied_and_of_low_confidence(message: bytes) -> None:
    fault, panic = faults(fed([_MMIO + _PANIC % (message, b"src/zone.rs")]))
    assert (panic.tied_to, panic.confidence) == (fault.offset, Confidence.LOW)


def test_a_panic_of_another_cause_is_not_tied() -> None:
    message = b"called `Option::unwrap()` on a `None` value"
    _, panic = faults(fed([_MMIO + _PANIC % (message, b"src/cpu_data.rs")]))
    assert (panic.tied_to, panic.confidence) == (None, Confidence.HIGH)


def test_a_torn_file_name_is_of_low_confidence() -> None:
    (panic,) = faults(fed([_PANIC % (b"root zone has some error", b"src/zone.r    s")]))
    assert panic.confidence is Confidence.LOW


def test_the_excerpts_of_a_scan_are_no_faults() -> None:
    shown = b"".join(b"    | " + line for line in _MMIO.splitlines(keepends=True))
    assert faults(fed([_BOOT + shown])) == []


@pytest.mark.parametrize("stamp", [b"[    0.00000] ", b"[    0.000000 ", b"0.000000] ", b"[    0.000000] "])
def test_a_kernel_whose_first_timestamp_is_damaged_prints_timestamps_all_the_same(stamp: bytes) -> None:
    boot = b"\r\n" + stamp + b"Booting Linux on physical CPU 0x0\r\n[    0.000000] Linux version 6.1\r\n"
    assert faults(fed([boot + b"Internal error: no space left\r\n"])) == []
    assert len(faults(fed([boot + b"[   12.345678] Internal error: Oops: 96000004 [#1] SMP\r\n"]))) == 1
