"""The options that several of hvrig's commands have, and how they all end."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, TextIO

import click

from hvrig.model.run import DEFAULT_ARTIFACTS, DEFAULT_PLACE, DEFAULT_PLACES, RunOptions, split_images

Option = Callable[[Callable[..., Any]], Callable[..., Any]]

input_file = click.Path(dir_okay=False, path_type=Path)

places_option: Option = click.option(
    "--places",
    type=input_file,
    default=DEFAULT_PLACES,
    show_default=True,
    envvar="HVRIG_PLACES",
    help="The labgrid environment that describes the places.",
)
_RUN_OPTIONS: tuple[Option, ...] = (
    click.option(
        "--place",
        default=DEFAULT_PLACE,
        show_default=True,
        envvar="HVRIG_PLACE",
        help="The place whose board it is; HVRIG_PLACE names the default.",
    ),
    places_option,
    click.option(
        "--image", "images", multiple=True, metavar="NAME=PATH", help="A local file instead of the place's image NAME."
    ),
    click.option(
        "--board-rs",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="hvisor's board.rs of the build under test: the load addresses must be its.",
    ),
    click.option(
        "--wait",
        "wait_s",
        type=click.FloatRange(min=0),
        default=0.0,
        metavar="SECONDS",
        help="How long to queue for a place that somebody else has acquired.",
    ),
    click.option(
        "--artifacts",
        type=click.Path(file_okay=False, path_type=Path),
        default=DEFAULT_ARTIFACTS,
        show_default=True,
        help="Where the folder with the evidence is made.",
    ),
)


def run_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that all have which use a place's board; it takes them as `options`, a RunOptions."""

    @functools.wraps(command)
    def with_options(*, images: tuple[str, ...], **given: Any) -> Any:
        taken = {name: given.pop(name) for name in ("place", "places", "board_rs", "wait_s", "artifacts")}
        return command(options=RunOptions(images=split_images(images), **taken), **given)

    decorated: Callable[..., Any] = with_options
    for option in reversed(_RUN_OPTIONS):
        decorated = option(decorated)
    return decorated


def end_in_order() -> None:
    """Let SIGTERM (a CI job that is cancelled) and SIGHUP (a terminal that is gone) end the command as Ctrl-C does.

    A SIGHUP that is ignored, as nohup has it, stays so.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, _interrupt)


def _interrupt(number: int, _frame: FrameType | None) -> NoReturn:
    if number == signal.SIGHUP:  # the kernel tells a terminal's programs, and so does their shell: once is enough
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    raise KeyboardInterrupt


def give_up_output(*streams: TextIO) -> None:
    """Nobody takes stdout (or `streams`) any more: what is in their buffers must not make Python fail at its exit."""
    for stream in streams or (sys.stdout,):
        with contextlib.suppress(OSError):
            stream.flush()
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@contextlib.contextmanager
def output_may_end() -> Iterator[None]:
    """A reader that goes away (`| head`), or a terminal, changes nothing of what a run came to."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        give_up_output()
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        give_up_output(sys.stdout, sys.stderr)
