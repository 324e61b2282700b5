from collections.abc import Mapping
from pathlib import Path

import pytest

from hvrig.model.evidence import Verdict
from hvrig.report.github_job import SUMMARY_LIMIT, summary_text, tell_job
from hvrig.report.summary import to_short_summary


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "20261122T212500Z-virtual"
    made.mkdir()
    for name in ("uart.log", "verdict.json", ".verdict.json.new"):
        (made / name).touch()
    return made


def job(path: Path) -> Mapping[str, str]:
    return {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(path)}


def test_nothing_outside_a_job(failed: Verdict, folder: Path) -> None:
    assert tell_job(failed, folder, {}) == []
    assert tell_job(failed, folder, {"GITHUB_ACTIONS": "false", "GITHUB_STEP_SUMMARY": ""}) == []


def test_the_summary_is_appended(failed: Verdict, folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "summary"
    path.write_text("before")
    lines = tell_job(failed, folder, job(path))
    assert all(line.startswith(("::error ", "::warning title=memory layout")) for line in lines)
    assert path.read_text() == "before\n" + summary_text(failed, folder)
    tell_job(failed, folder, job(path))
    assert path.read_text().count("## ❌") == 2


def test_it_links_to_the_runs_artifacts(passed: Verdict, folder: Path, tmp_path: Path) -> None:
    where = {"GITHUB_SERVER_URL": "https://git.example", "GITHUB_REPOSITORY": "a/b", "GITHUB_RUN_ID": "7"}
    tell_job(passed, folder, {**job(tmp_path / "summary"), **where})
    assert "(https://git.example/a/b/actions/runs/7#artifacts): `uart.log`, `verdict.json`." in (
        tmp_path / "summary"
    ).read_text(encoding="utf-8")


def test_short_where_there_is_little_room(failed: Verdict, folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "summary"
    path.write_bytes(b"x" * (SUMMARY_LIMIT - 1000))
    tell_job(failed, folder, job(path))
    assert path.read_bytes().endswith(b"x\n" + to_short_summary(failed).encode())
    assert path.stat().st_size <= SUMMARY_LIMIT


def test_full(failed: Verdict, folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "summary"
    path.write_bytes(b"x" * SUMMARY_LIMIT)
    lines = tell_job(failed, folder, job(path))
    assert lines[-1].startswith("::warning title=hvrig::The job's summary was not written:")
    assert "no room" in lines[-1]
    assert len(lines) == 5, "the annotations come all the same"
    assert path.stat().st_size == SUMMARY_LIMIT


@pytest.mark.parametrize("name", ["missing/summary", ""])
def test_a_summary_that_cannot_be_written_is_told(failed: Verdict, folder: Path, tmp_path: Path, name: str) -> None:
    """`""`: the path is a folder."""
    (said,) = tell_job(failed, folder, {"GITHUB_STEP_SUMMARY": str(tmp_path / name)})
    assert said.startswith("hvrig: The job's summary was not written: ")
    assert str(tmp_path) in said
    assert "::" not in said


def test_a_folder_that_is_gone_is_told(failed: Verdict, tmp_path: Path) -> None:
    (said,) = tell_job(failed, tmp_path / "gone", {"GITHUB_STEP_SUMMARY": str(tmp_path / "summary")})
    assert "gone" in said
