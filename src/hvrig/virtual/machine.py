"""The machine that the virtual board is, and what lies where in its memory.

One definition for the rack that starts it, its device trees and its hypervisor.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hvrig.model.memory import Range

QEMU = "qemu-system-aarch64"
CPUS = 2

_RESERVATION_UNIT = 2 << 20  # the block that arm64 maps memory with: nothing is gained by reserving less
_ZONE_LOW = Range(0x4000_0000, 0x5400_0000)
_ZONE_HIGH = Range(0x1_0000_0000, 0x1_2F00_0000)


@dataclass(frozen=True, kw_only=True)
class Machine:
    """One of QEMU's `virt` machines. board, cpu, network: as QEMU writes them; the network's netdev is `n0`."""

    board: str
    cpu: str
    cpus: int
    memory_mib: int
    network: str

    def arguments(self, uboot: Path) -> list[str]:
        """QEMU's arguments for CPU, memory and firmware, without network, serial ports and display.

        uboot: U-Boot's image. It must be given for the device tree's sake too: without firmware QEMU describes
        a pl061 GPIO that this machine does not have, and Linux dies of a synchronous external abort probing it.
        """
        return [
            *("-machine", self.board),
            *("-cpu", self.cpu),
            *("-smp", str(self.cpus)),
            *("-m", f"{self.memory_mib}M"),
            *("-bios", str(uboot)),
        ]


# romfile is empty because the option ROM is for a PC's firmware, and a package of its own.
VIRTUAL = Machine(
    board="virt,virtualization=on,gic-version=3",
    cpu="cortex-a57",
    cpus=CPUS,
    memory_mib=4096,
    network="virtio-net-pci,netdev=n0,romfile=",
)


def hvisor_machine(cpus: int, memory_mib: int) -> Machine:
    """What hvisor's board aarch64/qemu-gicv3 runs on.

    hvisor drives the SMMU, waits for all of its CPUs, and gives zone 0 the last virtio-mmio window.
    """
    return Machine(
        board="virt,virtualization=on,gic-version=3,iommu=smmuv3",
        cpu="cortex-a72",
        cpus=cpus,
        memory_mib=memory_mib,
        network="virtio-net-device,netdev=n0,bus=virtio-mmio-bus.31",
    )


@dataclass(frozen=True)
class Layout:
    """Physical addresses of the hypervisor, by hvisor's arithmetic, of zone 0's memory and of what U-Boot loads.

    core_end: `__core_end`. per_cpu_areas: MAX_CPU_NUM, 8 as for the x3300, however many CPUs this machine has (cpus).
    zone_low, zone_high: zone 0's RAM, ZONE_DMA and ZONE_NORMAL to Linux, 1072 MiB in all: the x3300's 16 GiB
    at 1/16. The sizes decide that 256M lies wholly in the high bank and 768M does not (see standin/README.md).
    """

    load_address: int = 0x4040_0000
    core_end: int = 0x405E_6000
    per_cpu_areas: int = 8
    cpus: int = CPUS
    per_cpu_size: int = 512 << 10
    pool_size: int = 64 << 20
    zone_low: Range = _ZONE_LOW
    zone_high: Range = _ZONE_HIGH
    board_dtb: int = 0x4000_0000
    initrd: int = 0x4A00_0000
    hvisor_staging: int = 0x4C00_0000
    zone_dtb: int = 0x4F00_0000
    kernel: int = 0x5040_0000

    @property
    def pool_start(self) -> int:
        """`mem_pool_start`, where the frame allocator begins."""
        return self.core_end + self.per_cpu_areas * self.per_cpu_size

    @property
    def hypervisor(self) -> Range:
        """`[skernel, __hv_end)`."""
        return Range(self.load_address, self.pool_start + self.pool_size)

    @property
    def full_reservation(self) -> int:
        """Bytes from `load_address` on that must be reserved for the hypervisor, in whole 2 MiB."""
        return -(-self.hypervisor.size // _RESERVATION_UNIT) * _RESERVATION_UNIT

    def build_parameters(self) -> dict[str, int]:
        """What the stand-in's sources and linker script are told, by name."""
        return {
            "LOAD_ADDRESS": self.load_address,
            "CORE_END": self.core_end,
            "POOL_START": self.pool_start,
            "HV_END": self.hypervisor.end,
            "CPUS": self.cpus,
            "ZONE_KERNEL": self.kernel,
            "ZONE_DTB": self.zone_dtb,
            "ZONE_LOW_START": self.zone_low.start,
            "ZONE_LOW_SIZE": self.zone_low.size,
            "ZONE_HIGH_START": self.zone_high.start,
            "ZONE_HIGH_SIZE": self.zone_high.size,
        }


LAYOUT = Layout()
