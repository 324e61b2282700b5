from __future__ import annotations

import pytest

from hvrig.gate.meminfo import SLACK_BYTES, Memory, needed_bytes, parse_meminfo, require_fit
from hvrig.model.errors import LabError, UsageError

MIB = 1 << 20
MEMINFO = """\
MemTotal:        1034564 kB
MemFree:          960000 kB
MemAvailable:     880000 kB
Buffers:               0 kB
Active(file):        100 kB
Inactive(file):      200 kB
SReclaimable:       3000 kB
Unevictable:       14000 kB
"""


def test_free_and_reclaimable_memory_can_be_had() -> None:
    assert parse_meminfo(MEMINFO) == Memory(1034564 * 1024, 880000 * 1024, 963300 * 1024)


def test_old_kernels_without_memavailable() -> None:
    assert parse_meminfo("MemTotal: 10 kB\nMemFree: 4 kB\n") == Memory(10240, 4096, 4096)


def test_a_meminfo_that_is_none_is_an_error() -> None:
    with pytest.raises(LabError):
        parse_meminfo("cat: no such file")


def test_page_tables_are_counted() -> None:
    assert needed_bytes(512 * MIB) == 513 * MIB + SLACK_BYTES


def test_every_rung_that_cannot_fit_is_named_with_its_numbers() -> None:
    memory = Memory(4000 * MIB, 3000 * MIB, 3100 * MIB)
    require_fit(["1G", "3G"], memory)
    with pytest.raises(UsageError) as caught:
        require_fit(["1G", "4G", "12G"], memory)
    assert "4G is 4294967296 bytes" in caught.value.message
    assert "12G is 12884901888 bytes" in caught.value.message
    assert "MemAvailable 2.9 GiB" in caught.value.message
    assert caught.value.remedy == "give a smaller ladder, such as 1G"
