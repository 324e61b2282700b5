"""The scan of logs that are there already: the watch, lines, the map, and bounded memory."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tracemalloc
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvrig.layout.inputs import MapInputs, read_map
from hvrig.model.errors import UsageError
from hvrig.model.memory import Range
from hvrig.model.memory_map import MemoryMap, Region, Use
from hvrig.scan import LineIndex, Scan, Scanned, blocks_of

DATA = Path(__file__).parents[1] / "data"
UART = DATA / "uart"
ISSUE_221 = UART / "uart-issue221.log"
X3300 = read_map(MapInputs(board_rs=DATA / "layout" / "x3300-board.rs"))
NOTHING_KNOWN = MemoryMap()


def scanned(data: bytes, memory: MemoryMap = NOTHING_KNOWN, block: int = 1 << 16) -> tuple[Scan, list[Scanned]]:
    scan = Scan("uart.log", memory)
    found = [each for at in range(0, len(data), block) for each in scan.feed(data[at : at + block])]
    return scan, found + scan.finish()


def faults(found: Iterable[Scanned]) -> list[Scanned]:
    return [each for each in found if each.finding.is_fault]


def test_issue_221_is_two_faults_each_with_its_panic_and_both_in_the_zones_ram() -> None:
    _, found = scanned(ISSUE_221.read_bytes(), X3300)
    first, first_panic, second, second_panic = found
    assert [each.finding.kind for each in found] == ["unhandled-mmio-fault", "hypervisor-panic"] * 2
    assert [(each.finding.zone, each.finding.cpu) for each in (first, second)] == [(0, 1), (0, 0)]
    assert [each.finding.fields["is_write"] for each in (first, second)] == [True, False]
    assert [each.finding.fields["size"] for each in (first, second)] == [1, 1]
    assert [each.line for each in found] == [13, 20, 33, 40]
    assert (first_panic.tied_line, second_panic.tied_line) == (13, 33)
    assert first.explanation is not None
    assert second.explanation is not None
    assert (first.explanation.address, second.explanation.address) == (0xB600000, 0x3EC045A08)
    assert first.explanation.what.startswith("RAM of zone 0, 0x9400000 - 0x10000000")
    assert second.explanation.what.startswith("RAM of zone 0, 0x100000000 - 0x3fc000000")
    assert first_panic.explanation is None


def test_what_the_hypervisor_printed_itself_explains_its_fault() -> None:
    scan, found = scanned((UART / "hvisor-qemu-fault.raw.log").read_bytes())
    (fault,) = [each for each in found if each.finding.kind == "unhandled-mmio-fault"]
    assert fault.explanation is not None
    assert "inside the hypervisor's own memory, 0x40400000 - 0x447b0000 (printed at byte" in fault.explanation.what
    assert fault.explanation.what.endswith("in its frame pool")
    assert scan.summary().hypervisor == Range(0x40400000, 0x447B0000)
    assert scan.summary().log_level == "info"


@pytest.mark.parametrize("name", ["hvisor-qemu-ok.raw.log", "hvisor-qemu-stock-ok.raw.log"])
def test_in_the_good_captures_is_nothing(name: str) -> None:
    scan, found = scanned((UART / name).read_bytes())
    assert faults(found) == []
    assert scan.summary().faults == 0
    assert scan.summary().notes == ()


@given(st.integers(1, 3000))
def test_lines_and_findings_do_not_depend_on_how_the_file_is_cut(block: int) -> None:
    assert scanned(ISSUE_221.read_bytes(), X3300, block)[1] == scanned(ISSUE_221.read_bytes(), X3300)[1]


def test_a_repeat_is_given_again_with_its_count_and_its_first_line() -> None:
    report = b"[    1.000000] Kernel panic - not syncing: one\r\n"
    scan, found = scanned(b"boot\r\n" + 3 * report)
    assert [(each.line, each.finding.count) for each in found] == [(2, 1), (2, 3)]
    assert scan.summary().faults == 1


def test_a_printed_range_that_differs_from_the_given_one_is_noted_once() -> None:
    given_range = Region("hypervisor", Use.HYPERVISOR, Range(0x40400000, 0x40800000), "place desk")
    log = (UART / "hvisor-qemu-ok.raw.log").read_bytes()
    scan, _ = scanned(log + log, MemoryMap((given_range,)))
    notes = [note for note in scan.summary().notes if "printed" in note]
    assert scan.summary().hypervisor == Range(0x40400000, 0x447B0000), "its own word counts more"
    assert notes == ["place desk gives the hypervisor 0x40400000 - 0x40800000, but it printed 0x40400000 - 0x447b0000"]


def test_a_log_without_hvisor_or_with_a_mute_one_is_no_evidence() -> None:
    scan, _ = scanned((UART / "uart-rk3588-boot.log").read_bytes())
    assert "hvisor's boot is not in it" in scan.summary().notes[0]
    scan, _ = scanned(b"[INFO  0] (hvisor:121) build_mode: release, log_level: error, arch: aarch64, stats: off\r\n")
    assert "does not print every fault" in scan.summary().notes[0]


@given(st.lists(st.binary(max_size=30), max_size=12), st.integers(10, 60))
def test_lines_within_the_window(blocks: list[bytes], window: int) -> None:
    index = LineIndex(window)
    for block in blocks:
        index.feed(block)
    data = b"".join(blocks)
    assert index.lines == data.count(b"\n") + (not data.endswith(b"\n") if data else 0)
    for offset in range(len(data)):
        line = index.line_of(offset)
        assert line == data.count(b"\n", 0, offset) + 1 or (line is None and offset < len(data) - window)


def test_memory_stays_bounded_over_a_large_log() -> None:
    text = ISSUE_221.read_bytes() + b"\x1b[32mok\x1b[m 0123456789 abcdef\r\n" * 2000
    scan = Scan("uart.log", X3300)
    for _ in range(10):
        scan.feed(text)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(60):
        scan.feed(text)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 2 << 20, "the window of lines is 1 MiB"


BOOT = (UART / "hvisor-qemu-ok.raw.log").read_bytes()
UBOOT = b"\r\n\r\nU-Boot 2023.01 (Jun 22 2026 - 08:38:07 +0000)\r\n\r\nDRAM:  4 GiB\r\n=> \r\n"


@pytest.mark.parametrize(
    ("first", "said"),
    [
        (BOOT + b"[    4.891467] reboot: Power down\r\n", "1 after a shutdown"),
        (BOOT + b"\x1b[0m[    4.150121] reboot: Restarting system\r\nINFO:    PSCI reset\r\n", "1 after a shutdown"),
        (UBOOT + b"=> reset\r\nresetting ...\r\n", "1 before the hypervisor"),
        (UBOOT, "1 before the hypervisor"),
        (BOOT + b"[    9.000000] Kernel panic - not syncing: Fatal exception\r\n" * 3, "1 after a fault"),
    ],
)
@pytest.mark.parametrize("block", [7, 1 << 16])
def test_a_boot_that_the_log_explains_is_no_reset(first: bytes, said: str, block: int) -> None:
    scan, found = scanned(first + UBOOT, block=block)
    assert [each for each in found if each.finding.kind == "unexpected-reset"] == []
    summary = scan.summary()
    assert summary.boots == 2
    assert said in " ".join(summary.notes)


def test_a_boot_that_nothing_explains_is_a_reset_each_time() -> None:
    scan, found = scanned(
        BOOT + BOOT + b"[    4.8] reboot: Power down\r\n" + b"x" * 4096 + BOOT + b"[ 4.8] reboot:\r\n"
    )
    assert [each.finding.kind for each in faults(found)] == ["unexpected-reset"] * 2
    summary = scan.summary()
    assert (summary.boots, summary.faults) == (3, 2)
    assert any("--boots-expected" in note for note in summary.notes)
    scan = Scan("uart.log", NOTHING_KNOWN, boots_expected=True)
    assert faults(scan.feed(BOOT * 3) + scan.finish()) == []
    assert scan.summary().boots == 3


def test_a_fault_excuses_one_boot_only() -> None:
    panic = b"[    9.000000] Kernel panic - not syncing: Fatal exception\r\n"
    scan, found = scanned(BOOT + panic + BOOT + BOOT)
    assert [each.finding.kind for each in faults(found)] == ["kernel-panic", "unexpected-reset"]
    assert scan.summary().boots == 3


def test_a_warning_excuses_no_boot() -> None:
    oom = b"[    9.000000] Out of memory: Killed process 214 (memtester) total-vm:788072kB\r\n"
    _, found = scanned(BOOT + oom + BOOT)
    assert [each.finding.kind for each in faults(found)] == ["oom-kill", "unexpected-reset"]


@given(st.lists(st.binary(min_size=1, max_size=5), max_size=12), st.integers(0, 70), st.integers(0, 30))
def test_the_bytes_before_an_offset(blocks: list[bytes], offset: int, count: int) -> None:
    index = LineIndex()
    for block in blocks:
        index.feed(block)
    data = b"".join(blocks)
    offset = min(offset, len(data))
    assert index.before(offset, count) == data[max(0, offset - count) : offset]


@pytest.mark.parametrize("name", ["uart.log", "uart.log.1", "uart.log.gz"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_plain_and_packed_logs_whatever_their_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, pack: Callable[[bytes], bytes]
) -> None:
    log = tmp_path / name
    log.write_bytes(pack(b"abc\n"))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(log.read_bytes()))))
    assert [b"".join(blocks_of(each)) for each in (str(log), "-")] == [b"abc\n"] * 2


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"\x28\xb5\x2f\xfd" + bytes(40), "zstd -dc LOG | hvrig scan -"),
        ("\ufeff[WARN  1] x\n".encode("utf-16-le"), "iconv -f UTF-16 -t UTF-8 LOG | hvrig scan -"),
        (("[WARN  1] (hvisor::memory::mmio:109) " * 2).encode("utf-16-be"), "iconv"),
    ],
)
def test_what_would_be_scanned_in_vain_is_refused(tmp_path: Path, data: bytes, said: str) -> None:
    log = tmp_path / "uart.log"
    log.write_bytes(data)
    with pytest.raises(UsageError) as refused:
        list(blocks_of(str(log)))
    assert said.replace("LOG", str(log)) in refused.value.remedy


def test_noise_at_power_on_is_a_log(tmp_path: Path) -> None:
    log = tmp_path / "uart.log"
    log.write_bytes(bytes(300) + b"\xff\0" * 20 + b"U-Boot SPL 2017.09\r\n" * 20)
    assert b"".join(blocks_of(str(log))) == log.read_bytes()


def test_a_standard_input_that_is_closed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(UsageError, match="which is closed"):
        list(blocks_of("-"))


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    whole = gzip.compress(bytes(range(256)) * 100)
    for name, data in (("cut.gz", whole[:-9]), ("bad.gz", whole[:20] + b"\xff" * 20), ("bad.xz", b"\xfd7zXZ\0text")):
        (tmp_path / name).write_bytes(data)
    (tmp_path / "empty.log").touch()
    for name in ("cut.gz", "bad.gz", "bad.xz", "empty.log", "missing.log", "."):
        with pytest.raises(UsageError) as refused:
            list(blocks_of(str(tmp_path / name)))
        assert refused.value.message.startswith(str(tmp_path / name))
