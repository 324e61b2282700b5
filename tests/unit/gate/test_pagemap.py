from __future__ import annotations

import struct
from array import array
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvrig.gate.pagemap import coverage, find_buffer, page_frames, pagemap_read, parse_iomem
from hvrig.model.errors import LabError
from hvrig.model.memory import Range

IOMEM = """\
09000000-09000fff : pl011@9000000
  09000000-09000fff : pl011@9000000 pl011@9000000
40000000-403fffff : System RAM
40800000-53ffffff : System RAM
  50400000-51bfffff : Kernel code
  53000000-53ffffff : reserved
100000000-12effffff : System RAM
"""

# A glibc memtester of 64 MiB on arm64: one page, then the locked buffer, then other mappings.
MAPS = """\
aaaae0000000-aaaae0006000 r-xp 00000000 00:02 815                        /usr/sbin/memtester
aaaae0017000-aaaae0018000 rw-p 00007000 00:02 815                        /usr/sbin/memtester
aaaafe5c0000-aaaafe5e1000 rw-p 00000000 00:00 0                          [heap]
ffff8bfff000-ffff8c000000 rw-p 00000000 00:00 0 
ffff8c000000-ffff90000000 rw-p 00000000 00:00 0 
ffff90000000-ffff99999000 r--p 00000000 00:00 0                          [vvar]
ffffe5c9d000-ffffe5cbe000 rw-p 00000000 00:00 0                          [stack]
"""  # noqa: W291

BUFFER = Range(0xFFFF_8C00_0000, 0xFFFF_9000_0000)


def entry(frame: int, present: bool = True) -> int:
    # Bits 55 (soft-dirty) and 56 (exclusive) are set as the kernel sets them.
    return frame | 3 << 55 | (1 << 63 if present else 0)


def test_iomem_gives_the_banks_of_system_ram() -> None:
    assert parse_iomem(IOMEM) == (
        Range(0x4000_0000, 0x4040_0000),
        Range(0x4080_0000, 0x5400_0000),
        Range(0x1_0000_0000, 0x1_2F00_0000),
    )


@pytest.mark.parametrize(("text", "said"), [("00000000-00000000 : System RAM\n" * 2, "zeros"), ("", "no System RAM")])
def test_hidden_or_missing_addresses_are_an_error(text: str, said: str) -> None:
    with pytest.raises(LabError, match=said):
        parse_iomem(text)


def test_the_buffer_is_the_largest_anonymous_mapping() -> None:
    assert find_buffer(MAPS, 64 << 20) == BUFFER
    assert find_buffer(MAPS, 128 << 20) is None
    assert find_buffer("", 1) is None


def test_pagemap_is_read_in_whole_blocks_and_cut_to_the_buffer() -> None:
    read = pagemap_read(Range(0x1003_000, 0x1008_000))
    assert (read.skip, read.count, read.offset, read.size) == (8, 1, 0x18, 40)
    block = bytes(range(256)) * 16
    assert read.cut(block) == block[0x18 : 0x18 + 40]
    with pytest.raises(LabError):
        read.cut(block[:60])
    whole = pagemap_read(BUFFER)
    assert whole.skip * 4096 + whole.offset == BUFFER.start // 4096 * 8
    assert (whole.count, whole.offset) == (32, 0)


def test_frames_are_those_of_present_pages() -> None:
    data = struct.pack("<4Q", entry(0x40123), 0, entry(5, present=False), entry((1 << 55) - 1)) + b"rest"
    assert list(page_frames(data)) == [0x40123, (1 << 55) - 1]


def test_frames_that_the_kernel_hides_are_an_error() -> None:
    with pytest.raises(LabError, match="root"):
        page_frames(struct.pack("<2Q", entry(0), entry(0)))


def test_coverage_names_shares_and_the_hypervisors_pages() -> None:
    banks = parse_iomem(IOMEM)
    frames = array("Q", [0x40900, 0x100005, 0x40901, 0x40A00, 0x40200, 0x999999])
    found = coverage(frames, banks, Range(0x4050_0000, 0x40A0_0800))
    assert found.pages == 6
    assert [(share.pages_held, share.pages) for share in found.banks] == [(1, 0x400), (3, 0x13800), (1, 0x2F000)]
    # 0x40A00 is touched by the last 2 KiB of the range.
    assert found.hypervisor_pages == 3
    assert found.hypervisor_stretches == (Range(0x4090_0000, 0x4090_2000), Range(0x40A0_0000, 0x40A0_1000))


def test_without_a_range_nothing_is_compared() -> None:
    found = coverage(array("Q", [1, 2]), (), None)
    assert (found.hypervisor_range, found.hypervisor_pages, found.hypervisor_stretches) == (None, 0, ())


def test_stretches_are_bounded() -> None:
    found = coverage(array("Q", range(0, 1000, 2)), (), Range(0, 4096 * 1000))
    assert (found.hypervisor_pages, len(found.hypervisor_stretches)) == (500, 20)


@given(st.lists(st.integers(1, 300), unique=True), st.integers(0, 300), st.integers(0, 300))
def test_counts_agree_with_counting_one_by_one(frames: list[int], one: int, other: int) -> None:
    memory = Range(min(one, other) * 4096, max(one, other) * 4096)
    found = coverage(array("Q", frames), [memory], memory)
    inside = {frame for frame in frames if frame * 4096 in memory}
    assert found.hypervisor_pages == found.banks[0].pages_held == len(inside)
    if len(found.hypervisor_stretches) < 20:
        assert {f for s in found.hypervisor_stretches for f in range(s.start // 4096, s.end // 4096)} == inside


@given(st.text(max_size=200))
def test_text_from_the_board_never_raises_anything_else(text: str) -> None:
    find_buffer(text, 1)
    with suppress(LabError):
        parse_iomem(text)
