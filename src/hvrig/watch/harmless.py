"""What a board sent, made harmless to print."""

from __future__ import annotations

import re

EXCERPT_BYTES = 4096

# Control characters but the newline, and what turns the writing direction or breaks lines elsewhere.
_HARMFUL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


def harmless(raw: bytes) -> str:
    """`raw`, at most its first 4096 bytes, as text without control characters; tabs become spaces, newlines stay."""
    text = raw[:EXCERPT_BYTES].decode("utf-8", "replace").replace("\t", " ")
    return _HARMFUL.sub("", text)
