"""The generator of torn streams, on a few of them; `benchmarks/watch_streams.py` runs many."""

from __future__ import annotations

import importlib.util
import random
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hvrig.watch import catalogue
from hvrig.watch import watch as watch_module
from hvrig.watch.boot_order import BootOrder
from hvrig.watch.tally import Tally
from hvrig.watch.torn import TornWords
from hvrig.watch.words import Words

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
    assert tallied.counts["boots"] > 50


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


# The same of streams with lines that are no faults, with boots, or with what `scene_of` says.
_DECOYS = watch_streams.Scene(decoys=True)
_BOOTS = watch_streams.Scene(boots=True)
_MENDED_SCENES = [
    *((seed, _DECOYS) for seed in (50000016, 50000028, 50000033, 50000043, 50000069, 50000096, 50000119, 50000222)),
    *((seed, _DECOYS) for seed in (50000274, 50000295, 50000405, 50000424, 50000447, 50000508, 50000701, 50001208)),
    *((seed, _DECOYS) for seed in (50001408, 50001453, 50001498, 50003573, 50006572, 50002114)),
    *((seed, _BOOTS) for seed in (50000451, 50000899, 50002232)),
    *((seed, None) for seed in (52006525, 52007551, 52011257, 60000112, 60003869, 60011349, 60013116, 60026863)),
    *((seed, None) for seed in (61004482, 61013562, 61021774, 61030163, 61030991, 61033859, 61039776, 61058895)),
    *((seed, None) for seed in (60007139, 61013170, 61017434, 61046114, 62003152, 62027021, 62034532, 62041871)),
    *((seed, None) for seed in (110000195, 110039026, 110063852, 110066492, 110080597, 110095831, 120008065)),
    *((seed, None) for seed in (120058558, 120078620, 120080879, 120097545, 140035591, 150009795)),
    *((seed, None) for seed in (50000238, 60029300, 60030104, 60032272, 60036693, 60052769)),
]


@pytest.mark.parametrize(("seed", "scene"), _MENDED_SCENES)
def test_what_was_found_in_a_scene_stays_mended(seed: int, scene: Any) -> None:
    assert watch_streams.run(seed, 1, scene).examples == []


_MADE = sorted({kind for kind, *_ in (*watch_streams._LINES, *watch_streams._KERNEL)} | {
    "unhandled-mmio-fault", "hypervisor-panic", "el2-exception", "u-boot-exception",
})  # fmt: skip


def is_noticed(what: str, said: str, first: int, streams: int, scene: Any) -> bool:
    """Whether the run says of one of these streams that something that begins so was missed, invented or wrong."""
    for seed in range(first, first + streams):
        stream = watch_streams.make(seed, scene)
        found = watch_streams.found_in(stream, random.Random(seed))
        if any(each == what and why.startswith(said) for each, why in watch_streams.check(stream, found)):
            return True
    return False


def kill(killed: set[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Take these words out of what the watch looks for."""
    whole = watch_module._FINDER

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


@pytest.mark.parametrize("kind", _MADE)
def test_a_kind_whose_patterns_are_killed_is_missed(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    table = enumerate(watch_module._TABLE)
    kill({n for n, (_, each) in table if isinstance(each, catalogue.Kind) and each.name == kind}, monkeypatch)
    assert is_noticed("missed", kind, 100_001, 800, watch_streams.PLAIN)


@pytest.mark.parametrize("words", catalogue.BY_NAME["el2-exception"].words, ids=lambda words: words.literal.decode())
def test_words_that_other_versions_print_are_missed_one_by_one(words: Words, monkeypatch: pytest.MonkeyPatch) -> None:
    kill({n for n, (each, _) in enumerate(watch_module._TABLE) if each is words}, monkeypatch)
    assert is_noticed("missed", "el2-exception", 1, 150, watch_streams.Scene(rare=True))


_NEVER = re.compile(rb"(?!)")


@pytest.mark.parametrize("rule", ["_SHOWN", "_TOLD", "_UNLESS_QUOTED"])
def test_a_rule_against_what_is_no_fault_is_needed(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if rule == "_UNLESS_QUOTED":
        monkeypatch.setattr(watch_module, "_BEFORE", [None] * len(watch_module._TABLE))
    else:
        monkeypatch.setattr(watch_module, rule, _NEVER)
    assert is_noticed("invented", "", 1, 400, _DECOYS)


def test_a_reset_that_is_not_told_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = BootOrder.see
    monkeypatch.setattr(BootOrder, "see", lambda *args: replace(seen(*args), reset_in=None))
    assert is_noticed("missed", "unexpected-reset", 1, 20, _BOOTS)


def test_a_boot_that_was_asked_for_and_is_told_is_invented(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BootOrder, "expect_boot", lambda _: None)
    assert is_noticed("invented", "a reset at", 1, 20, _BOOTS)


def test_a_fault_of_the_last_boot_that_comes_again_is_missed_where_it_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Tally, "close", lambda _: [])
    assert is_noticed("missed", "", 1, 100, _BOOTS)


@pytest.mark.parametrize(
    ("kind", "name", "pattern"),
    [
        ("hypervisor-layout", "hv_end", rb"hv_end = (0x[0-9a-f]{3})"),
        ("hypervisor-layout", "core_end", rb"(?!)"),
        ("log-level", "log_level", rb"log_level: (\w)"),
    ],
)
def test_a_fact_that_is_read_wrongly_is_wrong(
    kind: str, name: str, pattern: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = catalogue.BY_NAME[kind].fields
    assert isinstance(fields, dict)
    monkeypatch.setitem(fields, name, replace(fields[name], pattern=pattern))
    assert is_noticed("wrong", f"{kind}: {name}", 1, 20, _BOOTS)
