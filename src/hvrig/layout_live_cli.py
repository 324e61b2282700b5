"""`hvrig layout live`: the memory layout of a board that runs, in seconds and without memtester."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import click
from rich.console import Console as RichConsole

from hvrig.cli_options import end_in_order, run_options
from hvrig.layout_map import print_map, write_svg
from hvrig.layout_report import REPORTS, Checked
from hvrig.model.evidence import Cause
from hvrig.model.run import EXIT_INTERRUPTED, RunOptions
from hvrig.pipeline import look_at_layout, prepare_place
from hvrig.report.text import to_text as verdict_to_text
from hvrig.terminal import Terminal


@click.command()
@run_options
@click.option("--svg", type=click.Path(dir_okay=False, path_type=Path), help="Draw the memory map into this SVG file.")
@click.option(
    "--format", "form", type=click.Choice(list(REPORTS)), default="text", show_default=True, help="How to print."
)
@click.option("--keep-on", is_flag=True, help="Leave the board powered.")
def live(options: RunOptions, svg: Path | None, form: str, keep_on: bool) -> NoReturn:
    """Boot the place's board, and check the memory layout of what really runs.

    Asks the running kernel (/proc/iomem), its device tree (/sys/firmware/fdt), and what the hypervisor printed of
    itself. Progress goes to stderr.

    Exit status: 0 all checked and clean, 1 findings, or a board that did not come up by its own fault, 2 usage,
    3 infra, 4 clean but incomplete, 130 interrupted.
    """
    end_in_order()
    options = replace(options, keep_on=keep_on)
    with Terminal(RichConsole(stderr=True)) as observer:
        result = look_at_layout(prepare_place(options), options, observer)
    if result.report is not None:
        if form == "text":
            print_map(result.report, RichConsole())
        click.echo(REPORTS[form](Checked((result.report,))), nl=False)
        if svg is not None:
            write_svg(result.report, svg)
    if result.failed is None:
        assert result.report is not None
        sys.exit(result.report.exit_status)
    verdict = result.failed.verdict
    click.echo(verdict_to_text(verdict, result.folder), err=form != "text")
    sys.exit(EXIT_INTERRUPTED if verdict.cause is Cause.INTERRUPTED else verdict.exit_status)
