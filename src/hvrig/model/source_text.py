"""Where something stands, as text: `FILE`, `FILE:LINE`, `FILE /NODE` or `FILE:LINE /NODE`. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SourcePlace:
    """A source in its parts. line: from 1, None where not known. node: a path in the file, or empty."""

    file: str
    line: int | None
    node: str


def place_of(source: str) -> SourcePlace:
    """The parts of a source's text."""
    file, found, node = source.rpartition(" /")
    if not found:
        file, node = source, ""
    head, _, line = file.rpartition(":")
    if head and line.isascii() and line.isdigit():
        return SourcePlace(head, int(line), found.strip() + node)
    return SourcePlace(file, None, found.strip() + node)


def file_of(source: str) -> str:
    """The file alone."""
    return place_of(source).file
