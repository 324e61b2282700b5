"""The local copies of a place's images: what a run gives, patterns, and what is missing."""

from __future__ import annotations

import glob
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from hvrig.model.errors import UsageError
from hvrig.model.place import GIVEN, Image, Place

_SHOWN = 5  # of the files that a pattern matches


def with_given(place: Place, given: Mapping[str, Path]) -> Place:
    """The place with the local copies that the run itself gives (`--image NAME=PATH`), by image name.

    Raises UsageError for a name that the place has not.
    """
    unknown = [name for name in given if name not in place.images]
    if unknown:
        raise UsageError(
            f"--image: place {place.name} has no image {', '.join(unknown)}.",
            f"Its images are {', '.join(place.images)}.",
        )
    return replace(
        place,
        images={
            name: replace(image, path=given[name].absolute()) if name in given else image
            for name, image in place.images.items()
        },
    )


def find_local_files(place: Place) -> Place:
    """The place with the one file that each image's path, or pattern, stands for.

    A path with `*`, `?` or `[` that is no file itself is a pattern as the shell's, `**` included, and must match
    exactly one file: hvrig does not choose between builds. Raises UsageError that names everything that is wrong.
    """
    found: dict[str, Image] = {}
    wrong: list[str] = []
    not_given: list[str] = []
    for name, image in place.images.items():
        if str(image.path) == GIVEN:
            not_given.append(name)
            continue
        try:
            found[name] = replace(image, path=_one_file(image.path))
        except _NotOneError as error:
            wrong.append(f"images.{name}.path: {error}")
    if not place.ssh.key.is_file():
        wrong.append(f"ssh.key: {place.ssh.key} is not there")
    if not_given:
        raise UsageError(
            f"Place {place.name} has no {' and no '.join(not_given)} of its own: give each for the run.",
            " ".join(f"--image {name}=PATH" for name in not_given),
        )
    if wrong:
        raise UsageError(
            f"Local files of place {place.name} cannot be used: {'; '.join(wrong)}.",
            "Build or copy them there, mend the paths in the places file, or give a file for this run with "
            "--image NAME=PATH.",
        )
    return replace(place, images=found)


class _NotOneError(Exception):
    """The path stands for no file, or for several."""


def _one_file(path: Path) -> Path:
    text = str(path)
    if path.is_file():
        return path
    if not glob.has_magic(text):
        raise _NotOneError(f"{path} is a folder" if path.is_dir() else f"{path} is not there")
    matches = sorted(Path(match) for match in glob.glob(text, recursive=True))  # noqa: PTH207 - Path.glob takes no absolute pattern
    files = [match for match in matches if match.is_file()]
    if not files:
        raise _NotOneError(f"nothing matches {path}")
    if len(files) > 1:
        listed = ", ".join(map(str, files[:_SHOWN])) + (", ..." if len(files) > _SHOWN else "")
        raise _NotOneError(f"{path} matches {len(files)} files, and must match one: {listed}")
    return files[0]
