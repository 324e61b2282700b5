"""What a place's settings say of the memory map: the hypervisor's range and the images' addresses. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

from hvrig.layout.board_facts import Load
from hvrig.model.memory import Range
from hvrig.model.memory_map import MemoryMap, Region, Use
from hvrig.model.place import Place

# Names of images are the person's own; these parts of them say what an image is.
_ROOT_TREE = re.compile(r"(?:zone_?0|root).*(?:dtb?|fdt)|(?:dtb?|fdt).*(?:zone_?0|root)")
_KERNEL = re.compile(r"(?<![a-z])(?:kernel|image|linux)(?![a-z])")
_HYPERVISOR = re.compile(r"hvisor|hypervisor")
KERNEL, ROOT_TREE, HYPERVISOR = "kernel", "zone0_dtb", "hvisor"
_PATTERNS = {KERNEL: _KERNEL, ROOT_TREE: _ROOT_TREE, HYPERVISOR: _HYPERVISOR}


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


def loads_without_size(place: Place, sizes: Mapping[str, int]) -> tuple[Load, ...]:
    """The images that `place_map` leaves out."""
    return tuple(
        Load(name, image.address, f"place {place.name}") for name, image in place.images.items() if name not in sizes
    )


def image_for(place: Place, what: str) -> str | None:
    """The name of the place's image that is zone 0's KERNEL or ROOT_TREE, or the HYPERVISOR; None unless one is."""
    names = [name for name in place.images if _PATTERNS[what].search(name.lower())]
    if what == KERNEL:  # `root_linux_dtb` is no kernel
        names = [name for name in names if not _PATTERNS[ROOT_TREE].search(name.lower())]
    return names[0] if len(names) == 1 else None
