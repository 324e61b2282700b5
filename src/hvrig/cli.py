"""The command line: `hvrig run`, `hvrig scan`, `hvrig places`, `hvrig virtual-lab`; `hvrig layout` is in
`hvrig.layout_cli`, its `live` and `reserve`, and `hvrig doctor`, in modules of their own.

Exit status: 0 pass, 1 fail, 2 usage, 3 infra, 130 interrupted (decision 8). `scan`: 0 nothing found, 1 found, 2 usage.
"""

from __future__ import annotations

import errno
import os
import sys
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import click
from rich.console import Console as RichConsole

from hvrig import __version__
from hvrig.cli_options import (
    end_in_order,
    give_up_output,
    input_file,
    output_may_end,
    places_option,
    run_options,
)
from hvrig.doctor_cli import doctor
from hvrig.lab.places import load_place, place_names
from hvrig.layout.inputs import MapInputs, read_map
from hvrig.layout_cli import layout
from hvrig.layout_live_cli import live
from hvrig.layout_reserve_cli import reserve
from hvrig.model.errors import HvrigError, UsageError
from hvrig.model.evidence import Cause
from hvrig.model.harmless import harmless
from hvrig.model.run import EXIT_INTERRUPTED, EXIT_PIPE, RunOptions, split_ladder
from hvrig.pipeline import prepare_place, run_gate
from hvrig.report.github_job import tell_job
from hvrig.report.text import to_text
from hvrig.report.verdict_json import to_json_text
from hvrig.scan import Scan, blocks_of
from hvrig.scan_report import REPORTS
from hvrig.terminal import Terminal
from hvrig.virtual_lab import standing_lab


class _Commands(click.Group):
    """1 means something of a board, a log or a file: what click ends with 1 by itself gets a status of its own."""

    def invoke(self, ctx: click.Context) -> Any:
        """Raises SystemExit where the reader of stdout went away, or Ctrl-C came where nothing else handles it."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            give_up_output()
            sys.exit(EXIT_PIPE)
        except KeyboardInterrupt:
            click.echo("hvrig: interrupted", err=True)
            sys.exit(EXIT_INTERRUPTED)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="hvrig")
def cli() -> None:
    """Does this hypervisor keep its memory to itself? Ask the board."""


@cli.command()
@run_options
@click.option("--ladder", help="memtester's sizes instead of the place's, such as 64M,128M.")
@click.option("--keep-on", is_flag=True, help="Leave the board powered when the run is over.")
@click.option("--stress-anyway", is_flag=True, help="Run memtester even if the layout check has settled the matter.")
@click.option("--json", "as_json", is_flag=True, help="Print the verdict as JSON on stdout; progress goes to stderr.")
def run(options: RunOptions, ladder: str | None, keep_on: bool, stress_anyway: bool, as_json: bool) -> NoReturn:
    """Boot the place's board and run the memory gate on it."""
    end_in_order()
    options = replace(options, ladder=split_ladder(ladder), keep_on=keep_on, stress_anyway=stress_anyway)
    with Terminal(RichConsole(stderr=as_json)) as observer:
        result = run_gate(prepare_place(options), options, observer)
    verdict = result.verdict
    with output_may_end():
        text = to_json_text(verdict, result.started) if as_json else to_text(verdict, result.folder)
        click.echo(text, nl=not as_json)
    for line in tell_job(verdict, result.folder, os.environ):
        with output_may_end():
            click.echo(line, err=True)
    sys.exit(EXIT_INTERRUPTED if verdict.cause is Cause.INTERRUPTED else verdict.exit_status)


layout.add_command(live)
layout.add_command(reserve)
cli.add_command(layout)
cli.add_command(doctor)

_DISK_IS_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@cli.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--elf", type=input_file, help="hvisor's ELF, with symbols: where the hypervisor lies.")
@click.option("--dtb", type=input_file, help="Zone 0's device tree blob: memory, reservations, devices.")
@click.option("--board-rs", type=input_file, help="hvisor's board.rs: zone 0's regions.")
@click.option(
    "--consts-rs",
    type=input_file,
    help="hvisor's src/consts.rs, where --board-rs is not in hvisor's tree.",
)
@click.option("--place", help="A place whose settings give the hypervisor's range and the images.")
@places_option
@click.option(
    "--boots-expected",
    is_flag=True,
    help="Each boot in the logs was asked for, by a power cycle or a reset: none is an unexpected-reset.",
)
@click.option(
    "--format", "form", type=click.Choice(list(REPORTS)), default="text", show_default=True, help="How to print."
)
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
def scan(
    files: tuple[str, ...],
    elf: Path | None,
    dtb: Path | None,
    board_rs: Path | None,
    consts_rs: Path | None,
    place: str | None,
    places: Path,
    boots_expected: bool,
    form: str,
    as_json: bool,
) -> NoReturn:
    """Look for faults of hvisor and its root-linux in console logs; - is standard input, .gz is unpacked."""
    memory = read_map(
        MapInputs(
            elf=elf,
            dtb=dtb,
            board_rs=board_rs,
            consts_rs=consts_rs,
            place=load_place(places, place) if place is not None else None,
        )
    )
    for note in memory.notes:
        click.echo(f"hvrig: note: {harmless(note, keep_newlines=False)}", err=True)
    report = REPORTS["json" if as_json else form](click.echo)
    end_in_order()
    faults = 0
    status = 0
    for file in files:
        file_scan = Scan(file, memory, boots_expected=boots_expected)
        error: UsageError | None = None
        said = None
        try:
            for block in blocks_of(file):
                for scanned in file_scan.feed(block):
                    report.found(scanned)
        except UsageError as failure:
            error, said, status = failure, failure.message, 2
        except KeyboardInterrupt:
            said, status = "the scan was interrupted", EXIT_INTERRUPTED
        for scanned in file_scan.finish():
            report.found(scanned)
        summary = file_scan.summary(said)
        report.end_of_file(summary)
        faults += summary.faults
        if error is not None:
            click.echo(f"hvrig: {harmless(str(error))}", err=True)
        if status == EXIT_INTERRUPTED:
            click.echo(
                f"hvrig: interrupted in {harmless(file, keep_newlines=False)}; what is told came before.", err=True
            )
            break
    report.close()
    sys.exit(status or (1 if faults else 0))


@cli.command()
@places_option
def places(places: Path) -> None:
    """List the places, and check each."""
    wrong: list[HvrigError] = []
    for name in place_names(places):
        try:
            place = load_place(places, name)
        except UsageError as error:
            wrong.append(error)
            click.echo(f"{name}: cannot be used")
        else:
            board = "virtual board" if place.rack else "board"
            own = f"; {', '.join(place.boards)} with settings of their own" if place.boards else ""
            click.echo(f"{name}: {board}, ladder {', '.join(place.gate.ladder)}{harmless(own, keep_newlines=False)}")
    for mistake in wrong:
        click.echo(str(mistake), err=True)
    if wrong:
        sys.exit(2)


@cli.command("virtual-lab")
@click.option("--boards", type=click.IntRange(1, 8), default=1, show_default=True, help="How many virtual boards.")
@click.option("--place", default="virtual-lab", show_default=True, help="The place that the boards are like.")
@places_option
@click.option(
    "--environment",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("virtual-lab.yaml"),
    show_default=True,
    help="The labgrid environment that is written for the lab, and removed at its end.",
)
@click.option(
    "--log",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("virtual-lab.log"),
    show_default=True,
    help="What coordinator, exporter, ser2net and boards say, appended.",
)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, show_default=True, help="The coordinator's port, 0 for any."
)
def virtual_lab(boards: int, place: str, places: Path, environment: Path, log: Path, port: int) -> NoReturn:
    """Run a labgrid coordinator and an exporter with virtual boards, until Ctrl-C."""
    end_in_order()
    try:
        with standing_lab(places, place, boards=boards, environment=environment, log=log, port=port) as lab:
            for board in lab.endpoints.boards:
                click.echo(f"{board.place}: outlet http://127.0.0.1:{board.outlet_port}/outlet/1")
            click.echo("\nIn another terminal, in this folder:\n")
            click.echo(f"    export LG_COORDINATOR={lab.endpoints.coordinator} HVRIG_PLACES={environment}")
            click.echo("    labgrid-client who")
            click.echo(f"    hvrig run --place {lab.endpoints.boards[0].place}\n")
            click.echo("Ctrl-C ends the lab.")
            lab.process.wait()
    except KeyboardInterrupt:
        click.echo("the lab has ended")
    sys.exit(0)


def main() -> None:
    """The console script: hvrig's errors become a message on stderr, and every end the right exit status."""
    try:
        cli.main(prog_name="hvrig", standalone_mode=True)
    except HvrigError as error:
        click.echo(f"hvrig: {harmless(str(error))}", err=True)
        sys.exit(2 if isinstance(error, UsageError) else 3)
    except OSError as error:  # of a file's own, hvrig makes errors of its own: this is where the output goes
        if error.errno not in _DISK_IS_FULL:
            _failed(error)
        give_up_output()
        click.echo(f"hvrig: the output cannot be written: {error.strerror}.\n  Free some space there.", err=True)
        sys.exit(3)
    except Exception as error:
        _failed(error)


def _failed(error: Exception) -> NoReturn:
    """A mistake of hvrig's own."""
    click.echo(harmless("".join(traceback.format_exception(error))), err=True)
    click.echo("hvrig: this is a fault of hvrig, not of the board: report it with the lines above.", err=True)
    sys.exit(3)
