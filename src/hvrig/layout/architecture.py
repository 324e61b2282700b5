"""Where a hypervisor's linked addresses lie in physical memory, by architecture. Pure.

hvisor is linked at its physical addresses, but for two architectures: on x86_64 it is linked at a fixed distance
(hvisor, `platform/x86_64/BOARD/linker.ld`: 0xffffff8000200000 for 2 MiB), and LoongArch runs kernels through a window
whose upper 16 bits choose the cache mode (LoongArch Reference Manual, volume 1, 5.2.1) and are no part of the physical
address.
"""

from __future__ import annotations

X86_64 = "x86_64"
LOONGARCH64 = "loongarch64"

_X86_64_DISTANCE = 0xFFFFFF8000000000
_LOONGARCH_PHYSICAL = (1 << 48) - 1
_MACHINES = {
    "EM_AARCH64": "aarch64",
    "EM_RISCV": "riscv64",
    "EM_LOONGARCH": LOONGARCH64,
    "EM_X86_64": X86_64,
}


def architecture_of(machine: str) -> str:
    """hvisor's name for an ELF's `e_machine`, the machine's own where hvisor has none."""
    return _MACHINES.get(machine, machine)


def physical(address: int, architecture: str) -> int:
    """The physical address of a linked one; `architecture` is the name of hvisor's folder, such as `aarch64`."""
    if architecture == X86_64 and address >= _X86_64_DISTANCE:
        return address - _X86_64_DISTANCE
    if architecture == LOONGARCH64:
        return address & _LOONGARCH_PHYSICAL
    return address
