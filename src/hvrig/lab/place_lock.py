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
RECORD_WIDTH = 256  # each record is as long, so that one write replaces the one before, wherever the run is killed


@dataclass(frozen=True)
class RunRecord:
    """Who holds, or held, the lock. started: UTC, ISO 8601.

    acquired: whether the run asked the coordinator for what it locks, and has not given it back: by hand it was not.
    """

    pid: int
    started: str
    acquired: bool = False

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

    left_behind: the record of a run that died with the lock, or None. acquired: as in the record; what a dead run had
    acquired stays recorded until `record` says otherwise. Raises LockedError when a live run has the lock, LabError
    when the folder cannot be written.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self._path = folder / (quote(key, safe="@ ") + ".lock")
        self.left_behind: RunRecord | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._take()
        except OSError as error:
            raise self._not_had(error) from error

    def _not_had(self, error: OSError) -> LabError:
        return LabError(
            f"The lock file {self._path} cannot be had: {error.strerror}.",
            "It tells a run that died from one that lives: let this user write there, or set XDG_STATE_HOME.",
        )

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
        self._started = datetime.now(UTC).isoformat(timespec="seconds")
        self.record(acquired=self.left_behind is not None and self.left_behind.acquired)

    def record(self, *, acquired: bool) -> None:
        """Note whether this run has acquired what it locks: to be called before asking, so that a kill loses nothing.

        Raises LabError.
        """
        self.acquired = acquired
        text = json.dumps(asdict(RunRecord(os.getpid(), self._started, acquired))).ljust(RECORD_WIDTH)
        try:
            os.pwrite(self._fd, text.encode(), 0)
            os.ftruncate(self._fd, RECORD_WIDTH)
        except OSError as error:
            raise self._not_had(error) from error

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
