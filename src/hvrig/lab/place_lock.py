"""Which run of this user on this machine uses a place: a locked file, so that a dead run can be told from a live one.

labgrid's acquisitions outlive the client that made them, and know only host and user. The kernel's lock on a file ends
with its process, however that ends: a file that is there and not locked belongs to a run that died.
"""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from hvrig.model.errors import LabError

RECORD_BYTES = 4096


@dataclass(frozen=True)
class RunRecord:
    """Who holds, or held, the lock. started: UTC, ISO 8601."""

    pid: int
    started: str

    def __str__(self) -> str:
        return f"process {self.pid}, since {self.started}"


class LockedError(Exception):
    """Another run that is alive holds the lock; `by` says which."""

    def __init__(self, by: RunRecord | None) -> None:
        super().__init__(str(by))
        self.by = by


def default_folder() -> Path:
    """Where the locks lie: the user's own state, kept over a restart of the machine."""
    state = os.environ.get("XDG_STATE_HOME", "")
    return Path(state if Path(state).is_absolute() else Path.home() / ".local/state") / "hvrig" / "places"


class PlaceLock:
    """One place's lock, taken when made. key: coordinator, identity and place (or reservation), as text.

    left_behind: the record of a run that died with the lock, or None. Raises LockedError when a live run has it,
    LabError when the folder cannot be written.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self._path = folder / (quote(key, safe="@ ") + ".lock")
        self.left_behind: RunRecord | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._take()
        except OSError as error:
            raise LabError(
                f"The lock file {self._path} cannot be had: {error.strerror}.",
                "It tells a run that died from one that lives: let this user write there, or set XDG_STATE_HOME.",
            ) from error

    def _take(self) -> None:
        while True:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                record = _record(os.pread(fd, RECORD_BYTES, 0))
                os.close(fd)
                raise LockedError(record) from None
            except OSError:
                os.close(fd)
                raise
            if _is_at(fd, self._path):
                break
            os.close(fd)  # its holder has just removed it: what lies there now is another file
        found = os.pread(fd, RECORD_BYTES, 0)
        self.left_behind = (_record(found) or RunRecord(0, "an unknown time")) if found else None
        self._fd = fd
        now = datetime.now(UTC).isoformat(timespec="seconds")
        text = json.dumps(asdict(RunRecord(os.getpid(), now)))
        os.ftruncate(fd, 0)
        os.pwrite(fd, text.encode(), 0)

    def give_up(self, *, keep: bool = False) -> None:
        """Let the lock go. keep: leave the file, so that the next run knows that something was left behind."""
        if self._fd < 0:
            return
        if not keep:
            with suppress(OSError):
                self._path.unlink()
        os.close(self._fd)
        self._fd = -1


def _is_at(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        return False


def _record(text: bytes) -> RunRecord | None:
    try:
        return RunRecord(**json.loads(text))
    except (ValueError, TypeError):
        return None
