"""What a place's settings say of the memory map: the hypervisor's range and the images' addresses. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from hvrig.model.memory import Range
from hvrig.model.memory_map import MemoryMap, Region, Use
from hvrig.model.place import Place


def place_map(place: Place, sizes: Mapping[str, int]) -> MemoryMap:
    """The hypervisor where the place gives its range, and the images of known size (bytes, by image name)."""
    source = f"place {place.name}"
    regions: list[Region] = []
    if place.hypervisor.range is not None:
        regions.append(Region("hypervisor", Use.HYPERVISOR, place.hypervisor.range, source))
    regions += [
        Region(f"image {name}", Use.IMAGE, Range(image.address, image.address + sizes[name]), source)
        for name, image in place.images.items()
        if name in sizes
    ]
    return MemoryMap(tuple(regions))
