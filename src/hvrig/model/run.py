"""What a person asks of a run beyond the place, the same on the command line and under pytest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hvrig.model.errors import UsageError

DEFAULT_PLACE = "virtual"
DEFAULT_PLACES = Path("lab/places.yaml")
DEFAULT_ARTIFACTS = Path("artifacts")

# As a shell counts a command that SIGINT ended; git bisect stops at it instead of calling the commit bad.
EXIT_INTERRUPTED = 130

# As a shell counts a command that SIGPIPE ended.
EXIT_PIPE = 141


@dataclass(frozen=True)
class RunOptions:
    """A run's options.

    places: the labgrid environment. place: the target in it. artifacts: the folder in which the run's own folder
    is made. ladder: instead of the place's, or None. keep_on: leave the board powered at the end. wait_s: how long to
    queue for a place that somebody else has.
    stress_anyway: climb the ladder although the layout check of the running board has settled the matter.
    images: local files instead of the place's, by image name. board_rs: hvisor's board.rs instead of the place's, or
    None.
    """

    places: Path = DEFAULT_PLACES
    place: str = DEFAULT_PLACE
    artifacts: Path = DEFAULT_ARTIFACTS
    ladder: tuple[str, ...] | None = None
    keep_on: bool = False
    stress_anyway: bool = False
    wait_s: float = 0.0
    images: Mapping[str, Path] = field(default_factory=dict)
    board_rs: Path | None = None


def split_ladder(text: str | None) -> tuple[str, ...] | None:
    """The sizes in `64M,128M`; None for None. They are checked with the place's settings."""
    return tuple(part.strip() for part in text.split(",")) if text is not None else None


def split_images(texts: Iterable[str]) -> dict[str, Path]:
    """The files of `--image NAME=PATH`, each name once. Raises UsageError."""
    images: dict[str, Path] = {}
    for text in texts:
        name, equals, path = text.partition("=")
        if not (name and equals and path):
            raise UsageError(f"--image {text!r} is not NAME=PATH.", "Write --image hvisor=build/hvisor.bin.")
        if name in images:
            raise UsageError(f"--image {name} is given twice.", "Give each image one file.")
        images[name] = Path(path).expanduser()
    return images
