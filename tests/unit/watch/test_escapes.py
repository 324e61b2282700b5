from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hvrig.watch.escapes import EscapeRemover

PIECES = st.sampled_from([b"\x1b", b"[", b"31", b";", b"m", b"(B", b"text", b"\n", b"\x1b[m", b"\x1b[37m", b"7" * 40])
STREAMS = st.lists(PIECES, max_size=40).map(b"".join)


def test_colours_go_and_text_stays() -> None:
    assert EscapeRemover().clean(b"\x1b[37m[\x1b[93mWARN \x1b[m\x1b(B 0]") == b"[WARN  0]"


def test_what_is_no_sequence_loses_its_escape_only() -> None:
    assert EscapeRemover().clean(b"\x1bHello \x1b[\nU-Boot \x1b[31\x1b[32mx") == b"Hello [\nU-Boot [31x"


@given(STREAMS, st.lists(st.integers(1, 30)))
def test_cuts_change_nothing_and_every_byte_is_where_it_was(stream: bytes, cuts: list[int]) -> None:
    stream += b"."  # ends an unfinished sequence
    whole, pieces = EscapeRemover(), EscapeRemover()
    clean = whole.clean(stream)
    rest, parts = stream, []
    for cut in cuts:
        parts.append(pieces.clean(rest[:cut]))
        rest = rest[cut:]
    parts.append(pieces.clean(rest))
    assert b"".join(parts) == clean
    for position, byte in enumerate(clean):
        offset = whole.offset_of(position)
        assert stream[offset] == byte
        assert pieces.offset_of(position) == offset


def test_what_is_forgotten_is_let_go_of() -> None:
    escapes = EscapeRemover()
    for _ in range(1000):
        escapes.clean(b"\x1b[31mab")
    escapes.forget_before(1998)
    assert len(escapes._stretches) <= 2
    assert escapes.offset_of(1999) == 6999
