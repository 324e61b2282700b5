import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvrig.model.size import format_size, parse_size


@pytest.mark.parametrize(
    ("text", "count"), [("64M", 64 << 20), ("12G", 12 << 30), ("1g", 1 << 30), (" 8K ", 8192), ("300B", 300)]
)
def test_sizes_are_read_as_memtester_reads_them(text: str, count: int) -> None:
    assert parse_size(text) == count


@pytest.mark.parametrize("text", ["", "64", "0M", "-1M", "1.5G", "64MB", "M", "1e3M", "64 M", "9" * 40 + "G"])
def test_anything_else_is_refused_with_what_is_right(text: str) -> None:
    with pytest.raises(ValueError, match="such as 64M or 12G"):
        parse_size(text)


@given(st.text())
def test_no_text_does_more_than_be_refused(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert parse_size(text) > 0


def test_sizes_are_written_for_people() -> None:
    assert [format_size(n) for n in (300, 4096, 64 << 20, 3 << 29, 12 << 30)] == [
        "300 B",
        "4 KiB",
        "64 MiB",
        "1.5 GiB",
        "12 GiB",
    ]
