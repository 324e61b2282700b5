"""Does a rung fit into root-linux's memory? From /proc/meminfo, proc(5)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from hvrig.model.errors import LabError, UsageError
from hvrig.model.memory import PAGE_SIZE
from hvrig.model.size import format_size, parse_size

# What memtester, its shell and their libraries take besides the buffer.
SLACK_BYTES = 1 << 20

# One 8-byte page table entry a page; the higher levels are a five-hundredth of that and lie within the slack.
_PAGE_TABLE_ENTRY = 8

_FIELD = re.compile(r"([\w()]+): +(\d{1,15}) kB")


@dataclass(frozen=True)
class Memory:
    """root-linux's memory in bytes: all of it, what the kernel calls available, and what can be had.

    obtainable: free, plus page cache and slab that can be dropped. More than `available`, which leaves out
    what the kernel likes to keep free and half of the cache; a rung that is larger than this cannot fit.
    """

    total: int
    available: int
    obtainable: int


def parse_meminfo(text: str) -> Memory:
    """Read /proc/meminfo. Raises LabError if MemTotal or MemFree is missing."""
    sizes = {name: int(count) * 1024 for name, count in _FIELD.findall(text)}
    if "MemTotal" not in sizes or "MemFree" not in sizes:
        raise LabError(
            "/proc/meminfo of root-linux gives no MemTotal and MemFree",
            "check on the board that /proc is mounted",
        )
    reclaimable = sum(sizes.get(name, 0) for name in ("Active(file)", "Inactive(file)", "SReclaimable"))
    available = sizes.get("MemAvailable", sizes["MemFree"])
    return Memory(
        total=sizes["MemTotal"], available=available, obtainable=max(available, sizes["MemFree"] + reclaimable)
    )


def needed_bytes(size: int) -> int:
    """What a rung of `size` bytes takes of the memory: its buffer, its page tables, memtester itself."""
    return size + size // PAGE_SIZE * _PAGE_TABLE_ENTRY + SLACK_BYTES


def require_fit(ladder: Sequence[str], memory: Memory) -> None:
    """Raise UsageError, naming each rung that cannot fit, with the numbers."""
    too_large = [size for size in ladder if needed_bytes(parse_size(size)) > memory.obtainable]
    if not too_large:
        return
    rungs = "; ".join(
        f"{size} is {count} bytes and takes {format_size(needed_bytes(count))} with its page tables"
        for size, count in ((size, parse_size(size)) for size in too_large)
    )
    fitting = [size for size in ladder if size not in too_large]
    raise UsageError(
        f"the ladder does not fit into root-linux's memory: {rungs}; {format_size(memory.obtainable)} can be had "
        f"(MemAvailable {format_size(memory.available)}, MemTotal {format_size(memory.total)})",
        f"give a smaller ladder, such as {', '.join(fitting)}" if fitting else "give a ladder of smaller rungs",
    )
