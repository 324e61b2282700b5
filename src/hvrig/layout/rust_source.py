"""Integer constants and tables of a Rust source, by tree-sitter's grammar. Pure.

Only what constants are made of is computed: literals, arithmetic, shifts, casts to unsigned types, and other
constants of the given sources. Anything else is said, never guessed.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import tree_sitter_rust
from tree_sitter import Language, Node, Parser

from hvrig.model.errors import UsageError

_LANGUAGE = Language(tree_sitter_rust.language())

# Expressions and constants that refer to each other deeper than this are taken for a mistake.
_DEPTH = 150
_LIMIT = 1 << 64
_BITS = {"u8": 8, "u16": 16, "u32": 32, "u64": 64, "usize": 64, "i32": 31, "i64": 63, "isize": 63}
_LITERAL = re.compile(r"(0x[0-9a-fA-F_]+|0o[0-7_]+|0b[01_]+|[0-9][0-9_]*)(?:[ui](?:8|16|32|64|128|size))?")
_OPERATORS: dict[str, Callable[[int, int], int]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.floordiv,
    "%": operator.mod,
    "&": operator.and_,
    "|": operator.or_,
    "^": operator.xor,
    "<<": operator.lshift,
    ">>": operator.rshift,
}


@dataclass(frozen=True)
class Item:
    """A `const` or `static` of a source: its value's node, and where it stands."""

    name: str
    value: Node
    source: RustSource

    @property
    def where(self) -> str:
        """`file:line`."""
        return self.source.where(self.value)


class RustSource:
    """One parsed file. Raises UsageError, naming the line, where it is not Rust."""

    def __init__(self, text: bytes, name: str) -> None:
        self.name = name
        root = Parser(_LANGUAGE).parse(text).root_node
        if root.has_error:
            raise UsageError(
                f"{self.where(_first_error(root))}: this cannot be read as Rust.",
                "Give a board.rs or consts.rs that compiles.",
            )
        self.items: dict[str, list[Item]] = {}
        for child in root.named_children:
            if child.type not in ("const_item", "static_item"):
                continue
            named, value = child.child_by_field_name("name"), child.child_by_field_name("value")
            if named is not None and value is not None:
                item = Item(text_of(named), value, self)
                self.items.setdefault(item.name, []).append(item)

    def where(self, node: Node) -> str:
        """`file:line` of a node."""
        return f"{self.name}:{node.start_point.row + 1}"

    def refuse(self, node: Node, why: str) -> UsageError:
        """The error for a node that cannot be understood."""
        return UsageError(
            f"{self.where(node)}: {why}: {text_of(node)[:60]!r}.",
            "Write the number itself there, or give the addresses another way.",
        )


class Constants:
    """The constants of several sources; the first source that has a name counts."""

    def __init__(self, sources: Sequence[RustSource]) -> None:
        self._sources = sources

    def items(self, name: str) -> list[Item]:
        """Every definition of `name` in the first source that has any; several where `#[cfg]` chooses."""
        return next((s.items[name] for s in self._sources if name in s.items), [])

    def integer(self, name: str) -> int | None:
        """The value of constant `name`, None if there is none.

        Raises UsageError where it cannot be computed, or where several definitions differ.
        """
        items = self.items(name)
        return self._agreed(items, 0) if items else None

    def evaluate(self, node: Node, source: RustSource, depth: int = 0) -> int:
        """The value of an integer expression. Raises UsageError, naming file and line."""
        if depth > _DEPTH:
            raise source.refuse(node, "too deeply nested, or a constant that refers to itself")
        value = self._value(node, source, depth + 1)
        if not 0 <= value < _LIMIT:
            raise source.refuse(node, "not a number that fits 64 bits")
        return value

    def _value(self, node: Node, source: RustSource, depth: int) -> int:
        match node.type:
            case "integer_literal":
                found = _LITERAL.fullmatch(text_of(node))
                digits = found[1].replace("_", "") if found else ""
                if digits in ("", "0x", "0o", "0b"):
                    raise source.refuse(node, "not an integer")
                return int(digits, 10 if digits.isdigit() else 0)
            case "parenthesized_expression":
                return self.evaluate(only_child(node, source), source, depth)
            case "binary_expression":
                return self._binary(node, source, depth)
            case "type_cast_expression":
                value, kind = _field(node, "value", source), text_of(_field(node, "type", source))
                if kind not in _BITS:
                    raise source.refuse(node, "a cast to a type that is not an integer's")
                return self.evaluate(value, source, depth) & ((1 << _BITS[kind]) - 1)
            case "identifier":
                return self._named(node, text_of(node), source, depth)
            case "scoped_identifier":
                path, name = node.child_by_field_name("path"), text_of(_field(node, "name", source))
                if path is not None and name == "MAX" and text_of(path) in _BITS:
                    return int((1 << _BITS[text_of(path)]) - 1)
                return self._named(node, name, source, depth)
        raise source.refuse(node, "not a constant that can be computed here")

    def _binary(self, node: Node, source: RustSource, depth: int) -> int:
        left = self.evaluate(_field(node, "left", source), source, depth)
        right = self.evaluate(_field(node, "right", source), source, depth)
        sign = text_of(_field(node, "operator", source))
        if sign not in _OPERATORS:
            raise source.refuse(node, "not arithmetic")
        if (sign in ("/", "%") and right == 0) or (sign in ("<<", ">>") and right >= 64):
            raise source.refuse(node, "arithmetic without a result")
        return _OPERATORS[sign](left, right)

    def _named(self, node: Node, name: str, source: RustSource, depth: int) -> int:
        items = source.items.get(name) or self.items(name)
        if not items:
            raise source.refuse(node, "a constant that none of the given files defines")
        return self._agreed(items, depth)

    def _agreed(self, items: list[Item], depth: int) -> int:
        values = {self.evaluate(item.value, item.source, depth) for item in items}
        if len(values) > 1:
            raise UsageError(
                f"{items[0].where}: {items[0].name} has several values here, chosen by #[cfg] when hvisor is built.",
                "Give a file with only the definition that counts.",
            )
        return values.pop()


def text_of(node: Node) -> str:
    """A node's text."""
    return (node.text or b"").decode("utf-8", "replace")


def only_child(node: Node, source: RustSource) -> Node:
    """The one named child of `node`, comments apart. Raises UsageError where there is not just one."""
    children = code_children(node)
    if len(children) != 1:
        raise source.refuse(node, "not one expression")
    return children[0]


def code_children(node: Node) -> list[Node]:
    """The named children of `node` without comments."""
    return [child for child in node.named_children if child.type not in ("line_comment", "block_comment")]


def _field(node: Node, name: str, source: RustSource) -> Node:
    found = node.child_by_field_name(name)
    if found is None:
        raise source.refuse(node, f"has no {name}")
    return found


def _first_error(node: Node) -> Node:
    """The first node below `node`, in the order of the text, that the grammar could not take."""
    while not (node.is_error or node.is_missing):
        inner = next((child for child in node.children if child.has_error or child.is_missing), None)
        if inner is None:
            return node
        node = inner
    return node
