"""A device tree's source as nodes and properties, each with the place where it stands in the text. Pure.

Only the shape is read, so that an edit can leave everything else as it is: values are not evaluated, includes not
followed. Syntax: dtc, Documentation/dts-format.txt; in front of it the C preprocessor, whose lines are skipped.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from hvrig.model.errors import UsageError

_TOKEN = re.compile(
    r"""
    (?P<space>\s+)
    | (?P<comment>/\*.*?\*/|//[^\n]*)
    | (?P<directive>\#[ \t]*(?:include|define|undef|ifdef|ifndef|if|else|elif|endif|error|warning|pragma|line)\b
        (?![\w,.+?\#-]) (?:\\\r?\n|[^\n])*)
    | (?P<string>"(?:\\.|[^"\\])*" | '(?:\\.|[^'\\])+')
    | (?P<path>&\{[^}\n]*\})
    | (?P<mark>[{};])
    | (?P<word>(?:[^\s{};"'/&]|&(?!\{)|/(?![*/]))+)
    """,
    re.VERBOSE | re.DOTALL,
)
_LABEL = re.compile(r"[A-Za-z_]\w*:")
_PROPERTY = re.compile(r"[\w,.+?#-]+")
_DEPTH = 64


@dataclass(frozen=True)
class Property:
    """`name = value;` or `name;`. start, end: of all of it; value: where its value stands, None where it has none."""

    name: str
    start: int
    end: int
    value: tuple[int, int] | None


@dataclass
class Node:
    """`labels: name { ... };`. name: `/` for the root, `&label` or `&{/path}` for a node that is opened again.

    start: of its labels; name_at: where the name stands; opened, closed: of its braces; end: after its semicolon.
    conditional: whether the preprocessor may leave it out.
    """

    name: str
    labels: tuple[str, ...]
    start: int
    name_at: tuple[int, int]
    opened: int
    conditional: bool
    closed: int = -1
    end: int = -1
    children: list[Node] = field(default_factory=list)
    properties: list[Property] = field(default_factory=list)

    def property(self, name: str) -> Property | None:
        """Its last property of that name, which is the one that counts."""
        return next((one for one in reversed(self.properties) if one.name == name), None)


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    start: int
    end: int


def read_dts(text: str, name: str) -> tuple[Node, ...]:
    """The nodes at the top of `text`. Raises UsageError, naming file and line, where its braces make no sense."""
    return _Reader(text, name).read()


def line_of(text: str, offset: int) -> int:
    """The line of an offset, from 1."""
    return text.count("\n", 0, offset) + 1


class _Reader:
    def __init__(self, text: str, name: str) -> None:
        self._text = text
        self._name = name
        self._conditions = 0
        self._top: list[Node] = []
        self._open: list[Node] = []
        self._statement: list[_Token] = []
        self._closed: Node | None = None  # whose semicolon is to come

    def read(self) -> tuple[Node, ...]:
        for token in self._tokens():
            if token.text == "{" and token.kind == "mark":
                self._begin(token)
            elif token.text == "}" and token.kind == "mark":
                self._close(token)
            elif token.text == ";" and token.kind == "mark":
                self._finish(token)
            else:
                if self._closed is not None:
                    raise self._refuse(token.start, "a semicolon is missing before this")
                self._statement.append(token)
                if [one.text for one in self._statement[:1]] == ["/include/"] and token.kind == "string":
                    self._statement.clear()
        if self._open:
            raise self._refuse(self._open[-1].opened, "this brace is not closed, or only under some #if")
        if self._statement or self._closed is not None:
            raise self._refuse(len(self._text), "the file ends within a statement")
        return tuple(self._top)

    def _tokens(self) -> Iterator[_Token]:
        at = 0
        while at < len(self._text):
            found = _TOKEN.match(self._text, at)
            if found is None:
                raise self._refuse(at, "this cannot be read as a device tree's source")
            kind = str(found.lastgroup)
            token = _Token(kind, found[0], at, found.end())
            at = found.end()
            if kind == "directive":
                if self._text[: token.start].rpartition("\n")[2].strip():
                    raise self._refuse(token.start, "a preprocessor line must begin its line")
                self._condition(token.text)
            elif kind not in ("space", "comment"):
                yield token

    def _condition(self, directive: str) -> None:
        word = directive[1:].split()[0]
        if word.startswith("if"):
            self._conditions += 1
        elif word.startswith("endif"):
            self._conditions -= 1

    def _begin(self, brace: _Token) -> None:
        if self._closed is not None or not self._statement:
            raise self._refuse(brace.start, "a brace that no node's name stands before")
        if len(self._open) >= _DEPTH:
            raise self._refuse(brace.start, "nodes nested too deeply")
        last = self._statement[-1]
        labels = [one for token in self._statement for one in _LABEL.findall(token.text)]
        text = last.text if last.kind == "path" else last.text.rpartition(":")[2]
        node = Node(
            name=text,
            labels=tuple(label.rstrip(":") for label in labels),
            start=self._statement[0].start,
            name_at=(last.end - len(text), last.end),
            opened=brace.start,
            conditional=self._conditions > 0,
        )
        (self._open[-1].children if self._open else self._top).append(node)
        self._open.append(node)
        self._statement.clear()

    def _close(self, brace: _Token) -> None:
        if not self._open or self._statement or self._closed is not None:
            what = "a brace that closes nothing" if not self._open else "a semicolon is missing before this brace"
            raise self._refuse(brace.start, what)
        self._closed = self._open.pop()
        self._closed.closed = brace.start

    def _finish(self, semicolon: _Token) -> None:
        if self._closed is not None:
            self._closed.end = semicolon.end
            self._closed = None
            return
        statement = [t for t in self._statement if not _LABEL.fullmatch(t.text)]
        self._statement = []
        if not statement or not self._open or statement[0].text.startswith("/"):
            return  # /dts-v1/, /memreserve/, /delete-node/, ...
        first = statement[0]
        name = _PROPERTY.match(first.text)
        if name is None:
            raise self._refuse(first.start, "neither a node nor a property")
        equals = self._text.find("=", first.start + name.end(), semicolon.start)
        value: tuple[int, int] | None = None
        if equals >= 0:
            raw = self._text[equals + 1 : semicolon.start]
            begin = equals + 1 + len(raw) - len(raw.lstrip())
            value = (begin, begin + len(raw.strip()))
        self._open[-1].properties.append(Property(name[0], first.start, semicolon.end, value))

    def _refuse(self, offset: int, why: str) -> UsageError:
        shown = " ".join(self._text[offset : offset + 40].split())
        return UsageError(
            f"{self._name}:{line_of(self._text, offset)}: {why}: {shown!r}.",
            "Mend the file, or paste the node by hand.",
        )
