"""The TFTP folder of another machine, through labgrid's RemoteTFTPProvider: files go there over labgrid's SSH."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from labgrid import Target
from labgrid.driver import TFTPProviderDriver
from labgrid.exceptions import NoResourceFoundError
from labgrid.resource import TFTPProvider
from labgrid.resource.remote import RemoteTFTPProvider
from labgrid.util.ssh import sshmanager

from hvrig.lab.bounded_call import NoAnswerError, call_within
from hvrig.model.deadline import Deadline
from hvrig.model.errors import LabError
from hvrig.model.place import TftpSettings

REMOVE_S = 20.0
CLEAR_S = 10.0
CLEARED = 200  # names in one command; what is left is the next run's

T = TypeVar("T")


def local_tftp(target: Target) -> TftpSettings | None:
    """The target's TFTPProvider, whose folder is on this machine.

    labgrid's driver is not asked: it links to the file, and a server that is confined to its folder does not follow.
    """
    try:
        provider = target.get_resource(TFTPProvider)
    except NoResourceFoundError:
        return None
    slash = "" if provider.internal.endswith("/") else "/"
    return TftpSettings(folder=Path(provider.internal), prefix=f"{provider.external}{slash}")


def remote_tftp(target: Target) -> RemoteTftp | None:
    """The target's RemoteTFTPProvider, as a coordinator brings it."""
    try:
        provider = target.get_resource(RemoteTFTPProvider)
    except NoResourceFoundError:
        return None
    return RemoteTftp(target, provider)


class RemoteTftp:
    """`hvrig.model.protocols.TftpStage` on the provider's machine.

    labgrid keeps the files in its cache there, by their content, and links to them from the folder that is served:
    a file that was there before is not sent again.
    """

    def __init__(self, target: Target, provider: Any) -> None:
        self._driver = TFTPProviderDriver(target, None)
        target.activate(self._driver)
        self._provider = provider
        self._links: list[str] = []

    def put(self, file_name: str, path: Path, deadline: Deadline) -> str:
        """See TftpStage."""
        self._links.append(str(Path(self._provider.internal) / file_name))
        # labgrid names what is served after the file that it is given, and looks through a link for the content.
        with tempfile.TemporaryDirectory(prefix="hvrig-") as folder:
            link = Path(folder) / file_name
            link.symlink_to(path.resolve())
            return str(self._bounded(lambda: self._driver.stage(str(link)), f"take {path}", deadline))

    def clear(self, is_old: Callable[[str], bool]) -> None:
        """Take away what killed runs have left there: the links whose names `is_old` knows. Never fatal."""
        folder = Path(self._provider.internal)
        listing = f"find {shlex.quote(f'{folder}/')} -maxdepth 1 -type l -name 'hvrig-*'"

        def work() -> None:
            connection = sshmanager.open(self._provider.host)
            names = [line.rpartition("/")[2] for line in connection.run_check(listing)]
            old = [shlex.quote(str(folder / name)) for name in names if is_old(name)]
            if old:
                connection.run_check(f"rm -f -- {' '.join(old[:CLEARED])}")

        with suppress(LabError):  # a provider that cannot be reached is told by the first file, other users' links stay
            self._bounded(work, "clear old files away", Deadline(CLEAR_S))

    def remove(self) -> None:
        """See TftpStage."""
        links, self._links = self._links, []
        if not links:
            return
        command = f"rm -f -- {' '.join(map(shlex.quote, links))}"
        self._bounded(
            lambda: sshmanager.open(self._provider.host).run_check(command), "remove the files", Deadline(REMOVE_S)
        )

    def _bounded(self, call: Callable[[], T], what: str, deadline: Deadline) -> T:
        """labgrid's SSH has no time-out of its own."""
        try:
            return call_within(deadline, call, "hvrig-tftp")
        except NoAnswerError:
            raise self._failed(what, f"no answer within {deadline.seconds:.0f} s") from None
        except Exception as error:
            raise self._failed(what, f"{type(error).__name__}: {error}") from error

    def _failed(self, what: str, why: str) -> LabError:
        return LabError(
            f"The TFTP provider on {self._provider.host} did not {what}: {why}.",
            f"Can this user log in there without a password (ssh {self._provider.host}), and write "
            f"{self._provider.internal} and /var/cache/labgrid?",
        )
