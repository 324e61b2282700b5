from __future__ import annotations

import shlex
import threading
from pathlib import Path

import pytest
from labgrid import Target
from labgrid.resource import TFTPProvider
from labgrid.resource.remote import RemoteTFTPProvider
from labgrid.util import managedfile

from hvrig.lab import labgrid_tftp
from hvrig.lab.labgrid_tftp import local_tftp, remote_tftp
from hvrig.model.deadline import Deadline
from hvrig.model.errors import LabError
from hvrig.model.place import TftpSettings


def test_a_target_without_a_provider() -> None:
    target = Target("desk")
    assert local_tftp(target) is None
    assert remote_tftp(target) is None


@pytest.mark.parametrize(
    ("internal", "external", "prefix"),
    [("/srv/tftp/", "", ""), ("/srv/tftp", "", "/"), ("/srv/tftp/x/", "x/", "x/"), ("/srv/tftp/x", "x", "x/")],
)
def test_a_local_provider_is_a_folder(internal: str, external: str, prefix: str) -> None:
    target = Target("desk")
    TFTPProvider(target, None, internal=internal, external=external)
    found = local_tftp(target)
    assert isinstance(found, TftpSettings)
    assert str(found.folder) == internal.rstrip("/")
    assert found.prefix == prefix  # as labgrid's own driver puts the two together


class OverThere:
    """Stands for the SSH connection to the exporter's machine: a fake of what labgrid and hvrig send."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.sent: list[str] = []

    def open(self, host: str) -> OverThere:
        assert host == "exporter"
        return self

    def run_check(self, command: str) -> list[str]:
        match shlex.split(command.replace("/var/cache/labgrid", f"{self.root}/cache")):
            case ["mkdir", "-p", folder]:
                Path(folder).mkdir(parents=True, exist_ok=True)
            case ["test", "!", "-e", path, "-o", "-L", _]:
                assert Path(path).is_symlink() or not Path(path).exists()
            case ["ln", "-sfn", target, link]:
                Path(link).unlink(missing_ok=True)
                Path(link).symlink_to(target)
            case ["find", folder, "-maxdepth", "1", "-type", "l", "-name", "hvrig-*"]:
                return [str(path) for path in Path(folder).glob("hvrig-*") if path.is_symlink()]
            case ["rm", "-f", "--", *links]:
                for link in links:
                    Path(link).unlink(missing_ok=True)
            case _:
                raise AssertionError(command)
        return []

    def put_file(self, local: str, remote: str) -> None:
        self.sent.append(remote)
        Path(remote.replace("/var/cache/labgrid", f"{self.root}/cache")).write_bytes(Path(local).read_bytes())


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Target, OverThere, Path]:
    there = OverThere(tmp_path)
    monkeypatch.setattr(managedfile, "sshmanager", there)
    monkeypatch.setattr(labgrid_tftp, "sshmanager", there)
    # The file is not on the other machine, although this fake is the same one.
    monkeypatch.setattr(managedfile.ManagedFile, "_on_nfs", lambda *_: False)
    folder = tmp_path / "tftp"
    folder.mkdir()
    target = Target("x3300")
    RemoteTFTPProvider(target, None, host="exporter", internal=f"{folder}/", external="x3300/")
    return target, there, folder


def test_a_remote_provider_gets_each_run_its_own_names(served: tuple[Target, OverThere, Path], tmp_path: Path) -> None:
    target, there, folder = served
    image = tmp_path / "Image"
    image.write_bytes(b"kernel")
    stage = remote_tftp(target)
    assert stage is not None
    assert stage.put("hvrig-1-kernel", image, Deadline(10)) == "x3300/hvrig-1-kernel"
    assert stage.put("hvrig-1-kernel2", image, Deadline(10)) == "x3300/hvrig-1-kernel2"
    assert {link.name for link in folder.iterdir()} == {"hvrig-1-kernel", "hvrig-1-kernel2"}
    assert all(sent.endswith("/Image") for sent in there.sent)
    stage.remove()
    stage.remove()
    assert list(folder.iterdir()) == []


def test_what_killed_runs_have_left_is_taken_away(
    served: tuple[Target, OverThere, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    target, there, folder = served
    for name in ("hvrig-old-kernel", "hvrig-new-kernel", "kernel"):
        (folder / name).symlink_to("/var/cache/labgrid/x")
    (folder / "hvrig-old-file").touch()  # no link: labgrid has not put it there
    stage = remote_tftp(target)
    assert stage is not None
    stage.clear(lambda name: "old" in name)
    left = {path.name for path in folder.iterdir()}
    assert left == {"hvrig-new-kernel", "kernel", "hvrig-old-file"}

    def refuse(_host: str) -> OverThere:
        raise ConnectionError("no route")

    monkeypatch.setattr(there, "open", refuse)
    stage.clear(lambda _: True)
    assert {path.name for path in folder.iterdir()} == left


def test_a_provider_that_cannot_be_reached_is_the_labs(
    served: tuple[Target, OverThere, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, there, _ = served
    (tmp_path / "Image").write_bytes(b"x")
    stage = remote_tftp(target)
    assert stage is not None

    def refuse(_host: str) -> OverThere:
        raise ConnectionError("no route")

    monkeypatch.setattr(there, "open", refuse)
    with pytest.raises(LabError, match=r"exporter did not take .*no route") as raised:
        stage.put("hvrig-1-kernel", tmp_path / "Image", Deadline(10))
    assert "ssh exporter" in raised.value.remedy


def test_a_provider_that_never_answers_does_not_hold_up_the_run(
    served: tuple[Target, OverThere, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, there, _ = served
    (tmp_path / "Image").write_bytes(b"x")
    stage = remote_tftp(target)
    assert stage is not None
    over = threading.Event()
    monkeypatch.setattr(there, "open", lambda _host: over.wait(30))
    with pytest.raises(LabError, match="no answer within"):
        stage.put("hvrig-1-kernel", tmp_path / "Image", Deadline(0.05))
    over.set()
