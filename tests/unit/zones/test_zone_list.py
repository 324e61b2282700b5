from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvrig.zones.zone_list import NoZoneListError, Zone, parse_zone_list

# As hvisor-tool prints it, with and without the column of later versions.
NOW = """\
| zone_id     | cpus              | name              | status |
| 0           | 0, 1              | root-linux        | running |
| 1           | 2, 3              | linux2            | running |
"""
BEFORE = """\
|     zone_id     |       cpus        |      name       |
|               0 |              0, 1 |      root-linux |
"""


def test_both_shapes() -> None:
    root = Zone(0, frozenset({0, 1}), "root-linux", "running")
    assert parse_zone_list(NOW) == (root, Zone(1, frozenset({2, 3}), "linux2", "running"))
    assert parse_zone_list(BEFORE) == (Zone(0, frozenset({0, 1}), "root-linux", None),)


def test_a_zone_without_cpus_and_lines_of_a_log() -> None:
    text = "12:00:01 INFO hvisor.c: zone_list\r\n" + NOW.replace("2, 3", "none").replace("\n", "\r\n")
    assert [zone.cpus for zone in parse_zone_list(text)] == [{0, 1}, frozenset()]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "open hvisor failed: No such file or directory",
        "| 0 | 0, 1 | root-linux | running |",
        NOW.replace("0, 1", "0; 1"),
        NOW.replace("| running |\n| 1", "|\n| 1"),
        NOW.replace("| 1   ", "| one "),
        NOW.replace("0, 1", "0, 999"),
    ],
)
def test_what_is_no_table_is_refused(text: str) -> None:
    with pytest.raises(NoZoneListError):
        parse_zone_list(text)


names = st.text(st.characters(codec="ascii", categories=("L", "N"), include_characters="-_ "), min_size=1).map(
    str.strip
)
zones = st.builds(
    Zone,
    zone_id=st.integers(0, 10**9 - 1),
    cpus=st.frozensets(st.integers(0, 255), max_size=16),
    name=names.filter(bool),
    status=st.sampled_from(["running", "suspended"]),
)


@given(st.lists(zones), st.integers(1, 20))
def test_what_is_printed_is_read(listed: list[Zone], width: int) -> None:
    rows = [("zone_id", "cpus", "name", "status")]
    rows += [(str(z.zone_id), ", ".join(map(str, sorted(z.cpus))) or "none", z.name, z.status or "") for z in listed]
    text = "\n".join("| " + " | ".join(cell.rjust(width) for cell in row) + " |" for row in rows)
    assert parse_zone_list(text) == tuple(listed)


@given(st.text())
def test_anything_is_a_table_or_refused(text: str) -> None:
    with contextlib.suppress(NoZoneListError):
        parse_zone_list(text)
