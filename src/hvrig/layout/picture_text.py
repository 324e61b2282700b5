"""A memory map as text: a line a stretch, its place in memory to scale. Pure; fits any terminal of 60 columns or more.

What a stretch is can be told without colours, by the character of its bar.
"""

from __future__ import annotations

from collections.abc import Iterator

from rich.text import Text

from hvrig.layout.picture import Box, Kind, Picture
from hvrig.model.harmless import harmless
from hvrig.model.memory import Range
from hvrig.model.size import format_size

MIN_WIDTH = 60
_NAME = 18
_ROWS = 60  # of either scale

_CHARACTERS = {
    Kind.HYPERVISOR: ("█", "#"),
    Kind.MEMORY: ("░", "."),
    Kind.RESERVED: ("▓", "="),
    Kind.REUSABLE: ("▒", "-"),
    Kind.RAM: ("░", ":"),
    Kind.IMAGE: ("■", "o"),
    Kind.UNCOVERED: ("!", "!"),
    Kind.WRONG: ("?", "?"),
}
_STYLES = {
    Kind.HYPERVISOR: "blue",
    Kind.MEMORY: "",
    Kind.RESERVED: "green",
    Kind.REUSABLE: "yellow",
    Kind.RAM: "cyan",
    Kind.IMAGE: "magenta",
    Kind.UNCOVERED: "bold red",
    Kind.WRONG: "yellow",
}


_IN_SHORT = {
    Kind.MEMORY: "memory",
    Kind.RESERVED: "reserved",
    Kind.REUSABLE: "reusable",
    Kind.UNCOVERED: "NOT RESERVED",
}


def picture_lines(picture: Picture, width: int = 80, *, plain: bool = False) -> list[Text]:
    """The lines, none wider than `width`; plain: ASCII only. Styles are only hints: without them nothing is lost."""
    width = max(width, MIN_WIDTH)
    lines: list[Text] = []
    if picture.close is not None:
        lines += _scale("all memory", picture.whole, list(_merged(picture)), width, plain, mark=picture.close)
        lines.append(Text())
    title = "around the hypervisor" if picture.close is not None else "memory"
    boxes = [box for column in picture.columns for box in column.boxes if box.range.overlap(picture.detail)]
    lines += _scale(title, picture.detail, boxes, width, plain)
    if picture.uncovered:
        size = format_size(sum(part.size for part in picture.uncovered))
        said = f"{size} of the hypervisor not kept from zone 0's kernel"
        lines.append(Text(f"{_CHARACTERS[Kind.UNCOVERED][0] * 3} {said}", _STYLES[Kind.UNCOVERED]))
    return lines


def _merged(picture: Picture) -> Iterator[Box]:
    """One line a column: at this scale its boxes are dots."""
    for column in picture.columns:
        for kind in dict.fromkeys(box.kind for box in column.boxes):
            for box in column.boxes:
                if box.kind is kind:
                    yield Box(_IN_SHORT.get(kind, column.title), box.range, kind)


def _scale(
    title: str, shown: Range, boxes: list[Box], width: int, plain: bool, mark: Range | None = None
) -> list[Text]:
    rows: dict[tuple[str, Kind], list[Range]] = {}
    for box in boxes:
        key = (box.name, box.kind) if mark is not None else (f"{box.name}\0{len(rows)}", box.kind)
        rows.setdefault(key, []).append(box.range)
    hulls = [_short(Range(min(r.start for r in of), max(r.end for r in of))) for of in rows.values()]
    addresses = max(map(len, hulls), default=0)
    bar = width - _NAME - addresses - 2
    each = format_size(-(-shown.size // bar))
    lines = [Text(f"{title}, {shown.start:#x} - {shown.end:#x}: {format_size(shown.size)}, {each} a character"[:width])]
    for ((name, kind), ranges), hull in list(zip(rows.items(), hulls, strict=True))[:_ROWS]:
        cells = _cells(ranges, shown, bar, _CHARACTERS[kind][1 if plain else 0])
        line = Text(_fit(harmless(name.partition("\0")[0], keep_newlines=False), _NAME, plain).ljust(_NAME) + " ")
        line.append(cells, _STYLES[kind])
        line.append(f" {hull:>{addresses}}")
        line.truncate(width)
        lines.append(line)
    if len(rows) > _ROWS:
        lines.append(Text(f"and {len(rows) - _ROWS} more"))
    if mark is not None:
        part = mark.overlap(shown) or shown
        lines.append(Text("shown below".ljust(_NAME + 1) + _cells([part], shown, bar, "^").rstrip()))
    return lines


def _cells(ranges: list[Range], shown: Range, count: int, character: str) -> str:
    """`count` cells; one that any of the ranges touches is `character`. What goes on outside ends in < or >."""
    cells = [" "] * count
    for one in ranges:
        part = one.overlap(shown)
        if part is None:
            continue
        first = (part.start - shown.start) * count // shown.size
        last = -(-(part.end - shown.start) * count // shown.size)
        cells[first:last] = character * (last - first)
        if one.start < shown.start:
            cells[0] = "<"
        if one.end > shown.end:
            cells[-1] = ">"
    return "".join(cells)


def _short(stretch: Range) -> str:
    return f"{stretch.start:#x}-{stretch.end:#x}"


def _fit(text: str, width: int, plain: bool) -> str:
    return text if len(text) <= width else text[: width - 1] + ("~" if plain else "…")
