from __future__ import annotations

from pathlib import Path

from hvrig.model.memory import Range
from hvrig.virtual.machine import LAYOUT, VIRTUAL


def test_the_layout_is_hvisors_arithmetic() -> None:
    assert LAYOUT.pool_start == 0x409E_6000
    assert LAYOUT.hypervisor == Range(0x4040_0000, 0x449E_6000)
    assert LAYOUT.full_reservation == 0x460_0000


def test_nothing_that_u_boot_loads_lies_in_the_hypervisor_or_outside_the_zone() -> None:
    for address in (LAYOUT.board_dtb, LAYOUT.initrd, LAYOUT.hvisor_staging, LAYOUT.zone_dtb, LAYOUT.kernel):
        assert address not in LAYOUT.hypervisor
        assert address in LAYOUT.zone_low


def test_firmware_is_given_with_the_machine() -> None:
    arguments = VIRTUAL.arguments(Path("/cache/u-boot.bin"))
    assert arguments[arguments.index("-bios") + 1] == "/cache/u-boot.bin"
    assert "virtualization=on" in arguments[arguments.index("-machine") + 1]
