"""What a job of GitHub's Actions is told of a run: its summary and annotations (edge: the summary's file).

https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from hvrig.model.evidence import Verdict
from hvrig.model.harmless import harmless, workflow_command
from hvrig.report.summary import to_annotations, to_short_summary, to_summary

# GitHub throws a step's whole summary away when it is larger.
SUMMARY_LIMIT = 1 << 20

# Its file in the evidence's folder.
SUMMARY = "summary.md"


def tell_job(verdict: Verdict, folder: Path, environment: Mapping[str, str]) -> list[str]:
    """Append the verdict to the job's summary; return the lines that the job's log must hold, mostly none.

    The summary is the file named by GITHUB_STEP_SUMMARY, where that is set; annotations are returned where
    GITHUB_ACTIONS is `true`. Never raises: what goes wrong here is one of the lines, and the verdict stays what it is.
    """
    in_job = environment.get("GITHUB_ACTIONS") == "true"
    lines: list[str] = []
    try:
        if in_job:
            lines += to_annotations(verdict)
        _append_summary(verdict, folder, environment)
    except Exception as error:  # a run that is over must not change its exit status because it could not be told
        said = f"The job's summary was not written: {error}."
        told = workflow_command("warning", {"title": "hvrig"}, said)
        lines.append(told if in_job else f"hvrig: {harmless(said, keep_newlines=False)}")
    return lines


def summary_text(verdict: Verdict, folder: Path, artifacts_url: str = "") -> str:
    """`hvrig.report.summary.to_summary` for what lies in `folder` now, the summary itself apart."""
    files = sorted(path.name for path in folder.iterdir() if not path.name.startswith(".") and path.name != SUMMARY)
    return to_summary(verdict, folder.name, files, artifacts_url)


def _append_summary(verdict: Verdict, folder: Path, environment: Mapping[str, str]) -> None:
    """Raises OSError."""
    name = environment.get("GITHUB_STEP_SUMMARY")
    if not name:
        return
    path = Path(name)
    room = SUMMARY_LIMIT - (path.stat().st_size if path.exists() else 0)
    for text in (summary_text(verdict, folder, _run_url(environment)), to_short_summary(verdict)):
        data = b"\n" + text.encode()
        if len(data) <= room:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
            with os.fdopen(descriptor, "ab") as file:
                file.write(data)
            return
    raise OSError(f"{path} has no room for it: GitHub takes {SUMMARY_LIMIT >> 20} MiB a step")


def _run_url(environment: Mapping[str, str]) -> str:
    """The page with the artifacts of the workflow's run, as far as the job was told its parts."""
    parts = [environment.get(name, "") for name in ("GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "GITHUB_RUN_ID")]
    return f"{parts[0]}/{parts[1]}/actions/runs/{parts[2]}#artifacts" if all(parts) else ""
