"""`hvrig run` in a job of GitHub's: what it says there changes neither its output nor its exit status."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from unittest.mock import Mock

import pytest
from click.testing import CliRunner, Result

from hvrig import cli
from hvrig.model.evidence import Cause, Evidence, Outcome, Verdict
from hvrig.pipeline import RunResult


@pytest.fixture
def summary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The job's summary; every run is over already and came to a fail."""
    verdict = Verdict(Outcome.FAIL, Cause.HANG, "It stood still.", "Look.", None, Evidence("desk", ("1G",)))
    result = RunResult(verdict, tmp_path, datetime(2026, 11, 24, tzinfo=UTC))
    monkeypatch.setattr(cli, "prepare_place", Mock())
    monkeypatch.setattr(cli, "run_gate", Mock(return_value=result))
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    path = tmp_path / "summary"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(path))
    return path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli.cli, ["run", *arguments])


def test_the_job_is_told(summary: Path) -> None:
    done = run("--json")
    assert done.exit_code == 1
    assert json.loads(done.stdout)["outcome"] == "fail"
    assert done.stderr.splitlines() == [
        "::error title=fail%2C hang%3A memory gate on desk::It stood still.%0AWhat to do: Look."
    ]
    assert "## ❌ fail, hang: memory gate on desk" in summary.read_text(encoding="utf-8")


def test_a_summary_that_cannot_be_written_changes_nothing(summary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary / "not/there"))
    done = run()
    assert done.exit_code == 1
    assert done.stderr.splitlines()[-1].startswith("::warning title=hvrig::The job's summary was not written:")


def test_nothing_of_it_outside_a_job(summary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITHUB_ACTIONS")
    monkeypatch.delenv("GITHUB_STEP_SUMMARY")
    assert run().stderr == ""
    assert not summary.exists()
