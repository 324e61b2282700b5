from __future__ import annotations

import re

import pytest

from hvrig.watch.catalogue import KINDS, MARKS
from hvrig.watch.words import WordFinder, Words, overlaps

ALL = [words for kind in KINDS for words in kind.words] + [mark.words for mark in MARKS]


def test_no_words_of_the_table_get_in_each_others_way() -> None:
    assert [(one.literal, other.literal) for one, other in overlaps(ALL)] == []


def test_overlaps_sees_words_inside_words() -> None:
    inside, outside = Words(b"pill"), Words(b"hope for a pill now")
    assert list(overlaps([outside, inside])) == [(outside, inside)]
    assert list(overlaps([Words(b"hop", tail=(rb"\w",) * 5), inside])) != []
    assert list(overlaps([Words(b"hop", tail=(rb"\d",) * 5), inside])) == []


def test_of_two_words_at_one_anchor_the_one_that_ends_first_is_found() -> None:
    for words in ([Words(b"on CPU"), Words(b"Unsupported")], [Words(b"Unsupported"), Words(b"on CPU")]):
        hit = WordFinder(words).find(b"on CPUnsupported", 0)
        assert hit is not None
        assert words[hit.index].literal == b"on CPU"


@pytest.mark.parametrize("words", ALL, ids=lambda words: words.literal.decode())
def test_a_tail_is_of_single_bytes_and_nothing_spans_lines(words: Words) -> None:
    assert all(re.compile(each).fullmatch(b"\n") is None for each in words.tail)
    assert all(any(re.fullmatch(each, bytes([byte])) for byte in range(256)) for each in words.tail)
    assert b"\n" not in words.literal


def test_all_words_are_found_where_they_are_in_a_text_of_all() -> None:
    finder = WordFinder([Words(b"hv_end = 0x"), Words(b"Oops: "), Words(b"BUG: ", tail=(rb"[^s\n]",))])
    text = b"xx hv_end = 0x..Oops: BUG: sBUG: x"
    found, position = [], 0
    while hit := finder.find(text, position):
        found.append((hit.index, text[hit.start : hit.end]))
        position = hit.end
    assert found == [(0, b"hv_end = 0x"), (1, b"Oops: "), (2, b"BUG: x")]


def test_words_without_an_anchor_are_refused() -> None:
    with pytest.raises(StopIteration):
        _ = Words(b"not seen").anchor
