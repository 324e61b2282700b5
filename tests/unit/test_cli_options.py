from __future__ import annotations

import errno
import io
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import NoReturn

import click
import pytest
from click.testing import CliRunner

from hvrig.cli_options import output_may_end, run_options
from hvrig.model.errors import UsageError
from hvrig.model.run import RunOptions


class Gone(io.StringIO):
    """A terminal, or a pipe, that is gone: `file` stands for its descriptor."""

    def __init__(self, file: Path, number: int) -> None:
        super().__init__()
        self._file = file.open("w")
        self._number = number

    def fileno(self) -> int:
        return self._file.fileno()

    def flush(self) -> None:
        raise OSError(self._number, "gone")


@pytest.mark.parametrize("number", [errno.EPIPE, errno.EIO])
def test_a_reader_or_a_terminal_that_goes_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(f"sys.{name}", Gone(tmp_path / name, number))
    with output_may_end():
        pass


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", Gone(tmp_path / "stdout", errno.ENOSPC))
    with pytest.raises(OSError, match="gone"), output_may_end():
        pass


@click.command()
@run_options
@click.option("--fast", is_flag=True)
def walk(options: RunOptions, fast: bool) -> None:
    """Walks."""
    click.echo(f"{fast} {options}")


def test_a_run_without_options_is_the_default_one() -> None:
    assert CliRunner().invoke(walk, [], env={"HVRIG_PLACE": None, "HVRIG_PLACES": None}).stdout == (
        f"False {RunOptions()}\n"
    )


def test_the_environment_names_the_place() -> None:
    told = CliRunner().invoke(walk, [], env={"HVRIG_PLACE": "desk", "HVRIG_PLACES": "own.yaml"}).stdout
    assert told == f"False {RunOptions(place='desk', places=Path('own.yaml'))}\n"


ALL_OPTIONS = (
    *("--place", "desk", "--places", "own.yaml", "--image", "hvisor=a.bin", "--image", "kernel=Image"),
    *("--board-rs", __file__, "--wait", "7.5", "--artifacts", "out"),
)
ALL_GIVEN = RunOptions(
    place="desk",
    places=Path("own.yaml"),
    images={"hvisor": Path("a.bin"), "kernel": Path("Image")},
    board_rs=Path(__file__),
    wait_s=7.5,
    artifacts=Path("out"),
)


def test_every_option_of_a_run_is_taken_beside_the_commands_own() -> None:
    assert CliRunner().invoke(walk, [*ALL_OPTIONS, "--fast"]).stdout == f"True {ALL_GIVEN}\n"


@pytest.mark.parametrize(
    ("module", "command", "own", "given"),
    [
        ("cli", "run", [], ALL_GIVEN),
        (
            "cli",
            "run",
            ["--ladder", "64M,1G", "--keep-on", "--stress-anyway"],
            replace(ALL_GIVEN, ladder=("64M", "1G"), keep_on=True, stress_anyway=True),
        ),
        ("layout_live_cli", "live", [], ALL_GIVEN),
        ("layout_live_cli", "live", ["--keep-on"], replace(ALL_GIVEN, keep_on=True)),
        ("doctor_cli", "doctor", ["--learn-host-key"], ALL_GIVEN),
    ],
)
def test_what_a_command_is_given_reaches_the_place(
    monkeypatch: pytest.MonkeyPatch, module: str, command: str, own: list[str], given: RunOptions
) -> None:
    asked: list[RunOptions] = []

    def prepare_place(options: RunOptions) -> NoReturn:
        asked.append(options)
        raise UsageError("That is enough.", "Stop.")

    inside = import_module(f"hvrig.{module}")
    monkeypatch.setattr(inside, "prepare_place", prepare_place)
    monkeypatch.setattr(inside, "end_in_order", lambda: None)  # the signals are pytest's here
    CliRunner().invoke(getattr(inside, command), [*ALL_OPTIONS, *own])
    assert asked == [given]
