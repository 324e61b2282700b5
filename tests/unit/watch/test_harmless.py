from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hvrig.watch.harmless import EXCERPT_BYTES, harmless


def test_controls_go_and_lines_stay() -> None:
    assert harmless(b"a\tb\r\nc\x08\x1b[31m\x9b\x00\xff") == "a b\nc[31m\ufffd\ufffd"
    assert harmless("\u202egrün\u0085".encode()) == "grün"


@given(st.binary(max_size=5000))
def test_whatever_comes_is_printable_and_short(raw: bytes) -> None:
    text = harmless(raw)
    assert len(text) <= EXCERPT_BYTES
    assert not any((ord(c) < 32 and c != "\n") or 0x7F <= ord(c) <= 0x9F for c in text)
