"""How much memory an image takes once it runs. Pure.

Linux's arm64 and riscv `Image` begins with a header of 64 bytes whose `image_size`, at byte 16, counts what the file
does not have, such as .bss (Linux, Documentation/arch/arm64/booting.rst and riscv/boot-image-header.rst).
"""

from __future__ import annotations

import struct

HEADER_BYTES = 64
_MAGIC_AT = 56
_MAGICS = (b"ARM\x64", b"RSC\x05")


def memory_size(header: bytes, file_size: int) -> int:
    """Bytes from the load address on, of a file of `file_size` bytes that begins with `header`."""
    if len(header) < HEADER_BYTES or header[_MAGIC_AT : _MAGIC_AT + 4] not in _MAGICS:
        return file_size
    (image_size,) = struct.unpack_from("<Q", header, 16)
    return max(file_size, image_size) if image_size < 1 << 40 else file_size
