"""A person at the terminal, who does by hand what no machine here can do.

The terminal itself, /dev/tty, is asked and not stdin, which pytest captures and a CI service closes.
"""

from __future__ import annotations

import os
import select
import termios
from collections.abc import Callable
from contextlib import suppress

from hvrig.model.deadline import Deadline
from hvrig.model.errors import LabError

TERMINAL = "/dev/tty"


def ask_person(request: str, deadline: Deadline, tell: Callable[[str], bool], terminal: str = TERMINAL) -> None:
    """Return when the person has pressed Enter. `tell` shows the request where progress is shown, and says whether
    that is a terminal; the request is written to `terminal` otherwise.

    Raises LabError when there is no terminal, hvrig runs in the background, or nobody answers in time.
    """
    try:
        fd = os.open(terminal, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError as error:
        raise LabError(
            f"Somebody must do this by hand, and there is no terminal to ask at: {request}.",
            "Run hvrig in a terminal, or give the place power that hvrig can switch (docs/lab-setup.md).",
        ) from error
    try:
        if os.tcgetpgrp(fd) != os.getpgrp():
            raise LabError(
                f"Somebody must do this by hand, and hvrig runs in the background: {request}.",
                "Run it in the foreground.",
            )
        before = termios.tcgetattr(fd)
        quiet = termios.tcgetattr(fd)
        quiet[3] &= ~termios.ECHO  # the answer must not disturb the progress that is shown
        termios.tcsetattr(fd, termios.TCSAFLUSH, quiet)  # what was typed before is no answer
        try:
            text = f"{request}, then press Enter (within {deadline.seconds:.0f} s)"
            if not tell(text):
                with suppress(BlockingIOError):  # stopped by Ctrl-S
                    os.write(fd, f"\r\n{text}\r\n".encode())
            while True:
                ready, _, _ = select.select([fd], [], [], deadline.remaining)
                if not ready:
                    raise LabError(
                        f"Nobody answered within {deadline.seconds:.0f} s: {request}.",
                        "Run again with somebody at the terminal, or raise the place's deadlines.person_s.",
                    )
                if b"\n" in (said := os.read(fd, 4096)):
                    return
                if not said:
                    raise LabError(f"The terminal was closed before anybody answered: {request}.", "Run again.")
        finally:
            termios.tcsetattr(fd, termios.TCSANOW, before)
    finally:
        os.close(fd)
