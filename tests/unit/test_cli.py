"""The command line's own answers: what it does before a board is touched."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hvrig import cli as hvrig_cli

REPOSITORY = Path(__file__).parents[2]
HVRIG = Path(sys.executable).parent / "hvrig"


def hvrig(*arguments: str, cwd: Path = REPOSITORY) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(HVRIG), *arguments], cwd=cwd, capture_output=True, text=True, timeout=60, check=False)


def test_places_are_listed_with_their_ladders() -> None:
    done = hvrig("places")
    assert done.returncode == 0
    assert "virtual-silent: virtual board, ladder 64M, 128M, 256M, 768M" in done.stdout.splitlines()


def test_a_place_that_cannot_be_used_is_named_with_its_mistakes(tmp_path: Path) -> None:
    places = tmp_path / "places.yaml"
    places.write_text("targets: {desk: {options: {hvrig: {}}}}")
    done = hvrig("places", "--places", str(places))
    assert done.returncode == 2
    assert "desk: cannot be used" in done.stdout
    assert "options.hvrig.images: is missing" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("run", "--place", "nowhere"), "no place 'nowhere'"),
        (("run", "--ladder", "64"), "64M or 12G"),
        (("run", "--ladder", ""), "is not a size"),
        (("run", "--ladder", "128M,64M"), "must grow"),
        (("run", "--places", "/nonexistent.yaml"), "cannot be read"),
        (
            (
                "run",
                "--nonsense",
            ),
            "--nonsense",
        ),
    ],
)
def test_a_mistake_in_the_call_is_usage_and_starts_nothing(
    tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    done = hvrig(*arguments, *(() if "--nonsense" in arguments else ("--artifacts", str(tmp_path / "artifacts"))))
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "artifacts").exists()


def test_artifacts_that_cannot_be_written_are_the_labs() -> None:
    done = hvrig("run", "--artifacts", "/proc/artifacts")
    assert done.returncode == 3
    assert "/proc/artifacts" in done.stderr
    assert "--artifacts" in done.stderr, "the message says what to do"
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", [("places",), ("layout", "check", "--range", "0x500000-0x4ae6000")])
def test_a_full_disk_behind_a_pipe_is_said(arguments: tuple[str, ...]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [str(HVRIG), *arguments], cwd=REPOSITORY, stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert done.returncode == 3
    assert b"the output cannot be written: No space left on device" in done.stderr
    assert b"Traceback" not in done.stderr


def test_a_reader_that_goes_away_is_no_finding(tmp_path: Path) -> None:
    log = tmp_path / "uart.log"
    log.write_bytes(b"[    0.000000] Booting Linux on physical CPU 0x0\r\n")
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w") as closed:  # noqa: PTH123 - a descriptor
        done = subprocess.run(
            [str(HVRIG), "scan", str(log)], cwd=REPOSITORY, stdout=closed, stderr=subprocess.PIPE, check=False
        )
    assert (done.returncode, done.stderr) == (141, b"")


def test_a_fault_of_hvrigs_own_is_3(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(_places: Path) -> list[str]:
        raise ZeroDivisionError("a \x1b[31mmistake")

    monkeypatch.setattr(hvrig_cli, "place_names", fail)
    monkeypatch.setattr("sys.argv", ["hvrig", "places"])
    with pytest.raises(SystemExit) as ended:
        hvrig_cli.main()
    assert ended.value.code == 3
    said = capsys.readouterr().err
    assert "this is a fault of hvrig, not of the board" in said
    assert "ZeroDivisionError: a " in said
    assert "\x1b" not in said
