"""SARIF: valid in the parts that are used, right lines, and nothing lost."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner

from hvrig.cli import cli
from hvrig.layout_report import Checked, Unreadable
from hvrig.layout_sarif import to_sarif
from hvrig.model.errors import UsageError
from hvrig.model.layout import LayoutFinding, LayoutReport, Mend, Rule, Stretch, Unchecked
from hvrig.model.memory import Range
from hvrig.model.memory_map import MemoryMap


def closed(required: str, optional: str = "", **properties: Any) -> dict[str, Any]:
    """An object with these properties and no others."""
    names = f"{required} {optional}".split()
    assert set(names) == set(properties)
    return {
        "type": "object",
        "required": required.split(),
        "properties": properties,
        "additionalProperties": False,
    }


# Written from OASIS SARIF 2.1.0, sections 3.13 to 3.58: the objects and properties that hvrig uses, and no others.
TEXT = {"type": "string", "minLength": 1}
MESSAGE = closed("text", text=TEXT)
LEVEL = {"enum": ["none", "note", "warning", "error"]}
INDEX = {"type": "integer", "minimum": 0}
RELATIVE = {"type": "string", "pattern": "^[^:?#]+$", "format": "uri-reference"}
ARTIFACT = {
    "oneOf": [
        closed("uri uriBaseId", uri=RELATIVE, uriBaseId={"const": "ROOT"}),
        closed("uri", uri={"type": "string", "pattern": "^file:///"}),
    ]
}
PHYSICAL = closed(
    "artifactLocation",
    "region",
    artifactLocation=ARTIFACT,
    region=closed("startLine", startLine={"type": "integer", "minimum": 1}),
)
PLACE = {
    "physicalLocation": PHYSICAL,
    "logicalLocations": {"type": "array", "items": closed("fullyQualifiedName", fullyQualifiedName=TEXT)},
}
LOCATION = {"id": INDEX, "message": MESSAGE, **PLACE}
RULE = closed(
    "id name shortDescription defaultConfiguration properties",
    id={"type": "string", "pattern": "^[a-z-]+$"},
    name={"type": "string", "pattern": "^([A-Z][a-z]+)+$"},
    shortDescription=MESSAGE,
    defaultConfiguration=closed("level", level=LEVEL),
    properties={"type": "object"},
)
RESULT = closed(
    "ruleId ruleIndex level message locations relatedLocations partialFingerprints",
    ruleId=TEXT,
    ruleIndex=INDEX,
    level=LEVEL,
    message=MESSAGE,
    locations={"type": "array", "items": closed("physicalLocation", "id message logicalLocations", **LOCATION)},
    relatedLocations={"type": "array", "items": closed("id message physicalLocation", "logicalLocations", **LOCATION)},
    partialFingerprints={"type": "object", "additionalProperties": {"type": "string", "pattern": "^[0-9a-f]{64}$"}},
)
NOTIFICATION = closed(
    "level message",
    "associatedRule locations",
    locations={"type": "array", "items": closed("physicalLocation", "logicalLocations", **PLACE)},
    level=LEVEL,
    message=MESSAGE,
    associatedRule=closed("id index", id=TEXT, index=INDEX),
)
RUN = closed(
    "tool originalUriBaseIds invocations columnKind results",
    tool=closed(
        "driver",
        driver=closed(
            "name semanticVersion rules",
            name=TEXT,
            semanticVersion={"type": "string", "pattern": r"^\d+\.\d+\.\d+"},
            rules={"type": "array", "items": RULE, "uniqueItems": True},
        ),
    ),
    originalUriBaseIds=closed("ROOT", ROOT=closed("uri", uri={"type": "string", "pattern": "^file:///(.*/)?$"})),
    invocations={
        "type": "array",
        "items": closed(
            "executionSuccessful exitCode toolExecutionNotifications",
            executionSuccessful={"type": "boolean"},
            exitCode={"type": "integer"},
            toolExecutionNotifications={"type": "array", "items": NOTIFICATION},
        ),
    },
    columnKind={"enum": ["utf16CodeUnits", "unicodeCodePoints"]},
    results={"type": "array", "items": RESULT},
)
SARIF = {
    "type": "object",
    "required": ["$schema", "version", "runs"],
    "properties": {
        "$schema": {"type": "string", "format": "uri"},
        "version": {"const": "2.1.0"},
        "runs": {"type": "array", "items": RUN},
    },
    "additionalProperties": False,
}


def valid(text: str) -> dict[str, Any]:
    """The one run of a document that keeps to the schema."""
    document = json.loads(text)
    jsonschema.Draft202012Validator(SARIF).validate(document)
    (run,) = document["runs"]
    for result in run["results"]:
        assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
    return dict(run)


WRONG = Range(0x880000, 0x4AE6000)


def finding(*stretches: Stretch, wrong: Range = WRONG) -> LayoutFinding:
    mend = Mend("Reserve it.", "hvisor@500000 { };", "zone0.dts")
    return LayoutFinding(Rule.UNRESERVED, "What.", stretches, (wrong,), "Bad.", mend, zone=0)


def report(*findings: LayoutFinding) -> LayoutReport:
    return LayoutReport("aarch64/birch", MemoryMap(), (Rule.UNRESERVED,), findings, ())


def test_lines_of_a_tree_are_relative_to_the_folder_it_is_run_in(
    hvisor_tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = Path("platform", "aarch64", "birch", "image", "dts", "zone0.dts")
    text = (hvisor_tree / tree).read_text()
    (hvisor_tree / tree).write_text(text.replace("0x4800000>", "0x400000>", 1))
    monkeypatch.chdir(hvisor_tree)
    done = CliRunner().invoke(cli, ["layout", "check", "--hvisor-tree", ".", "--format", "sarif"])
    assert done.exit_code == 1
    run = valid(done.stdout)
    assert run["originalUriBaseIds"]["ROOT"]["uri"] == f"{hvisor_tree.as_uri()}/"
    assert run["invocations"][0]["exitCode"] == 1
    results = run["results"]
    where = [result["locations"][0]["physicalLocation"] for result in results]
    assert [(one["artifactLocation"]["uri"], result["ruleId"]) for one, result in zip(where, results, strict=True)] == [
        (tree.as_posix(), "hypervisor-unreserved"),
        (tree.as_posix(), "wrong-reservation"),
        (tree.as_posix(), "unmapped-memory"),
    ]
    lines = text.splitlines()
    assert "memory@40000000" in lines[where[0]["region"]["startLine"] - 1]
    assert "hvisor@40400000" in lines[where[1]["region"]["startLine"] - 1]
    related = run["results"][1]["relatedLocations"][0]["physicalLocation"]
    assert related["artifactLocation"]["uri"] == "platform/aarch64/birch/linker.ld"
    assert (
        "BASE_ADDRESS"
        in (hvisor_tree / "platform/aarch64/birch/linker.ld")
        .read_text()
        .splitlines()[related["region"]["startLine"] - 1]
    )
    assert len(run["invocations"][0]["toolExecutionNotifications"]) > 18


def test_files_elsewhere_names_that_need_quoting_and_sources_that_are_no_files(tmp_path: Path) -> None:
    stretches = (
        Stretch("hypervisor", Range(0, 1), "--range"),
        Stretch("memory", Range(0, 1), f"{tmp_path}/a b#é.dts:7 /memory@0"),
        Stretch("node", Range(0, 1), "/elsewhere/zone0.dtb /reserved-memory/x"),
        Stretch("image", Range(0, 1), "place desk"),
        Stretch("elf", Range(0, 1), f"{tmp_path}/hvisor"),
    )
    (result,) = valid(to_sarif(Checked((report(finding(*stretches)),)), tmp_path))["results"]
    (main,) = result["locations"]
    assert main["physicalLocation"] == {
        "artifactLocation": {"uri": "a%20b%23%C3%A9.dts", "uriBaseId": "ROOT"},
        "region": {"startLine": 7},
    }
    assert [one["physicalLocation"] for one in result["relatedLocations"]] == [
        {"artifactLocation": {"uri": "file:///elsewhere/zone0.dtb"}},
        {"artifactLocation": {"uri": "hvisor", "uriBaseId": "ROOT"}},
    ]


def test_a_finding_without_a_file_has_no_location(tmp_path: Path) -> None:
    checked = Checked((report(finding(Stretch("hypervisor", Range(0, 1), "--range"))),))
    (result,) = valid(to_sarif(checked, tmp_path))["results"]
    assert result["locations"] == []


def test_a_fingerprint_does_not_depend_on_the_line() -> None:
    def fingerprint(line: int, wrong: Range) -> str:
        stretch = Stretch("memory", Range(0, 1), f"zone0.dts:{line} /memory@0")
        run = valid(to_sarif(Checked((report(finding(stretch, wrong=wrong)),)), Path("/")))
        return str(run["results"][0]["partialFingerprints"]["hvrigLayout/v1"])

    assert fingerprint(1, Range(0, 1)) == fingerprint(2, Range(0, 1)) != fingerprint(1, Range(0, 2))


def test_what_was_not_checked_or_not_readable_is_a_notification() -> None:
    incomplete = LayoutReport("a", MemoryMap(), (), (), (Unchecked(Rule.IMAGE_OVERLAP, "Why.", "Give."),))
    failed = Unreadable("b", UsageError("b/board.rs:1: this cannot be read as Rust.", "Give another."))
    run = valid(to_sarif(Checked((incomplete,), (failed,)), Path("/")))
    (invocation,) = run["invocations"]
    assert (invocation["executionSuccessful"], invocation["exitCode"]) == (False, 2)
    assert invocation["toolExecutionNotifications"][1]["locations"][0]["physicalLocation"] == {
        "artifactLocation": {"uri": "b/board.rs", "uriBaseId": "ROOT"},
        "region": {"startLine": 1},
    }
    assert [note["message"]["text"] for note in invocation["toolExecutionNotifications"]] == [
        "a: not checked: Why. Give.",
        "b: b/board.rs:1: this cannot be read as Rust. Give another.",
    ]


def test_text_of_the_inputs_cannot_act(tmp_path: Path) -> None:
    name = "zone\x1b[31m0\u202e.dts"
    stretch = Stretch(f"memory {name}", Range(0, 1), f"{name}:1 /memory@0{os.sep}\x07")
    text = to_sarif(Checked((report(finding(stretch)),)), tmp_path)
    valid(text)
    assert "\\u001b" not in text
    assert "\\u202e" not in text
