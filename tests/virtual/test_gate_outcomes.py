"""The whole pipeline on the virtual board: what it says when the hypervisor, or the lab, is at fault."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from hvrig.model.deadline import Deadline
from hvrig.virtual.images import ImageSet

from .conftest import REPOSITORY, Finished, VirtualBench, finished, hvrig_command, run_hvrig, virtual_bench

pytestmark = pytest.mark.virtual_board


@dataclass(frozen=True)
class Running:
    """A run of hvrig in the background, and the folder that its artifacts lie in."""

    process: subprocess.Popen[str]
    folder: Path


@pytest.fixture(scope="module")
def silent(images: ImageSet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The longest run of all, a whole memtester of 768M: beside the tests that have one board of their own.

    Whoever tests two boards at once comes after the test that waits for it.
    """
    with virtual_bench(images, tmp_path_factory.mktemp("silent")) as bench:
        # memtester is to end by itself, on a busy machine, too.
        slow = {"rung_bytes_per_s": 1048576.0}
        process = bench.start("virtual-silent", "--ladder", "768M", "--stress-anyway", deadlines=slow)
        yield Running(process, bench.folder)
        process.terminate()
        process.wait(120)


@pytest.mark.usefixtures("silent")
def test_an_under_reserved_hypervisor_is_caught_by_the_last_rung(tmp_path: Path) -> None:
    # The upper half of the place's ladder; tests/hil climbs all of it.
    done = run_hvrig(tmp_path, "--place", "virtual-under-reserved", "--stress-anyway", "--ladder", "256M,768M")
    assert done.status == 1
    assert done.rungs == [("256M", "pass"), ("768M", "fail")]
    assert (done.verdict["outcome"], done.verdict["cause"]) == ("fail", "hypervisor-fault")
    faults = [fault for fault in done.verdict["faults"] if fault["kind"] == "unhandled-mmio-fault"]
    assert faults
    assert all(re.fullmatch(r"0x[0-9a-f]+", fault["address"]) for fault in faults)
    assert 0 <= done.verdict["fault_to_abort_s"] < 1
    # The report of both CPUs is in the raw log: recording went on after the first. The other CPU may fail
    # otherwise, fetching an instruction, since its tables are gone as well.
    log = (done.folder / "uart.log").read_bytes()
    assert log.count(b"unhandled mmio fault") + log.count(b"Failed to fetch instruction") >= 2
    assert {fault["cpu"] for fault in done.verdict["faults"]} == {0, 1}


@pytest.mark.parametrize(
    ("place", "open_from"), [("virtual-under-reserved", 0x40800000), ("virtual-silent", 0x40A00000)]
)
def test_an_overlap_is_found_by_the_files_and_by_the_running_board(tmp_path: Path, place: str, open_from: int) -> None:
    done = run_hvrig(tmp_path, "--place", place)
    assert (done.status, done.verdict["outcome"], done.verdict["cause"]) == (1, "fail", "layout")
    assert done.rungs == []
    assert done.verdict["phases"][-1]["phase"] == "gate"
    assert done.verdict["phases"][-1]["seconds"] < 5
    wrong = [{"start": f"{open_from:#x}", "end": "0x449e6000"}]
    for look, numbers in (("static", [1, 2]), ("live", [1, 2, 9])):
        findings = done.verdict["layout"][look]["findings"]
        assert [finding["number"] for finding in findings] == numbers
        assert all(finding["wrong"] == wrong for finding in findings)
        assert findings[0]["mend"]["text"] == "hvisor@40400000 { no-map; reg = <0x0 0x40400000 0x0 0x4600000>; };"
    assert "hvisor@40400000 { no-map; reg = <0x0 0x40400000 0x0 0x4600000>; };" in done.verdict["remedy"]
    events = [json.loads(line) for line in (done.folder / "timeline.jsonl").read_text().splitlines()]
    told = [e for e in events if e["event"] in {"layout-checked", "phase-began"}]
    assert [e.get("look", e.get("phase")) for e in told] == [
        *("static", "power", "u-boot", "load", "hypervisor", "root-linux", "ssh", "gate"),
        "live",
    ]


def test_a_dead_outlet_is_infra(bench: VirtualBench) -> None:
    bench.break_it("outlet-silent")
    done = bench.run(deadlines={"power_s": 2.0}, seconds=120)
    assert_infra(done, phase="power", said="did not answer")
    assert "power" in done.verdict["remedy"]


def test_a_dead_relay_is_infra(bench: VirtualBench) -> None:
    bench.break_it("relay-dead")
    done = bench.run(deadlines={"first_byte_s": 2.0, "uboot_s": 4.0}, seconds=120)
    assert_infra(done, phase="power", said="UART")


def test_a_silent_uart_is_infra(bench: VirtualBench) -> None:
    bench.break_it("uart-cut")
    done = bench.run(deadlines={"first_byte_s": 2.0, "uboot_s": 4.0}, seconds=120)
    assert_infra(done, phase="power", said="UART")
    assert "RX, TX and GND" in done.verdict["remedy"]


def test_a_file_missing_from_tftp_is_infra(bench: VirtualBench) -> None:
    kernel = {"path": "${rack}/tftp/Image", "address": 0x50400000, "remote": "no-such-file"}
    done = bench.run(images={"kernel": kernel}, seconds=120)
    assert_infra(done, phase="load", said="no-such-file")


def test_a_served_copy_that_is_another_build_is_infra(bench: VirtualBench) -> None:
    """The same size: only the CRC-32 that the board computes over its memory can tell."""
    built = bytearray(bench.images.zone0_dtb(None).read_bytes())
    built[-1] ^= 1
    mine = bench.folder / "zone0-all.dtb"
    mine.write_bytes(built)
    done = bench.run("virtual", "--image", f"zone0_dtb={mine}", seconds=120)
    assert_infra(done, phase="load", said="CRC-32")
    assert f"{zlib.crc32(built):08x}" in done.verdict["summary"]


def test_files_are_served_under_names_of_the_run_and_taken_away(bench: VirtualBench) -> None:
    kernel = bench.folder / "linux-6.1" / "Image"
    kernel.parent.mkdir()
    kernel.symlink_to(bench.images.kernel)
    board_rs = bench.folder / "board.rs"
    board_rs.write_text(BOARD_RS.format(kernel=0x50400000))
    done = bench.run(
        *("virtual", "--ladder", "64M", "--image", f"kernel={bench.folder}/linux-*/Image"),
        *("--board-rs", str(board_rs)),
        tftp={"folder": str(bench.images.tftp)},
        seconds=120,
    )
    assert (done.status, done.verdict["outcome"]) == (0, "pass"), done.output
    log = (done.folder / "uart.log").read_bytes()
    assert re.search(rb"Filename 'hvrig-\d{8}T\d{6}Z-[0-9a-f]{6}-kernel'", log)
    assert b"Filename 'Image'" not in log
    assert list(bench.images.tftp.glob("hvrig-*")) == []
    assert {file["name"]: file["path"] for file in done.verdict["booted"]}["kernel"] == str(kernel)
    assert f"load addresses as in {board_rs}" in done.output


BOARD_RS = """
pub const ROOT_ZONE_DTB_ADDR: u64 = 0x4f00_0000;
pub const ROOT_ZONE_KERNEL_ADDR: u64 = {kernel:#x};
pub const ROOT_ZONE_MEMORY_REGIONS: &[HvConfigMemoryRegion] = &[];
"""


@pytest.mark.parametrize("wrong", ["two matches", "no match", "address"])
def test_wrong_files_are_the_persons_and_nothing_is_switched_on(bench: VirtualBench, wrong: str) -> None:
    board_rs = bench.folder / "board.rs"
    board_rs.write_text(BOARD_RS.format(kernel=0x20400000))
    for number in (1, 2):
        (bench.folder / f"Image-{number}").write_bytes(b"x")
    pattern = f"{bench.folder}/Image-{'*' if wrong == 'two matches' else 'x*'}"
    arguments = ("--board-rs", str(board_rs)) if wrong == "address" else ("--image", f"kernel={pattern}")
    done = bench.run("virtual", *arguments, seconds=120)
    assert (done.status, done.verdict["outcome"], done.verdict["cause"]) == (2, "infra", "usage")
    said = {
        "two matches": f"matches 2 files, and must match one: {bench.folder}/Image-1, {bench.folder}/Image-2",
        "no match": f"nothing matches {pattern}",
        "address": f"kernel is loaded at 0x50400000, and ROOT_ZONE_KERNEL_ADDR is 0x20400000 ({board_rs}:3)",
    }[wrong]
    assert said in done.verdict["summary"]
    assert done.verdict["remedy"]
    assert bench.status()["uart_bytes"] == 0, "the board was switched on"


def test_a_wrong_ssh_key_is_infra(bench: VirtualBench) -> None:
    key = bench.folder / "other_key"
    stranger = Ed25519PrivateKey.generate()
    key.write_bytes(stranger.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    done = bench.run(ssh={"key": str(key)}, seconds=120)
    assert_infra(done, phase="ssh", said=str(key))


def test_a_wrong_host_key_is_infra(bench: VirtualBench) -> None:
    other = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"
    done = bench.run(ssh={"host_key": other}, seconds=120)
    assert_infra(done, phase="ssh", said="host key")


def test_a_board_that_stands_still_in_a_rung_is_a_hang(bench: VirtualBench) -> None:
    process = bench.start("virtual", "--ladder", "64M,128M", deadlines={"stall_s": 3.0, "probe_s": 2.0})
    await_event(bench.folder, "rung-progress", size="128M")
    bench.break_it("freeze")
    frozen = time.monotonic()
    output, _ = process.communicate(timeout=120)
    done = finished(bench.folder, process.returncode, output)
    assert time.monotonic() - frozen < 25
    assert (done.status, done.verdict["outcome"], done.verdict["cause"]) == (1, "fail", "hang")
    assert done.rungs == [("64M", "pass"), ("128M", "fail")]


@pytest.mark.parametrize(
    ("key", "cause", "said"),
    [("o", "hang", "128M"), ("c", "kernel-fault", "kernel panic"), ("b", "unexpected-reset", "reset itself")],
    ids=["powers itself off", "panics", "reboots"],
)
def test_root_linux_killed_in_a_rung_fails_it(bench: VirtualBench, key: str, cause: str, said: str) -> None:
    process = bench.start("virtual", "--ladder", "64M,128M", deadlines={"stall_s": 3.0, "probe_s": 2.0})
    await_event(bench.folder, "rung-progress", size="128M")
    bench.on_board(f"echo 1 > /proc/sys/kernel/sysrq; echo {key} > /proc/sysrq-trigger")
    output, _ = process.communicate(timeout=120)
    done = finished(bench.folder, process.returncode, output)
    assert (done.status, done.verdict["outcome"], done.verdict["cause"]) == (1, "fail", cause), done.output
    assert said in done.verdict["summary"]
    assert done.rungs == [("64M", "pass"), ("128M", "fail")]


def test_a_uart_lost_for_a_while_refuses_a_pass(bench: VirtualBench) -> None:
    process = bench.start("virtual", "--ladder", "64M,96M")
    await_event(bench.folder, "rung-progress", size="64M")
    bench.break_it("uart-disconnect", b"1")
    output, _ = process.communicate(timeout=120)
    done = finished(bench.folder, process.returncode, output)
    assert (done.status, done.verdict["outcome"], done.verdict["cause"]) == (3, "infra", "no-evidence")
    assert len(done.verdict["gaps"]) == 1


# What keeps a run in each phase until it is interrupted, however slow the machine is.
MOMENTS: dict[str, Mapping[str, Mapping[str, Any]]] = {
    "u-boot": {"uboot": {"setup": ["sleep 600"]}, "deadlines": {"command_s": 600.0}},
    "root-linux": {"root_linux": {"prompt": "no such prompt"}, "deadlines": {"root_linux_s": 600.0}},
    "gate": {},
}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", MOMENTS)
def test_an_interrupted_run_leaves_the_board_off_and_its_evidence(
    bench: VirtualBench, moment: str, number: signal.Signals
) -> None:
    process = bench.start("virtual", "--ladder", "768M", **MOMENTS[moment])
    await_event(bench.folder, "phase-began", phase=moment)
    await_first_byte(bench.folder)
    process.send_signal(number)
    output, _ = process.communicate(timeout=120)
    done = finished(bench.folder, process.returncode, output)
    assert (done.status, done.verdict["outcome"], done.verdict["cause"]) == (130, "infra", "interrupted")
    assert done.verdict["phase"] == moment
    assert (done.folder / "uart.log").stat().st_size > 0
    status = bench.status()
    assert (status["on"], status["qemu_pid"], status["uart_clients"]) == (False, None, 0)


def test_a_rung_that_cannot_fit_is_a_usage_error(bench: VirtualBench) -> None:
    done = bench.run("virtual", "--ladder", "64M,2G", seconds=120)
    assert (done.status, done.verdict["outcome"], done.verdict["cause"]) == (2, "infra", "usage")
    assert "2G" in done.verdict["summary"]
    assert done.verdict["rungs"] == []


def test_a_silent_overlap_is_found_by_the_pages_alone(silent: Running) -> None:
    output, _ = silent.process.communicate(timeout=900)
    done = finished(silent.folder, silent.process.returncode, output)
    assert done.status == 1, output
    assert (done.verdict["outcome"], done.verdict["cause"]) == ("fail", "layout")
    rung = done.verdict["rungs"][0]
    held = rung["coverage"]["hypervisor_pages"]
    assert held > 1000
    assert str(held) in done.verdict["summary"]
    assert (rung["exit_status"], rung["locked"], rung["got_bytes"]) == (0, True, 768 << 20)
    assert done.verdict["faults"] == []


def test_two_virtual_boards_run_side_by_side(tmp_path: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    processes = []
    for folder in folders:
        folder.mkdir()
        command = hvrig_command(folder, "--place", "virtual", "--ladder", "64M")
        processes.append(subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True))
    for folder, process in zip(folders, processes, strict=True):
        output, _ = process.communicate(timeout=120)
        done = finished(folder, process.returncode, output)
        assert (done.status, done.verdict["outcome"]) == (0, "pass"), output


def test_a_full_disk_is_infra_and_the_verdict_is_still_told(bench: VirtualBench) -> None:
    places = bench.places()
    command = hvrig_command(bench.folder, "--places", str(places), "--place", "virtual", "--ladder", "64M")
    # A limit on the size of every file is how a full disk looks from inside: EFBIG instead of ENOSPC.
    limited = ["prlimit", "--fsize=8192", *command]
    done = subprocess.run(limited, cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 3, done.stdout + done.stderr
    assert "outcome: infra" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert bench.status()["on"] is False


def test_a_board_may_be_kept_on(bench: VirtualBench) -> None:
    done = bench.run("virtual", "--ladder", "64M", "--keep-on", seconds=120)
    assert done.status == 0
    status = bench.status()
    assert status["on"]
    assert status["qemu_pid"] is not None


def assert_infra(done: Finished, *, phase: str, said: str) -> None:
    assert (done.status, done.verdict["outcome"]) == (3, "infra"), done.output
    assert done.verdict["phase"] == phase
    assert said in done.verdict["summary"]
    assert done.verdict["remedy"]
    assert done.verdict["rungs"] == []


def await_first_byte(folder: Path) -> None:
    """Wait until the board has said something."""
    log, deadline = folder / "artifacts" / "latest" / "uart.log", Deadline(60)
    while not log.stat().st_size:
        assert not deadline.expired, "the board has said nothing"
        time.sleep(0.02)


def await_event(folder: Path, event: str, **fields: str) -> None:
    """Wait until hvrig's own timeline holds such an event."""
    timeline = folder / "artifacts" / "latest" / "timeline.jsonl"
    deadline = Deadline(120)
    while not deadline.expired:
        lines = timeline.read_text(encoding="utf-8").splitlines() if timeline.exists() else []
        for line in lines:
            entry = json.loads(line)
            if entry["event"] == event and all(entry.get(key) == value for key, value in fields.items()):
                return
        time.sleep(0.02)
    raise AssertionError(f"no {event} {fields} within {deadline.seconds:.0f} s")
