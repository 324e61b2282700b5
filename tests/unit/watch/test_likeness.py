"""Texts that a source prints, whole and torn."""

from __future__ import annotations

import pytest

from hvrig.watch.catalogue import ZONE_FAILED
from hvrig.watch.likeness import Likeness, likeness


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("root zone has some error", Likeness.SAME),
        ("zone 12 has some error, please shut down it", Likeness.SAME),
        ("root zone has ome error", Likeness.TORN),
        ("root zone has so   : me error", Likeness.TORN),
        ("zone 1 has some eror, please shut down it", Likeness.TORN),
        ("called `Option::unwrap()` on a `None` value", Likeness.OTHER),
        ("root zone is not there", Likeness.OTHER),
        ("", Likeness.OTHER),
        ("root zone has some error" * 1000, Likeness.OTHER),
    ],
)
def test_a_message_is_known_torn_or_another(text: str, expected: Likeness) -> None:
    assert likeness(text, ZONE_FAILED) is expected
