from __future__ import annotations

from hvrig.layout.hypervisor import (
    LinkAddresses,
    RuntimeSizes,
    hypervisor_map,
    printed_map,
    runtime_sizes,
    with_printed,
)
from hvrig.layout.rust_source import Constants, RustSource
from hvrig.model.memory import Range
from hvrig.model.memory_map import MemoryMap, Use

X3300 = RuntimeSizes(cpus=8, per_cpu=512 << 10, pool=64 << 20)


def parts(memory: MemoryMap) -> dict[str, Range]:
    return {region.name: region.range for region in memory.regions}


def test_an_older_build_is_computed_from_its_constants() -> None:
    known = hypervisor_map(LinkAddresses(0x500000, 0x6E6000, None, "hvisor"), X3300)
    assert parts(known) == {
        "hypervisor": Range(0x500000, 0x4AE6000),
        "binary": Range(0x500000, 0x6E6000),
        "per-CPU areas": Range(0x6E6000, 0xAE6000),
        "frame pool": Range(0xAE6000, 0x4AE6000),
    }
    assert not known.notes


def test_without_constants_an_older_builds_end_is_not_known() -> None:
    known = hypervisor_map(LinkAddresses(0x500000, 0x6E6000, None, "hvisor"), None)
    assert parts(known) == {"binary": Range(0x500000, 0x6E6000)}
    assert known.hypervisor is None
    assert "end is not known" in known.notes[0]


def test_a_newer_build_needs_no_constants() -> None:
    known = hypervisor_map(LinkAddresses(0x500000, 0x6E6000, 0x4AE6000, "hvisor"), None)
    assert parts(known)["per-CPU areas and frame pool"] == Range(0x6E6000, 0x4AE6000)
    assert known.hypervisor is not None
    assert known.hypervisor.range == Range(0x500000, 0x4AE6000)


def test_an_elf_and_constants_of_different_builds_are_told() -> None:
    known = hypervisor_map(LinkAddresses(0x500000, 0x6E6000, 0x2AE6000, "hvisor"), X3300)
    assert known.hypervisor is not None
    assert known.hypervisor.range.end == 0x2AE6000, "the linker's symbol counts"
    assert "different builds" in known.notes[0]


def test_sizes_come_from_the_constants() -> None:
    consts = RustSource(
        b"pub const PER_CPU_SIZE: usize = 512 * 1024;\n"
        b"pub const HV_MEM_POOL_SIZE: usize = 64 * 1024 * 1024;\n"
        b"pub const MAX_CPU_NUM: usize = BOARD_NCPUS;\n",
        "consts.rs",
    )
    board = RustSource(b"pub const BOARD_NCPUS: usize = 8;", "board.rs")
    assert runtime_sizes(Constants((board, consts))) == X3300
    assert runtime_sizes(Constants((board,))) is None


def test_what_the_hypervisor_printed() -> None:
    assert parts(printed_map(0x500000, 0x6E6000, 0xAE6000, 0x4AE6000, "printed"))["frame pool"] == Range(
        0xAE6000, 0x4AE6000
    )
    torn = printed_map(0x500000, 0x6E60000, 0xAE6000, 0x4AE6000, "printed")
    assert [region.use for region in torn.regions] == [Use.HYPERVISOR], "parts that cannot be are left out"


def test_what_runs_counts_more_than_what_was_built() -> None:
    built = hypervisor_map(LinkAddresses(0x500000, 0x6E6000, None, "hvisor"), X3300)
    assert with_printed(built, MemoryMap()) == built
    same = printed_map(0x500000, 0x6E6000, 0xAE6000, 0x4AE6000, "printed while booting")
    assert with_printed(built, same) == same
    other = printed_map(0x500000, None, None, 0x5000000, "printed while booting")
    known = with_printed(built, other)
    assert known.regions == other.regions
    assert known.notes == (
        "hvisor says that the hypervisor is at 0x500000 - 0x4ae6000, "
        "printed while booting is 0x500000 - 0x5000000, which counts.",
    )
