"""`hvrig layout reserve`: the reservation to write, how it is computed, and, with --write, the writing of it."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from hvrig.layout.addresses import minus
from hvrig.layout.board_facts import BINARY_ALLOWANCE
from hvrig.layout.dts_edit import Edited, put_reservation, reservation_lines
from hvrig.layout.inputs import Known, MapInputs, read_bounded, read_inputs
from hvrig.layout.reservation import GRID, Reservation
from hvrig.layout.rule_parts import HYPERVISOR_REMEDY
from hvrig.layout.rules import check
from hvrig.layout.zone_memory import seen_at
from hvrig.layout_cli import input_options, named_inputs
from hvrig.model.errors import UsageError
from hvrig.model.harmless import harmless
from hvrig.model.layout import LayoutReport, Rule
from hvrig.model.memory import Range
from hvrig.model.memory_map import Region, Use
from hvrig.model.size import format_size

_SOURCE_BYTES = 16 << 20
_DTC = "dtc"
_NOTHING_CHANGED = "Nothing was changed. Paste the node by hand: something else in the sources has a say in it."


@click.command()
@input_options
@click.option(
    "--write",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE.dts",
    help="Put the node into this device tree source; the rest of it stays as it is, byte for byte.",
)
def reserve(write: Path | None, **options: Any) -> None:
    """Print the reserved-memory node that keeps the hypervisor's memory to itself, and how it is computed.

    With --write, which needs no other device tree, a reservation with the hypervisor's name is changed to fit, or one
    is added; what that comes to is checked before the file is replaced.

    Exit status: 0 printed, or written and checked; 2 usage, unreadable input, or a file that is not changed because
    that would be guessing.
    """
    if write is not None:
        options |= {"dtb": None, "dts": write if shutil.which(_DTC) else None}
    inputs = named_inputs(**options)[0].inputs
    known = read_inputs(inputs)
    for note in known.memory.notes:
        click.echo(f"note: {harmless(note, keep_newlines=False)}", err=True)
    reservation = _reservation(known)
    for line in arithmetic(known, reservation):
        click.echo(harmless(line, keep_newlines=False))
    click.echo()
    for line in reservation_lines(reservation, "\t"):
        click.echo(line.expandtabs(4))
    if write is not None:
        click.echo()
        click.echo(harmless(_write(write, inputs, known, reservation), keep_newlines=False))


def _reservation(known: Known) -> Reservation:
    hypervisor = _hypervisor(known).range
    seen = seen_at(known.memory, 0, hypervisor)
    if len(seen) != 1:
        raise UsageError(
            "Zone 0 sees the hypervisor's memory in several places: one reservation cannot keep it.",
            "Split zone 0's regions around the hypervisor first: hvrig layout check prints how.",
        )
    return known.facts.reservation(known.facts.reserved(seen[0]))


def _hypervisor(known: Known) -> Region:
    found = known.memory.hypervisor
    if found is None:
        raise UsageError(
            "hvrig layout reserve: the hypervisor's range is not known.",
            HYPERVISOR_REMEDY,
        )
    return found


def arithmetic(known: Known, reservation: Reservation) -> list[str]:
    """How the reservation comes about, a line a step."""
    hypervisor = _hypervisor(known)
    whole, kept = hypervisor.range, reservation.range
    parts = [p for p in known.memory.of(Use.HYPERVISOR_PART) if p.source == hypervisor.source]
    rows = [("the hypervisor begins at", whole.start, hypervisor.source)]
    rows += [(f"{part.name}, {format_size(part.range.size)}, to", part.range.end, "") for part in parts]
    if not parts or parts[-1].range.end != whole.end:
        at_least = "" if known.facts.hypervisor_exact else " at the earliest"
        rows.append((f"it ends{at_least} at", whole.end, hypervisor.source))
    needed = whole.end - whole.start
    if not known.facts.hypervisor_exact:
        rows.append(
            (f"allowed for its static binary, {format_size(BINARY_ALLOWANCE)}", whole.end + BINARY_ALLOWANCE, "")
        )
        needed += BINARY_ALLOWANCE
    width = max(len(name) for name, _, _ in rows)
    lines = [f"{name:<{width}}  {address:#12x}  {source}".rstrip() for name, address, source in rows]
    if kept.start != whole.start and len(lines) == 1:
        lines.append(f"zone 0 sees it at {kept.start:#x}")
    blocks = kept.size // GRID
    lines.append(f"size {needed:#x}, up to whole blocks of 2 MiB: {blocks} x {GRID:#x} = {kept.size:#x}")
    lines.append(f"to reserve: {kept}, {format_size(kept.size)}")
    return lines


def _write(path: Path, inputs: MapInputs, known: Known, reservation: Reservation) -> str:
    """Change the file, unless that is not needed. Raises UsageError, and leaves it as it was, where it cannot be."""
    data = read_bounded(path, _SOURCE_BYTES)
    text = data.decode("latin-1")  # byte for byte, whatever its encoding
    if inputs.dts is None:
        edited = put_reservation(text, str(path), reservation, in_tree=False)
        _replace(path, edited.text.encode("latin-1"))
        return f"{path}: {edited.what}. It was not checked: dtc is not installed (Debian package device-tree-compiler)."
    before = check(str(path), known.memory, known.facts)
    if Rule.UNRESERVED in before.checked and not _open(before):
        return f"{path}: the hypervisor's memory is reserved already; nothing was changed."
    if known.facts.reserved_memory_fault:
        raise UsageError(
            f"{path}: Linux ignores this tree's /reserved-memory: {known.facts.reserved_memory_fault}.",
            "Mend that first, then write the reservation.",
        )
    edited = put_reservation(text, str(path), reservation, in_tree=known.facts.has_reserved_memory)
    _refuse_overlaps(path, known, reservation, edited)
    _verify(path, edited, inputs, known)
    _replace(path, edited.text.encode("latin-1"))
    return f"{path}: {edited.what}; compiled and checked: the hypervisor's memory is reserved."


def _open(report: LayoutReport) -> bool:
    return any(finding.rule in (Rule.UNRESERVED, Rule.WRONG_RESERVATION) for finding in report.findings)


def _reservations(known: Known, without: str = "") -> list[tuple[str, Range]]:
    """Zone 0's reservations by name and range, without the hypervisor's own."""
    found = known.memory.of(Use.RESERVED, Use.REUSABLE, zone=0)
    named = [(region.name.partition(" (")[0], region.range) for region in found]
    return [(name, stretch) for name, stretch in named if name != without]


def _refuse_overlaps(path: Path, known: Known, reservation: Reservation, edited: Edited) -> None:
    """Of two reservations that overlap, Linux may refuse the one with no-map (mm/memblock, drivers/of/fdt.c)."""
    over = [
        f"{name} {stretch}"
        for name, stretch in _reservations(known, edited.replaced)
        if stretch.overlap(reservation.range)
    ]
    if over:
        raise UsageError(
            f"{path}: {', '.join(over)} would overlap the reservation {reservation.range}.",
            "Of two that overlap Linux may take only one: move or remove the other first.",
        )


def _verify(path: Path, edited: Edited, inputs: MapInputs, before: Known) -> None:
    """Compile the new source beside the old one, and compare. Raises UsageError where it is not what was meant."""
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=".dts", dir=path.parent)
    trial = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(edited.text.encode("latin-1"))
        after = read_inputs(replace(inputs, dts=trial))
    except UsageError as error:
        said = error.message.replace(str(trial), str(path))
        raise UsageError(f"With the reservation written: {said}", _NOTHING_CHANGED) from error
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        trial.unlink(missing_ok=True)
    report = check(str(path), after.memory, after.facts)
    kept = [r for name, r in _reservations(before, edited.replaced)]
    lost = minus(kept, [r for _, r in _reservations(after)])
    banks = [[r.range for r in one.memory.of(Use.TREE_MEMORY, zone=0)] for one in (before, after)]
    if _open(report) or after.facts.reserved_memory_fault or lost or banks[0] != banks[1]:
        why = report.findings[0].what if report.findings else after.facts.reserved_memory_fault or "other nodes changed"
        raise UsageError(
            f"{path}: with the reservation written, the tree is still not right: {why}",
            _NOTHING_CHANGED,
        )


def _replace(path: Path, data: bytes) -> None:
    """Put `data` in the file's place, all or nothing, with its rights; a link stays one."""
    target = path.resolve()
    try:
        handle, name = tempfile.mkstemp(prefix=f".{target.name}-", dir=target.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            shutil.copymode(target, name)
            Path(name).replace(target)
        except OSError:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> UsageError:
    return UsageError(f"{path} cannot be written: {error.strerror or error}.", "Check the folder's rights and space.")
