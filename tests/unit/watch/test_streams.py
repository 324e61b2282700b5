"""The generator of torn streams, on a few of them; `benchmarks/watch_streams.py` runs many."""

from __future__ import annotations

import importlib.util
import random
import sys
from pathlib import Path

import pytest

from hvrig.watch import catalogue
from hvrig.watch import watch as watch_module
from hvrig.watch.torn import TornWords

_SOURCE = Path(__file__).parents[3] / "benchmarks" / "watch_streams.py"
_spec = importlib.util.spec_from_file_location("watch_streams", _SOURCE)
assert _spec is not None
assert _spec.loader is not None
watch_streams = importlib.util.module_from_spec(_spec)
sys.modules["watch_streams"] = watch_streams
_spec.loader.exec_module(watch_streams)


def test_few_streams_show_nothing_wrong() -> None:
    tallied = watch_streams.run(100_001, 150)
    assert tallied.examples == []
    assert tallied.counts["faults"] > 200


# Seeds of streams that showed something wrong until it was mended: in the watch, or in how this check reads a stream.
_MENDED = (
    *(5641, 26496, 37839, 42054, 43621, 55796, 58114, 98544, 1003335, 1012151, 1018197, 1031854, 1032208, 1038889),
    *(1042187, 1052210, 1056021, 1058843, 1061401, 1064092, 1065753, 1071478, 1072412, 1076176, 1086865, 1088821),
    *(2001977, 2007203, 2028091, 2036187, 3050541),
    *(14987, 34753, 40981, 65779, 84314, 2021135, 3003314, 3004135, 3005941, 3009840, 3014899, 3016654, 3039300),
    *(3045994, 3050244, 3071211, 3078448, 3088379, 4030995, 4045723, 4085292, 5077890, 5085746, 7010030, 7059824),
    *(7004018, 7041144, 7060261, 7088543, 8022324, 8043912, 8048396, 8109989, 8131404, 100959, 104203, 107169),
    *(3084249, 5021508, 10098623, 9007675, 9034652, 9066340, 9070456),
    *(20011214, 20019887, 10034395, 40007047, 40010573),
)


@pytest.mark.parametrize("seed", _MENDED)
def test_what_was_found_stays_mended(seed: int) -> None:
    assert watch_streams.run(seed, 1, watch_streams.PLAIN).examples == []


_MADE = sorted({kind for kind, *_ in (*watch_streams._LINES, *watch_streams._KERNEL)} | {
    "unhandled-mmio-fault", "hypervisor-panic", "el2-exception", "u-boot-exception",
})  # fmt: skip


@pytest.mark.parametrize("kind", _MADE)
def test_a_kind_whose_patterns_are_killed_is_missed(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = watch_module._FINDER
    killed = {
        index
        for index, (_, meaning) in enumerate(watch_module._TABLE)
        if isinstance(meaning, catalogue.Kind) and meaning.name == kind
    }

    class Blind:
        max_width = whole.max_width

        def find(self, text: bytes, start: int) -> object:
            hit = whole.find(text, start)
            while hit is not None and hit.index in killed:
                hit = whole.find(text, hit.end)
            return hit

    monkeypatch.setattr(watch_module, "_FINDER", Blind())
    torn = TornWords(each for each in watch_module._TEARABLE if each[0] not in killed)
    monkeypatch.setattr(watch_module, "_TORN", torn)
    missed: set[str] = set()
    for seed in range(100_001, 100_801):
        stream = watch_streams.make(seed)
        found = watch_streams.found_in(stream, random.Random(seed))
        missed |= {why for what, why in watch_streams.check(stream, found) if what == "missed"}
    assert kind in missed
