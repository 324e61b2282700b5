"""A zone's regions as text to paste: entries of board.rs, or of a zone's JSON. Pure."""

from __future__ import annotations

from hvrig.model.memory import Range
from hvrig.model.memory_map import Region, Use, parts_outside

_RUST = {Use.ZONE_RAM: "MEM_TYPE_RAM", Use.ZONE_DEVICE: "MEM_TYPE_IO", Use.ZONE_VIRTIO: "MEM_TYPE_VIRTIO"}
_JSON = {Use.ZONE_RAM: "ram", Use.ZONE_DEVICE: "io", Use.ZONE_VIRTIO: "virtio"}


def split_around(region: Region, taken: Range) -> str:
    """The entries that stand for `region` without the physical addresses `taken`; empty where nothing is left."""
    return entries(region, parts_outside(region.range, [taken]))


def entries(region: Region, parts: tuple[Range, ...]) -> str:
    """Entries like `region`'s, a line each, for these physical addresses, in the syntax of the file it stands in."""
    shift = region.guest.start - region.range.start
    as_json = " /memory_regions/" in region.source
    lines: list[str] = []
    for part in parts:
        start, guest, size = f"{part.start:#x}", f"{part.start + shift:#x}", f"{part.size:#x}"
        if as_json:
            kind = _JSON.get(region.use, region.name)
            lines.append(
                f'{{"type": "{kind}", "physical_start": "{start}", "virtual_start": "{guest}", "size": "{size}"}},'
            )
        else:
            kind = _RUST.get(region.use) or region.name.partition("(")[2].rstrip(")")
            lines.append(
                f"HvConfigMemoryRegion {{ mem_type: {kind}, physical_start: {start}, virtual_start: {guest}, "
                f"size: {size} }},"
            )
    return "\n".join(lines)
