"""A hypervisor's words that other output has torn apart."""

from __future__ import annotations

import re
from collections.abc import Iterable

from hvrig.watch.words import Words

# How far behind a log line's prefix its words can begin or go on, with what was written between.
REACH = 320
# Bytes of other output between two pieces of words: a few dozen, or a short line.
_GAP = 80
_GAPS = 2
# A piece that is shorter says nothing.
_PIECE = 3

# memtester's progress on the same UART: a backspace and the next of `-\|/`, between any two bytes of a report.
_SPIN = re.compile(rb"\x08+[-\\|/]?")


def without_progress(text: bytes) -> bytes:
    """Text without memtester's progress."""
    return _SPIN.sub(b"", text) if b"\x08" in text else text


class TornWords:
    """Looks for any of some words, each with its number, in text that follows a log line's prefix.

    That prefix is what makes pieces worth a look.
    """

    def __init__(self, words: Iterable[tuple[int, Words]]) -> None:
        self._words = tuple(words)
        pieces = {each.literal[:_PIECE] for _, each in self._words}
        self._pieces = re.compile(b"|".join(map(re.escape, sorted(pieces))))

    def find(self, text: bytes) -> int | None:
        """The number of the first words that stand in `text` in two or three pieces, or None."""
        still = without_progress(text)
        if self._pieces.search(still) is None:
            return None
        for number, each in self._words:
            begin = still.find(each.literal[:_PIECE])
            if begin < 0 or each.literal in text:
                continue  # not there, or found already, or not meant
            while begin >= 0:
                if _goes_on(still, begin + _PIECE, each.literal[_PIECE:], _GAPS):
                    return number
                begin = still.find(each.literal[:_PIECE], begin + 1)
        return None


def _goes_on(text: bytes, at: int, rest: bytes, gaps: int) -> bool:
    """Whether `rest` follows at `at`, with at most `gaps` gaps."""
    same = 0
    while same < len(rest) and at + same < len(text) and text[at + same] == rest[same]:
        same += 1
    if same == len(rest):
        return True
    if gaps == 0:
        return False
    # What was written between may begin with the same letters as the words go on with.
    for taken in range(same, max(same - _PIECE, -1), -1):
        piece = rest[taken : taken + _PIECE]
        if len(piece) == 1:
            continue  # any text has it
        after = at + taken
        found = text.find(piece, after + 1, after + _GAP + len(piece))
        while found >= 0:
            if _goes_on(text, found + len(piece), rest[taken + len(piece) :], gaps - 1):
                return True
            found = text.find(piece, found + 1, after + _GAP + len(piece))
    return False
