"""A linker script of hvisor's: where the hypervisor begins. Pure.

Syntax: GNU ld manual, 3.4 (scripts), 3.5 (assignments), 3.10 (expressions). Only what stands before `skernel = .` is
followed: assignments to names and to the location counter. Anything else there is said, never guessed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from hvrig.model.errors import UsageError

_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_TOKEN = re.compile(r"\s*(0[xX][0-9a-fA-F]+[KMkm]?|[0-9]+[KMkm]?|[A-Za-z_.$][\w.$]*|<<|>>|[-+*/%&|()~]|\S)")
_ASSIGNMENT = re.compile(r"(?<![\w.$])([A-Za-z_.$][\w.$]*)\s*=(?!=)\s*([^;{}]*);")
_START = "skernel"
_SUFFIXES = {"K": 1 << 10, "M": 1 << 20}
_LEVELS = (("|",), ("&",), ("<<", ">>"), ("+", "-"), ("*", "/", "%"))
_DEPTH = 50


@dataclass(frozen=True)
class LinkedStart:
    """The address at which the hypervisor is linked, as written, and where it is written."""

    address: int
    source: str


def read_linked_start(text: str, name: str) -> LinkedStart:
    """The value of `skernel`. Raises UsageError, naming file and line, where it is not set or not understood."""
    plain = _COMMENT.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), text)
    values: dict[str, int] = {}
    unknown: dict[str, UsageError] = {}
    counter_source = f"{name}:1"
    for found in _ASSIGNMENT.finditer(plain):
        symbol = found[1]
        source = f"{name}:{plain.count(chr(10), 0, found.start(1)) + 1}"
        try:
            value = _Expression(found[2], source, values).value()
        except UsageError as error:
            values.pop(symbol, None)
            unknown[symbol] = error
            if symbol == _START:
                raise unknown.get(".", error) from error
            continue
        if symbol == _START:
            return LinkedStart(value, counter_source)
        if symbol == ".":
            counter_source = source
        values[symbol] = value
    raise UsageError(
        f"{name}: no line of it sets {_START}, where the hypervisor begins.",
        "Give the linker.ld of the board, platform/ARCH/BOARD/linker.ld of hvisor's sources.",
    )


class _Expression:
    """An expression of constants and of symbols that have a value already."""

    def __init__(self, text: str, source: str, values: dict[str, int]) -> None:
        self._text = text.strip()
        self._source = source
        self._values = values
        self._tokens = _TOKEN.findall(text)
        self._at = 0

    def value(self) -> int:
        result = self._level(0, 0)
        if self._at < len(self._tokens) or not 0 <= result < 1 << 64:
            raise self._refused()
        return result

    def _refused(self) -> UsageError:
        return UsageError(
            f"{self._source}: this expression cannot be computed: {self._text[:60]!r}.",
            "Write the address itself there, or give the hypervisor's range (--range).",
        )

    def _next(self) -> str:
        if self._at >= len(self._tokens):
            raise self._refused()
        self._at += 1
        return str(self._tokens[self._at - 1])

    def _level(self, level: int, depth: int) -> int:
        if depth > _DEPTH:
            raise self._refused()
        if level == len(_LEVELS):
            return self._atom(depth)
        left = self._level(level + 1, depth)
        while self._at < len(self._tokens) and self._tokens[self._at] in _LEVELS[level]:
            left = self._computed(self._next(), left, self._level(level + 1, depth))
        return left

    def _computed(self, sign: str, left: int, right: int) -> int:
        if (sign in "/%" and right == 0) or (sign in ("<<", ">>") and not 0 <= right < 64):
            raise self._refused()
        match sign:
            case "|":
                return left | right
            case "&":
                return left & right
            case "<<":
                return (left << right) & ((1 << 64) - 1)
            case ">>":
                return left >> right
            case "+":
                return left + right
            case "-":
                return left - right
            case "*":
                return left * right
            case "/":
                return left // right
        return left % right

    def _atom(self, depth: int) -> int:
        token = self._next()
        if token == "(":
            inner = self._level(0, depth + 1)
            if self._next() != ")":
                raise self._refused()
            return inner
        if token[0].isdigit():
            scale = _SUFFIXES.get(token[-1].upper(), 1) if token[-1] in "KMkm" else 1
            digits = token if scale == 1 else token[:-1]
            base = 16 if digits[:2].lower() == "0x" else 8 if digits[0] == "0" else 10
            try:
                return int(digits, base) * scale
            except ValueError:
                raise self._refused() from None
        if token not in self._values:
            raise self._refused()
        return self._values[token]
