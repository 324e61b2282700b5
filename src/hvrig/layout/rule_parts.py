"""What the rules share: what one comes to, and the words for what is missing. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from hvrig.layout.addresses import Addresses
from hvrig.layout.board_facts import BoardFacts
from hvrig.model.layout import LayoutFinding, Rule, Stretch, Unchecked
from hvrig.model.memory_map import Region, Use

ROOT_ZONE = 0
# What stage 2 maps. Virtio regions it leaves out, so that accesses trap.
MAPPED = (Use.ZONE_RAM, Use.ZONE_DEVICE, Use.ZONE_OTHER)
# In names of reservations and images.
HYPERVISORS_NAME = re.compile(r"(?<![a-z])(?:hv|hvisor|hypervisor)(?![a-z])")
HYPERVISOR_REMEDY = (
    "Give hvisor's ELF (--elf), or consts.rs and board.rs with linker.ld or hvisor.bin, or the range itself (--range)."
)
TREE_REMEDY = "Give the device tree that root-linux is booted with (--dtb, --dts)."
REGIONS_REMEDY = "Give the zone's regions: board.rs for zone 0 (--board-rs), JSON for others (--zone-json)."
_SHOWN = 4


@dataclass(frozen=True)
class Outcome:
    """What one rule comes to. `unchecked` beside `checked`: it was checked in part."""

    rule: Rule
    checked: bool
    findings: tuple[LayoutFinding, ...] = ()
    unchecked: tuple[Unchecked, ...] = ()


def not_checked(rule: Rule, why: str, remedy: str) -> Outcome:
    """A rule that could not be checked at all."""
    return Outcome(rule, checked=False, unchecked=(Unchecked(rule, why, remedy),))


def no_hypervisor(rule: Rule) -> Outcome:
    """A rule that needs the hypervisor's range."""
    return not_checked(rule, "The hypervisor's range is not known.", HYPERVISOR_REMEDY)


def stretch_of(region: Region) -> Stretch:
    """A region as a finding names it."""
    return Stretch(region.name, region.range, region.source)


def overlapping(regions: Iterable[Region], addresses: Addresses) -> tuple[Region, ...]:
    """The regions that hold any of the addresses."""
    return tuple(region for region in regions if any(region.range.overlap(part) for part in addresses))


def shown(wrong: Addresses) -> str:
    """The first few ranges in words."""
    more = f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
    return ", ".join(map(str, wrong[:_SHOWN])) + more


def bound_unchecked(rule: Rule, facts: BoardFacts, hypervisor: Region) -> tuple[Unchecked, ...]:
    """What a rule about the hypervisor's range cannot know where that range is a bound."""
    if facts.hypervisor_exact:
        return ()
    return (
        Unchecked(
            rule,
            f"The hypervisor ends at {hypervisor.range.end:#x} or later: the size of its static binary is not known "
            f"({hypervisor.source}).",
            "Give hvisor's ELF (--elf).",
        ),
    )
