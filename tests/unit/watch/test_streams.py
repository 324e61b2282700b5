"""The generator of torn streams, on a few of them; `benchmarks/watch_streams.py` runs many."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from hvrig.watch import watch as watch_module

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


def test_a_pattern_that_is_killed_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Blind:
        max_width = watch_module._FINDER.max_width

        def find(self, text: bytes, start: int) -> object:
            hit = watch_module_finder.find(text, start)
            while hit is not None and text[hit.start : hit.end] == b"hypercall error:":
                hit = watch_module_finder.find(text, hit.end)
            return hit

    watch_module_finder = watch_module._FINDER
    monkeypatch.setattr(watch_module, "_FINDER", Blind())
    assert watch_streams.run(100_001, 300).counts["missed"] > 0
