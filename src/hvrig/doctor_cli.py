"""`hvrig doctor`: a checklist of a place, before anybody believes a run on it."""

from __future__ import annotations

import contextlib
import sys
from typing import NoReturn

import click
from rich.console import Console as RichConsole
from rich.status import Status as RichStatus
from rich.text import Text

from hvrig.cli_options import end_in_order, output_may_end, run_options
from hvrig.doctor.report import line, remedy_lines, summary
from hvrig.doctor.result import Checked, Status
from hvrig.examination import examine
from hvrig.model.harmless import harmless
from hvrig.model.progress import Asked, Event, PhaseBegan, Step
from hvrig.model.run import EXIT_INTERRUPTED, RunOptions
from hvrig.pipeline import prepare_place

_STYLE = {Status.OK: "green", Status.WARN: "yellow", Status.FAIL: "bold red", Status.SKIPPED: "dim"}


@click.command()
@run_options
@click.option(
    "--learn-host-key",
    is_flag=True,
    help="Believe the SSH host key that the board shows, and write it where the place reads it.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the checks as JSON on stdout; the list goes to stderr.")
def doctor(options: RunOptions, learn_host_key: bool, as_json: bool) -> NoReturn:
    """Check whether a place is ready for a run, from the host's packages to root-linux; it powers the board.

    One line a check: ok, warn, fail or skipped, and what to do.

    Exit status: 0 nothing failed, 1 the board itself is at fault, 2 settings or usage, 3 the lab, 130 interrupted.
    """
    end_in_order()
    checklist = _Checklist(RichConsole(stderr=as_json, highlight=False))
    with checklist:
        examined = examine(
            prepare_place(options), options, checklist.hear, checklist.show, learn_host_key=learn_host_key
        )
    if as_json:
        with output_may_end():
            click.echo(examined.json_text, nl=False)
    end = (
        f"interrupted; {harmless(examined.end, keep_newlines=False)}"
        if examined.interrupted
        else summary(examined.checks, options.place)
    )
    with output_may_end():
        click.echo(f"\n{end}\nevidence: {examined.folder}", err=as_json)
    sys.exit(EXIT_INTERRUPTED if examined.interrupted else examined.exit_status)


class _Checklist:
    """Prints checks as they are made; on a terminal the step that is under way stands below them."""

    def __init__(self, console: RichConsole) -> None:
        self._console = console
        self._is_live = console.is_terminal and console.file.isatty() and not console.is_dumb_terminal
        self._status = RichStatus("", console=console)

    def __enter__(self) -> None:
        if self._is_live:
            self._status.start()

    def __exit__(self, *_: object) -> None:
        if self._is_live:
            with contextlib.suppress(OSError):
                self._status.stop()

    def hear(self, event: Event) -> None:
        """A step of what goes on; elsewhere than on a terminal only the checks are told."""
        if not self._is_live:
            return
        if isinstance(event, Step):
            self._status.update(Text(harmless(event.text, keep_newlines=False)))
            if isinstance(event, Asked):
                event.shown()
        elif isinstance(event, PhaseBegan):
            self._status.update(Text(event.phase.value))

    def show(self, checked: Checked) -> None:
        """One check's line, and what to do."""
        first, rest = line(checked), list(remedy_lines(checked))
        with contextlib.suppress(OSError, ValueError):  # a terminal or a pipe that went away
            if self._is_live:
                word = len(checked.result.status.value)
                text = Text(first).copy()
                text.stylize(_STYLE[checked.result.status], 0, word)
                self._console.print(text, soft_wrap=True)
                for one in rest:
                    self._console.print(Text(one), soft_wrap=True)
                return
            encoding = self._console.encoding
            for one in (first, *rest):
                self._console.file.write(one.encode(encoding, "backslashreplace").decode(encoding) + "\n")
            self._console.file.flush()
