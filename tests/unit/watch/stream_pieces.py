"""What streams are made of in the watch's property tests: words, samples, reports, and what stands around them."""

from __future__ import annotations

from hypothesis import strategies as st

from hvrig.watch.catalogue import KINDS, MARKS

HEADS = [
    b"[WARN  1] (hvisor::memory::mmio:109) ",
    b"[ERROR 0] (hvisor::panic:24) ",
    b"\x1b[37m[\x1b[91mERROR\x1b[m \x1b[37m1\x1b[m] \x1b[37m(hvisor::arch::aarch64::trap:251)\x1b[m \x1b[31m",
    b"[   12.345678] ERROR CPU2 hvisor: (hvisor::zone:7) ",
    b"[INFO  0] (hvisor:117) ",
    b"[    1.000000] ",
    b"[    1.000000][    T1] ",
    b"<0>[    1.000000] ",
    b"[TRACE 1] (hvisor::device::irqchip::gicv3::vgic:40) gicd mmio = ",
    b"[   12.345678] DEBUG CPU2 hvisor: (hvisor::arch::aarch64::trap:240) handle_dabt: ",
]
REPORTS = [
    b"Zone 0 unhandled mmio fault MMIOAccess {\r\n    address: 0x10,\r\n    size: 0x1,\r\n    is_write: true,\r\n"
    b"    value: 0x0,\r\n}\r\n",
    b"panic occurred: PanicInfo {\r\n    message: Some(\r\n        root zone has some error,\r\n    ),\r\n"
    b'    location: Location {\r\n        file: "src/zone.rs",\r\n        line: 303,\r\n        col: 9,\r\n    },\r\n'
    b"    can_unwind: true,\r\n    force_no_backtrace: false,\r\n}\r\n",
    b"panic occurred: panicked at src/zone.rs:303:9:\r\nroot zone has some error\r\n",
    b"[    1.000000] Internal error: Oops: 96000004 [#1] SMP\r\n[    1.000000] CPU: 1 PID: 2 Comm: x\r\n"
    b"[    1.000000] ---[ end trace 0 ]---\r\n",
]
LINES = [line + b"\r\n" for report in REPORTS for line in report.split(b"\r\n") if line]
AROUND = [
    *(
        b"\r\n",
        b"\n",
        b"\r",
        b"}\r\n",
        b"\x1b[37m",
        b"\x1b[m",
        b"\x1b",
        b"\x1b[",
        b"\x08|",
        b"\x08" * 11 + b"testing  12",
    ),
    *(b"root@virtual:/# ", b"=> ", b"/var/log/old.log:", b"src/a.c:12:8: ", b"/tmp/a.log:12:", b"'", b'"', b"`"),
    *(b"x" * 600, b"y" * 4100, b"hvrig-mark-0123456789abcdef", b"reboot: Restarting system\r\n"),
    *(b"\r\n\r\nU-Boot 2023.01 (Jun 22 2026)\r\n\r\n", b"U-Boot SPL 2017.09 (\r\n", b"DDR V1.12 52218f4949 cym\r\n"),
    *(b"Hello, start HVISOR at 0x40400000!\r\n", b"Secondary CPU 3 has entered.\r\n", b"Starting kernel ...\r\n"),
    *(b"[    0.000000] Booting Linux on physical CPU 0x0\r\n", b"Booting Linux on physical CPU 0x0\r\n"),
    *(
        b"[INFO  0] (hvisor:117) hv_end = 0x447b0000\r\n",
        b"trying mlock ...",
        b"[ERROR ",
        b"(hvisor::",
        b"CPU1 hvisor: ",
    ),
]
WORDS = [words.literal for kind in KINDS for words in (*kind.words, *kind.late)] + [
    mark.words.literal for mark in MARKS
]
SAMPLES = [kind.sample.encode() + end for kind in KINDS for end in (b"", b"\r\n")]


def _torn(whole: bytes, at: int, lost: int) -> bytes:
    at %= len(whole)
    return whole[:at] + whole[at + lost :]


# Each as it is, with a head, or torn.
WHOLE = st.sampled_from(REPORTS + LINES + SAMPLES + WORDS)
PIECES = st.one_of(
    st.sampled_from(AROUND + HEADS),
    WHOLE,
    st.builds(bytes.__add__, st.sampled_from(HEADS), WHOLE),
    st.builds(_torn, WHOLE, st.integers(0, 400), st.integers(0, 40)),
    st.binary(max_size=20),
    st.text("abcU=x0 \r\n{}:,", max_size=30).map(str.encode),
)
