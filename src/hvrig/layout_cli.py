"""`hvrig layout`: is the hypervisor's memory its own? Settled from files, before power-on.

Exit status of `check`: 0 all checked and clean, 1 findings, 2 usage or unreadable input, 4 clean but incomplete.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import click
from rich.console import Console

from hvrig.lab.places import load_place
from hvrig.layout.inputs import Known, MapInputs, read_inputs
from hvrig.layout.rules import check as check_rules
from hvrig.layout_map import print_map, write_svg
from hvrig.layout_report import to_text
from hvrig.model.errors import UsageError
from hvrig.model.memory import Range
from hvrig.model.run import DEFAULT_PLACES
from hvrig.pipeline import with_images

_file = click.Path(dir_okay=False, path_type=Path)
_folder = click.Path(file_okay=False, path_type=Path)


def _address_range(_context: click.Context, _option: click.Parameter, value: str | None) -> Range | None:
    """`START-END`: two numbers as Python and Rust write them, hexadecimal with 0x, underscores allowed."""
    if value is None:
        return None
    start, _, end = value.partition("-")
    try:
        found = Range(int(start, 0), int(end, 0))
    except ValueError:
        found = Range(0, 0)
    if not 0 < found.size <= found.end <= 1 << 64:
        raise click.BadParameter(f"{value!r} is not a range of addresses, such as 0x500000-0x4ae6000.")
    return found


_INPUT_OPTIONS: tuple[Callable[[Callable[..., Any]], Callable[..., Any]], ...] = (
    click.option("--elf", type=_file, help="hvisor's ELF, with symbols: where the hypervisor lies."),
    click.option("--uimage", type=_file, help="hvisor.bin, a uImage: where the hypervisor begins."),
    click.option("--linker-ld", type=_file, help="hvisor's linker script: where the hypervisor begins."),
    click.option("--dtb", type=_file, help="Zone 0's device tree blob: memory, reservations, devices."),
    click.option("--dts", type=_file, help="The same as its source; dtc compiles it."),
    click.option(
        "--include",
        "-I",
        "includes",
        type=_folder,
        multiple=True,
        help="A folder to look for what --dts includes; several may be given.",
    ),
    click.option("--board-rs", type=_file, help="hvisor's board.rs: zone 0's regions."),
    click.option("--consts-rs", type=_file, help="hvisor's src/consts.rs, where --board-rs is not in hvisor's tree."),
    click.option(
        "--zone-json",
        type=_file,
        multiple=True,
        help="Another zone's configuration; several may be given, those for the same zone are alternatives.",
    ),
    click.option("--place", help="A place whose settings give the hypervisor's range and the images."),
    click.option(
        "--places",
        type=_file,
        default=DEFAULT_PLACES,
        show_default=True,
        envvar="HVRIG_PLACES",
        help="The labgrid environment that describes the places.",
    ),
    click.option(
        "--range",
        "hypervisor",
        metavar="START-END",
        callback=_address_range,
        help="All that the hypervisor occupies, where only the numbers are known; the end is exclusive.",
    ),
    click.option("--all-zones", is_flag=True, help="The inputs have every zone that runs on the board."),
)


def input_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that name the inputs; `known_from` takes their values by keyword."""
    for option in reversed(_INPUT_OPTIONS):
        command = option(command)
    return command


def map_inputs(place: str | None, places: Path, **files: Any) -> MapInputs:
    """The inputs that the options name. Raises UsageError where none is given, or the place is not usable."""
    if files["dtb"] is not None and files["dts"] is not None:
        raise UsageError("--dtb and --dts both give zone 0's device tree.", "Give one of the two.")
    if place is None and not any(value for value in files.values()):
        raise UsageError(
            "hvrig layout: nothing to look at was given.",
            "Give some of --elf, --uimage, --linker-ld, --range, --dtb, --dts, --board-rs, --consts-rs, --zone-json, "
            "--place; --help describes them.",
        )
    found = None if place is None else with_images(load_place(places, place), lambda text: click.echo(text, err=True))
    return MapInputs(place=found, **files)


def known_from(**options: Any) -> Known:
    """The memory map and the board's facts from the values of `input_options`. Raises UsageError."""
    return read_inputs(map_inputs(**options))


@click.group()
def layout() -> None:
    """Is the hypervisor's memory its own? Ask the files it is built and booted from."""


@layout.command()
@input_options
@click.option("--svg", type=_file, help="Draw the memory map into this SVG file.")
def check(svg: Path | None, **options: Any) -> NoReturn:
    """Check every rule of the memory layout that the given files allow.

    Exit status: 0 all checked and clean, 1 findings, 2 usage or unreadable input, 4 clean but incomplete.
    """
    known = known_from(**options)
    report = check_rules(board_name(**options), known.memory, known.facts)
    print_map(report, Console())
    click.echo(to_text(report), nl=False)
    if svg is not None:
        write_svg(report, svg)
    sys.exit(report.exit_status)


def board_name(place: str | None, board_rs: Path | None, **_: Any) -> str:
    """What the report calls the board: the place, or the folder of its board.rs."""
    if place is not None:
        return place
    if board_rs is not None:
        return board_rs.parent.name or "the board"
    return "the board"
