"""Findings of the memory layout as SARIF 2.1.0, which code hosts show on pull requests.

Format: OASIS, Static Analysis Results Interchange Format 2.1.0. A finding is a result at the line to mend; its other
ranges are related locations. What was not checked, and what could not be read, are notifications of the invocation.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from hvrig import __version__
from hvrig.layout_report import Checked, main_stretch
from hvrig.model.harmless import harmless_tree
from hvrig.model.layout import LayoutFinding, Rule, Stretch
from hvrig.model.source_text import SourcePlace, place_of

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_RULES = {
    Rule.UNRESERVED: "A zone's kernel hands out memory of the hypervisor.",
    Rule.WRONG_RESERVATION: "The reservation that is meant for the hypervisor does not hold all of it.",
    Rule.ZONE_MAPS_HYPERVISOR: "A region of zone 0 gives it memory of the hypervisor.",
    Rule.UNMAPPED_MEMORY: "A device tree gives its kernel memory that no RAM region of the zone has.",
    Rule.IMAGE_OVERLAP: "An image is loaded over the hypervisor, or over another image.",
    Rule.ZONES_OVERLAP: "Another zone's memory is zone 0's free memory, the hypervisor's, or a third zone's.",
    Rule.PHYSICAL_MEMORY_LIST: "BOARD_PHYSMEM_LIST does not ascend, is off the 2 MiB grid, or lacks a zone's RAM.",
    Rule.REGION_CONFLICT: "Regions of a zone contradict each other, or one lies over the interrupt controller.",
    Rule.LIVE_SYSTEM_RAM: "The running kernel takes memory of the hypervisor for its own.",
}


def to_sarif(checked: Checked, root: Path) -> str:
    """One run in one document. Files below `root`, an absolute path, are named relative to it."""
    rules = list(Rule)
    results = [
        _result(finding, report.board, root, rules.index(finding.rule))
        for report in checked.reports
        for finding in report.findings
    ]
    run = {
        "tool": {
            "driver": {
                "name": "hvrig",
                "semanticVersion": __version__,
                "rules": [_rule(rule) for rule in rules],
            }
        },
        "originalUriBaseIds": {"ROOT": {"uri": _folder_uri(root)}},
        "invocations": [
            {
                "executionSuccessful": not checked.unreadable,
                "exitCode": checked.exit_status,
                "toolExecutionNotifications": _notifications(checked, rules, root),
            }
        ],
        "columnKind": "utf16CodeUnits",
        "results": results,
    }
    document = {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}
    return json.dumps(harmless_tree(document), indent=2) + "\n"


def _folder_uri(root: Path) -> str:
    """A folder's URI, whose last slash SARIF asks for."""
    uri = root.as_uri()
    return uri if uri.endswith("/") else f"{uri}/"


def _rule(rule: Rule) -> Mapping[str, Any]:
    name = "".join(part.capitalize() for part in rule.value.split("-"))
    return {
        "id": rule.value,
        "name": name,
        "shortDescription": {"text": _RULES[rule]},
        "defaultConfiguration": {"level": "error"},
        "properties": {"number": rule.number},
    }


def _result(finding: LayoutFinding, board: str, root: Path, index: int) -> Mapping[str, Any]:
    main = main_stretch(finding)
    others = [stretch for stretch in finding.stretches if stretch is not main]
    mend = finding.mend
    parts = [finding.what, f"On the board: {finding.consequence}", f"Mend: {mend.what}"]
    parts += [f"{mend.file}:\n{mend.text}"] if mend.text else []
    related = [
        {"id": number, "message": {"text": f"{stretch.name}: {stretch.range}"}, **location}
        for number, stretch in enumerate(others, 1)
        if (location := _location(stretch, root))
    ]
    location = _location(main, root)
    return {
        "ruleId": finding.rule.value,
        "ruleIndex": index,
        "level": "error",
        "message": {"text": f"{board}: " + "\n".join(parts)},
        "locations": [location] if location else [],
        "relatedLocations": related,
        "partialFingerprints": {"hvrigLayout/v1": _fingerprint(finding, board, main)},
    }


def _fingerprint(finding: LayoutFinding, board: str, main: Stretch) -> str:
    """The same for the same finding in other lines."""
    where = place_of(main.source)
    wrong = ", ".join(map(str, finding.wrong))
    return hashlib.sha256("\n".join((board, finding.rule.value, where.node, main.name, wrong)).encode()).hexdigest()


def _location(stretch: Stretch, root: Path) -> dict[str, Any]:
    """Where a stretch stands; empty where that is no file."""
    where = place_of(stretch.source)
    if where.line is None and not where.node and not Path(where.file).is_absolute():
        return {}  # an option, or a place
    return _location_of(where, root)


def _location_of(where: SourcePlace, root: Path) -> dict[str, Any]:
    absolute = root / where.file
    physical: dict[str, Any] = {
        "artifactLocation": {"uri": quote(absolute.relative_to(root).as_posix()), "uriBaseId": "ROOT"}
        if absolute.is_relative_to(root)
        else {"uri": absolute.as_uri()}
    }
    if where.line is not None:
        physical["region"] = {"startLine": where.line}
    location: dict[str, Any] = {"physicalLocation": physical}
    if where.node:
        location["logicalLocations"] = [{"fullyQualifiedName": where.node}]
    return location


def _notifications(checked: Checked, rules: list[Rule], root: Path) -> list[Mapping[str, Any]]:
    notes: list[Mapping[str, Any]] = [
        {
            "level": "warning",
            "associatedRule": {"id": one.rule.value, "index": rules.index(one.rule)},
            "message": {"text": f"{report.board}: not checked: {one.why} {one.remedy}"},
        }
        for report in checked.reports
        for one in report.unchecked
    ]
    notes += [
        {
            "level": "error",
            "message": {"text": f"{failed.board}: {failed.error.message} {failed.error.remedy}"},
            "locations": [] if failed.where is None else [_location_of(failed.where, root)],
        }
        for failed in checked.unreadable
    ]
    return notes
