"""A virtual board on ports of its own, with a places file that names them, and hvrig run on it as a user would."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from hvrig.gate.shell_paramiko import connect
from hvrig.model.bench import SshEndpoint
from hvrig.model.deadline import Deadline
from hvrig.model.place import SshSettings
from hvrig.virtual.images import ImageSet, default_cache, ensure_images
from hvrig.virtual.rack_process import Rack, RackEndpoints

REPOSITORY = Path(__file__).parents[2]
HVRIG = Path(sys.executable).parent / "hvrig"


@dataclass(frozen=True)
class Finished:
    """A run of hvrig that has ended."""

    status: int
    folder: Path
    verdict: dict[str, Any]
    output: str

    @property
    def rungs(self) -> list[tuple[str, str]]:
        return [(rung["size"], rung["outcome"]) for rung in self.verdict["rungs"]]


def hvrig_command(tmp_path: Path, *arguments: str) -> list[str]:
    return [str(HVRIG), "run", "--artifacts", str(tmp_path / "artifacts"), *arguments]


def finished(tmp_path: Path, status: int, output: str) -> Finished:
    folder = (tmp_path / "artifacts" / "latest").resolve()
    verdict = json.loads((folder / "verdict.json").read_text(encoding="utf-8"))
    return Finished(status, folder, verdict, output)


def run_hvrig(tmp_path: Path, *arguments: str, seconds: float = 300) -> Finished:
    """`hvrig run` in the checkout, its artifacts under `tmp_path`."""
    done = subprocess.run(
        hvrig_command(tmp_path, *arguments),
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    return finished(tmp_path, done.returncode, done.stdout + done.stderr)


Checks = dict[str, dict[str, Any]]


def run_doctor(tmp_path: Path, *arguments: str, seconds: float = 300) -> tuple[int, Checks]:
    """`hvrig doctor`: its exit status, and the checks by name."""
    done = subprocess.run(
        [str(HVRIG), "doctor", "--json", "--artifacts", str(tmp_path / "artifacts"), *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.stdout, done.stderr
    said = json.loads(done.stdout)
    assert said == json.loads((tmp_path / "artifacts/latest/doctor.json").read_text(encoding="utf-8"))
    return done.returncode, {check["name"]: check for check in said["checks"]}


def by_status(checks: Checks, status: str) -> list[str]:
    return [name for name, check in checks.items() if check["status"] == status]


OF_THE_JOB = ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY")


@pytest.fixture(autouse=True)
def no_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs that fail on purpose are no business of the CI job that these tests run in."""
    for name in OF_THE_JOB:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def images() -> ImageSet:
    return ensure_images(default_cache(), lambda _: None)


@dataclass(frozen=True)
class VirtualBench:
    """A rack that belongs to the test, and what to tell hvrig of it."""

    endpoints: RackEndpoints
    images: ImageSet
    folder: Path

    def break_it(self, fault: str, body: bytes = b"") -> None:
        """Break the lab's hardware on purpose (`hvrig.virtual.rack_server.Fault`)."""
        url = f"http://127.0.0.1:{self.endpoints.outlet_port}/bench/{fault}"
        urllib.request.urlopen(urllib.request.Request(url, data=body, method="POST"), timeout=10).close()

    def status(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.endpoints.outlet_port}/status", timeout=10) as answer:
            found: dict[str, Any] = json.load(answer)
            return found

    def on_board(self, command: str) -> None:
        """Type `command` into root-linux over an SSH connection of the test's own, and do not wait for its end."""
        endpoint = SshEndpoint("127.0.0.1", self.endpoints.ssh_port, "root")
        settings = SshSettings(key=self.images.client_key, host_key=str(self.images.host_key_pub))
        shell = connect(endpoint, settings, Deadline(10))
        over = threading.Event()
        shell.start(command, lambda _: None, lambda _: over.set(), Deadline(5))
        over.wait(3)
        shell.close()

    def places(self, place: str = "virtual", **changes: Mapping[str, Any]) -> Path:
        """lab/places.yaml with this rack's ports in it, `place` changed, group by group."""
        tree = yaml.safe_load((REPOSITORY / "lab/places.yaml").read_text(encoding="utf-8"))
        resources = [
            {
                "NetworkPowerPort": {
                    "model": "rest",
                    "host": f"http://127.0.0.1:{self.endpoints.outlet_port}/outlet/{{index}}",
                    "index": "1",
                }
            },
            {"NetworkSerialPort": {"host": "127.0.0.1", "port": self.endpoints.uart_port, "protocol": "raw"}},
            {"NetworkService": {"address": "127.0.0.1", "port": self.endpoints.ssh_port, "username": "root"}},
        ]
        for target in tree["targets"].values():
            if target["options"]["hvrig"].pop("rack", None) is not None:  # the others are real boards
                target["resources"] = resources
        settings = tree["targets"][place]["options"]["hvrig"]
        for group, values in changes.items():
            settings.setdefault(group, {}).update(values)
        path = self.folder / "places.yaml"
        path.write_text(yaml.safe_dump(tree).replace("${rack}", str(self.images.folder)), encoding="utf-8")
        return path

    def run(
        self, place: str = "virtual", *arguments: str, seconds: float = 300, **changes: Mapping[str, Any]
    ) -> Finished:
        places = self.places(place, **changes)
        return run_hvrig(self.folder, "--places", str(places), "--place", place, *arguments, seconds=seconds)

    def start(self, place: str = "virtual", *arguments: str, **changes: Mapping[str, Any]) -> subprocess.Popen[str]:
        """hvrig in the background, its output in a pipe."""
        places = self.places(place, **changes)
        return subprocess.Popen(
            hvrig_command(self.folder, "--places", str(places), "--place", place, *arguments),
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**{k: v for k, v in os.environ.items() if k not in OF_THE_JOB}, "PYTHONUNBUFFERED": "1"},
            # A shell that starts tests in the background has them ignore SIGINT, and children inherit that.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )


@contextmanager
def virtual_bench(images: ImageSet, folder: Path) -> Iterator[VirtualBench]:
    """A bench whose rack runs, its places and artifacts in `folder`."""
    for reserved in (None, 4 << 20, 6 << 20):
        images.zone0_dtb(reserved)
    with Rack(uboot=images.uboot, tftp=images.tftp, log=folder / "rack.log") as rack:
        yield VirtualBench(rack.start(Deadline(15)), images, folder)


@pytest.fixture
def bench(images: ImageSet, tmp_path: Path) -> Iterator[VirtualBench]:
    with virtual_bench(images, tmp_path) as made:
        yield made
