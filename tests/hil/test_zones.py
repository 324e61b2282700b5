"""hvisor's own zones, where hvisor-tool is on the board."""

from __future__ import annotations

import pytest

from hvrig.pytest_plugin import Board
from hvrig.zones.hvisor_tool import HvisorTool
from hvrig.zones.zone_list import Zone

pytestmark = pytest.mark.hil


@pytest.fixture(scope="module")
def tool(board: Board) -> HvisorTool:
    found = HvisorTool(board.run, board.place.zones)
    missing = found.missing()
    if missing is not None:
        pytest.skip(missing)
    return found


def test_root_linux_runs_on_its_cpus(board: Board, tool: HvisorTool) -> None:
    root = _zone(tool, 0)
    assert root is not None, "zone 0 is not listed"
    assert root.name == "root-linux"
    assert root.cpus == board.place.zone0_cpus
    assert root.status in (None, "running")


def test_another_zone_starts_and_stops(board: Board, tool: HvisorTool) -> None:
    zones = board.place.zones
    if not zones.start:
        pytest.skip("the place names no zone to start (zones.start)")
    assert _zone(tool, zones.start_id) is None, f"zone {zones.start_id} runs already"
    tool.start()
    try:
        started = _zone(tool, zones.start_id)
        assert started is not None, f"zone {zones.start_id} is not listed after its start"
        assert started.status in (None, "running")
        assert not started.cpus & board.place.zone0_cpus, "it shares a CPU with root-linux"
        assert board.run("echo alive").stdout == b"alive\n"
    finally:
        tool.shutdown()
    assert _zone(tool, zones.start_id) is None, f"zone {zones.start_id} is listed after it was stopped"
    root = _zone(tool, 0)
    assert root is not None
    assert root.cpus == board.place.zone0_cpus


def _zone(tool: HvisorTool, zone_id: int) -> Zone | None:
    return next((zone for zone in tool.zones() if zone.zone_id == zone_id), None)
