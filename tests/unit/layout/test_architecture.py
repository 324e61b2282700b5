from __future__ import annotations

import pytest

from hvrig.layout.architecture import architecture_of, physical


@pytest.mark.parametrize(
    ("address", "architecture", "expected"),
    [
        (0x40400000, "aarch64", 0x40400000),
        (0x80200000, "riscv64", 0x80200000),
        (0xFFFFFF8000200000, "x86_64", 0x200000),
        (0x200000, "x86_64", 0x200000),
        (0x9000000100010000, "loongarch64", 0x1_0001_0000),
        (0x90000001F0000000, "loongarch64", 0x1_F000_0000),
        (0xFFFFFF8000200000, "", 0xFFFFFF8000200000),
    ],
)
def test_physical_addresses(address: int, architecture: str, expected: int) -> None:
    assert physical(address, architecture) == expected


def test_names() -> None:
    assert [architecture_of(m) for m in ("EM_X86_64", "EM_AARCH64", "EM_68K")] == ["x86_64", "aarch64", "EM_68K"]
