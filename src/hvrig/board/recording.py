"""The UART on disk: every byte in `uart.log`, and when it came in `uart.times`.

`uart.log` holds byte for byte what the board sent. `uart.times` is text; its first line gives the wall-clock time
of a monotonic instant, then each line is one of

    T OFFSET LENGTH          LENGTH bytes of uart.log, from OFFSET on, were read at T
    T OFFSET WORD REMARK     something happened between bytes: `open`, `gap`, `reconnected`, `closed`

with T in seconds of the monotonic clock.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

from hvrig.model.deadline import Clock
from hvrig.model.errors import LabError
from hvrig.model.harmless import harmless

HELD = 16 * 1024 * 1024  # bytes kept in memory, for each file, once the disk takes no more


class AppendedFile:
    """A file that is only appended to, and that keeps in memory what the disk does not take.

    Once a write has failed, all that follows is held (up to HELD bytes) and written at `close`, if it goes again:
    so the file is a prefix of what was to be written, whatever happens. `error` keeps the first failure.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.error: LabError | None = None
        self._held = bytearray()
        self._lost = 0
        try:
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
            size = os.fstat(self._fd).st_size
        except OSError as error:
            raise LabError(
                f"The UART cannot be recorded in {path}: {error.strerror}.", "Give a folder that can be written."
            ) from error
        if size:
            os.close(self._fd)
            raise LabError(f"{path} holds a recording already.", "Give each run a folder of its own.")

    def write(self, data: bytes) -> None:
        """Append `data`; does not raise."""
        if self.error is not None:
            self._hold(data)
            return
        left = memoryview(data)
        try:
            while left:
                left = left[os.write(self._fd, left) :]
        except OSError as error:
            self._hold(left)
            self.error = LabError(
                f"The UART can no longer be recorded in {self.path}: {error.strerror}.",
                "Make room on that disk, or record elsewhere (--artifacts). The board was watched to the end.",
            )

    def _hold(self, data: bytes | memoryview) -> None:
        if self._lost or len(self._held) + len(data) > HELD:
            self._lost += len(data)
        else:
            self._held += data

    def close(self) -> None:
        """Write what was held, if the disk takes it now, and make it durable; does not raise."""
        try:
            left = memoryview(self._held)
            while left:
                left = left[os.write(self._fd, left) :]
            os.fsync(self._fd)
        except OSError as error:
            if self.error is None:
                self.error = LabError(
                    f"{self.path} may be incomplete: {error.strerror}.", "Look at that disk's health."
                )
        finally:
            os.close(self._fd)


class Recording:
    """Both files of one session. `block` and `note` do not raise: a disk must not end the watch."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LabError(
                f"The folder {folder} cannot be made: {error.strerror}.", "Give a folder that can be written."
            ) from error
        self.offset = 0
        self._clock = clock
        self._log = AppendedFile(folder / "uart.log")
        try:
            self._times = AppendedFile(folder / "uart.times")
        except LabError:
            self._log.close()
            raise
        now = datetime.now(UTC).isoformat(timespec="microseconds")
        self._line(f"# T OFFSET LENGTH; T={clock():.6f} was {now}")

    @property
    def error(self) -> LabError | None:
        """The first write that failed, None as long as all is well."""
        return self._log.error or self._times.error

    def block(self, data: bytes, t: float) -> None:
        """Record bytes that were read at `t`."""
        self._log.write(data)
        self._line(f"{t:.6f} {self.offset} {len(data)}")
        self.offset += len(data)

    def note(self, word: str, remark: str, t: float) -> None:
        """Record something that happened between bytes."""
        self._line(f"{t:.6f} {self.offset} {word} {harmless(remark, keep_newlines=False)}".rstrip())

    def _line(self, text: str) -> None:
        self._times.write(f"{text}\n".encode())

    def close(self) -> None:
        """Write and fsync what is left of both files; does not raise."""
        self.note("closed", "", self._clock())
        self._log.close()
        self._times.close()
