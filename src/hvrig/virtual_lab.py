"""A lab in a box that stays: for trying hvrig and labgrid out, and for tests.

`hvrig run --place virtual-lab` starts such a lab for itself and ends it; this one several runs can use, one after the
other or at the same time, and so can labgrid-client.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import yaml

from hvrig.lab.places import load_place, settings_of, with_rack
from hvrig.model.deadline import Deadline
from hvrig.model.errors import LabError, UsageError
from hvrig.model.place import Place
from hvrig.virtual.images import default_cache, ensure_images
from hvrig.virtual.labgrid_process import START_S, LabEndpoints, VirtualLab

HEAD = "# Written by hvrig virtual-lab, which removes it at its end."
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
    tree = {"options": {"coordinator_address": lab.coordinator}, "targets": targets}
    return f"{HEAD}\n{yaml.safe_dump(tree, sort_keys=False)}"


class EnvironmentFile:
    """The file that a lab writes for its runs: its own inside `with`, and gone after it.

    The kernel's lock on it tells a lab that lives from one that was killed, whose file is taken over. Raises UsageError
    for a file that no lab has written, or that another lab uses; LabError where it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1

    def __enter__(self) -> EnvironmentFile:
        try:
            self._take()
        except OSError as error:
            raise self._unwritten(error) from error
        self.write(f"{HEAD}\n")  # if the lab is killed while it starts, the next one knows whose this is
        return self

    def write(self, text: str) -> None:
        """Put `text` there in the stead of what there was. Raises LabError."""
        try:
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, text.encode(), 0)
        except OSError as error:
            raise self._unwritten(error) from error

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            if _is_at(self._fd, self._path):
                self._path.unlink()
        os.close(self._fd)

    def _take(self) -> None:
        while True:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                self._require_free(fd)
                if _is_at(fd, self._path):
                    self._fd = fd
                    return
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)  # its lab has just ended and removed it

    def _require_free(self, fd: int) -> None:
        another = "Give another file with --environment."
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"{self._path} is that of a virtual lab that runs.", another) from None
        if os.fstat(fd).st_size and not os.pread(fd, len(HEAD), 0).startswith(HEAD.encode()):
            raise UsageError(f"{self._path} is there, and no virtual lab has written it: it is left alone.", another)

    def _unwritten(self, error: OSError) -> LabError:
        return LabError(
            f"{self._path} cannot be written: {error.strerror}.", "Run this in a folder that can be written."
        )


def _is_at(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        return False


@contextmanager
def standing_lab(
    places: Path, name: str, *, boards: int, environment: Path, log: Path, port: int = 0
) -> Iterator[StandingLab]:
    """A lab with `boards` boards like place `name`: places NAME-1, NAME-2, ...; `environment` is written for it.

    Raises UsageError for a place that has no lab and for a file that is there already (`EnvironmentFile`), LabError
    when the lab cannot be had.
    """
    place = load_place(places, name)
    if place.rack is None or not place.rack.labgrid:
        raise UsageError(
            f"Place {name} of {places} is no virtual board in a lab of its own.",
            "Choose one with rack: {labgrid: true}, such as virtual-lab.",
        )
    names = [f"{name}-{number}" for number in range(1, boards + 1)]
    with ExitStack() as stack:
        file = stack.enter_context(EnvironmentFile(environment))
        images = ensure_images(default_cache(), lambda _: None)
        images.zone0_dtb(place.rack.reserved_bytes)
        lab = stack.enter_context(
            VirtualLab(uboot=images.uboot, tftp=images.tftp, places=names, tag=TAG, port=port, log=log)
        )
        endpoints = lab.start(Deadline(START_S))
        file.write(environment_text(with_rack(place, images.folder), endpoints))
        yield StandingLab(endpoints, environment, lab)
