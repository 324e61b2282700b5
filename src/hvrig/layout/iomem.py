"""What a running kernel says of its memory: /proc/iomem. Pure.

Format: Linux, `kernel/resource.c`: a line `start-last : name` a resource, both hexadecimal, indented by two spaces a
level; zeros in place of addresses for whoever lacks CAP_SYS_ADMIN. On arm64 (`arch/arm64/kernel/setup.c`) memory with
`no-map` is a `reserved` of its own beside System RAM (Linux 4.5), and what the kernel merely keeps to itself is a
`reserved` inside it (Linux 4.19). riscv writes `Reserved`, and shows only what is beside System RAM
(`arch/riscv/kernel/setup.c`), as older arm64 kernels do.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from hvrig.layout.addresses import Addresses, minus, union
from hvrig.model.errors import LabError
from hvrig.model.memory import Range

_SYSTEM_RAM = "System RAM"
_RESERVED = "reserved"
_LINE = re.compile(r"( *)([0-9a-f]{1,16})-([0-9a-f]{1,16}) : ?(.*)")


@dataclass(frozen=True)
class KernelMemory:
    """Addresses as the kernel sees them. system_ram: what is memory to it; reserved: the part it hands out to nobody.

    A `reserved` line that has the kernel's own code or data in it reserves the rest.
    """

    system_ram: Addresses
    reserved: Addresses

    @property
    def handed_out(self) -> Addresses:
        """System RAM that is not marked reserved."""
        return minus(self.system_ram, self.reserved)


@dataclass(frozen=True)
class _Resource:
    depth: int
    range: Range
    name: str
    children: list[Range]


def read_iomem(text: str, name: str = "/proc/iomem") -> KernelMemory:
    """The kernel's memory; of nested resources the innermost one counts.

    Raises LabError, naming the line, where it cannot be read, names no System RAM, or hides its addresses.
    """
    banks: list[Range] = []
    reserved: list[_Resource] = []
    path: list[_Resource] = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line:
            continue
        resource = _resource(line, name, number)
        while path and path[-1].depth >= resource.depth:
            path.pop()
        if path:
            path[-1].children.append(resource.range)
        if resource.name == _SYSTEM_RAM:
            banks.append(resource.range)
        elif resource.name.lower() == _RESERVED and any(outer.name == _SYSTEM_RAM for outer in path):
            reserved.append(resource)
        path.append(resource)
    if not banks:
        raise LabError(
            f"{name} of root-linux names no System RAM.",
            "Check on the board that /proc is mounted and that `cat /proc/iomem` shows its memory.",
        )
    if all(bank.start == 0 and bank.size == 1 for bank in banks):
        raise LabError(
            f"{name} of root-linux shows only zeros: the user that logs in may not see physical addresses.",
            "Let the place's NetworkService log in as root.",
        )
    kept = [part for one in reserved for part in minus([one.range], one.children)]
    return KernelMemory(union(banks), union(kept))


def _resource(line: str, name: str, number: int) -> _Resource:
    found = _LINE.fullmatch(line)
    if found is None or int(found[2], 16) > int(found[3], 16):
        raise LabError(
            f"{name} of root-linux, line {number}, is no resource: {line[:60]!r}.",
            "Look at `cat /proc/iomem` on the board.",
        )
    return _Resource(len(found[1]), Range(int(found[2], 16), int(found[3], 16) + 1), found[4], [])
