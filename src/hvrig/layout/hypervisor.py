"""Where the hypervisor lies: its own arithmetic, from link-time addresses and compile-time sizes. Pure.

hvisor, `src/consts.rs`: the per-CPU areas begin at `__core_end`, `MAX_CPU_NUM` of `PER_CPU_SIZE` each; then comes
the frame pool of `HV_MEM_POOL_SIZE`; `hv_end` is the pool's end. Newer builds have it as symbol `__hv_end`.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    """Physical addresses of the linker's symbols; `end` only in newer builds. architecture: hvisor's name for it."""

    start: int
    core_end: int
    end: int | None
    source: str
    architecture: str = ""


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


@dataclass(frozen=True)
class KnownStart:
    """Where the hypervisor begins, by a source that does not know its end.

    loaded_end: how far its static binary goes at the least.
    """

    start: int
    loaded_end: int
    source: str


def bounded(known: MemoryMap, starts: Sequence[KnownStart], sizes: RuntimeSizes | None) -> MemoryMap:
    """What sources that only know the start add to a map: a hypervisor with the earliest possible end if it has none.

    The first of `starts` counts; notes say what is a bound, and where the sources and the map contradict each other.
    """
    regions: list[Region] = []
    notes: list[str] = []
    hypervisor = known.hypervisor
    for one in starts:
        end = one.loaded_end + sizes.total if sizes is not None else one.loaded_end
        if hypervisor is None and sizes is not None:
            hypervisor = Region("hypervisor, at least", Use.HYPERVISOR, Range(one.start, end), one.source)
            regions.append(hypervisor)
            notes.append(
                f"{one.source}: the hypervisor ends at {end:#x} or later: a bound, since the size of its static "
                "binary is not known."
            )
        elif hypervisor is None:
            notes.append(
                f"{one.source}: the hypervisor begins at {one.start:#x}; where it ends needs the consts.rs and the "
                "board.rs that it was built from."
            )
        elif one.start != hypervisor.range.start:
            notes.append(
                f"{one.source} says that the hypervisor begins at {one.start:#x}, {hypervisor.source} says "
                f"{hypervisor.range.start:#x}."
            )
        elif end > hypervisor.range.end:
            notes.append(
                f"{one.source} says that the hypervisor ends at {end:#x} or later, {hypervisor.source} says "
                f"{hypervisor.range.end:#x}."
            )
    return MemoryMap(tuple(regions), tuple(notes))


def printed_map(start: int, core_end: int | None, pool_start: int | None, end: int, source: str) -> MemoryMap:
    """The hypervisor as it printed its own layout while it booted; `start` <= the others <= `end`."""
    regions = [Region("hypervisor", Use.HYPERVISOR, Range(start, end), source)]
    if core_end is not None and pool_start is not None and start <= core_end <= pool_start <= end:
        parts = (("binary", start, core_end), ("per-CPU areas", core_end, pool_start), ("frame pool", pool_start, end))
        regions += [Region(name, Use.HYPERVISOR_PART, Range(a, b), source) for name, a, b in parts]
    return MemoryMap(tuple(regions))


def with_printed(files: MemoryMap, printed: MemoryMap) -> MemoryMap:
    """`files` with what the running hypervisor printed of itself in place of what they say of it.

    A file that says otherwise is of another build than the one that runs: a note names both.
    """
    said = printed.hypervisor
    if said is None:
        return files
    own = (Use.HYPERVISOR, Use.HYPERVISOR_PART)
    notes = tuple(
        f"{other.source} says that the hypervisor is at {other.range}, {said.source} is {said.range}, which counts."
        for other in files.of(Use.HYPERVISOR)
        if other.range != said.range
    )
    others = tuple(region for region in files.regions if region.use not in own)
    return MemoryMap(printed.regions + others, printed.notes + files.notes + notes)
