"""Virtual boards behind a real labgrid coordinator, exporter and ser2net: acquired, competed for, given back."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from hvrig.model.deadline import Deadline
from hvrig.virtual_lab import StandingLab, standing_lab

from .conftest import HVRIG, REPOSITORY, Finished, finished, hvrig_command, run_hvrig
from .test_gate_outcomes import await_event

pytestmark = pytest.mark.virtual_board

LABGRID_CLIENT = Path(sys.executable).parent / "labgrid-client"
ONE, TWO = "virtual-lab-1", "virtual-lab-2"


@dataclass(frozen=True)
class Lab:
    """A lab with two boards that outlives the runs, and what a person in it would do."""

    standing: StandingLab
    folder: Path

    def client(self, *arguments: str, user: str = "") -> str:
        environment = {**os.environ, "LG_COORDINATOR": self.standing.endpoints.coordinator}
        if user:
            environment |= {"LG_USERNAME": user, "LG_HOSTNAME": "elsewhere"}
        done = subprocess.run(
            [LABGRID_CLIENT, *arguments], env=environment, capture_output=True, text=True, timeout=60, check=True
        )
        return done.stdout

    @property
    def who(self) -> list[str]:
        """The places that are acquired."""
        return [line.split()[2] for line in self.client("who").splitlines()[1:]]

    def arguments(self, place: str, *more: str) -> list[str]:
        return ["--places", str(self.standing.environment), "--place", place, "--ladder", "64M", *more]

    def run(self, place: str, *more: str, folder: str = "run") -> Finished:
        return run_hvrig(self._folder(folder), *self.arguments(place, *more), seconds=150)

    def start(self, place: str, *more: str, folder: str = "run") -> subprocess.Popen[str]:
        return subprocess.Popen(
            hvrig_command(self._folder(folder), *self.arguments(place, *more)),
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            # A shell that starts tests in the background has them ignore SIGINT, and children inherit that.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def end(self, process: subprocess.Popen[str], folder: str = "run") -> Finished:
        output, _ = process.communicate(timeout=150)
        return finished(self.folder / folder, process.returncode, output)

    def await_event(self, event: str, folder: str = "run", **fields: str) -> None:
        await_event(self.folder / folder, event, **fields)

    def await_step(self, text: str, folder: str = "run") -> None:
        timeline = self.folder / folder / "artifacts/latest/timeline.jsonl"
        deadline = Deadline(60)
        while not (timeline.exists() and text in timeline.read_text(encoding="utf-8")):
            assert not deadline.expired, f"{text!r} was not told"
            time.sleep(0.02)

    def break_it(self, board: int, fault: str, body: bytes) -> None:
        url = f"http://127.0.0.1:{self.standing.endpoints.boards[board].outlet_port}/bench/{fault}"
        urllib.request.urlopen(urllib.request.Request(url, data=body, method="POST"), timeout=10).close()

    def _folder(self, name: str) -> Path:
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        return folder


@dataclass(frozen=True)
class Own:
    """A lab that hvrig starts for itself: what belongs to it is known by a mark in its environment."""

    folder: Path
    mark: str

    def start(self, command: list[str], cwd: Path = REPOSITORY) -> subprocess.Popen[str]:
        environment = {**os.environ, "HVRIG_TEST_MARK": self.mark, "XDG_STATE_HOME": str(self.folder / "state")}
        return subprocess.Popen(
            command,
            cwd=cwd,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**environment, "PYTHONUNBUFFERED": "1"},
        )

    @property
    def processes(self) -> list[str]:
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if self.mark.encode() in (process / "environ").read_bytes():
                    found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        return found

    @property
    def leftovers(self) -> list[str]:
        """Processes, device nodes of labs that are gone, locks."""
        nodes = [p for p in Path("/dev/shm").glob("hvrig-lab-*") if not Path("/proc", p.name.split("-")[3]).exists()]
        locks = (self.folder / "state").rglob("*.lock")
        return [*self.processes, *map(str, nodes), *map(str, locks)]

    def await_no_processes(self) -> None:
        deadline = Deadline(30)
        while self.processes:
            assert not deadline.expired, self.processes
            time.sleep(0.1)


@pytest.fixture
def own(tmp_path: Path) -> Own:
    return Own(tmp_path, f"hvrig-{os.getpid()}-{tmp_path.name}")


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandingLab]:
    folder = tmp_path_factory.mktemp("lab")
    with standing_lab(
        REPOSITORY / "lab/places.yaml",
        "virtual-lab",
        boards=2,
        environment=folder / "places.yaml",
        log=folder / "lab.log",
    ) as lab:
        yield lab


@pytest.fixture
def lab(standing: StandingLab, tmp_path: Path) -> Iterator[Lab]:
    lab = Lab(standing, tmp_path)
    yield lab
    for place in lab.who:  # a failed test must not fail the next one
        lab.client("-p", place, "release", "--kick")


def test_a_place_with_a_lab_of_its_own_passes_and_leaves_nothing_behind(own: Own) -> None:
    process = own.start(hvrig_command(own.folder, "--place", "virtual-lab", "--ladder", "64M"))
    output, _ = process.communicate(timeout=150)
    done = finished(own.folder, process.returncode, output)
    assert (done.status, done.verdict["outcome"]) == (0, "pass"), done.output
    assert done.verdict["gaps"] == []
    assert own.leftovers == []


def test_a_killed_run_with_a_lab_of_its_own_leaves_nothing_behind(own: Own) -> None:
    process = own.start(hvrig_command(own.folder, "--place", "virtual-lab", "--ladder", "64M"))
    await_event(own.folder, "phase-began", phase="u-boot")
    found = " ".join(own.processes)
    assert all(word in found for word in ("ser2net", "remote.coordinator", "remote.exporter", "qemu", "rack_server"))
    process.kill()
    process.communicate(timeout=20)
    own.await_no_processes()
    # The lock says to the next run that this one died; there is no lab any more to take the place back from.
    assert [path for path in own.leftovers if not path.endswith(".lock")] == []


def test_the_adapter_pulled_out_for_two_seconds_in_a_rung_is_a_gap_and_no_pass(lab: Lab) -> None:
    process = lab.start(ONE, "--ladder", "64M,96M")
    lab.await_event("rung-progress", size="96M")  # a smaller one may be over before its pages are looked at
    lab.break_it(0, "adapter-out", b"2")
    done = lab.end(process)
    assert (done.status, done.verdict["outcome"], done.verdict["cause"]) == (3, "infra", "no-evidence"), done.output
    (gap,) = done.verdict["gaps"]
    assert 2 <= gap["seconds"] < 10
    assert "adapter" in gap["reason"]
    assert "gap at byte" in done.verdict["summary"]
    notes = [line.split()[2] for line in (done.folder / "uart.times").read_text().splitlines()[1:]]
    assert [word for word in notes if not word.isdigit()] == ["open", "gap", "reconnected", "closed"]
    assert lab.who == []


def test_a_place_held_by_somebody_else_is_the_labs_and_says_who(lab: Lab) -> None:
    lab.client("-p", ONE, "acquire", user="alice")
    done = lab.run(ONE)
    assert (done.status, done.verdict["outcome"], done.verdict["cause"]) == (3, "infra", "lab"), done.output
    assert f"Place {ONE} is held by elsewhere/alice, last changed at 20" in done.verdict["summary"]
    assert "--wait SECONDS" in done.verdict["remedy"]
    assert f"ask alice to run, on elsewhere: labgrid-client -p {ONE} release" in done.verdict["remedy"]
    assert lab.who == [ONE]
    waited = lab.run(ONE, "--wait", "2", folder="waited")
    assert waited.status == 3
    assert "was not free within 2 s" in waited.verdict["summary"]
    assert lab.client("reservations") == ""
    lab.client("-p", ONE, "release", user="alice")


def test_the_doctor_says_who_has_the_place_and_leaves_it_alone(lab: Lab) -> None:
    lab.client("-p", ONE, "acquire", user="alice")
    places = ["--places", str(lab.standing.environment), "--place", ONE, "--artifacts", str(lab.folder / "doctor")]
    done = subprocess.run(
        [str(HVRIG), "doctor", *places], cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 3, done.stdout + done.stderr
    assert re.search(
        rf"^fail +place +Place {ONE} is held by elsewhere/alice, last changed at 20", done.stdout, re.MULTILINE
    )
    assert re.search(r"^ok +labgrid ", done.stdout, re.MULTILINE)
    assert re.search(r"^skipped +power +needs uart$", done.stdout, re.MULTILINE)
    assert lab.who == [ONE]
    lab.client("-p", ONE, "release", user="alice")


def test_a_run_queues_until_the_place_is_given_back(lab: Lab) -> None:
    lab.client("-p", ONE, "acquire", user="alice")
    process = lab.start(ONE, "--wait", "120")
    lab.await_step("waiting up to 120 s")
    lab.client("-p", ONE, "release", user="alice")
    lab.await_event("phase-began", phase="u-boot")
    assert lab.who == [ONE]
    process.send_signal(signal.SIGINT)
    assert lab.end(process).status == 130
    assert lab.who == []
    assert lab.client("reservations") == ""


def test_two_runs_compete_for_one_board_and_a_third_takes_any(lab: Lab) -> None:
    first = lab.start(ONE, folder="first")
    lab.await_event("phase-began", folder="first", phase="u-boot")
    refused = lab.run(ONE, folder="refused")
    assert refused.status == 3
    assert f"Place {ONE} is in use by another run of yours (process {first.pid}, since" in refused.verdict["summary"]
    third = lab.start("any", folder="any")
    lab.await_step(f"place {TWO} acquired", folder="any")
    lab.await_event("phase-began", folder="any", phase="u-boot")
    assert sorted(lab.who) == [ONE, TWO]
    third.send_signal(signal.SIGINT)
    assert lab.end(third, folder="any").verdict["board"] == TWO
    done = lab.end(first, folder="first")
    assert (done.status, done.verdict["outcome"]) == (0, "pass"), done.output
    assert done.verdict["board"] == ONE
    assert lab.who == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_gives_the_place_back(lab: Lab, number: signal.Signals) -> None:
    process = lab.start(ONE)
    lab.await_event("phase-began", phase="u-boot")
    assert lab.who == [ONE]
    process.send_signal(number)
    assert lab.end(process).status == 130
    assert lab.who == []


def test_a_run_interrupted_in_the_queue_leaves_it(lab: Lab) -> None:
    lab.client("-p", ONE, "acquire", user="alice")
    process = lab.start(ONE, "--wait", "120")
    lab.await_step("waiting up to 120 s")
    process.send_signal(signal.SIGINT)
    assert lab.end(process).status == 130
    assert lab.client("reservations") == ""
    lab.client("-p", ONE, "release", user="alice")


def test_what_a_killed_run_left_acquired_is_taken_back_by_the_next_one(lab: Lab) -> None:
    process = lab.start(ONE, "--wait", "5")
    lab.await_event("phase-began", phase="u-boot")
    process.kill()
    process.wait(10)
    assert lab.who == [ONE]
    after = lab.start(ONE, folder="next")
    lab.await_step("was left acquired by a run of yours that died", folder="next")
    lab.await_event("phase-began", folder="next", phase="u-boot")
    after.send_signal(signal.SIGINT)
    assert lab.end(after, folder="next").status == 130
    assert lab.who == []
    assert lab.client("reservations") == ""


def test_a_place_acquired_by_hand_is_used_and_left_acquired_after_a_killed_run_too(lab: Lab) -> None:
    lab.client("-p", ONE, "acquire")
    process = lab.start(ONE)
    lab.await_event("phase-began", phase="u-boot")
    process.kill()
    process.wait(10)
    after = lab.start(ONE, folder="next")
    lab.await_event("phase-began", folder="next", phase="u-boot")
    after.send_signal(signal.SIGINT)
    assert "used, and left acquired" in lab.end(after, folder="next").output
    assert lab.who == [ONE]
    lab.client("-p", ONE, "release")


def test_a_set_up_that_fails_gives_the_place_back(lab: Lab) -> None:
    tree = yaml.safe_load(lab.standing.environment.read_text(encoding="utf-8"))
    tree["targets"][ONE]["options"]["hvrig"]["tftp"] = {"folder": str(lab.folder / "no-such-folder")}
    places = lab.folder / "no-tftp.yaml"
    places.write_text(yaml.safe_dump(tree), encoding="utf-8")
    done = run_hvrig(lab.folder, "--places", str(places), "--place", ONE, seconds=60)
    assert done.verdict["outcome"] == "infra"
    assert f"place {ONE} acquired" in done.output
    assert "no-such-folder" in done.output
    assert lab.who == []


def test_a_place_whose_files_are_missing_is_not_acquired(lab: Lab) -> None:
    text = lab.standing.environment.read_text().replace("id_ed25519", "no-such-key")
    places = lab.folder / "no-key.yaml"
    places.write_text(text)
    done = run_hvrig(lab.folder, "--places", str(places), "--place", ONE, seconds=60)
    assert (done.status, done.verdict["cause"]) == (2, "usage")
    assert "acquired" not in done.output
    assert lab.who == []


def test_a_coordinator_that_is_not_there_is_the_labs(lab: Lab) -> None:
    text = lab.standing.environment.read_text().replace(lab.standing.endpoints.coordinator, "127.0.0.1:1")
    places = lab.folder / "nowhere.yaml"
    places.write_text(text)
    done = run_hvrig(lab.folder, "--places", str(places), "--place", ONE, seconds=60)
    assert done.status == 3
    assert "coordinator at 127.0.0.1:1 cannot be reached" in done.verdict["summary"]


def test_the_command_runs_a_lab_until_it_is_told_to_end(own: Own) -> None:
    places = str(REPOSITORY / "lab/places.yaml")
    process = own.start([str(HVRIG), "virtual-lab", "--places", places], cwd=own.folder)
    assert process.stdout is not None
    said = ""
    while "Ctrl-C" not in said:
        line = process.stdout.readline()
        assert line, said
        said += line
    assert "export LG_COORDINATOR=127.0.0.1:" in said
    assert (own.folder / "virtual-lab.yaml").is_file()
    process.terminate()
    assert process.wait(30) == 0
    assert not (own.folder / "virtual-lab.yaml").exists()
    assert own.leftovers == []
