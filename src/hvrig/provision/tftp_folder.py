"""Images put into a TFTP folder of this machine for one run, under names that no other run has."""

from __future__ import annotations

import re
import secrets
import shutil
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hvrig.model.deadline import Deadline
from hvrig.model.errors import LabError
from hvrig.model.place import TftpSettings

# A run that was killed leaves its files; no run is longer than this.
_STALE = timedelta(days=2)
_OURS = re.compile(r"hvrig-(\d{8}T\d{6})Z-[0-9a-f]{6}-[\w.+-]+")
_STAMP = "%Y%m%dT%H%M%S"


def run_stem(now: datetime) -> str:
    """What the names of one run's files begin with: `hvrig-20261124T173000Z-3f2a91`."""
    return f"hvrig-{now.astimezone(UTC):{_STAMP}}Z-{secrets.token_hex(3)}"


def staged_name(stem: str, name: str, path: Path) -> str:
    """The name of one staged file, plain enough for U-Boot's shell: `hvrig-...-kernel.bin`."""
    return re.sub(r"[^\w.+-]", "_", f"{stem}-{name}{path.suffix}", flags=re.ASCII)


def is_stale(file_name: str, now: datetime) -> bool:
    """Whether a file in the folder was left there by a run of long ago."""
    found = _OURS.fullmatch(file_name)
    if found is None:
        return False
    try:
        staged = datetime.strptime(found[1], _STAMP).replace(tzinfo=UTC)
    except ValueError:  # digits that are no date: not ours
        return False
    return now - staged > _STALE


class TftpFolder:
    """`hvrig.model.protocols.TftpStage` in a folder of this machine.

    A copy and no link: a TFTP server that is confined to its folder follows no link out of it, and a build that goes
    on meanwhile must not change what is served. Files that runs of long ago have left are removed.
    """

    def __init__(self, settings: TftpSettings, now: datetime) -> None:
        self._settings = settings
        self._put: list[Path] = []
        for old in settings.folder.glob("hvrig-*") if settings.folder.is_dir() else ():
            if is_stale(old.name, now):
                with suppress(OSError):  # another user's
                    old.unlink()

    def put(self, file_name: str, path: Path, deadline: Deadline) -> str:  # noqa: ARG002 - a local copy needs no time
        """See TftpStage."""
        target = self._settings.folder / file_name
        self._put.append(target)
        try:
            shutil.copyfile(path, target)
            target.chmod(0o644)
        except OSError as error:
            raise LabError(
                f"{path} cannot be copied to the TFTP folder as {target}: {error.strerror}.",
                f"Does {self._settings.folder} exist, has its disk room, and may this user write there "
                f"(sudo install -d -o $USER {self._settings.folder})?",
            ) from error
        return f"{self._settings.prefix}{file_name}"

    def remove(self) -> None:
        """See TftpStage."""
        while self._put:
            target = self._put.pop()
            try:
                target.unlink(missing_ok=True)
            except OSError as error:
                raise LabError(
                    f"{target} cannot be removed from the TFTP folder: {error.strerror}.", "Remove it by hand."
                ) from error
