from __future__ import annotations

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvrig.layout.uimage import read_uimage
from hvrig.model.errors import UsageError
from hvrig.model.memory import Range


def header(load: int, size: int, name: bytes = b"hvisor", compression: int = 0) -> bytes:
    def packed(crc: int) -> bytes:
        return struct.pack(">7I4B32s", 0x27051956, crc, 1, size, load, load, 0, 5, 22, 2, compression, name)

    return packed(zlib.crc32(packed(0)))


def test_load_address_and_size_come_from_the_header() -> None:
    image = read_uimage(header(0x500000, 0x1E6000) + b"code", "hvisor.bin")
    assert image.loaded == Range(0x500000, 0x6E6000)
    assert image.entry == 0x500000
    assert image.name == "hvisor"
    assert not image.compressed
    assert read_uimage(header(0, 1, compression=1), "hvisor.bin").compressed


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "0 bytes are too few"),
        (bytes(64), "byte 0: the magic is 0x00000000"),
        (header(0x500000, 1)[:20] + b"\xff" + header(0x500000, 1)[21:], "byte 4: the header's CRC-32"),
    ],
)
def test_what_is_no_uimage_is_refused(data: bytes, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        read_uimage(data, "hvisor.bin")


@given(st.binary(max_size=100))
def test_garbage_is_a_usage_error(data: bytes) -> None:
    with pytest.raises(UsageError, match=r"^hvisor\.bin: "):
        read_uimage(data, "hvisor.bin")
