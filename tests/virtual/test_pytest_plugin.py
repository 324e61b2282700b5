"""`pytest -m hil` on virtual boards: the gate first, whatever is selected; a fault fails the test it came in."""

from __future__ import annotations

import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

import pytest

from .conftest import REPOSITORY, Finished, finished

pytestmark = pytest.mark.virtual_board

TESTS = '''
import pytest

pytestmark = pytest.mark.hil


def test_touches_the_board(board):
    assert board.run("echo here").stdout == b"here\\n"


def test_looks_at_the_memory_map(board):
    assert board.layout().exit_status == 0
    hidden = "00000000-00000000 : System RAM"
    assert board.run(f"echo '{hidden}' > /tmp/zeros; mount --bind /tmp/zeros /proc/iomem").status == 0
    blind = board.layout()
    board.run("umount /proc/iomem")
    assert (blind.findings, [one.rule.number for one in blind.unchecked]) == ((), [9])
    assert "only zeros" in blind.unchecked[0].why


def test_kills_the_hypervisor(board):
    """Overwrites its root table, at the pool's start. Its own assertions hold: only the watch can tell."""
    try:
        board.run("for i in 0 8 16 24 32; do busybox devmem $((0x409e6000 + i)) 64 0; done; ls -R /proc", seconds=10)
    except Exception:
        pass


def test_comes_after_it(board):
    raise AssertionError("the board is dead: this must not run")


def test_is_not_for_the_board():
    pass
'''


@dataclass(frozen=True)
class Session:
    run: Finished
    outcomes: dict[str, str]
    messages: dict[str, str]


@pytest.fixture
def tests(tmp_path: Path) -> Path:
    folder = tmp_path / "hil"
    folder.mkdir()
    (folder / "pytest.ini").write_text("[pytest]\n")
    (folder / "test_board.py").write_text(TESTS)
    (folder / "test_gate.py").write_text((REPOSITORY / "tests/hil/test_memory_gate.py").read_text())
    return folder


def run_pytest(tmp_path: Path, folder: Path, *arguments: str) -> Session:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", str(folder), "-m", "hil", "-p", "no:cacheprovider"),
            *("--places", str(REPOSITORY / "lab/places.yaml"), "--artifacts", str(tmp_path / "artifacts")),
            *("--junit-xml", str(tmp_path / "junit.xml"), *arguments),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    outcomes, messages = {}, {}
    for case in ET.parse(tmp_path / "junit.xml").getroot().iter("testcase"):
        said = [child for child in case if child.tag in {"failure", "skipped", "error"}]
        outcomes[str(case.get("name"))] = said[0].tag if said else "passed"
        messages[str(case.get("name"))] = " ".join(f"{child.get('message')} {child.text}" for child in said)
    return Session(finished(tmp_path, done.returncode, done.stdout + done.stderr), outcomes, messages)


def test_a_gate_that_fails_keeps_every_test_off_the_board(tmp_path: Path, tests: Path) -> None:
    session = run_pytest(tmp_path, tests, "--place", "virtual-under-reserved", "--stress-anyway", "--ladder", "768M")
    assert session.run.status == 1
    assert session.outcomes.pop("test_memory_gate") == "failure"
    assert set(session.outcomes.values()) == {"skipped"}
    assert len(session.outcomes) == 5
    for name in session.outcomes:
        assert "not run, the memory gate did not pass: The hypervisor reported" in session.messages[name]
    assert "outcome: fail" in session.run.output


def test_a_board_with_the_hypervisors_memory_open_needs_no_memtester(tmp_path: Path, tests: Path) -> None:
    session = run_pytest(tmp_path, tests, "--place", "virtual-under-reserved")
    assert session.run.status == 1
    assert session.outcomes.pop("test_memory_gate") == "failure"
    assert set(session.outcomes.values()) == {"skipped"}
    assert (session.run.verdict["cause"], session.run.rungs) == ("layout", [])
    for message in session.messages.values():
        assert "65.9 MiB of the hypervisor's 69.9 MiB as System RAM" in message


def test_a_gate_that_is_not_selected_still_decides(tmp_path: Path, tests: Path) -> None:
    session = run_pytest(tmp_path, tests, "--place", "virtual-under-reserved", "-k", "test_touches_the_board")
    assert session.run.status == 1, "a skipped test must not make a failed gate look like a success"
    assert session.outcomes == {"test_touches_the_board": "skipped"}


def test_a_fault_fails_the_test_it_came_in(tmp_path: Path, tests: Path) -> None:
    session = run_pytest(tmp_path, tests, "--place", "virtual", "--ladder", "64M")
    assert session.outcomes == {
        "test_memory_gate": "passed",
        "test_touches_the_board": "passed",
        "test_looks_at_the_memory_map": "passed",
        "test_kills_the_hypervisor": "failure",
        "test_comes_after_it": "skipped",
        "test_is_not_for_the_board": "skipped",
    }
    # Which access comes first after the table is gone is chance.
    assert re.search("unhandled-mmio-fault|instruction-fetch-failure", session.messages["test_kills_the_hypervisor"])
    assert "during test_kills_the_hypervisor" in session.messages["test_comes_after_it"]
    assert (session.run.status, session.run.verdict["outcome"], session.run.verdict["phase"]) == (1, "fail", "tests")


def test_a_place_that_does_not_exist_is_a_usage_error(tmp_path: Path, tests: Path) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", str(tests), "-m", "hil", "-p", "no:cacheprovider"),
            *("--places", str(REPOSITORY / "lab/places.yaml"), "--artifacts", str(tmp_path), "--place", "nowhere"),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "no place 'nowhere'" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("argument", "said"), [("hvisor", "is not NAME=PATH"), ("hvisr=hvisor.bin", "has no image hvisr")]
)
def test_a_wrong_image_is_a_usage_error(tmp_path: Path, tests: Path, argument: str, said: str) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", str(tests), "-m", "hil", "-p", "no:cacheprovider", "--image", argument),
            *("--places", str(REPOSITORY / "lab/places.yaml"), "--artifacts", str(tmp_path)),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert said in done.stdout + done.stderr
