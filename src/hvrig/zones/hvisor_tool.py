"""hvisor-tool in root-linux: is it there, what does it list, and does it start and stop a zone."""

from __future__ import annotations

import shlex
from collections.abc import Callable

from hvrig.model.errors import LabError
from hvrig.model.harmless import harmless
from hvrig.model.place import ZoneSettings
from hvrig.model.protocols import CommandResult
from hvrig.zones.zone_list import Zone, parse_zone_list

DEVICE = "/dev/hvisor"  # made by hvisor.ko


class HvisorTool:
    """The tool on one board. run: a command in root-linux's shell, to its end."""

    def __init__(self, run: Callable[[str], CommandResult], settings: ZoneSettings) -> None:
        self._run = run
        self._settings = settings
        self._tool = shlex.quote(settings.tool)

    def missing(self) -> str | None:
        """Why the tool cannot be used on this board, for whoever reads that a test was skipped; None if it can.

        Runs the place's `zones.setup` where the driver is not loaded. Raises LabError where one of these fails.
        """
        if self._run(f"command -v {self._tool}").status != 0:
            return f"hvisor-tool is not on the board: there is no {self._settings.tool} (zones.tool of the place)"
        if self._has_device():
            return None
        for command in self._settings.setup:
            self._must(command)
        if self._has_device():
            return None
        return (
            f"hvisor's driver is not loaded: there is no {DEVICE} (zones.setup of the place, such as insmod hvisor.ko)"
        )

    def zones(self) -> tuple[Zone, ...]:
        """The zones that run. Raises LabError, NoZoneListError for an answer that is no table."""
        return parse_zone_list(self._must(f"{self._tool} zone list").stdout.decode("utf-8", "replace"))

    def start(self) -> None:
        """Start the zone that the place names. Raises LabError."""
        self._must(f"{self._tool} zone start {shlex.quote(self._settings.start)}")

    def shutdown(self) -> None:
        """Stop it. Raises LabError."""
        self._must(f"{self._tool} zone shutdown -id {self._settings.start_id}")

    def _has_device(self) -> bool:
        return self._run(f"test -c {DEVICE}").status == 0

    def _must(self, command: str) -> CommandResult:
        result = self._run(command)
        if result.status != 0:
            said = harmless((result.stderr or result.stdout).decode("utf-8", "replace"), keep_newlines=False)
            raise LabError(
                f"{command!r} failed on the board with status {result.status}: {said.strip()[-300:] or 'no word'}",
                "Try it in root-linux's shell; the place's settings under `zones` name files on the board.",
            )
        return result
