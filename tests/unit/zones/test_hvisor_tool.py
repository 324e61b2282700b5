"""hvisor-tool against a fake root-linux that talks back; hvisor itself is on no board of these tests."""

from __future__ import annotations

import pytest

from hvrig.model.errors import LabError
from hvrig.model.place import ZoneSettings
from hvrig.model.protocols import CommandResult
from hvrig.zones.hvisor_tool import HvisorTool
from hvrig.zones.zone_list import Zone

ROOT = "| 0 | 0, 1 | root-linux | running |"
ONE = "| 1 | 2, 3 | linux2 | running |"


class RootLinux:
    """A fake: knows the few commands that are sent."""

    def __init__(self, *, tool: str = "hvisor", device: bool = True) -> None:
        self.tool = tool
        self.device = device
        self.zone1 = False
        self.ran: list[str] = []

    def run(self, command: str) -> CommandResult:
        self.ran.append(command)
        status, said = self._answer(command)
        return CommandResult(status, said.encode() if status == 0 else b"", b"" if status == 0 else said.encode())

    def _answer(self, command: str) -> tuple[int, str]:
        if command == f"command -v {self.tool}":
            return 0, f"/usr/bin/{self.tool}\n"
        if command == "test -c /dev/hvisor":
            return (0 if self.device else 1), ""
        if command == "insmod /root/hvisor.ko":
            self.device = True
            return 0, ""
        if command == f"{self.tool} zone list":
            rows = ["| zone_id | cpus | name | status |", ROOT, *([ONE] if self.zone1 else [])]
            return 0, "\n".join(rows)
        if command == f"{self.tool} zone start '/root/zone 1.json'":
            self.zone1 = True
            return 0, ""
        if command == f"{self.tool} zone shutdown -id 1":
            self.zone1 = False
            return 0, ""
        return 127, f"{command}: \x1b[31mnot found"


def test_zones_are_listed_started_and_stopped() -> None:
    board = RootLinux()
    tool = HvisorTool(board.run, ZoneSettings(start="/root/zone 1.json"))
    assert tool.missing() is None
    root = Zone(0, frozenset({0, 1}), "root-linux", "running")
    assert tool.zones() == (root,)
    tool.start()
    assert [zone.zone_id for zone in tool.zones()] == [0, 1]
    tool.shutdown()
    assert tool.zones() == (root,)


def test_a_board_without_the_tool_is_said() -> None:
    tool = HvisorTool(RootLinux(tool="hvisor2").run, ZoneSettings())
    assert "hvisor-tool is not on the board" in (tool.missing() or "")


def test_the_driver_is_loaded_where_the_place_says_how() -> None:
    board = RootLinux(device=False)
    assert HvisorTool(board.run, ZoneSettings(setup=("insmod /root/hvisor.ko",))).missing() is None
    assert "insmod /root/hvisor.ko" in board.ran
    without = HvisorTool(RootLinux(device=False).run, ZoneSettings()).missing()
    assert without is not None
    assert "/dev/hvisor" in without


def test_what_fails_is_told_with_what_the_board_said() -> None:
    tool = HvisorTool(RootLinux().run, ZoneSettings(start="/root/none.json"))
    with pytest.raises(LabError, match=r"zone start /root/none\.json' failed .* status 127: .*not found") as raised:
        tool.start()
    assert "\x1b" not in str(raised.value)
