"""The header of a legacy U-Boot image (uImage), as `mkimage` writes it. Pure.

Format: U-Boot, `include/image.h`, `struct legacy_img_hdr`: 64 bytes, big endian.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from hvrig.model.errors import UsageError
from hvrig.model.memory import Range

HEADER_BYTES = 64
_MAGIC = 0x27051956
# magic, header CRC, time, data size, load address, entry point, data CRC, OS, architecture, type, compression, name
_HEADER = struct.Struct(">7I4B32s")


@dataclass(frozen=True)
class UImage:
    """What the header says. loaded: where `bootm` puts the data. entry: where it is entered."""

    loaded: Range
    entry: int
    name: str
    compressed: bool


def is_uimage(data: bytes) -> bool:
    """Whether `data` begins as a uImage does."""
    return data[:4] == _MAGIC.to_bytes(4, "big")


def read_uimage(data: bytes, name: str) -> UImage:
    """The header at the beginning of `data`. Raises UsageError where it is none, or damaged."""
    remedy = "Give hvisor.bin as mkimage wrote it."
    if len(data) < HEADER_BYTES:
        raise UsageError(f"{name}: {len(data)} bytes are too few for a uImage header of {HEADER_BYTES}.", remedy)
    header = data[:HEADER_BYTES]
    magic, crc, _, size, load, entry, _, _, _, _, compression, title = _HEADER.unpack(header)
    if magic != _MAGIC:
        raise UsageError(f"{name}: byte 0: the magic is {magic:#010x}, a uImage has {_MAGIC:#010x}.", remedy)
    computed = zlib.crc32(header[:4] + bytes(4) + header[8:])
    if crc != computed:
        raise UsageError(f"{name}: byte 4: the header's CRC-32 is {crc:#010x}, computed {computed:#010x}.", remedy)
    title_text = title.split(b"\0", 1)[0].decode("ascii", "replace")
    return UImage(Range(load, load + size), entry, title_text, compressed=compression != 0)
