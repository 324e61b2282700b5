from __future__ import annotations

import struct

import pytest

from hvrig.layout.kernel_image import memory_size


def header(magic: bytes, image_size: int) -> bytes:
    return struct.pack("<QQQ", 0, 0x80000, image_size) + bytes(32) + magic + bytes(4)


@pytest.mark.parametrize("magic", [b"ARM\x64", b"RSC\x05"])
def test_a_kernel_takes_more_than_its_file(magic: bytes) -> None:
    assert memory_size(header(magic, 0x2000000), 0x1000000) == 0x2000000
    assert memory_size(header(magic, 0), 0x1000000) == 0x1000000
    assert memory_size(header(magic, 1 << 63), 0x1000000) == 0x1000000


def test_any_other_file_takes_its_own_size() -> None:
    assert memory_size(header(b"ELF\0", 0x2000000), 0x1000000) == 0x1000000
    assert memory_size(b"", 0) == 0
