"""Whether a text is one of those that a source prints, whole or with bytes lost or taken in."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable
from difflib import SequenceMatcher

_ALIKE = 0.8  # of SequenceMatcher's 0 to 1: a text of 24 letters with two lost and five taken in has 0.86
_LOOKED_AT = 100  # characters; no text that is known has as many
_NUMBER = re.compile(r"\d+")


class Likeness(enum.Enum):
    """SAME: it is one of them, numbers aside. TORN: it was one. OTHER: it is none of them."""

    SAME = "same"
    TORN = "torn"
    OTHER = "other"


def likeness(text: str, known: Iterable[str]) -> Likeness:
    """How `text` compares with the texts that are `known`."""
    text = _NUMBER.sub("1", text[:_LOOKED_AT])
    found = Likeness.OTHER
    for each in known:
        if text == each:
            return Likeness.SAME
        if SequenceMatcher(None, each, text, autojunk=False).ratio() >= _ALIKE:
            found = Likeness.TORN
    return found
