"""What a fault's address means, given the memory map.

hvisor reports an access that it finds in none of the zone's regions. So the address tells which of the places that
must agree does not: the hypervisor's own tables, the zone's regions, or the zone's device tree. Where the hypervisor
itself faulted, the address (FAR_EL2) is its own: it runs with its addresses mapped to themselves.
"""

from __future__ import annotations

from hvrig.model.finding import Finding, Origin
from hvrig.model.memory_map import ZONE_USES, Explanation, MemoryMap, Region, Use, parts_outside

# What a report means that does not say whose access it was: zone 0 runs on every board.
_ZONE_UNLESS_SAID = 0

_STRETCHES_SHOWN = 3

# A null pointer plus the offset of a field.
_NULL_PAGE = 0x1000


def explain(memory: MemoryMap, finding: Finding) -> Explanation | None:
    """What `finding`'s address is, and the likely cause; None without an address, or where nothing is known of it."""
    address, far = finding.fields.get("address"), finding.fields.get("far")
    if address is None and finding.origin is Origin.HYPERVISOR and isinstance(far, int):
        return _by_hypervisor(memory, far)
    if not isinstance(address, int) or isinstance(address, bool):
        return None
    zone = finding.zone if finding.zone is not None else _ZONE_UNLESS_SAID
    seen = {region.use: region for region in reversed(memory.seen_by(zone, address))}
    physical = memory.at(memory.physical(zone, address))
    if hypervisor := _first(physical, Use.HYPERVISOR, Use.HYPERVISOR_PART):
        return _in_hypervisor(memory, address, zone, hypervisor, seen)
    if ram := seen.get(Use.ZONE_RAM):
        return Explanation(address, f"RAM of zone {zone}, {_place_of(ram)}", _lost_tables(memory, zone))
    if device := seen.get(Use.ZONE_DEVICE):
        what = f"{device.name} of zone {zone}, {_place_of(device)}{_named_device(seen)}"
        return Explanation(address, what, _lost_tables(memory, zone))
    if virtio := seen.get(Use.ZONE_VIRTIO):
        cause = "Its accesses are answered by a virtio backend: check that hvisor-tool runs one for this region."
        return Explanation(address, f"a virtio device of zone {zone}, {_place_of(virtio)}", cause)
    if other := seen.get(Use.ZONE_OTHER):
        what = f"{other.name} of zone {zone}, {_place_of(other)}"
        return Explanation(address, what, _lost_tables(memory, zone))
    if theirs := next((r for r in physical if r.use in ZONE_USES and r.zone != zone), None):
        return Explanation(
            address,
            f"{theirs.name} of zone {theirs.zone}, {_place_of(theirs)}, and not of zone {zone}",
            f"Zone {zone} used what belongs to another zone: keep it out of zone {zone}'s device tree, or reserve it.",
        )
    return _in_no_region(memory, address, zone, seen)


def _in_hypervisor(
    memory: MemoryMap, address: int, zone: int, found: Region, seen: dict[Use, Region]
) -> Explanation | None:
    whole = memory.hypervisor or found
    part = next((r for r in memory.of(Use.HYPERVISOR_PART) if address in r.range), None)
    inside = f", in its {part.name}" if part is not None else ""
    what = f"inside the hypervisor's own memory, {_place_of(whole)}{inside}"
    reserved, mapped = seen.get(Use.RESERVED), seen.get(Use.ZONE_RAM)
    if mapped is not None:
        what += f", and RAM of zone {zone}, {_place_of(mapped)}"
        cause = (
            "The zone's regions give the zone memory that the hypervisor uses, so that the zone can overwrite its "
            f"tables: split that region around {whole.range}, and reserve the range in zone {zone}'s device tree."
        )
    elif reserved is not None:
        what += f", reserved as {reserved.name} ({reserved.source})"
        cause = (
            f"Zone {zone}'s kernel should not touch what its device tree reserves: check that it was booted with this "
            "tree, and which driver uses the reservation."
        )
    else:
        cause = (
            f"It is kept from zone {zone} in one place and not in the other: most likely the zone's kernel took it "
            f"for free memory. Reserve {whole.range} with no-map in zone {zone}'s device tree."
        )
    return Explanation(address, what, cause)


def _by_hypervisor(memory: MemoryMap, address: int) -> Explanation | None:
    """The hypervisor itself could not read, write or execute there."""
    check = _check_reservation(memory, _ZONE_UNLESS_SAID)
    if address < _NULL_PAGE:
        cause = "The hypervisor followed a pointer that was never set or was overwritten. " + check
        return Explanation(address, "next to address 0", cause)
    if not memory.regions:
        return None
    there = memory.at(address)
    if _first(there, Use.HYPERVISOR, Use.HYPERVISOR_PART):
        part = _first(there, Use.HYPERVISOR_PART)
        inside = f", in its {part.name}" if part is not None else ""
        what = f"inside the hypervisor's own memory, {_place_of(memory.hypervisor or there[0])}{inside}"
        cause = "The hypervisor could not reach its own memory: its page tables were most likely overwritten. "
    elif region := _first(there, *ZONE_USES, Use.RESERVED, Use.TREE_MEMORY, Use.TREE_DEVICE, Use.IMAGE):
        whose = f" of zone {region.zone}" if region.zone is not None else ""
        what = f"{region.name}{whose}, {_place_of(region)}"
        cause = "The hypervisor itself faulted there: a pointer of its own, or its page tables, were overwritten. "
    else:
        what = "in nothing that is known"
        cause = "The hypervisor followed a wild pointer: its data were most likely overwritten. "
    return Explanation(address, what, cause + check)


def _in_no_region(memory: MemoryMap, address: int, zone: int, seen: dict[Use, Region]) -> Explanation | None:
    """The zone has no region there, or its regions are not known."""
    regions_known = bool(memory.of(*ZONE_USES, zone=zone))
    lacks = f"in no region of zone {zone}" if regions_known else ""
    if reserved := seen.get(Use.RESERVED):
        said = f"reserved as {reserved.name} in zone {zone}'s device tree, {_place_of(reserved)}"
        cause = (
            "A driver uses this reservation, and the zone's regions lack it: add it to the zone's regions."
            if regions_known
            else "A driver uses this reservation: check that the zone's regions contain it."
        )
    elif bank := seen.get(Use.TREE_MEMORY):
        said = f"memory that zone {zone}'s device tree gives its kernel, {_place_of(bank)}"
        cause = (
            "The zone's regions miss it, so that it faults at the first touch: add it to them as RAM, or take it out "
            "of the device tree's memory."
            if regions_known
            else _lost_tables(memory, zone) + " Or the zone's regions miss it: give board.rs to tell the two apart."
        )
    elif device := seen.get(Use.TREE_DEVICE):
        said = f"the device {device.name} of zone {zone}'s device tree, {_place_of(device)}"
        cause = "The zone's regions miss this device: add it to them, or disable its node in the device tree."
    elif regions_known:
        said = ""
        cause = (
            "The zone's regions miss something that its device tree gives, most likely a device: look the address up "
            "in the device tree. If it is nowhere there either, a pointer went wild, or the tables were overwritten."
        )
    elif memory.hypervisor is not None:
        said = f"outside the hypervisor's own memory, {_place_of(memory.hypervisor)}"
        cause = (
            "If it is RAM of the zone, the hypervisor's tables were overwritten: check its reservation. "
            "Give board.rs to tell."
        )
    else:
        return None
    return Explanation(address, ", ".join(filter(None, (lacks, said))), cause)


def _lost_tables(memory: MemoryMap, zone: int) -> str:
    """The cause where the hypervisor does not know an address that it was told of."""
    return (
        "The hypervisor was told of it and no longer knows it: its tables were most likely overwritten. "
        + _check_reservation(memory, zone)
    )


def _check_reservation(memory: MemoryMap, zone: int) -> str:
    """What to look at where the hypervisor's memory was overwritten."""
    hypervisor = memory.hypervisor
    if hypervisor is None:
        return f"Check that zone {zone}'s device tree reserves the hypervisor's whole memory, [skernel, hv_end)."
    banks = memory.of(Use.TREE_MEMORY, zone=zone)
    if not banks:
        return f"Check that zone {zone}'s device tree reserves all of {_place_of(hypervisor)}."
    reserved = [region.range for region in memory.of(Use.RESERVED, zone=zone)]
    open_parts = [
        part
        for bank in banks
        if (common := bank.range.overlap(hypervisor.range)) is not None
        for part in parts_outside(common, reserved)
    ]
    if not open_parts:
        return (
            f"The device tree at hand keeps {_place_of(hypervisor)} from the kernel: check that the zone was booted "
            "with this tree and this hypervisor."
        )
    shown = ", ".join(str(part) for part in open_parts[:_STRETCHES_SHOWN])
    more = f" and {len(open_parts) - _STRETCHES_SHOWN} more" if len(open_parts) > _STRETCHES_SHOWN else ""
    return (
        f"Zone {zone}'s device tree gives the kernel {shown}{more} of the hypervisor's {_place_of(hypervisor)}: "
        "reserve it with no-map."
    )


def _named_device(seen: dict[Use, Region]) -> str:
    device = seen.get(Use.TREE_DEVICE)
    return f", where the device tree has {device.name}" if device is not None else ""


def _first(regions: tuple[Region, ...], *uses: Use) -> Region | None:
    return next((region for use in uses for region in regions if region.use is use), None)


def _place_of(region: Region) -> str:
    return f"{region.range} ({region.source})"
