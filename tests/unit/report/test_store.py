import os
import threading
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from hvrig.model.errors import LabError
from hvrig.report.store import ArtifactStore


def test_folder_and_latest(tmp_path: Path) -> None:
    tokyo = timezone(timedelta(hours=9))
    with ArtifactStore(tmp_path / "artifacts", "x3300", datetime(2026, 11, 23, 6, 25, 0, tzinfo=tokyo)) as store:
        assert store.folder == tmp_path / "artifacts" / "20261122T212500Z-x3300"
        assert (tmp_path / "artifacts" / "latest").readlink() == Path("20261122T212500Z-x3300")
        assert store.started == datetime(2026, 11, 22, 21, 25, tzinfo=UTC)


def test_two_in_the_same_second(tmp_path: Path, started: datetime) -> None:
    first, second, third = (ArtifactStore(tmp_path, "virtual", started) for _ in range(3))
    assert len({first.folder, second.folder, third.folder}) == 3
    assert (tmp_path / "latest").resolve() == third.folder
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(
        ["latest", first.folder.name, second.folder.name, third.folder.name]
    )


def test_place_cannot_leave_the_root(tmp_path: Path, started: datetime) -> None:
    assert ArtifactStore(tmp_path, "../lab/x 1", started).folder == tmp_path / "20261122T212500Z-.._lab_x_1"


def test_append_is_on_disk_at_once(tmp_path: Path, started: datetime) -> None:
    store = ArtifactStore(tmp_path, "virtual", started)
    store.rung_log("64M", b"trying mlock ...")
    store.timeline(b"{}\n")
    assert store.path("memtester-64M.log").read_bytes() == b"trying mlock ..."
    assert store.path("timeline.jsonl").read_bytes() == b"{}\n"
    store.close()
    store.rung_log("64M", b"locked.\x08\xff")
    assert store.path("memtester-64M.log").read_bytes() == b"trying mlock ...locked.\x08\xff"
    store.close()


def test_append_from_several_threads_keeps_lines_whole(tmp_path: Path, started: datetime) -> None:
    with ArtifactStore(tmp_path, "virtual", started) as store:

        def write(digit: bytes) -> None:
            for _ in range(200):
                store.timeline(digit * 50 + b"\n")

        writers = [threading.Thread(target=write, args=(b"%d" % n,)) for n in range(4)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
    lines = store.path("timeline.jsonl").read_bytes().splitlines()
    assert len(lines) == 800
    assert set(lines) == {b"%d" % n * 50 for n in range(4)}


def test_write_replaces_whole(tmp_path: Path, started: datetime) -> None:
    with ArtifactStore(tmp_path, "virtual", started) as store:
        store.write("verdict.json", "a long first one")
        assert store.write("verdict.json", "zweites ü").read_text(encoding="utf-8") == "zweites ü"
        assert [p.name for p in store.folder.iterdir()] == ["verdict.json"]


def test_failed_write_keeps_the_old_file(tmp_path: Path, started: datetime, monkeypatch: pytest.MonkeyPatch) -> None:
    with ArtifactStore(tmp_path, "virtual", started) as store:
        store.write("verdict.json", "old")

        def full(_descriptor: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(LabError, match=r"verdict\.json: No space left on device") as caught:
            store.write("verdict.json", "new")
        assert "disk space" in caught.value.remedy
        assert store.path("verdict.json").read_text() == "old"
        assert [p.name for p in store.folder.iterdir()] == ["verdict.json"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_full_disk_while_appending(tmp_path: Path, started: datetime) -> None:
    with ArtifactStore(tmp_path, "virtual", started) as store:
        store.path("memtester-64M.log").symlink_to("/dev/full")
        with pytest.raises(LabError, match=r"memtester-64M\.log: No space left on device"):
            store.rung_log("64M", b"x")


def test_root_that_is_a_file(tmp_path: Path, started: datetime) -> None:
    (tmp_path / "artifacts").write_text("")
    with pytest.raises(LabError, match=r"artifacts: .*evidence cannot be kept") as caught:
        ArtifactStore(tmp_path / "artifacts", "virtual", started)
    assert "--artifacts" in caught.value.remedy


def test_latest_that_is_a_folder(tmp_path: Path, started: datetime) -> None:
    (tmp_path / "latest").mkdir()
    with pytest.raises(LabError, match="latest"):
        ArtifactStore(tmp_path, "virtual", started)
    assert not [p for p in tmp_path.iterdir() if p.is_symlink()]
