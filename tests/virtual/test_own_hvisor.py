"""The place virtual-hvisor: a hypervisor and a device tree of one's own, given for the run.

hvisor itself is not here; the stand-in, built for hvisor's addresses and four CPUs, takes its place.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from hvrig.model.memory import Range
from hvrig.virtual.images import build_hypervisor
from hvrig.virtual.machine import Layout
from hvrig.virtual.toolchain_subprocess import run as run_tool

from .conftest import REPOSITORY, Finished, by_status, run_doctor, run_hvrig

pytestmark = pytest.mark.virtual_board

DTS = REPOSITORY / "tests/data/own-hvisor/zone0.dts"

# hvisor's stock configuration for the board: the hypervisor lies below zone 0's RAM, and zone 1's part is reserved.
STOCK = Layout(
    per_cpu_areas=4,
    cpus=4,
    zone_low=Range(0x5000_0000, 0xC000_0000),
    zone_high=Range(0x1_0000_0000, 0x1_0000_0000),
    zone_dtb=0xA000_0000,
    kernel=0xA040_0000,
)
# As on the x3300: the hypervisor lies inside of zone 0's RAM, and only the reservation keeps Linux off.
INSIDE = Layout(per_cpu_areas=4, cpus=4)


@dataclass(frozen=True)
class Own:
    """The files of one's own."""

    hvisor: Path
    tree: Path
    board_rs: Path

    @property
    def arguments(self) -> tuple[str, ...]:
        return (
            *("--place", "virtual-hvisor", "--image", f"hvisor={self.hvisor}", "--image", f"zone0_dtb={self.tree}"),
            *("--board-rs", str(self.board_rs)),
        )


def build(folder: Path, layout: Layout, reserved: Range) -> Own:
    folder.mkdir()
    build_hypervisor(layout, folder / "hvisor.elf", folder / "hvisor.bin")
    banks = [bank for bank in (layout.zone_low, layout.zone_high) if bank.size]
    source = DTS.read_text(encoding="utf-8")
    source = re.sub(r"/\*.*?\*/", "", source, flags=re.DOTALL)
    source = source.replace("MEMORY_AT", f"{banks[0].start:x}").replace("MEMORY", " ".join(map(cells, banks)))
    source = source.replace(
        "RESERVED", f"kept@{reserved.start:x} {{ no-map; reg = <{cells(reserved)}>; }};" if reserved.size else ""
    )
    compiled = run_tool(["dtc", "-q", "-I", "dts", "-O", "dtb", "-"], 20, "compiling zone0.dts", stdin=source.encode())
    (folder / "zone0.dtb").write_bytes(compiled)
    regions = "".join(
        "HvConfigMemoryRegion { mem_type: MEM_TYPE_RAM, "
        f"physical_start: {bank.start:#x}, virtual_start: {bank.start:#x}, size: {bank.size:#x} }},\n"
        for bank in banks
    )
    (folder / "board.rs").write_text(
        f"pub const BOARD_NCPUS: usize = {layout.cpus};\n"
        f"pub const ROOT_ZONE_DTB_ADDR: u64 = {layout.zone_dtb:#x};\n"
        f"pub const ROOT_ZONE_KERNEL_ADDR: u64 = {layout.kernel:#x};\n"
        f"pub const ROOT_ZONE_MEMORY_REGIONS: &[HvConfigMemoryRegion] = &[\n{regions}];\n",
        encoding="utf-8",
    )
    return Own(folder / "hvisor.bin", folder / "zone0.dtb", folder / "board.rs")


def cells(stretch: Range) -> str:
    return " ".join(f"{value >> 32:#x} {value & 0xFFFF_FFFF:#x}" for value in (stretch.start, stretch.size))


def booted(done: Finished) -> dict[str, tuple[str, str]]:
    return {file["name"]: (file["path"], file["address"]) for file in done.verdict["booted"]}


def test_a_hypervisor_of_ones_own_passes_the_gate(tmp_path: Path) -> None:
    own = build(tmp_path / "own", STOCK, Range(0x5000_0000, 0x8000_0000))
    before = hashlib.sha256(own.tree.read_bytes()).hexdigest()
    done = run_hvrig(tmp_path, *own.arguments, "--ladder", "64M", seconds=120)
    assert (done.status, done.verdict["outcome"]) == (0, "pass"), done.output
    assert hashlib.sha256(own.tree.read_bytes()).hexdigest() == before
    log = (done.folder / "uart.log").read_bytes()
    assert len(set(re.findall(rb"(?:Primary|Secondary) CPU (\d) has entered", log))) == 4
    assert booted(done)["hvisor"] == (str(own.hvisor), "0x4c000000")
    assert booted(done)["kernel"][1] == "0xa0400000"
    # Not in the part that the tree reserves for zone 1.
    assert int(booted(done)["initrd"][1], 16) >= 0x8000_0000
    assert booted(done)["zone0_dtb"] == (str(done.folder / "zone0.dtb"), "0xa0000000")


def test_an_under_reserved_tree_of_ones_own_is_caught(tmp_path: Path) -> None:
    own = build(tmp_path / "own", INSIDE, Range(0x4040_0000, 0x4060_0000))
    done = run_hvrig(tmp_path, *own.arguments, "--ladder", "768M", "--stress-anyway", seconds=180)
    assert (done.status, done.verdict["outcome"]) == (1, "fail"), done.output
    assert done.verdict["cause"] == "hypervisor-fault"
    assert booted(done)["kernel"][1] == "0x50400000"  # by board.rs, not by the place


def test_the_doctor_sees_it_boot_with_a_tree_that_was_changed_and_refuse_another_host_key(tmp_path: Path) -> None:
    own = build(tmp_path / "own", INSIDE, Range(0x4040_0000, 0x4060_0000))
    bootargs = "earlycon=pl011,0x9000000 console=ttyAMA0 loglevel=7 panic=0 nokaslr"
    changed = {
        "like": "virtual-hvisor",
        "rack": {"machine": "hvisor-qemu-gicv3", "memory": "board-rs", "reserved": "70M", "bootargs": bootargs},
        "ssh": {"host_key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKUxbVtgUjYoFmYLNRXnp3OzIyOqj1wLC3GOiGLSWsrT"},
    }
    tree = yaml.safe_load((REPOSITORY / "lab/places.yaml").read_text(encoding="utf-8"))
    own_place = tree["targets"]["virtual-hvisor"]
    tree["targets"]["changed"] = {**own_place, "options": {"hvrig": changed}}
    places = tmp_path / "places.yaml"
    places.write_text(yaml.safe_dump(tree), encoding="utf-8")
    status, checks = run_doctor(tmp_path, *own.arguments, "--places", str(places), "--place", "changed")
    assert (status, by_status(checks, "fail")) == (3, ["ssh"]), checks
    assert "host key" in checks["ssh"]["found"]
    assert checks["boot"]["status"] == checks["watch"]["status"] == "ok"
    assert [name for name in checks if checks[name]["found"] == "needs ssh"] == ["memtester", "memory", "clock"]
    log = (tmp_path / "artifacts/latest/uart.log").read_bytes()
    assert f"Kernel command line: {bootargs}".encode() in log
    assert b"node   0: [mem 0x0000000040400000-0x00000000449fffff]" in log  # apart from the rest: no-map


def test_files_that_were_not_given_are_asked_for(tmp_path: Path) -> None:
    done = run_hvrig(tmp_path, "--place", "virtual-hvisor", seconds=60)
    assert (done.status, done.verdict["outcome"], done.verdict["cause"]) == (2, "infra", "usage")
    assert done.verdict["remedy"] == "--image zone0_dtb=PATH --image hvisor=PATH"
