from __future__ import annotations

from hvrig.watch.catalogue import BY_NAME, HYPERVISOR_PANIC, MMIO_FAULT
from hvrig.watch.report import Report


def report(kind: str, *lines: bytes) -> Report:
    opened = Report(BY_NAME[kind], offset=5, t=1.0, cpu=1, words=0)
    for line in lines:
        assert not opened.take(line)
    return opened


MMIO = (
    b"[WARN  1] (hvisor::memory::mmio:109) Zone 0 unhandled mmio fault MMIOAccess {\r\n",
    b"    address: 0xb600000,\r\n",
    b"    size: 0x1,\r\n",
    b"    is_write: true,\r\n",
    b"    value: 0xffffff800b600000,\r\n",
)
ALL = {"address": 0xB600000, "size": 1, "is_write": True, "value": 0xFFFFFF800B600000}


def test_a_whole_report() -> None:
    whole = report(MMIO_FAULT, *MMIO)
    assert whole.take(b"}\r\n")
    finding = whole.finding()
    assert (finding.fields, finding.missing, finding.zone, finding.cpu) == (ALL, (), 0, 1)
    assert finding.excerpt == b"".join([*MMIO, b"}\n"]).decode().replace("\r", "")


def test_guest_lines_between_and_memtesters_progress_within() -> None:
    lines = [line.replace(b": ", b"\x08|:\x08/ \x08-", 1) for line in MMIO[1:]]
    torn = report(MMIO_FAULT, MMIO[0], lines[0], b"[   12.345678] random: crng init done\r\n", *lines[1:])
    assert torn.take(b"\x08\\}\r\n")
    assert torn.finding().fields == ALL


def test_what_did_not_survive_is_named_and_half_a_number_is_no_number() -> None:
    lossy = report(MMIO_FAULT, MMIO[0], b"    address: 0xb6000\r\n", b"    size: 0x1,\r\n", b"    is_wri: true,\r\n")
    finding = lossy.finding()
    assert finding.fields == {"size": 1}
    assert finding.missing == ("address", "is_write", "value")


def test_panics_of_different_rust_versions() -> None:
    location = (
        b"    location: Location {\r\n",
        b'        file: "src/zone.rs",\r\n',
        b"        line: 303,\r\n",
        b"        col: 9,\r\n",
        b"    },\r\n",
    )
    head = b"[ERROR 1] (hvisor::panic:24) panic occurred: PanicInfo {\r\n"
    old = (
        b"    payload: Any { .. },\r\n",
        b"    message: Some(\r\n",
        b"        root zone has some error,\r\n",
        b"    ),\r\n",
    )
    for message in ((b"    message: root zone has some error,\r\n",), old):
        panic = report(HYPERVISOR_PANIC, head, *message, *location)
        assert panic.take(b"}\r\n")
        finding = panic.finding()
        assert finding.fields == {"message": "root zone has some error", "file": "src/zone.rs", "line": 303, "col": 9}
        assert finding.zone == 0
    lost = report(HYPERVISOR_PANIC, head, b"    message: Some(\r\n", b"    ),\r\n", *location)
    assert lost.finding().missing == ("message",)


def test_a_report_ends_after_so_many_lines_and_so_many_bytes() -> None:
    lines = report(MMIO_FAULT, *[b"x\n"] * 39)
    assert lines.take(b"x\n")
    filled = report(MMIO_FAULT, b"x" * 16383)
    assert filled.room == 1
    assert filled.take(b"x")
    assert len(filled.finding().excerpt) == 4096
