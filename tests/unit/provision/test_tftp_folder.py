from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from hvrig.model.deadline import Deadline
from hvrig.model.errors import LabError
from hvrig.model.place import TftpSettings
from hvrig.provision.tftp_folder import TftpFolder, is_stale, run_stem, staged_name

NOW = datetime(2026, 11, 24, 17, 30, tzinfo=UTC)


def test_a_file_is_served_under_its_own_name_and_taken_away(tmp_path: Path) -> None:
    source = tmp_path / "Image"
    source.write_bytes(b"kernel")
    source.chmod(0o600)
    served = tmp_path / "tftp"
    served.mkdir()
    (served / "Image").write_bytes(b"somebody else's")
    stage = TftpFolder(TftpSettings(folder=served, prefix="boards/"), NOW)
    assert stage.put("hvrig-1-kernel", source, Deadline(1)) == "boards/hvrig-1-kernel"
    copy = served / "hvrig-1-kernel"
    assert copy.read_bytes() == b"kernel"
    assert copy.stat().st_mode & 0o777 == 0o644
    source.write_bytes(b"built again")
    assert copy.read_bytes() == b"kernel"
    stage.remove()
    stage.remove()
    assert [path.name for path in served.iterdir()] == ["Image"]


def test_a_folder_that_is_not_there_is_the_labs(tmp_path: Path) -> None:
    stage = TftpFolder(TftpSettings(folder=tmp_path / "none"), NOW)
    (tmp_path / "Image").write_bytes(b"x")
    with pytest.raises(LabError, match="cannot be copied to the TFTP folder") as raised:
        stage.put("hvrig-1-kernel", tmp_path / "Image", Deadline(1))
    assert str(tmp_path / "none") in raised.value.remedy
    stage.remove()


def test_names_are_unique_to_the_run_and_plain(tmp_path: Path) -> None:
    first, second = run_stem(NOW), run_stem(NOW)
    assert first != second
    assert first.startswith("hvrig-20261124T173000Z-")
    assert staged_name("s", "zone0 dtb;reset", tmp_path / "a.d$b") == "s-zone0_dtb_reset.d_b"


def test_what_killed_runs_left_is_removed_later(tmp_path: Path) -> None:
    old = f"{run_stem(NOW - timedelta(days=3))}-kernel"
    recent = f"{run_stem(NOW - timedelta(hours=9))}-kernel"
    for name in (old, recent, "hvrig-notes.txt", "hvrig-20261324T173000Z-3f2a91-kernel"):
        (tmp_path / name).write_bytes(b"x")
    assert is_stale(old, NOW)
    TftpFolder(TftpSettings(folder=tmp_path), NOW)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {recent, "hvrig-notes.txt", "hvrig-20261324T173000Z-3f2a91-kernel"}
