"""Where a process's memory physically is: /proc/iomem, /proc/PID/maps and /proc/PID/pagemap.

Formats: Linux Documentation/admin-guide/mm/pagemap.rst and proc(5).
"""

from __future__ import annotations

import re
import sys
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hvrig.model.errors import LabError
from hvrig.model.evidence import BankShare, Coverage
from hvrig.model.memory import PAGE_SIZE, Range

ENTRY_SIZE = 8
_PRESENT_BIT = 63
_FRAME_MASK = (1 << 55) - 1
_KEPT_STRETCHES = 20

# Entries handled at once: bounds the memory that Python's integers take, 3 million pages being 12 GiB.
_SLICE = 1 << 18

# glibc's malloc maps one page more than it is asked for, and memtester locks from the second page on.
_BUFFER_SLACK = 2 * PAGE_SIZE

_IOMEM = re.compile(r"([0-9a-f]{1,16})-([0-9a-f]{1,16}) : System RAM", re.MULTILINE)
_MAPPING = re.compile(
    r"([0-9a-f]{1,16})-([0-9a-f]{1,16}) rw-p [0-9a-f]+ [0-9a-f]+:[0-9a-f]+ 0 *(?:\[(?:heap|anon.*)\])?"
)


def parse_iomem(text: str) -> tuple[Range, ...]:
    """The banks of System RAM in /proc/iomem, ascending.

    Raises LabError if there are none, or if the addresses are hidden, as the kernel does for everyone but root.
    """
    banks = []
    for line in text.splitlines():
        if found := _IOMEM.fullmatch(line):
            start, last = int(found[1], 16), int(found[2], 16)
            if start <= last:
                banks.append(Range(start, last + 1))
    if not banks:
        raise LabError(
            "/proc/iomem of root-linux names no System RAM",
            "check on the board that /proc is mounted and that `cat /proc/iomem` shows its memory",
        )
    if all(bank.size == 1 for bank in banks):
        raise LabError(
            "/proc/iomem of root-linux shows only zeros: the user that logs in may not see physical addresses",
            "let the place's NetworkService log in as root",
        )
    return tuple(sorted(banks))


def find_buffer(maps: str, wanted: int) -> Range | None:
    """The virtual addresses of memtester's buffer in /proc/PID/maps: the largest anonymous read-write mapping.

    None if no such mapping holds `wanted` bytes.
    """
    largest: Range | None = None
    for line in maps.splitlines():
        if found := _MAPPING.fullmatch(line.rstrip()):
            start, end = int(found[1], 16), int(found[2], 16)
            if start < end and (largest is None or end - start > largest.size):
                largest = Range(start, end)
    if largest is None or largest.size + _BUFFER_SLACK < wanted:
        return None
    return largest


@dataclass(frozen=True)
class PagemapRead:
    """The stretch of /proc/PID/pagemap to read, as `dd bs=4096 skip=SKIP count=COUNT` does it.

    offset, size: the wanted bytes within what was read.
    """

    skip: int
    count: int
    offset: int
    size: int

    def cut(self, data: bytes) -> bytes:
        """The wanted entries out of what dd gave. Raises LabError if it gave less."""
        if len(data) < self.offset + self.size:
            raise LabError(f"pagemap gave {len(data)} bytes of {self.offset + self.size}", "run the gate again")
        return data[self.offset : self.offset + self.size]


def pagemap_read(buffer: Range) -> PagemapRead:
    """What to read of pagemap for the virtual addresses of `buffer`."""
    first = buffer.start // PAGE_SIZE * ENTRY_SIZE
    size = (_page_after(buffer.end) - buffer.start // PAGE_SIZE) * ENTRY_SIZE
    skip, offset = divmod(first, PAGE_SIZE)
    return PagemapRead(skip=skip, count=-(-(offset + size) // PAGE_SIZE), offset=offset, size=size)


def page_frames(data: bytes) -> array[int]:
    """The frame numbers of all present pages in pagemap's bytes (8 a page, little-endian).

    Raises LabError if pages are present and all frame numbers are 0: the kernel hides them from everyone but
    root with CAP_SYS_ADMIN.
    """
    entries = array("Q")
    entries.frombytes(data[: len(data) // ENTRY_SIZE * ENTRY_SIZE])
    if sys.byteorder == "big":
        entries.byteswap()
    frames = array("Q")
    for at in range(0, len(entries), _SLICE):
        piece = entries[at : at + _SLICE]
        frames.extend([entry & _FRAME_MASK for entry in piece if entry >> _PRESENT_BIT])
    if frames and not any(frames):
        raise LabError(
            "pagemap shows no page frames: the user that logs in may not see physical addresses",
            "let the place's NetworkService log in as root",
        )
    return frames


def coverage(frames: array[int], banks: Sequence[Range], hypervisor_range: Range | None) -> Coverage:
    """What share of each bank the frames are, and which of them lie in the hypervisor's memory.

    A page that only touches a range counts as inside it.
    """
    held = [0] * len(banks)
    taken: list[int] = []
    for at in range(0, len(frames), _SLICE):
        ordered = sorted(frames[at : at + _SLICE])
        for index, bank in enumerate(banks):
            held[index] += len(_within(ordered, bank))
        if hypervisor_range is not None:
            taken += _within(ordered, hypervisor_range)
    return Coverage(
        pages=len(frames),
        banks=tuple(
            BankShare(bank=bank, pages_held=count, pages=_page_after(bank.end) - bank.start // PAGE_SIZE)
            for bank, count in zip(banks, held, strict=True)
        ),
        hypervisor_range=hypervisor_range,
        hypervisor_pages=len(taken),
        hypervisor_stretches=_stretches(sorted(taken)),
    )


def _page_after(end: int) -> int:
    return -(-end // PAGE_SIZE)


def _within(ordered: list[int], memory: Range) -> list[int]:
    first = bisect_left(ordered, memory.start // PAGE_SIZE)
    return ordered[first : bisect_left(ordered, _page_after(memory.end))]


def _stretches(ordered: Iterable[int]) -> tuple[Range, ...]:
    stretches: list[Range] = []
    start = end = -1
    for frame in ordered:
        if frame > end:
            if end >= 0:
                stretches.append(Range(start * PAGE_SIZE, end * PAGE_SIZE))
                if len(stretches) == _KEPT_STRETCHES:
                    return tuple(stretches)
            start = frame
        end = frame + 1
    if end >= 0:
        stretches.append(Range(start * PAGE_SIZE, end * PAGE_SIZE))
    return tuple(stretches)
