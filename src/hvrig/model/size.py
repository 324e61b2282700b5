"""Sizes as memtester and people write them: `64M`, `12G`."""

from __future__ import annotations

import re

# memtester 4.6 takes B, K, M and G; a bare number means MiB (memtester(8)). hvrig asks for the suffix.
_SIZE = re.compile(r"([1-9][0-9]{0,11})([BKMG])")
_UNIT = {"B": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def parse_size(text: str) -> int:
    """Bytes in a size such as `64M`.

    Raises ValueError, saying what would be right, for anything else.
    """
    found = _SIZE.fullmatch(text.strip().upper())
    if found is None:
        raise ValueError(f"{text!r} is not a size: write a number and B, K, M or G, such as 64M or 12G")
    return int(found[1]) * _UNIT[found[2]]


def format_size(count: int) -> str:
    """A size in the largest binary unit that divides it or keeps it readable: `64 MiB`, `1.5 GiB`, `300 B`."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(value) < 1024 or unit == "GiB":
            return f"{value:.0f} {unit}" if value == int(value) else f"{value:.1f} {unit}"
        value /= 1024
    raise AssertionError("unreachable")
