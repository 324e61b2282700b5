"""scripts/bisect and bisect-step on a repository of six commits, with a stand-in for hvrig that ends as it is told."""

from __future__ import annotations

import os
import select
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"

# Takes the next line of a list of its commit's: a status, and the outcome that its verdict gives, if it writes one.
# The last line is for all runs that follow.
HVRIG = """#!/usr/bin/env bash
set -eu
[ "$1 $2" = "run --artifacts" ]
folder=$3
echo "$(git rev-parse HEAD) ${*:4}" >>"$CALLS"
lines=$PLANS/$(git log -1 --format=%s)
read -r status outcome <"$lines"
[ "$(wc -l <"$lines")" = 1 ] || sed -i 1d "$lines"
[ "$status" != wait ] || { trap 'echo off >>"$CALLS"; exit 130' TERM; echo waiting >>"$CALLS"; sleep 60 & wait; }
[ "$status" != gone ] || exec /nonexistent/hvrig
if [ -n "$outcome" ]; then
    mkdir -p "$folder/run-$$"
    printf '{"outcome": "%s"}' "$outcome" >"$folder/run-$$/verdict.json"
    ln -sfn "run-$$" "$folder/latest"
fi
exit "$status"
"""


@dataclass(frozen=True)
class Bench:
    folder: Path

    @property
    def checkout(self) -> Path:
        return self.folder / "subject"

    @property
    def environment(self) -> dict[str, str]:
        own = {
            "CALLS": str(self.folder / "calls"),
            "PLANS": str(self.folder / "plans"),
            "GITHUB_STEP_SUMMARY": str(self.folder / "summary"),
            "GIT_CONFIG_GLOBAL": "/dev/null",
        }
        return {**os.environ, **own}

    def git(self, *arguments: str) -> str:
        identity = ("-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
        return subprocess.run(
            ["git", *identity, *arguments],
            cwd=self.checkout,
            env=self.environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()

    def plan(self, commit: str, *runs: str) -> None:
        (self.folder / "plans" / commit).write_text("".join(f"{run}\n" for run in runs), encoding="utf-8")

    def command(self, script: str, *arguments: str) -> list[str]:
        hvrig = str(self.folder / "hvrig")
        return [str(SCRIPTS / script), *arguments, "--hvrig", hvrig, "--artifacts", str(self.folder / "artifacts")]

    def run(self, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(script, *arguments),
            cwd=self.checkout,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    @property
    def calls(self) -> list[str]:
        path = self.folder / "calls"
        return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Commits one to six, all of which pass."""
    made = Bench(tmp_path)
    made.checkout.mkdir()
    (tmp_path / "plans").mkdir()
    (tmp_path / "hvrig").write_text(HVRIG, encoding="utf-8")
    (tmp_path / "hvrig").chmod(0o755)
    made.git("init", "-q", "-b", "main")
    for name in ("one", "two", "three", "four", "five", "six"):
        made.git("commit", "-q", "--allow-empty", "-m", name)
        made.git("tag", name)
        made.plan(name, "0 pass")
    return made


@pytest.mark.parametrize(
    ("runs", "arguments", "status", "calls"),
    [
        (["0 pass"], ["--trials", "3"], 0, 3),
        (["1 fail"], ["--trials", "3"], 1, 1),
        (["0 pass", "0 pass", "1 fail"], ["--trials", "3"], 1, 3),
        (["3 infra", "0 pass"], [], 0, 2),
        (["3 infra", "1 fail"], [], 1, 2),
        (["3 infra"], ["--retries", "2"], 125, 3),
        (["0 pass", "3 infra"], ["--trials", "2", "--retries", "0"], 125, 2),
        (["1"], ["--retries", "1"], 125, 2),  # a crash of hvrig: Python's 1, without a verdict
        (["1 infra"], ["--retries", "0"], 125, 1),
        (["0"], ["--retries", "0"], 125, 1),
        (["0 fail"], ["--retries", "0"], 125, 1),
        (["137"], ["--retries", "0"], 125, 1),
        (["2 infra"], [], 128, 1),
        (["gone"], [], 128, 1),
        (["130 infra"], [], 130, 1),
    ],
)
def test_what_git_is_told(bench: Bench, runs: list[str], arguments: list[str], status: int, calls: int) -> None:
    bench.plan("six", *runs)
    done = bench.run("bisect-step", "--place", "virtual", *arguments, "--ladder", "64M")
    assert done.returncode == status, done.stderr
    assert bench.calls == [f"{bench.git('rev-parse', 'HEAD')} --place virtual --ladder 64M"] * calls


def test_the_verdict_of_an_earlier_run_counts_for_nothing(bench: Bench) -> None:
    bench.plan("six", "1 fail", "1")
    assert bench.run("bisect-step").returncode == 1
    assert bench.run("bisect-step", "--retries", "0").returncode == 125


def test_a_commit_that_does_not_build_is_skipped(bench: Bench) -> None:
    done = bench.run("bisect-step", "--build", "echo a reason; false; true")
    assert done.returncode == 125
    assert "  | a reason" in done.stderr
    assert bench.calls == []


def test_what_was_built_is_tried(bench: Bench) -> None:
    assert bench.run("bisect-step", "--build", f"echo built >>'{bench.folder}/calls'").returncode == 0
    assert bench.calls[0] == "built"


@pytest.mark.parametrize("arguments", [["--trials", "0"], ["--trials", "x"], ["--retries", "-1"], ["--hvrig", "/none"]])
def test_a_mistake_stops_the_bisection(bench: Bench, arguments: list[str]) -> None:
    done = bench.run("bisect-step", *arguments)  # bench's own --hvrig comes later
    assert done.returncode == (0 if arguments[0] == "--hvrig" else 128)


def test_hvrig_that_is_not_there_stops_the_bisection(bench: Bench) -> None:
    (bench.folder / "hvrig").unlink()
    assert bench.run("bisect-step").returncode == 128


def test_the_first_bad_commit(bench: Bench) -> None:
    for name in ("four", "five", "six"):
        bench.plan(name, "1 fail")
    bench.plan("five", "0 pass", "3 infra", "1 fail")
    done = bench.run("bisect", "one", "six", "--trials", "2")
    assert done.returncode == 0, done.stderr
    assert f"the first bad commit is {bench.git('rev-parse', 'four')}" in done.stderr
    summary = (bench.folder / "summary").read_text(encoding="utf-8")
    assert summary.startswith("## the first bad commit is ")
    assert "    # first bad commit:" in summary
    assert bench.git("symbolic-ref", "--short", "HEAD") == "main"
    assert not (bench.checkout / ".git" / "BISECT_LOG").exists()


def test_only_skipped_commits_are_left(bench: Bench) -> None:
    bench.plan("six", "1 fail")
    for name in ("two", "three", "four", "five"):
        bench.plan(name, "3 infra")
    done = bench.run("bisect", "one", "six", "--retries", "0")
    assert done.returncode == 0, done.stderr
    assert "one of the commits that could not be tried" in done.stderr


@pytest.mark.parametrize(
    ("good", "bad", "plans", "status", "said"),
    [
        ("one", "six", {}, 1, "passes here"),
        ("one", "six", {"one": "1 fail", "six": "1 fail"}, 1, "fails here"),
        ("one", "six", {"six": "3 infra"}, 3, "could not be tried"),
        ("one", "six", {"six": "2 infra"}, 2, "wrong"),
        ("six", "one", {}, 2, "not an ancestor"),
        ("--help", "six", {}, 2, "no commit here"),
        ("one", "nowhere", {}, 2, "no commit here"),
    ],
)
def test_ends_that_will_not_do(
    bench: Bench, good: str, bad: str, plans: dict[str, str], status: int, said: str
) -> None:
    for name, run in plans.items():
        bench.plan(name, run)
    done = bench.run("bisect", good, bad)
    assert done.returncode == status, done.stderr
    assert said in done.stderr
    assert bench.git("symbolic-ref", "--short", "HEAD") == "main"


def test_changes_are_not_thrown_away(bench: Bench) -> None:
    (bench.checkout / "file").write_text("a", encoding="utf-8")
    bench.git("add", "file")
    done = bench.run("bisect", "one", "six")
    assert done.returncode == 2
    assert "not committed" in done.stderr


def test_hvrig_hears_that_the_job_is_cancelled(bench: Bench) -> None:
    """GitHub's runner signals the step's own process and none below it."""
    os.mkfifo(bench.folder / "calls")
    bench.plan("six", "wait")
    calls = os.open(bench.folder / "calls", os.O_RDWR)  # for writing, too: else it ends with each writer
    with subprocess.Popen(
        bench.command("bisect", "one", "six"),
        cwd=bench.checkout,
        env=bench.environment,
        stderr=subprocess.DEVNULL,
        # A shell that starts tests in the background has them ignore SIGINT, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as bisect:
        assert next_line(calls).endswith(" ")
        assert next_line(calls) == "waiting"
        bisect.send_signal(signal.SIGINT)
        assert next_line(calls) == "off"
        assert bisect.wait(20) == 130
    os.close(calls)
    assert bench.git("symbolic-ref", "--short", "HEAD") == "main"


def next_line(descriptor: int) -> str:
    """A line from a pipe, which must come within 20 s."""
    line = b""
    while not line.endswith(b"\n"):
        assert select.select([descriptor], [], [], 20)[0], f"nothing came after {line!r}"
        line += os.read(descriptor, 1)
    return line[:-1].decode()
