"""hvisor-tool's table of zones, `hvisor zone list`. Pure.

Format: hvisor-tool, `tools/hvisor.c`, `zone_list`: cells between bars, right or left aligned, a header, a line a zone;
`cpus` is `0, 1` or `none`. Before 2025 there was no column `status`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_MOST_CPUS = 256
_CPUS = re.compile(r"none|\d{1,3}(?: *, *\d{1,3})*", re.ASCII)
_ID = re.compile(r"\d{1,9}", re.ASCII)


@dataclass(frozen=True)
class Zone:
    """One line. status: as printed, such as `running`; None where the table has no such column."""

    zone_id: int
    cpus: frozenset[int]
    name: str
    status: str | None


class NoZoneListError(ValueError):
    """The text is no table of zones; says which line is not."""


def parse_zone_list(text: str) -> tuple[Zone, ...]:
    """The zones of a table, in its order; lines without bars, such as log lines, are passed over.

    Raises NoZoneListError where there is no header, or a line between bars is no zone.
    """
    header: tuple[str, ...] | None = None
    zones: list[Zone] = []
    for line in text.splitlines():
        cells = _cells(line)
        if cells is None:
            continue
        if header is None:
            if cells[:3] != ("zone_id", "cpus", "name") or cells[3:] not in ((), ("status",)):
                raise NoZoneListError(f"{line.strip()!r} is not the header | zone_id | cpus | name | status |")
            header = cells
        else:
            zones.append(_zone(cells, header, line))
    if header is None:
        raise NoZoneListError("there is no header | zone_id | cpus | name | status |")
    return tuple(zones)


def _cells(line: str) -> tuple[str, ...] | None:
    stripped = line.strip()
    if len(stripped) < 2 or not (stripped.startswith("|") and stripped.endswith("|")):
        return None
    return tuple(cell.strip() for cell in stripped[1:-1].split("|"))


def _zone(cells: tuple[str, ...], header: tuple[str, ...], line: str) -> Zone:
    if len(cells) != len(header) or not _ID.fullmatch(cells[0]) or not _CPUS.fullmatch(cells[1]):
        raise NoZoneListError(f"{line.strip()!r} is no zone: {len(header)} cells, an id, CPUs such as 0, 1")
    cpus = frozenset() if cells[1] == "none" else frozenset(int(cpu) for cpu in cells[1].split(","))
    if any(cpu >= _MOST_CPUS for cpu in cpus):
        raise NoZoneListError(f"{line.strip()!r}: there are no such CPUs")
    return Zone(int(cells[0]), cpus, cells[2], cells[3] if len(cells) > 3 else None)
