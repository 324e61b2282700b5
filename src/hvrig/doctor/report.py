"""The checks for a person, one line each, and as JSON. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from hvrig.doctor.result import Checked, Status, exit_status
from hvrig.model.harmless import harmless, harmless_tree

SCHEMA = "hvrig-doctor/1"

_STATUS_WIDTH = max(len(status.value) for status in Status)
_NAME_WIDTH = 11
_MILLISECOND_DIGITS = 3


def line(checked: Checked) -> str:
    """`ok       power        silent when ...`, without a line end."""
    found = harmless(checked.result.found, keep_newlines=False)
    return f"{checked.result.status.value:<{_STATUS_WIDTH}}  {checked.name:<{_NAME_WIDTH}}  {found}"


def remedy_lines(checked: Checked) -> Iterator[str]:
    """What to do, below it, and the console's last lines where they tell more."""
    margin = " " * (_STATUS_WIDTH + _NAME_WIDTH + 4)
    if checked.result.remedy:
        yield f"{margin}What to do: {harmless(checked.result.remedy, keep_newlines=False)}"
    for said in harmless(checked.result.tail).split("\n"):
        if said.strip():
            yield f"{margin}| {said}"


def summary(checks: Sequence[Checked], place: str) -> str:
    """`virtual is ready for a run: 16 ok, 1 skipped`."""
    counts = {status: sum(c.result.status is status for c in checks) for status in Status}
    counted = ", ".join(f"{count} {status.value}" for status, count in counts.items() if count)
    ready = "is not ready for a run" if counts[Status.FAIL] else "is ready for a run"
    return f"{harmless(place, keep_newlines=False)} {ready}: {counted}"


def to_json_text(
    checks: Sequence[Checked], place: str, started: datetime, folder: str, *, interrupted: bool = False
) -> str:
    """One indented JSON document that ends with a newline; all text is harmless. started: with its time zone."""
    worst = next((s for s in (Status.FAIL, Status.WARN) if any(c.result.status is s for c in checks)), Status.OK)
    tree = {
        "schema": SCHEMA,
        "place": place,
        "started": f"{started.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "interrupted": interrupted,
        "status": worst.value,
        "exit_status": exit_status(checks),
        "evidence": folder,
        "checks": [
            {
                "name": c.name,
                "title": c.title,
                "status": c.result.status.value,
                "found": c.result.found,
                "remedy": c.result.remedy,
                "fault": c.result.fault.name.lower() if c.result.fault else None,
                "tail": c.result.tail,
                "seconds": round(c.seconds, _MILLISECOND_DIGITS),
            }
            for c in checks
        ],
    }
    return json.dumps(harmless_tree(tree), indent=2, ensure_ascii=False) + "\n"
