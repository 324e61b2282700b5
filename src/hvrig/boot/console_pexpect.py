"""pexpect over a tap of the console: the edge through which the boot room waits for text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

import pexpect
from pexpect.spawnbase import SpawnBase

from hvrig.model.deadline import Deadline
from hvrig.model.harmless import last_lines
from hvrig.model.protocols import ConsoleTap

WINDOW = 16 * 1024  # bytes in which a pattern is looked for; no pattern of the boot room is a tenth as long
READ = WINDOW // 4  # pexpect does not search what lies before the window, so a read must be smaller than it
TAIL = 16 * 1024

Key = TypeVar("Key")

if TYPE_CHECKING:
    _BytesSpawn = SpawnBase[bytes]
else:
    _BytesSpawn = SpawnBase  # generic for the type checker only


@dataclass(frozen=True)
class Seen(Generic[Key]):
    """Text that came: which pattern it matched, the match, and what came before it."""

    key: Key
    match: re.Match[bytes]
    before: bytes


class TapSpawn(_BytesSpawn):
    """A pexpect spawn that reads from and types into a ConsoleTap. In bytes: a console's noise is not UTF-8.

    `received` counts the bytes read so far. Where the tap raises (LabError, RuntimeError), so do all methods.
    """

    def __init__(self, tap: ConsoleTap) -> None:
        super().__init__(timeout=0, maxread=READ, searchwindowsize=WINDOW, encoding=None)
        # Those delays are for terminals of local processes.
        self.delaybeforesend = None
        self.delayafterread = None
        self._tap = tap
        self._unread = b""
        self._tail = b""
        self.received = 0

    def read_nonblocking(self, size: int = 1, timeout: float | None = None) -> bytes:
        """At most `size` bytes, within `timeout` seconds. Raises pexpect.TIMEOUT."""
        if not self._unread:
            self._unread = self._tap.read(Deadline(timeout or 0))
            self.received += len(self._unread)
            self._tail = (self._tail + self._unread)[-TAIL:]
        if not self._unread:
            raise pexpect.TIMEOUT("nothing came")
        block, self._unread = self._unread[:size], self._unread[size:]
        return block

    def type(self, data: bytes) -> None:
        """Type `data`, all at once."""
        self._tap.write(data)

    def await_first(self, patterns: Mapping[Key, re.Pattern[bytes]], deadline: Deadline) -> Seen[Key] | None:
        """The first of `patterns` to come, consuming all up to its end; None, consuming nothing, if none does.

        Of two that match the same text, the one that begins earlier counts, then the one named earlier.
        """
        keys = list(patterns)
        index = self.expect_list([*patterns.values(), pexpect.TIMEOUT], timeout=deadline.remaining)
        if index == len(keys):
            return None
        assert isinstance(self.match, re.Match)
        return Seen(keys[index], self.match, self.before or b"")

    def await_more(self, deadline: Deadline) -> bool:
        """Wait until more bytes are pending than now, consuming none; False when the time is up."""
        more = re.compile(rb"(?s)\A(?=.{%d})" % (len(self.pending) + 1))
        return self.await_first({"more": more}, deadline) is not None

    @property
    def pending(self) -> bytes:
        """What was read and not yet consumed by a match (the last WINDOW bytes of it)."""
        return bytes(self.buffer)

    def consume(self) -> None:
        """Take all that is pending as read."""
        self.await_first({"all": re.compile(rb"(?s)\A.*\Z")}, Deadline(0))

    def tail(self) -> str:
        """The last console lines, harmless to print."""
        return last_lines(self._tail)

    @property
    def last_bytes(self) -> bytes:
        """The last bytes that came, as they came."""
        return self._tail
