"""A fault's own words, and one regular expression that finds all of them in a stream."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

# Bytes by which words are looked for: in boots of hvisor and Linux, TFTP progress and all, together one byte in 24.
# Every words' literal must have one of them.
_ANCHORS = b"{VG=KUOk_Ihp"


@dataclass(frozen=True)
class Words:
    """Text whose coming means something.

    literal: the words. tail: patterns of one byte each that must follow. Both are within a line.
    before: a pattern that the line's text up to the words must end with; `\\A` is the line's beginning.
    near: patterns of a fixed width, one of which must stand directly before the words: a faster `before` for words
    that are common.
    unless: a pattern that the text above the line must not end with.
    bare: printed without a log line's prefix.
    alone: nothing else in its report could prove it, so that it counts without a prefix, too.
    second: stand behind the kind's first words, in the same line.
    last: stand behind all of the kind's fields.
    """

    literal: bytes
    tail: tuple[bytes, ...] = ()
    before: bytes = b""
    near: tuple[bytes, ...] = ()
    unless: bytes = b""
    bare: bool = False
    alone: bool = False
    second: bool = False
    last: bool = False

    @property
    def width(self) -> int:
        """Length in bytes."""
        return len(self.literal) + len(self.tail)

    @property
    def anchor(self) -> int:
        """Index of the byte by which the words are looked for. Raises ValueError if they have none such."""
        return next(self.literal.index(byte) for byte in _ANCHORS if byte in self.literal)


@dataclass(frozen=True)
class Hit:
    """Words number `index` were found at `[start, end)` of the searched text."""

    index: int
    start: int
    end: int


class WordFinder:
    """Finds any of many words, at the speed of a search for a few rare bytes.

    The expression looks for an anchor, then for what follows it, and only then behind it: an alternation of the
    plain words would try them at nearly every letter and be four times slower.
    All words have a fixed width, of two at one anchor the one that ends first is found, and none may stand inside
    another behind its anchor (`overlaps` names those): so what is found does not depend on where the text was cut.
    """

    def __init__(self, words: Sequence[Words]) -> None:
        rests: dict[int, list[bytes]] = {}
        self._by_anchor: dict[int, list[tuple[int, int, re.Pattern[bytes]]]] = {}
        for index, each in sorted(enumerate(words), key=lambda item: item[1].width - item[1].anchor):
            tail = b"".join(each.tail)
            whole = re.escape(each.literal) + tail
            rest = re.escape(each.literal[each.anchor + 1 :]) + tail
            anchor = each.literal[each.anchor]
            behind = [b"(?<=" + near + whole + b")" for near in each.near]
            if behind:
                rest += b"(?:" + b"|".join(behind) + b")"
            elif each.anchor:
                rest += b"(?<=" + whole + b")"
            rests.setdefault(anchor, []).append(rest)
            self._by_anchor.setdefault(anchor, []).append((index, each.anchor, re.compile(whole)))
        self._any = re.compile(
            b"|".join(re.escape(bytes([anchor])) + b"(?:" + b"|".join(each) + b")" for anchor, each in rests.items())
        )
        self.max_width = max(each.width for each in words)

    def find(self, text: bytes, start: int) -> Hit | None:
        """The first words whose anchor stands at `start` or later, and that end within `text`."""
        match = self._any.search(text, start)
        if match is None:
            return None
        anchor, end = match.span()
        for index, before, whole in self._by_anchor[text[anchor]]:
            if before <= anchor and whole.fullmatch(text, anchor - before, end):
                return Hit(index, anchor - before, end)
        raise AssertionError("unreachable: what was found is one of the words")


def overlaps(words: Sequence[Words]) -> Iterator[tuple[Words, Words]]:
    """Pairs of words, the second of which can stand inside the first behind its anchor: then cuts would matter."""
    for first in words:
        for second in words:
            for shift in range(-second.width + 1, first.width - second.width):
                if first.anchor < shift + second.anchor and _agree(_bytes_of(first), _bytes_of(second), shift):
                    yield first, second
                    break


def _bytes_of(words: Words) -> list[frozenset[int]]:
    """The bytes that may stand at each place of the words."""
    tail = [frozenset(i for i in range(256) if re.fullmatch(each, bytes([i]))) for each in words.tail]
    return [frozenset([byte]) for byte in words.literal] + tail


def _agree(first: list[frozenset[int]], second: list[frozenset[int]], shift: int) -> bool:
    """Whether both can stand in one text, `second` beginning `shift` bytes after `first`."""
    return all(first[i] & second[i - shift] for i in range(max(0, shift), min(len(first), len(second) + shift)))
