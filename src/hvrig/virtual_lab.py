"""A lab in a box that stays: for trying hvrig and labgrid out, and for tests.

`hvrig run --place virtual-lab` starts such a lab for itself and ends it; this one several runs can use, one after the
other or at the same time, and so can labgrid-client.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from hvrig.lab.places import load_place, settings_of, with_rack
from hvrig.model.deadline import Deadline
from hvrig.model.errors import LabError, UsageError
from hvrig.model.place import Place
from hvrig.virtual.images import default_cache, ensure_images
from hvrig.virtual.labgrid_process import START_S, LabEndpoints, VirtualLab

TAG = "virtual"
ANY = "any"  # the target whose RemotePlace is `+`


@dataclass(frozen=True)
class StandingLab:
    """A lab that runs: where it is, and the labgrid environment with its places."""

    endpoints: LabEndpoints
    environment: Path
    process: VirtualLab


def environment_text(place: Place, lab: LabEndpoints) -> str:
    """A labgrid environment for the lab: one target a board, and `any` for whichever is free.

    Each has the settings of `place`, whose paths must be known already.
    """
    settings = settings_of(place)
    drivers: list[dict[str, dict[str, str]]] = [{"NetworkPowerDriver": {}}]
    targets = {
        board.place: {
            "resources": [{"RemotePlace": {"name": board.place}}],
            "drivers": drivers,
            "options": {"hvrig": settings},
        }
        for board in lab.boards
    }
    targets[ANY] = {
        "resources": [{"RemotePlace": {"name": "+"}}],
        "drivers": drivers,
        "options": {"hvrig": {**settings, "lab": {"tags": {"board": TAG}}}},
    }
    return yaml.safe_dump({"options": {"coordinator_address": lab.coordinator}, "targets": targets}, sort_keys=False)


@contextmanager
def standing_lab(
    places: Path, name: str, *, boards: int, environment: Path, log: Path, port: int = 0
) -> Iterator[StandingLab]:
    """A lab with `boards` boards like place `name`: places NAME-1, NAME-2, ...; `environment` is written for it.

    Raises UsageError for a place that has no lab, LabError when the lab cannot be had.
    """
    place = load_place(places, name)
    if place.rack is None or not place.rack.labgrid:
        raise UsageError(
            f"Place {name} of {places} is no virtual board in a lab of its own.",
            "Choose one with rack: {labgrid: true}, such as virtual-lab.",
        )
    images = ensure_images(default_cache(), lambda _: None)
    images.zone0_dtb(place.rack.reserved_bytes)
    names = [f"{name}-{number}" for number in range(1, boards + 1)]
    with ExitStack() as stack:
        lab = stack.enter_context(
            VirtualLab(uboot=images.uboot, tftp=images.tftp, places=names, tag=TAG, port=port, log=log)
        )
        endpoints = lab.start(Deadline(START_S))
        stack.callback(environment.unlink, missing_ok=True)
        try:
            environment.write_text(environment_text(with_rack(place, images.folder), endpoints), encoding="utf-8")
        except OSError as error:
            raise LabError(
                f"{environment} cannot be written: {error.strerror}.", "Run this in a folder that can be written."
            ) from error
        yield StandingLab(endpoints, environment, lab)
