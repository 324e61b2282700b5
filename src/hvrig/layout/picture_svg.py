"""A memory map as SVG: all memory on the left, the part around the hypervisor beside it, each to scale. Pure.

Names come from files: they go through the XML library, which escapes them, and through `harmless`.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterable, Sequence

from hvrig.layout.addresses import minus, union
from hvrig.layout.picture import Box, Kind, Picture
from hvrig.model.harmless import harmless
from hvrig.model.memory import Range
from hvrig.model.size import format_size

_NAMESPACE = "http://www.w3.org/2000/svg"

# Pixels.
_TOP = 96
_HEIGHT = 640
_BAR = 44  # a column's boxes
_LABELS = 204  # beside them
_GAP = 14
_ADDRESSES = 104
_OVERVIEW_BAR = 20
_FUNNEL = 48
_LEGEND = 64
_LEAST = 2  # of a box, so that it can be seen
_LINE = 13
_LABEL_LINES = 2

_NAME_CHARACTERS = 22

_COLOURS = {
    Kind.HYPERVISOR: "#4263eb",
    Kind.MEMORY: "#dee2e6",
    Kind.RESERVED: "#2f9e44",
    Kind.REUSABLE: "#94d82d",
    Kind.RAM: "#a5d8ff",
    Kind.IMAGE: "#ae3ec9",
    Kind.UNCOVERED: "#e03131",
    Kind.WRONG: "#f08c00",
}
# Parts of the hypervisor, one after the other, are told apart by turns.
_TURNS = ("#364fc7", "#5c7cfa", "#91a7ff")


def picture_svg(picture: Picture) -> str:
    """The picture as an SVG document, with an XML declaration."""
    return _Drawing(picture).document()


class _Scale:
    """Addresses of `shown` to pixels, the lowest at the top."""

    def __init__(self, shown: Range) -> None:
        self._shown = shown

    def y(self, address: int) -> float:
        return _TOP + (address - self._shown.start) * _HEIGHT / self._shown.size

    def box(self, stretch: Range) -> tuple[float, float] | None:
        """Top and height of what is seen of a stretch."""
        part = stretch.overlap(self._shown)
        if part is None:
            return None
        top, bottom = self.y(part.start), self.y(part.end)
        return min(top, _TOP + _HEIGHT - _LEAST), max(bottom - top, _LEAST)


class _Drawing:
    def __init__(self, picture: Picture) -> None:
        self._picture = picture
        self._root = ET.Element("svg", {"xmlns": _NAMESPACE, "font-family": "sans-serif", "font-size": "11"})
        self._x: float = 16

    def document(self) -> str:
        picture = self._picture
        self._rectangle(0, 0, "100%", "100%", "#ffffff")
        self._heading()
        if picture.close is not None:
            self._overview(picture.close)
        self._detail()
        width = max(self._x + 8, 560)
        height = _TOP + _HEIGHT + _LEGEND
        self._legend(_TOP + _HEIGHT + 28)
        self._root.set("width", f"{width:.0f}")
        self._root.set("height", f"{height:.0f}")
        self._root.set("viewBox", f"0 0 {width:.0f} {height:.0f}")
        ET.indent(self._root)
        return ET.tostring(self._root, encoding="unicode", xml_declaration=True) + "\n"

    def _heading(self) -> None:
        picture = self._picture
        self._text(16, 28, f"{picture.board}: memory layout", size=18, weight="bold")
        uncovered = picture.uncovered
        if uncovered:
            total = format_size(sum(part.size for part in uncovered))
            self._text(
                16,
                48,
                f"{total} of the hypervisor are not kept from zone 0's kernel: {', '.join(map(str, uncovered[:3]))}"
                + (" ..." if len(uncovered) > 3 else ""),
                size=13,
                fill=_COLOURS[Kind.UNCOVERED],
                weight="bold",
            )

    def _overview(self, close: Range) -> None:
        """All memory: a narrow bar a column, and where the detail lies in it."""
        picture, scale = self._picture, _Scale(self._picture.whole)
        self._text(self._x, _TOP - 24, f"all memory, {format_size(picture.whole.size)}", weight="bold")
        banks = [b.range for column in picture.columns for b in column.boxes if b.kind in (Kind.MEMORY, Kind.RAM)]
        edges = {picture.whole.start, picture.whole.end}
        edges |= {edge for bank in union(banks) for edge in (bank.start, bank.end)}
        self._axis(sorted(edges), scale)
        left = self._x
        for column in picture.columns:
            for number, box in enumerate(column.boxes):
                self._box(self._x, _OVERVIEW_BAR, box, scale, number)
            self._x += _OVERVIEW_BAR + 4
        right = self._x
        top, height = scale.box(close) or (_TOP, _LEAST)
        self._rectangle(left - 3, top - 1, right - left + 2, height + 2, "none", stroke="#212529")
        self._polygon(
            [
                (right - 1, top - 1),
                (right + _FUNNEL, _TOP),
                (right + _FUNNEL, _TOP + _HEIGHT),
                (right - 1, top + height + 1),
            ]
        )
        self._x = right + _FUNNEL + 8

    def _detail(self) -> None:
        picture, scale = self._picture, _Scale(self._picture.detail)
        what = "around the hypervisor" if picture.close is not None else "all memory"
        self._text(self._x, _TOP - 24, f"{what}, {format_size(picture.detail.size)}", weight="bold")
        seen = [
            (column.title, [box for box in column.boxes if box.range.overlap(picture.detail)])
            for column in picture.columns
        ]
        edges = {picture.detail.start, picture.detail.end}
        edges |= {
            edge
            for _, boxes in seen
            for box in boxes
            for edge in (box.range.start, box.range.end)
            if picture.detail.start <= edge <= picture.detail.end
        }
        self._axis(sorted(edges), scale)
        for title, boxes in seen:
            if not boxes:
                continue
            self._rectangle(self._x, _TOP, _BAR, _HEIGHT, "none", stroke="#ced4da")
            for number, box in enumerate(boxes):
                self._box(self._x, _BAR, box, scale, number)
            unnamed = self._labels(self._x + _BAR, boxes, scale)
            self._text(self._x, _TOP - 8, title + (f", {unnamed} more not named" if unnamed else ""), weight="bold")
            self._x += _BAR + _LABELS + _GAP

    def _axis(self, edges: Sequence[int], scale: _Scale) -> None:
        """Where something begins or ends, to the left of the bars; addresses are moved apart where they are close."""
        wanted = [scale.y(edge) for edge in edges]
        most = _HEIGHT // _LINE
        if len(edges) > most:  # the ends, and as many of the others as there is room for
            step = -(-len(edges) // most)
            kept = [n for n in range(len(edges)) if n % step == 0 or n == len(edges) - 1]
            edges, wanted = [edges[n] for n in kept], [wanted[n] for n in kept]
        right = self._x + _ADDRESSES
        for edge, at, y in zip(edges, wanted, _apart(wanted, _LINE), strict=True):
            self._text(right - 16, y + 4, f"{edge:#x}", family="monospace", anchor="end")
            self._line([(right - 13, y), (right - 6, at), (right, at)])
        self._x = right

    def _labels(self, left: float, boxes: list[Box], scale: _Scale) -> int:
        """Name, addresses and size of each box beside it, in the order of their middles; how many had no room."""
        placed: list[tuple[float, Box]] = []
        for box in boxes:
            found = scale.box(box.range)
            if found is not None:
                top, height = found
                middle = top + height / 2
                # What lies under other boxes is named where it can be seen.
                hidden = [other for other in boxes if other is not box and other.range.overlap(box.range)]
                if box.kind is Kind.MEMORY and hidden:
                    middle = self._bare_middle(box, hidden, scale, middle)
                placed.append((middle, box))
        placed.sort(key=lambda one: one[0])
        each = _LINE * _LABEL_LINES + 3
        room = _HEIGHT // each
        left_out = len(placed[room:])
        placed = placed[:room]
        ys = _apart([middle for middle, _ in placed], each)
        for (middle, box), y in zip(placed, ys, strict=True):
            self._line([(left, middle), (left + 5, middle), (left + 11, y), (left + 15, y)])
            bold = "bold" if box.kind in (Kind.UNCOVERED, Kind.WRONG) else "normal"
            fill = _COLOURS[box.kind] if box.kind in (Kind.UNCOVERED, Kind.WRONG) else "#212529"
            name = self._text(left + 18, y - 2, _short(box.name), weight=bold, fill=fill)
            said = {"dx": "6", "font-size": "9", "font-weight": "normal", "fill": "#868e96"}
            ET.SubElement(name, "tspan", said).text = f" {format_size(box.range.size)}"
            self._text(left + 18, y + 10, str(box.range), size=9, family="monospace", fill="#495057")
        return left_out

    @staticmethod
    def _bare_middle(box: Box, others: list[Box], scale: _Scale, otherwise: float) -> float:
        """The middle of the largest part of a box that no other one covers."""
        seen = [found for part in minus([box.range], [o.range for o in others]) if (found := scale.box(part))]
        if not seen:
            return otherwise
        top, height = max(seen, key=lambda one: one[1])
        return top + height / 2

    def _box(self, left: float, width: float, box: Box, scale: _Scale, number: int) -> None:
        found = scale.box(box.range)
        if found is None:
            return
        colour = _TURNS[number % len(_TURNS)] if box.kind is Kind.HYPERVISOR else _COLOURS[box.kind]
        self._rectangle(left, found[0], width, found[1], colour, stroke="#ffffff")

    def _legend(self, y: float) -> None:
        x: float = 16
        kinds = dict.fromkeys(box.kind for column in self._picture.columns for box in column.boxes)
        for kind in kinds:
            said = kind.value if kind is not Kind.UNCOVERED else "the hypervisor's, and not reserved"
            self._rectangle(x, y - 9, 10, 10, _COLOURS[kind])
            self._text(x + 15, y, said)
            x += 15 + 6.2 * len(said) + 18

    # --- shapes

    def _rectangle(
        self, x: float, y: float, width: float | str, height: float | str, fill: str, stroke: str = "none"
    ) -> None:
        self._add("rect", x=x, y=y, width=width, height=height, fill=fill, stroke=stroke)

    def _line(self, points: Iterable[tuple[float, float]]) -> None:
        self._add("polyline", points=_points(points), fill="none", stroke="#adb5bd")

    def _polygon(self, points: Iterable[tuple[float, float]]) -> None:
        self._add("polygon", points=_points(points), fill="#f1f3f5", stroke="#ced4da")

    def _text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        size: int = 11,
        weight: str = "normal",
        fill: str = "#212529",
        family: str = "sans-serif",
        anchor: str = "start",
    ) -> ET.Element:
        element = self._add("text", x=x, y=y, fill=fill)
        for name, value, usual in (
            ("font-size", str(size), "11"),
            ("font-weight", weight, "normal"),
            ("font-family", family, "sans-serif"),
            ("text-anchor", anchor, "start"),
        ):
            if value != usual:
                element.set(name, value)
        element.text = harmless(text, keep_newlines=False)
        return element

    def _add(self, tag: str, **attributes: float | str) -> ET.Element:
        said = {name: value if isinstance(value, str) else f"{value:.1f}" for name, value in attributes.items()}
        return ET.SubElement(self._root, tag, said)


def _apart(wanted: Sequence[float], distance: float) -> list[float]:
    """Places in the order of `wanted`, as near to them as `distance` between two allows, none beyond the bars' ends."""
    placed: list[float] = []
    for y in wanted:
        placed.append(max(y, placed[-1] + distance) if placed else y)
    limit: float = _TOP + _HEIGHT
    for n in range(len(placed) - 1, -1, -1):
        placed[n] = min(placed[n], limit)
        limit = placed[n] - distance
    return placed


def _points(points: Iterable[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _short(name: str) -> str:
    return name if len(name) <= _NAME_CHARACTERS else name[: _NAME_CHARACTERS - 1] + "…"
