"""What a schema does not say of the workflows: nobody's pull request reaches the lab, and what they call is there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

REPOSITORY = Path(__file__).parents[2]
FILES = sorted((REPOSITORY / ".github/workflows").glob("*.yml"))
FROM_STRANGERS = {"pull_request", "pull_request_target", "issue_comment", "workflow_run", "issues", "fork"}


def workflow(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.load(path.read_text(encoding="utf-8"), yaml.BaseLoader)
    return found


def steps(path: Path) -> Iterator[dict[str, Any]]:
    for job in workflow(path)["jobs"].values():
        yield from job["steps"]


def test_all_are_there() -> None:
    assert [path.name for path in FILES] == ["bisect.yml", "check.yml", "nightly.yml"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_stranger_reaches_the_lab(path: Path) -> None:
    tree = workflow(path)
    on_board = any("self-hosted" in job["runs-on"] for job in tree["jobs"].values())
    assert on_board == (path.name != "check.yml")
    assert not on_board or not FROM_STRANGERS & set(tree["on"])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_jobs_end_and_may_read_only(path: Path) -> None:
    tree = workflow(path)
    assert set(tree["permissions"]) <= {"contents"}
    for job in tree["jobs"].values():
        assert int(job["timeout-minutes"]) > 0
        assert job.get("permissions", tree["permissions"]) == {"contents": "read"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_actions_are_pinned_by_commit(path: Path) -> None:
    used = re.findall(r"uses: (.*)", path.read_text(encoding="utf-8"))
    assert used
    for action in used:
        assert re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_evidence_is_uploaded_always(path: Path) -> None:
    uploads = [step for step in steps(path) if "upload-artifact" in step.get("uses", "")]
    assert [step["if"] for step in uploads] == ["always()"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_what_is_called_is_there(path: Path) -> None:
    called = re.findall(r"(?:\./|\.\./|bash )((?:scripts|\.ci)/[\w-]+)", path.read_text(encoding="utf-8"))
    assert called
    for script in called:
        assert (REPOSITORY / script).is_file(), script


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_input_is_pasted_into_a_shell(path: Path) -> None:
    for step in steps(path):
        assert "${{" not in step.get("run", "")


def test_a_place_is_used_by_one_at_a_time() -> None:
    nightly, bisect = (workflow(REPOSITORY / ".github/workflows" / name) for name in ("nightly.yml", "bisect.yml"))
    groups = [
        (nightly["jobs"]["gate"]["concurrency"], "${{ matrix.place }}"),
        (bisect["concurrency"], "${{ inputs.place }}"),
    ]
    for group, place in groups:
        assert group == {"group": f"hvrig-place-{place}", "cancel-in-progress": "false"}


def test_options_of_the_gate_exist() -> None:
    """The plugin's own options, which pytest would refuse only at night."""
    (run,) = (
        step["run"] for step in steps(REPOSITORY / ".github/workflows/nightly.yml") if "pytest" in step.get("run", "")
    )
    plugin = (REPOSITORY / "src/hvrig/pytest_plugin.py").read_text(encoding="utf-8")
    options = set(re.findall(r"--[a-z-]+", run)) - {"--junitxml"}
    assert options
    for option in options:
        assert f'"{option}"' in plugin
