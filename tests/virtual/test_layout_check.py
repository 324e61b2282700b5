"""`hvrig layout check` on the virtual places: the files that a run would load, and no board."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from .conftest import HVRIG, REPOSITORY

pytestmark = pytest.mark.virtual_board


def check(place: str) -> tuple[int, dict[str, Any]]:
    """Exit status, and the report of the one board."""
    command = [str(HVRIG), "layout", "check", "--place", place, "--format", "json"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=300, check=False)
    (board,) = json.loads(done.stdout)["boards"]
    return done.returncode, board


def test_everything_reserved_is_clean_and_the_regions_are_not_known() -> None:
    status, board = check("virtual")
    assert (status, board["findings"]) == (4, [])
    assert board["checked"] == ["hypervisor-unreserved", "wrong-reservation", "image-overlap"]
    assert {one["number"] for one in board["unchecked"]} == {3, 4, 6, 7, 8}


@pytest.mark.parametrize(("place", "covered"), [("virtual-under-reserved", 0x40800000), ("virtual-silent", 0x40A00000)])
def test_a_reservation_that_is_too_small_is_found_with_its_mend(place: str, covered: int) -> None:
    status, board = check(place)
    assert status == 1
    assert [finding["number"] for finding in board["findings"]] == [1, 2]
    for finding in board["findings"]:
        assert finding["wrong"] == [{"start": hex(covered), "end": "0x449e6000"}]
        assert finding["mend"]["text"] == "hvisor@40400000 { no-map; reg = <0x0 0x40400000 0x0 0x4600000>; };"
