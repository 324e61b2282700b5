import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from hvrig.model.evidence import Cause, Evidence, Gap, Outcome, Problem, Verdict
from hvrig.model.finding import Origin
from hvrig.model.layout import Rule
from hvrig.model.phase import Phase
from hvrig.report.junit import to_junit
from hvrig.report.markdown import as_text
from hvrig.report.summary import to_short_summary
from hvrig.report.text import to_text
from hvrig.report.verdict_json import to_json, to_json_text

SCHEMA: dict[str, Any] = json.loads(files("hvrig.report").joinpath("verdict.schema.json").read_text())
DOC = Path(__file__).parents[3] / "docs" / "verdict.md"


def infra(failed: Verdict) -> Verdict:
    problem = Problem(Cause.LAB, Phase.POWER, "the outlet is dead", "plug it in", "last line\n")
    gaps = (Gap(100, 4990.0, None, "connection refused"), Gap(120, 5001.0, 5002.5, "lost"))
    evidence = replace(failed.evidence, problem=problem, gaps=gaps)
    return replace(failed, outcome=Outcome.INFRA, cause=Cause.LAB, evidence=evidence)


def keys(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        yield from node
        for value in node.values():
            yield from keys(value)
    if isinstance(node, list):
        for value in node:
            yield from keys(value)


def closed(schema: Any) -> Any:
    """The schema, but with nothing allowed that it does not name."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    tight = {key: closed(value) for key, value in schema.items()}
    if "required" in tight and isinstance(tight["required"], list):
        tight["additionalProperties"] = False
    return tight


def test_which_board_it_was(passed: Verdict, started: datetime) -> None:
    assert to_json(passed, started)["board"] is None
    on_board = replace(passed, evidence=replace(passed.evidence, place="any", board="x3300-2\x1b[1m"))
    assert to_json(on_board, started)["board"] == "x3300-2"
    assert '<property name="board" value="x3300-2"' in to_junit(on_board, started)
    assert "place:   any (x3300-2)" in to_text(on_board, Path("artifacts/x"))
    assert as_text("memory gate on any (x3300-2)") in to_short_summary(on_board)
    assert replace(on_board.evidence, board="any").where == replace(on_board.evidence, board="").where == "any"


def test_what_a_consumer_reads(failed: Verdict, started: datetime) -> None:
    said: Any = json.loads(to_json_text(failed, started))
    assert said["schema"] == "hvrig-verdict/1"
    assert said["started"] == "2026-11-22T21:25:00Z"
    assert (said["place"], said["outcome"], said["cause"], said["phase"], said["exit_status"]) == (
        "virtual-under-reserved",
        "fail",
        "hypervisor-fault",
        "gate",
        1,
    )
    fault = said["faults"][0]
    assert fault["kind"] == "unhandled-mmio-fault"
    assert fault["address"] == "0x10016d300"
    assert fault["value"] == "0xffffffffffffffff"
    assert (fault["zone"], fault["cpu"], fault["size"], fault["is_write"]) == (0, 1, 8, True)
    assert (fault["uart_offset"], fault["t"]) == (9000, 23.25)
    assert [rung["outcome"] for rung in said["rungs"]] == ["pass", "pass", "fail"]
    assert said["rungs"][1]["coverage"]["banks"][1] == {
        "start": "0x100000000",
        "end": "0x12f000000",
        "pages_held": 65536,
        "pages": 192512,
    }
    assert said["phases"][1] == {"phase": "u-boot", "t": 0.3, "seconds": 2.2, "uart_offset": 12}
    assert said["phases"][2]["seconds"] is None
    assert said["facts"][0]["fields"] == {"hv_end": "0x449e6000", "part": "hv_end"}
    assert said["booted"][0]["crc32"] == "00c0ffee"
    assert said["fault_to_abort_s"] == 0.21
    assert said["t0_monotonic"] == 5000.0
    found = said["layout"]["live"]["findings"][1]
    assert (found["rule"], found["number"], found["wrong"]) == (
        *("live-system-ram", 9),
        [{"start": "0x40800000", "end": "0x449e6000"}],
    )
    assert found["stretches"][0]["source"] == "/proc/iomem"
    assert found["mend"]["text"] == "hvisor@40400000 {\n: :error:: };"
    assert said["layout"]["live"]["checked"] == ["hypervisor-unreserved", "live-system-ram"]
    assert said["layout"]["static"]["unchecked"][0]["rule"] == "unmapped-memory"


def test_a_pass_has_no_cause(passed: Verdict, started: datetime) -> None:
    said = to_json(passed, started)
    assert (said["outcome"], said["cause"], said["exit_status"], said["faults"]) == ("pass", None, 0, [])


def test_nothing_but_an_early_fault(started: datetime, failed: Verdict) -> None:
    evidence = Evidence("p", ("1G",), findings=failed.evidence.findings[1:])
    said: Any = to_json(replace(failed, evidence=evidence), started)
    assert [fault["t"] for fault in said["faults"]] == [0.0, 0.05]
    nothing: Any = to_json(replace(failed, evidence=Evidence("p", ())), started)
    assert nothing["t0_monotonic"] is None


def test_what_the_board_sent_is_harmless(failed: Verdict, started: datetime) -> None:
    text = to_json_text(failed, started)
    assert "\x1b" not in json.loads(text)["faults"][0]["excerpt"]
    assert "\n: :error::" in json.loads(text)["faults"][0]["excerpt"]
    assert text.replace("\n", "").isprintable()
    text.encode("utf-8")


@pytest.mark.parametrize("which", ["passed", "failed", "infra"])
def test_schema(which: str, passed: Verdict, failed: Verdict, started: datetime) -> None:
    said = to_json({"passed": passed, "failed": failed, "infra": infra(failed)}[which], started)
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(said, closed(SCHEMA))


def test_schema_refuses(failed: Verdict, started: datetime) -> None:
    said = to_json(failed, started)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**said, "outcome": "maybe"}, SCHEMA)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({key: value for key, value in said.items() if key != "summary"}, SCHEMA)
    jsonschema.validate({**said, "added_later": 1}, SCHEMA)


def test_schema_knows_the_vocabulary() -> None:
    names = SCHEMA["$defs"]
    assert names["cause"]["enum"] == [cause.value for cause in Cause]
    assert names["outcome"]["enum"] == [outcome.value for outcome in Outcome]
    assert names["layoutRule"]["enum"] == [rule.value for rule in Rule]
    assert names["phase"]["enum"] == [phase.value for phase in Phase]
    assert names["finding"]["properties"]["origin"]["enum"] == [origin.value for origin in Origin]


def test_every_field_is_documented(failed: Verdict, started: datetime) -> None:
    said = to_json(infra(failed), started)
    doc = DOC.read_text(encoding="utf-8")
    variable = {*failed.versions, "hv_end", "part", "file", "line"}
    missing = {key for key in keys(said) if f"`{key}`" not in doc} - variable
    assert not missing
    for word in [*Cause, *Outcome]:
        assert f"`{word.value}`" in doc
