"""A UART behind a USB serial adapter, played by a pseudo-terminal: it can be pulled out and put back.

As with an adapter, what comes while nobody has the device open is lost, and whoever has it open when it is pulled
out gets a hang-up.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import termios
import tty
from pathlib import Path

BACKLOG = 1 << 20  # bytes kept for a reader that is slow, beside the kernel's own few KiB
BLOCK = 64 << 10


class UartPty:
    """The adapter's device node at `link`, a symbolic link to the pseudo-terminal; removed while it is pulled out.

    `link` must lie under /dev, where labgrid's exporter wants serial ports; /dev/shm is writable for everybody.
    """

    def __init__(self, link: Path) -> None:
        self.link = link
        self.backlog = bytearray()
        self._master: int | None = None

    @property
    def plugged(self) -> bool:
        """Whether the device node is there."""
        return self._master is not None

    def fileno(self) -> int:
        """The side that the board is on. Raises ValueError when the adapter is pulled out."""
        if self._master is None:
            raise ValueError("the adapter is pulled out")
        return self._master

    def plug(self) -> None:
        """Make the device node; nothing if it is there."""
        if self._master is not None:
            return
        self._master, device = os.openpty()
        os.set_blocking(self._master, False)
        tty.setraw(device)
        name = os.ttyname(device)
        os.close(device)
        fresh = self.link.with_name(self.link.name + ".new")
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(name)
        fresh.replace(self.link)

    def unplug(self) -> None:
        """Take the device node away and hang up on whoever has it open; nothing if it is not there."""
        if self._master is None:
            return
        self.link.unlink(missing_ok=True)
        os.close(self._master)
        self._master = None
        self.backlog.clear()

    @property
    def is_open(self) -> bool:
        """Whether anybody has the device open."""
        if self._master is None:
            return False
        poll = select.poll()
        poll.register(self._master, 0)
        return not any(events & select.POLLHUP for _, events in poll.poll(0))

    def give(self, block: bytes) -> int:
        """Pass on what the board sent; how many bytes a slow reader loses. Nobody there: nothing is kept."""
        if not self.is_open:
            return 0
        sent = 0 if self.backlog else self._write(block)
        kept = min(len(block) - sent, BACKLOG - len(self.backlog))
        self.backlog += block[sent : sent + kept]
        return len(block) - sent - kept

    def flush(self) -> None:
        """Pass on what the reader takes now of what was kept."""
        del self.backlog[: self._write(self.backlog[:BLOCK])]

    def receive(self) -> bytes | None:
        """What was typed; None when nothing was, or nobody has the device open any more (`is_open`)."""
        try:
            return os.read(self.fileno(), BLOCK) or None
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno == errno.EIO:
                return None
            raise

    def closed(self) -> None:
        """Forget what the last reader left unread: the next one must not get old bytes."""
        self.backlog.clear()
        with contextlib.suppress(OSError):
            device = os.open(self.link, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
            try:
                termios.tcflush(device, termios.TCIOFLUSH)
            finally:
                os.close(device)

    def _write(self, block: bytes | bytearray) -> int:
        try:
            return os.write(self.fileno(), block)
        except BlockingIOError:
            return 0
        except OSError as error:
            if error.errno == errno.EIO:
                return len(block)  # nobody there any more: lost, as it would be
            raise
