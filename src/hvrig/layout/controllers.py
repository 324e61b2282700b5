"""The interrupt controllers that hvisor shows its zones: their registers, from a zone's configuration. Pure.

hvisor, `HvArchZoneConfig` of `src/arch/ARCH/zone.rs`: pairs `NAME_base` and `NAME_size`, in `ROOT_ARCH_ZONE_CONFIG` of
board.rs and in `arch_config` of a zone's JSON.
"""

from __future__ import annotations

from collections.abc import Mapping

from hvrig.layout.board_facts import Controller
from hvrig.model.layout import Stretch
from hvrig.model.memory import Range

# What hvisor emulates, or keeps for itself (gich). gicv is what a zone is given in place of gicc.
_EMULATED = ("gicd", "gicr", "gits", "gicc", "gich", "plic", "aplic", "ioapic")


def controllers(numbers: Mapping[str, tuple[int, str]], zone: int) -> tuple[Controller, ...]:
    """The controllers among `numbers`, each a value and where it is written, by the configuration's names."""
    found: list[Controller] = []
    for name in _EMULATED:
        base, size = numbers.get(f"{name}_base"), numbers.get(f"{name}_size")
        if base is not None and size is not None and size[0] and base[0] + size[0] <= 1 << 64:
            stretch = Stretch(f"the interrupt controller's {name}", Range(base[0], base[0] + size[0]), base[1])
            found.append(Controller(stretch, zone))
    return tuple(found)
