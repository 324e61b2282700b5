from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hvrig.layout.elf import read_link_addresses
from hvrig.model.errors import UsageError

MakeElf = Callable[..., bytes]
X3300 = {"skernel": 0x500000, "__core_end": 0x6E6000}


def test_an_older_build_has_no_end(make_elf: MakeElf) -> None:
    link = read_link_addresses(io.BytesIO(make_elf(X3300)), "hvisor")
    assert (link.start, link.core_end, link.end, link.source) == (0x500000, 0x6E6000, None, "hvisor")


def test_a_newer_build_has_its_end_as_symbol(make_elf: MakeElf) -> None:
    link = read_link_addresses(io.BytesIO(make_elf({**X3300, "__hv_end": 0x4AE6000})), "hvisor")
    assert link.end == 0x4AE6000


def test_the_end_follows_from_the_extended_size(make_elf: MakeElf) -> None:
    link = read_link_addresses(io.BytesIO(make_elf({**X3300, "HV_EXTENDED_SIZE": 0x4400000})), "hvisor")
    assert link.end == 0x4AE6000


def test_linked_addresses_become_physical_ones(make_elf: MakeElf) -> None:
    """As on x86_64, where hvisor is linked high and loaded low."""
    high = 0xFFFF_FF80_0000_0000
    symbols = {"skernel": high + 0x500000, "__core_end": high + 0x6E6000, "__hv_end": high + 0x4AE6000}
    elf = make_elf(symbols, linked=high + 0x400000, loaded=0x400000, machine=62)
    link = read_link_addresses(io.BytesIO(elf), "hvisor")
    assert (link.start, link.core_end, link.end) == (0x500000, 0x6E6000, 0x4AE6000)


def test_loongarchs_window_is_no_part_of_the_address(make_elf: MakeElf) -> None:
    window = 0x9000_0000_0000_0000
    symbols = {"skernel": window + 0x1_0001_0000, "__core_end": window + 0x1_0020_0000}
    link = read_link_addresses(io.BytesIO(make_elf(symbols, linked=window + 0x1_0001_0000, machine=258)), "hvisor")
    assert (link.start, link.core_end) == (0x1_0001_0000, 0x1_0020_0000)


@pytest.mark.parametrize(
    ("symbols", "said"),
    [
        ({}, "no symbol skernel and no __core_end"),
        ({"skernel": 0x500000}, "no symbol __core_end"),
        ({"skernel": 0x700000, "__core_end": 0x6E6000}, "do not ascend"),
        ({**X3300, "__hv_end": 0x600000}, "do not ascend"),
    ],
)
def test_another_elf_is_refused_by_name(make_elf: MakeElf, symbols: dict[str, int], said: str) -> None:
    with pytest.raises(UsageError, match=said) as refused:
        read_link_addresses(io.BytesIO(make_elf(symbols)), "target/hvisor")
    assert refused.value.message.startswith("target/hvisor: ")


@given(st.binary(max_size=200))
def test_garbage_is_a_usage_error(data: bytes) -> None:
    for blob in (data, b"\x7fELF\x02\x01\x01" + data):
        with pytest.raises(UsageError, match=r"^hvisor: "):
            read_link_addresses(io.BytesIO(blob), "hvisor")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_elf_is_read_or_refused(make_elf: MakeElf, data: st.DataObject) -> None:
    elf = bytearray(make_elf({**X3300, "__hv_end": 0x4AE6000}))
    for _ in range(data.draw(st.integers(1, 8))):
        elf[data.draw(st.integers(0, len(elf) - 1))] = data.draw(st.integers(0, 255))
    refused = None
    try:
        link = read_link_addresses(io.BytesIO(bytes(elf)), "hvisor")
        assert 0 <= link.start <= link.core_end
    except UsageError as error:
        refused = error.message
    assert refused is None or refused.startswith("hvisor: ")
