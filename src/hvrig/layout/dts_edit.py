"""Put the hypervisor's reservation into a device tree's source, and leave the rest of it as it is. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from hvrig.layout.dts_source import Node, line_of, read_dts
from hvrig.layout.reservation import Reservation
from hvrig.layout.rule_parts import HYPERVISORS_NAME
from hvrig.model.errors import UsageError

_BY_HAND = "Paste the node by hand: hvrig layout reserve prints it."
# With one of these, a reservation is more than a stretch that is kept from everybody.
_MORE_THAN_KEPT = ("reusable", "compatible", "size", "alloc-ranges", "alignment")


@dataclass(frozen=True)
class Edited:
    """text: the new source. what: what was done, a clause. replaced: the node that was changed, empty if none was."""

    text: str
    what: str
    replaced: str = ""


@dataclass(frozen=True)
class _Change:
    start: int
    end: int
    text: str


def put_reservation(text: str, name: str, reservation: Reservation, *, in_tree: bool) -> Edited:
    """`text` with the reservation in /reserved-memory, in place of one that is the hypervisor's by its name.

    in_tree: whether the tree has a /reserved-memory, here or in a file that this one includes.
    Raises UsageError, naming file and line, where that cannot be done without guessing.
    """
    top = read_dts(text, name)
    parents = _reserved_memories(top)
    theirs = [child for parent in parents for child in parent.children if _is_hypervisors(child)]
    for node in (*parents, *theirs):
        if node.conditional:
            raise _refuse(text, name, node, f"{node.name} stands under an #if")
    if len(theirs) > 1:
        raise _refuse(text, name, theirs[1], f"there are {len(theirs)} reservations with the hypervisor's name")
    if theirs:
        return _replaced(text, name, theirs[0], reservation)
    if parents:
        return _added(text, parents[0], reservation)
    roots = [node for node in top if node.name == "/" and not node.conditional]
    if not roots:
        raise UsageError(f"{name}: there is no root node `/ {{ }};` to put a /reserved-memory into.", _BY_HAND)
    root = roots[0]
    indent, unit = _indents(text, root)
    lines = reservation_lines(reservation, unit)
    if in_tree:  # in an included file: the root is opened again, and dtc merges the two
        block = ["", "/ {", f"{unit}reserved-memory {{", *(f"{unit}{unit}{line}" for line in lines), f"{unit}}};", "};"]
        ending = "" if text.endswith("\n") or not text else "\n"
        newline = _newline(text)
        return Edited(text + (ending + "\n".join(block) + "\n").replace("\n", newline), "added at the end of the file")
    block = [
        "reserved-memory {",
        f"{unit}#address-cells = <{reservation.address_cells}>;",
        f"{unit}#size-cells = <{reservation.size_cells}>;",
        f"{unit}ranges;",
        "",
        *(unit + line for line in lines),
        "};",
    ]
    change = _before_close(text, root, block, indent, blank_before=True)
    return Edited(_applied(text, [change]), "added with a /reserved-memory of its own")


def reservation_lines(reservation: Reservation, unit: str) -> list[str]:
    """The node as lines of a source whose levels are indented by `unit`."""
    inner = reservation.node.partition("{")[2].rpartition("}")[0]
    statements = [part.strip() for part in inner.split(";") if part.strip()]
    return [f"{reservation.name} {{", *(f"{unit}{one};" for one in statements), "};"]


def _reserved_memories(top: tuple[Node, ...]) -> list[Node]:
    """/reserved-memory, and where it is opened again."""
    found = [child for root in top if root.name == "/" for child in root.children if child.name == "reserved-memory"]
    again = {"&{/reserved-memory}", *(f"&{label}" for node in found for label in node.labels)}
    return found + [node for node in top if node.name in again]


def _is_hypervisors(node: Node) -> bool:
    return HYPERVISORS_NAME.search(node.name.lower()) is not None


def _replaced(text: str, name: str, node: Node, reservation: Reservation) -> Edited:
    reg = node.property("reg")
    if reg is None or reg.value is None:
        raise _refuse(text, name, node, f"{node.name} has no reg")
    more = [one for one in _MORE_THAN_KEPT if node.property(one) is not None]
    if more:
        raise _refuse(text, name, node, f"{node.name} has {' and '.join(more)}")
    if node.children:
        raise _refuse(text, name, node, f"{node.name} has nodes in it")
    base, at, _ = node.name.partition("@")
    renamed = f"{base}@{reservation.range.start:x}" if at else base
    changes = [_Change(*node.name_at, renamed), _Change(*reg.value, _reg(reservation))]
    if node.property("no-map") is None:
        lead = text[: reg.start].rpartition("\n")[2]
        separator = _newline(text) + lead if not lead.strip() else " "
        changes.append(_Change(reg.start, reg.start, f"no-map;{separator}"))
    return Edited(_applied(text, changes), f"changed {node.name}", node.name)


def _added(text: str, parent: Node, reservation: Reservation) -> Edited:
    own = [_cells(text, parent, which) for which in ("#address-cells", "#size-cells")]
    fitting = replace(
        reservation,
        address_cells=own[0] or reservation.address_cells,
        size_cells=own[1] or reservation.size_cells,
    )
    indent, unit = _indents(text, parent)
    change = _before_close(text, parent, reservation_lines(fitting, unit), indent, blank_before=bool(parent.children))
    return Edited(_applied(text, [change]), "added to /reserved-memory")


def _cells(text: str, node: Node, which: str) -> int | None:
    found = node.property(which)
    if found is None or found.value is None:
        return None
    number = re.fullmatch(r"<\s*(?:0x0*)?([0-9])\s*>", text[slice(*found.value)])
    return int(number[1]) if number else None


def _reg(reservation: Reservation) -> str:
    return reservation.node.partition("reg = ")[2].partition(";")[0]


def _indents(text: str, parent: Node) -> tuple[str, str]:
    """How what stands in `parent` is indented, and by how much more a level is."""
    outer = _indent_at(text, parent.start)
    starts = [*(node.start for node in parent.children), *(one.start for one in parent.properties)]
    found = [indent for start in starts if (indent := _indent_at(text, start)) is not None]
    inner = [indent for indent in found if len(indent) > len(outer or "")]
    if inner:
        return inner[0], inner[0].removeprefix(outer or "") or "\t"
    return (outer or "") + "\t", "\t"


def _indent_at(text: str, offset: int) -> str | None:
    """The white space before `offset` on its line, None where something else stands there."""
    lead = text[:offset].rpartition("\n")[2]
    return lead if not lead.strip() else None


def _before_close(text: str, parent: Node, lines: list[str], indent: str, *, blank_before: bool) -> _Change:
    """The lines as the last ones of a node."""
    newline = _newline(text)
    if _indent_at(text, parent.closed) is None:  # all on one line
        return _Change(parent.closed, parent.closed, f" {' '.join(line.strip() for line in lines if line)} ")
    at = text[: parent.closed].rfind("\n") + 1
    indented = [indent + line if line else "" for line in (["", *lines] if blank_before else lines)]
    return _Change(at, at, "".join(line + newline for line in indented))


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _applied(text: str, changes: list[_Change]) -> str:
    for change in sorted(changes, key=lambda one: one.start, reverse=True):
        text = text[: change.start] + change.text + text[change.end :]
    return text


def _refuse(text: str, name: str, node: Node, why: str) -> UsageError:
    return UsageError(f"{name}:{line_of(text, node.start)}: {why}: this is not changed by hvrig.", _BY_HAND)
