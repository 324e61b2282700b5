"""The folder in which a run leaves its evidence (edge: files)."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from hvrig.model.errors import LabError

_REMEDY = "Free some disk space or make the folder writable, or choose another one with --artifacts."


class ArtifactStore:
    """One run's folder, `<root>/<UTC time>-<place>`, to which `<root>/latest` then points.

    Whole files appear complete or not at all; growing files have each block on its way to the disk before
    `append` returns, so that a crash of hvrig loses nothing that was handed in. Safe to use from several threads.
    Every method raises LabError, naming the path, when the disk is full or the folder cannot be written.
    """

    def __init__(self, root: Path, place: str, started: datetime) -> None:
        """Create the folder. `started` must know its time zone."""
        self.started = started.astimezone(UTC)
        self._lock = threading.Lock()
        self._growing: dict[str, int] = {}
        with _naming(root):
            root.mkdir(parents=True, exist_ok=True)
            self.folder = _new_folder(root, f"{self.started:%Y%m%dT%H%M%SZ}-{re.sub(r'[^A-Za-z0-9._-]', '_', place)}")
        with _naming(root / "latest"):
            _point(root / "latest", self.folder.name)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the growing files; appending to one again opens it again."""
        with self._lock:
            for descriptor in self._growing.values():
                os.close(descriptor)
            self._growing.clear()

    def path(self, name: str) -> Path:
        """Where the file `name` of this run lies, whether it is there or not."""
        return self.folder / name

    def write(self, name: str, text: str) -> Path:
        """Put `text` into the file `name` as UTF-8, in place of what it held; the old file stays if this fails."""
        path = self.path(name)
        fresh = self.path(f".{name}.new")
        with self._lock, _naming(path):
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
            try:
                _write_all(descriptor, text.encode())
                os.fsync(descriptor)
            except OSError:
                fresh.unlink()
                raise
            finally:
                os.close(descriptor)
            fresh.replace(path)
            _sync_folder(self.folder)
        return path

    def append(self, name: str, block: bytes) -> None:
        """Add `block` to the file `name`, past all buffers of this process."""
        with self._lock, _naming(self.path(name)):
            if name not in self._growing:
                flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
                self._growing[name] = os.open(self.path(name), flags, 0o666)
            _write_all(self._growing[name], block)

    def rung_log(self, size: str, block: bytes) -> None:
        """Add memtester's output, byte for byte, to the log of the rung `size` (a size of the ladder)."""
        self.append(f"memtester-{size}.log", block)

    def timeline(self, line: bytes) -> None:
        """Add one line, with its newline, to `timeline.jsonl`."""
        self.append("timeline.jsonl", line)


def _new_folder(root: Path, name: str) -> Path:
    """A folder that was not there before: a number is added where two runs start in the same second."""
    attempt = 1
    while True:
        folder = root / (name if attempt == 1 else f"{name}-{attempt}")
        try:
            folder.mkdir()
        except FileExistsError:
            attempt += 1
        else:
            return folder


def _point(link: Path, target: str) -> None:
    """Make `link` a relative symbolic link to `target`; at every moment it is there, old or new."""
    fresh = link.with_name(f".{link.name}-{target}")
    fresh.symlink_to(target)
    try:
        fresh.replace(link)
    except OSError:
        fresh.unlink()
        raise


def _write_all(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:  # a disk that is nearly full takes a part, and refuses the next
        rest = rest[os.write(descriptor, rest) :]


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise LabError(f"{path}: {error.strerror or error}; evidence cannot be kept", _REMEDY) from error
