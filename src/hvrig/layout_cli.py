"""`hvrig layout`: is the hypervisor's memory its own? Settled from files, before power-on.

Exit status of `check`: 0 all checked and clean, 1 findings, 2 usage or unreadable input, 4 clean but incomplete.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

import click
from rich.console import Console

from hvrig.cli_options import places_option
from hvrig.lab.places import load_place
from hvrig.layout.hvisor_tree import boards_of, chosen_board, files_of
from hvrig.layout.inputs import Known, MapInputs, read_inputs
from hvrig.layout.rules import check as check_rules
from hvrig.layout_map import print_map, write_svg
from hvrig.layout_report import REPORTS, Checked, Unreadable
from hvrig.layout_sarif import to_sarif
from hvrig.model.errors import UsageError
from hvrig.model.harmless import harmless
from hvrig.model.layout import LayoutReport
from hvrig.model.memory import Range
from hvrig.model.memory_map import MemoryMap
from hvrig.model.place import Place
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
    if not 0 < found.size <= found.end < 1 << 64:
        raise click.BadParameter(f"{value!r} is not a range of addresses, such as 0x500000-0x4ae6000.")
    return found


_TREE_REMEDY = "Give the folder of hvisor's sources (--hvisor-tree)."
_INCOMPLETE = 4
# Of the options' values, those that MapInputs takes as they are; and those that can be of one board only.
_FILES = (
    "elf",
    "uimage",
    "linker_ld",
    "dtb",
    "dts",
    "includes",
    "board_rs",
    "consts_rs",
    "zone_json",
    "hypervisor",
    "all_zones",
)
_ONE_BOARDS = ("elf", "uimage", "linker_ld", "dtb", "dts", "board_rs", "zone_json", "hypervisor", "place")

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
    places_option,
    click.option(
        "--range",
        "hypervisor",
        metavar="START-END",
        callback=_address_range,
        help="All that the hypervisor occupies, where only the numbers are known; the end is exclusive.",
    ),
    click.option("--all-zones", is_flag=True, help="The inputs have every zone that runs on the board."),
    click.option(
        "--hvisor-tree",
        type=_folder,
        help="hvisor's sources: board.rs, consts.rs, linker.ld, zone 0's tree and the zones' JSON are found in it.",
    ),
    click.option("--board", metavar="ARCH/NAME", help="A board of --hvisor-tree, such as aarch64/rk3588; else all."),
)


@dataclass(frozen=True)
class NamedInputs:
    """The inputs of one board, under the name that reports give it. notes: how they were found."""

    name: str
    inputs: MapInputs
    notes: tuple[str, ...] = ()


def input_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that name the inputs; `known_from` and `inputs_of_board` take their values."""
    for option in reversed(_INPUT_OPTIONS):
        command = option(command)
    return command


def map_inputs(place: str | None, places: Path, **files: Any) -> MapInputs:
    """The inputs that the options name. Raises UsageError where none is given, or the place is not usable."""
    if files["dtb"] is not None and files["dts"] is not None:
        raise UsageError("--dtb and --dts both give zone 0's device tree.", "Give one of the two.")
    if place is None and not any(value for name, value in files.items() if name not in ("includes", "all_zones")):
        raise UsageError(
            "hvrig layout: nothing to look at was given.",
            "Give --hvisor-tree, or some of --elf, --uimage, --linker-ld, --range, --dtb, --dts, --board-rs, "
            "--consts-rs, --zone-json, --place; --help describes them.",
        )
    return MapInputs(place=_loaded(place, places) if place is not None else None, **files)


def boards_from(hvisor_tree: Path | None, board: str | None, **options: Any) -> tuple[str, ...]:
    """The boards of --hvisor-tree that are meant; empty without one. Raises UsageError."""
    if hvisor_tree is None:
        if board is not None:
            raise UsageError(f"--board {board} chooses from hvisor's sources, and these are not given.", _TREE_REMEDY)
        return ()
    if board is not None:
        return (chosen_board(hvisor_tree, board),)
    one_boards = [name for name in _ONE_BOARDS if options[name] not in (None, ())]
    if one_boards:
        given = ", ".join(f"--{'range' if name == 'hypervisor' else name.replace('_', '-')}" for name in one_boards)
        raise UsageError(f"{given} and --hvisor-tree: of which board is it?", "Choose the board with --board.")
    return boards_of(hvisor_tree)


def inputs_of_board(name: str, hvisor_tree: Path, options: Mapping[str, Any]) -> tuple[NamedInputs, ...]:
    """A board's inputs, once for each of zone 0's trees. Raises UsageError.

    What the options name besides takes the place of what is found.
    """
    given = {key: value for key, value in options.items() if key in _FILES and value not in (None, (), False)}
    if "dtb" in given or "dts" in given:
        given = {"dts": None, "dtb": None, **given}
    place, places = options["place"], options["places"]
    if place is not None:
        given["place"] = _loaded(place, places)
    found = files_of(hvisor_tree, name)
    if "dts" in given:  # one tree was named: those that were found do not count
        found = found[:1]
    return tuple(
        NamedInputs(name if "dts" in given else one.title, replace(one.inputs, **given), one.notes) for one in found
    )


def named_inputs(**options: Any) -> tuple[NamedInputs, ...]:
    """The inputs of one board, by all options. Raises UsageError, also where they mean several boards."""
    boards = boards_from(**options)
    if len(boards) > 1:
        raise UsageError(f"--hvisor-tree has {len(boards)} boards.", f"Choose one with --board: {', '.join(boards)}.")
    if boards:
        return inputs_of_board(boards[0], options["hvisor_tree"], options)
    files = {name: value for name, value in options.items() if name in (*_FILES, "place", "places")}
    return (NamedInputs(board_name(**options), map_inputs(**files)),)


def known_from(**options: Any) -> Known:
    """The memory map and the board's facts from the values of `input_options`, of one board. Raises UsageError."""
    one = named_inputs(**options)[0]
    known = read_inputs(one.inputs)
    return replace(known, memory=known.memory + MemoryMap((), one.notes))


def board_name(place: str | None, board_rs: Path | None, **_: Any) -> str:
    """What the report calls the board: the place, or the folder of its board.rs."""
    if place is not None:
        return place
    if board_rs is not None:
        return board_rs.absolute().parent.name or "the board"
    return "the board"


def _loaded(place: str, places: Path) -> Place:
    """The place with its virtual board's files, if it is one, which are made where they are not there yet."""
    return with_images(load_place(places, place), lambda text: click.echo(f"hvrig: {text}", err=True))


@click.group()
def layout() -> None:
    """Is the hypervisor's memory its own? Ask the files it is built and booted from."""


@layout.command()
@input_options
@click.option("--svg", type=_file, help="Draw the memory map into this SVG file.")
@click.option(
    "--format",
    "form",
    type=click.Choice([*REPORTS, "sarif"]),
    default="text",
    show_default=True,
    help="How to print.",
)
@click.option("--allow-incomplete", is_flag=True, help="Exit with 0 where nothing was found but not all was checked.")
def check(svg: Path | None, form: str, allow_incomplete: bool, **options: Any) -> NoReturn:
    """Check every rule of the memory layout that the given files allow.

    Exit status: 0 all checked and clean, 1 findings, 2 usage or unreadable input, 4 clean but incomplete.
    """
    checked = _checked(options)
    for failed in checked.unreadable:
        click.echo(f"hvrig: {harmless(str(failed.error))}", err=True)
    single = len(checked.reports) == 1 and not checked.unreadable
    if svg is not None and not single:
        raise UsageError("--svg draws one memory map.", "Choose a board with --board, or one tree with --dts.")
    if single and form == "text":
        print_map(checked.reports[0], Console())
    text = to_sarif(checked, Path.cwd()) if form == "sarif" else REPORTS[form](checked)
    click.echo(text, nl=False)
    if svg is not None:
        write_svg(checked.reports[0], svg)
    status = checked.exit_status
    sys.exit(0 if status == _INCOMPLETE and allow_incomplete else status)


def _checked(options: Mapping[str, Any]) -> Checked:
    """Every board that is meant; one that cannot be read does not cost the others. Raises UsageError for usage."""
    boards = boards_from(**options)
    if not boards:
        return _reports(named_inputs(**options))
    reports: list[LayoutReport] = []
    unreadable: list[Unreadable] = []
    for name in boards:
        try:
            part = _reports(inputs_of_board(name, options["hvisor_tree"], options))
        except UsageError as error:
            unreadable.append(Unreadable(name, error))
        else:
            reports += part.reports
            unreadable += part.unreadable
    return Checked(tuple(reports), tuple(unreadable))


def _reports(board: tuple[NamedInputs, ...]) -> Checked:
    """One board: a report for each of zone 0's trees. A finding that is the same with another tree is told once."""
    reports: list[LayoutReport] = []
    unreadable: list[Unreadable] = []
    for one in board:
        try:
            known = read_inputs(one.inputs)
        except UsageError as error:
            unreadable.append(Unreadable(one.name, error))
            continue
        report = check_rules(one.name, known.memory + MemoryMap((), one.notes), known.facts)
        told = {finding for earlier in reports for finding in earlier.findings}
        reports.append(replace(report, findings=tuple(f for f in report.findings if f not in told)))
    return Checked(tuple(reports), tuple(unreadable))
