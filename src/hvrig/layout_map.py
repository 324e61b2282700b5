"""The picture of a memory map where a person looks: on the terminal, and in an SVG file."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from hvrig.layout.picture import picture_of
from hvrig.layout.picture_svg import picture_svg
from hvrig.layout.picture_text import picture_lines
from hvrig.model.errors import UsageError
from hvrig.model.layout import LayoutReport

# Wider lines are hard to read; and what is not a terminal has no width.
_WIDEST = 120
_WIDTH_OF_A_PIPE = 80


def print_map(report: LayoutReport, console: Console) -> None:
    """The map to scale, and an empty line; nothing where no address is known. Colours only on a terminal."""
    picture = picture_of(report)
    if picture is None:
        return
    # rich takes any file for a terminal when FORCE_COLOR is set, as CI services do.
    shown = console.is_terminal and console.file.isatty()
    width = min(console.width, _WIDEST) if shown else _WIDTH_OF_A_PIPE
    plain = not console.encoding.lower().startswith("utf")
    for line in picture_lines(picture, width, plain=plain):
        if shown:
            console.print(line, soft_wrap=True)
        else:
            console.file.write(line.plain + "\n")
    console.file.write("\n")


def write_svg(report: LayoutReport, path: Path) -> None:
    """The map as an SVG file. Raises UsageError where there is nothing to draw, or the file cannot be written."""
    picture = picture_of(report)
    if picture is None:
        raise UsageError("--svg: no address is known, so that there is nothing to draw.", "Give more inputs.")
    try:
        path.write_text(picture_svg(picture), encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"--svg: {path} cannot be written: {error.strerror or error}.", "Choose another file."
        ) from error
