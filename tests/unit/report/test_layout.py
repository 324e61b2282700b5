import json
from datetime import datetime
from typing import Any

from hvrig.model.evidence import Verdict
from hvrig.model.layout import LayoutReport, Look
from hvrig.model.memory_map import MemoryMap
from hvrig.report.layout import layout_json, layout_summary


def test_a_check_by_itself(failed: Verdict, started: datetime) -> None:
    text = layout_json(failed.evidence.layout[Look.LIVE], "desk", started)
    said: Any = json.loads(text)
    assert (said["schema"], said["place"], said["started"]) == ("hvrig-layout-live/1", "desk", "2026-11-22T21:25:00Z")
    assert said["exit_status"] == 1
    assert [finding["number"] for finding in said["findings"]] == [1, 9]
    assert "::error::" not in text
    assert "\\u001b" not in text


def test_in_one_line(passed: Verdict) -> None:
    assert layout_summary(passed.evidence.layout[Look.STATIC]) == "no findings; rule 1 checked; 4 not, or not wholly"
    assert layout_summary(LayoutReport("b", MemoryMap(), (), (), ())) == "nothing could be checked"
