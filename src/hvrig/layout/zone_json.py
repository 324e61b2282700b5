"""A zone's configuration as hvisor-tool takes it: JSON with the zone's regions and load addresses. Pure.

Shape: hvisor-tool's zone configuration, `platform/ARCH/BOARD/configs/*.json` of hvisor: `zone_id`, `memory_regions`
with `type` (ram, io, virtio), `physical_start`, `virtual_start` and `size`, `kernel_load_paddr`, `dtb_load_paddr`, and
the interrupt controller in `arch_config`. Numbers are numbers, or text such as "0x5000_0000". The same folder holds the
configurations of virtio backends, which have no `memory_regions`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hvrig.layout.board_facts import Controller, Load
from hvrig.layout.controllers import controllers
from hvrig.model.errors import UsageError
from hvrig.model.memory import Range
from hvrig.model.memory_map import Region, Use

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s"{}\[\],:]+')
_NUMBER = re.compile(r"0[xX][0-9a-fA-F_]+|0[oO][0-7_]+|0[bB][01_]+|[0-9][0-9_]*")
_USES = {"ram": Use.ZONE_RAM, "io": Use.ZONE_DEVICE, "virtio": Use.ZONE_VIRTIO}
_NAMES = {Use.ZONE_RAM: "RAM", Use.ZONE_DEVICE: "device memory", Use.ZONE_VIRTIO: "virtio device memory"}
_LOADS = (("kernel", "kernel_load_paddr", "kernel_filepath"), ("dtb", "dtb_load_paddr", "dtb_filepath"))
_NUMBER_LENGTH = 80
_REMEDY = "Give a zone's configuration as `hvisor zone start` takes it."

JsonPath = tuple[str | int, ...]


@dataclass(frozen=True)
class ZoneConfig:
    """What a zone's JSON says. loads: where its kernel and device tree are put when it is started."""

    zone: int
    regions: tuple[Region, ...]
    loads: tuple[Load, ...]
    controllers: tuple[Controller, ...]


def is_zone_config(text: str) -> bool:
    """Whether this is a zone's configuration, not a virtio backend's. What is no JSON is taken for one."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return True
    return isinstance(data, dict) and "memory_regions" in data


def device_tree_name(text: str) -> str | None:
    """The name of the zone's device tree, without folder and suffix; None where a configuration names none."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return None
    named = data.get("dtb_filepath") if isinstance(data, dict) else None
    if not isinstance(named, str) or not named.endswith(".dtb"):
        return None
    return named.rpartition("/")[2].removesuffix(".dtb")


def read_zone_config(text: str, name: str) -> ZoneConfig:
    """The configuration in `text`; `name` is the file's. Raises UsageError, naming file and line."""
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise UsageError(f"{name}:{error.lineno}: not JSON: {error.msg} (column {error.colno}).", _REMEDY) from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{name}: not JSON that can be read: {error}.", _REMEDY) from error
    return _Reader(data, name, lines_of(text)).read()


class _Reader:
    """Reads one file's values. lines: of each value, by its path."""

    def __init__(self, data: Any, name: str, lines: Mapping[JsonPath, int]) -> None:
        self._data = data
        self._name = name
        self._lines = lines

    def read(self) -> ZoneConfig:
        if not isinstance(self._data, dict):
            raise self._refused((), "not an object")
        zone = self._number(self._data, (), "zone_id")
        regions = self._data.get("memory_regions")
        if not isinstance(regions, list):
            raise self._refused(("memory_regions",), "not a list of regions")
        loads = tuple(
            Load(f"{kind} of zone {zone}", self._number(self._data, (), key), self._where((key,)), zone)
            for kind, key, file in _LOADS
            if self._data.get(key) is not None and self._data.get(file) != ""
        )
        found = tuple(self._region(region, index, zone) for index, region in enumerate(regions))
        return ZoneConfig(zone, found, loads, self._controllers(zone))

    def _region(self, region: Any, index: int, zone: int) -> Region:
        path: JsonPath = ("memory_regions", index)
        if not isinstance(region, dict):
            raise self._refused(path, "not a region")
        start, guest, size = (self._number(region, path, key) for key in ("physical_start", "virtual_start", "size"))
        if max(start, guest) + size > 1 << 64:
            raise self._refused(path, "a region that ends beyond 64 bits")
        kind = region.get("type")
        if not isinstance(kind, str):
            raise self._refused((*path, "type"), "not the name of a type")
        use = _USES.get(kind, Use.ZONE_OTHER)
        label = _NAMES.get(use) or f"memory ({kind})"
        moved = guest if guest != start else None
        return Region(label, use, Range(start, start + size), self._where(path), zone=zone, guest_start=moved)

    def _controllers(self, zone: int) -> tuple[Controller, ...]:
        config = self._data.get("arch_config")
        if not isinstance(config, dict):
            return ()
        path: JsonPath = ("arch_config",)
        numbers = {
            key: (self._number(config, path, key), self._where((*path, key)))
            for key in config
            if key.endswith(("_base", "_size")) and config[key] is not None
        }
        return controllers(numbers, zone)

    def _number(self, holder: Mapping[str, Any], path: JsonPath, key: str) -> int:
        written = value = holder.get(key)
        if isinstance(value, str) and len(value) < _NUMBER_LENGTH and _NUMBER.fullmatch(value):
            digits = value.replace("_", "")
            value = int(digits, 10) if digits.isdigit() else int(digits, 0) if len(digits) > 2 else None
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 64:
            what = "missing" if key not in holder else f"{repr(written)[:60]} is not a number of 64 bits"
            raise self._refused((*path, key), what)
        return value

    def _where(self, path: JsonPath) -> str:
        known = path
        while known not in self._lines and known:
            known = known[:-1]
        line = self._lines.get(known)
        head = self._name if line is None else f"{self._name}:{line}"
        return f"{head} /{'/'.join(map(str, path))}" if path else head

    def _refused(self, path: JsonPath, why: str) -> UsageError:
        return UsageError(f"{self._where(path)}: {why}.", _REMEDY)


def lines_of(text: str) -> dict[JsonPath, int]:
    """The line of each value of a JSON text that is known to be valid, by its path of keys and indices."""
    lines: dict[JsonPath, int] = {}
    line, at = 1, 0
    path: list[str | int | None] = []  # None: an object whose next key is not read yet
    is_key = False
    for found in _TOKEN.finditer(text):
        token = found[0]
        line += text.count("\n", at, found.start())
        at = found.start()
        if token in ("}", "]"):
            path.pop()
            is_key = False
        elif token == ",":
            last = path[-1]
            is_key = not isinstance(last, int)
            path[-1] = last + 1 if isinstance(last, int) else None
        elif token == ":":
            is_key = False
        elif is_key:
            path[-1] = str(json.loads(token))
        else:
            lines[tuple(part for part in path if part is not None)] = line
            if token in ("{", "["):
                path.append(None if token == "{" else 0)
                is_key = token == "{"
    return lines
