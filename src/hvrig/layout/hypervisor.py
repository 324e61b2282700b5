"""Where the hypervisor lies: its own arithmetic, from link-time addresses and compile-time sizes. Pure.

hvisor, `src/consts.rs`: the per-CPU areas begin at `__core_end`, `MAX_CPU_NUM` of `PER_CPU_SIZE` each; then comes
the frame pool of `HV_MEM_POOL_SIZE`; `hv_end` is the pool's end. Newer builds have it as symbol `__hv_end`.
"""

from __future__ import annotations

from dataclasses import dataclass

from hvrig.layout.rust_source import Constants
from hvrig.model.memory import Range
from hvrig.model.memory_map import MemoryMap, Region, Use


@dataclass(frozen=True)
class RuntimeSizes:
    """What follows the static binary: `cpus` areas of `per_cpu` bytes, then a pool of `pool` bytes."""

    cpus: int
    per_cpu: int
    pool: int

    @property
    def total(self) -> int:
        """Bytes from `__core_end` to `hv_end`."""
        return self.cpus * self.per_cpu + self.pool


@dataclass(frozen=True)
class LinkAddresses:
    """Physical addresses of the linker's symbols; `end` only in newer builds."""

    start: int
    core_end: int
    end: int | None
    source: str


def runtime_sizes(constants: Constants) -> RuntimeSizes | None:
    """The sizes, where the constants (consts.rs, board.rs) give all of them."""
    cpus = constants.integer("MAX_CPU_NUM") or constants.integer("BOARD_NCPUS")
    per_cpu, pool = constants.integer("PER_CPU_SIZE"), constants.integer("HV_MEM_POOL_SIZE")
    if cpus is None or per_cpu is None or pool is None:
        return None
    return RuntimeSizes(cpus, per_cpu, pool)


def hypervisor_map(link: LinkAddresses, sizes: RuntimeSizes | None) -> MemoryMap:
    """The hypervisor and its parts. The linker's `__hv_end` counts more than the sizes."""
    binary = Region("binary", Use.HYPERVISOR_PART, Range(link.start, link.core_end), link.source)
    end = link.end if link.end is not None else (link.core_end + sizes.total if sizes else None)
    if end is None:
        return MemoryMap(
            (binary,),
            (
                f"{link.source}: no symbol __hv_end, so that the hypervisor's end is not known; "
                "give the consts.rs and the board.rs that it was built from.",
            ),
        )
    regions = [Region("hypervisor", Use.HYPERVISOR, Range(link.start, end), link.source), binary]
    notes: list[str] = []
    if sizes is not None and link.core_end + sizes.total == end:
        pool = end - sizes.pool
        regions.append(Region("per-CPU areas", Use.HYPERVISOR_PART, Range(link.core_end, pool), link.source))
        regions.append(Region("frame pool", Use.HYPERVISOR_PART, Range(pool, end), link.source))
    else:
        rest = Range(link.core_end, end)
        regions.append(Region("per-CPU areas and frame pool", Use.HYPERVISOR_PART, rest, link.source))
        if sizes is not None:
            notes.append(
                f"{link.source}: __hv_end is {end:#x}, but the constants give {link.core_end + sizes.total:#x}: "
                "the ELF and the sources are of different builds."
            )
    return MemoryMap(tuple(regions), tuple(notes))


def printed_map(start: int, core_end: int | None, pool_start: int | None, end: int, source: str) -> MemoryMap:
    """The hypervisor as it printed its own layout while it booted; `start` <= the others <= `end`."""
    regions = [Region("hypervisor", Use.HYPERVISOR, Range(start, end), source)]
    if core_end is not None and pool_start is not None and start <= core_end <= pool_start <= end:
        parts = (("binary", start, core_end), ("per-CPU areas", core_end, pool_start), ("frame pool", pool_start, end))
        regions += [Region(name, Use.HYPERVISOR_PART, Range(a, b), source) for name, a, b in parts]
    return MemoryMap(tuple(regions))
