from __future__ import annotations

from pathlib import Path

import pytest

from hvrig.model.errors import UsageError
from hvrig.model.place import GIVEN, Image, Place, SshSettings, UBootSettings
from hvrig.provision.local_files import find_local_files, with_given


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("key", "hvisor.bin", "build/1/Image", "build/2/Image", "build/2/zone0[a].dtb"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def place(folder: Path, **paths: str) -> Place:
    return Place(
        name="x3300",
        images={name: Image(path=folder / path, address=0x500000) for name, path in paths.items()},
        uboot=UBootSettings(boot="bootm 0x500000"),
        ssh=SshSettings(key=folder / "key", host_key="ssh-ed25519 AAAA"),
    )


def refusal(place: Place) -> str:
    with pytest.raises(UsageError) as raised:
        find_local_files(place)
    return str(raised.value)


def test_a_pattern_stands_for_the_one_file_that_it_matches(folder: Path) -> None:
    found = find_local_files(place(folder, kernel="build/2/Im*", hvisor="**/hvisor.bin"))
    assert found.images["kernel"].path == folder / "build/2/Image"
    assert found.images["kernel"].remote_name == "Image"
    assert found.images["hvisor"].path == folder / "hvisor.bin"


def test_a_file_whose_name_looks_like_a_pattern_is_itself(folder: Path) -> None:
    assert find_local_files(place(folder, zone0_dtb="build/2/zone0[a].dtb")).images["zone0_dtb"].path.is_file()


def test_several_matches_are_named_and_none_is_chosen(folder: Path) -> None:
    said = refusal(place(folder, kernel="build/*/Image"))
    assert f"images.kernel.path: {folder}/build/*/Image matches 2 files" in said
    assert f"{folder}/build/1/Image, {folder}/build/2/Image" in said
    assert "--image NAME=PATH" in said


def test_a_folder_is_no_match(folder: Path) -> None:
    assert "nothing matches" in refusal(place(folder, kernel="bui*"))
    assert "is a folder" in refusal(place(folder, kernel="build"))


def test_all_that_is_missing_is_named_at_once(folder: Path) -> None:
    (folder / "key").unlink()
    said = refusal(place(folder, kernel="none", hvisor="hvisor.bin", zone0_dtb="*.none"))
    for part in (
        f"images.kernel.path: {folder}/none is not there",
        "images.zone0_dtb.path: nothing matches",
        "ssh.key",
    ):
        assert part in said
    assert "images.hvisor" not in said


def test_an_image_that_each_run_gives(folder: Path) -> None:
    wanted = place(folder, kernel="build/1/Image")
    wanted = with_given(
        Place(
            name="virtual-hvisor",
            images={**wanted.images, "hvisor": Image(path=Path(GIVEN), address=0x4C000000)},
            uboot=wanted.uboot,
            ssh=wanted.ssh,
        ),
        {},
    )
    said = refusal(wanted)
    assert "has no hvisor of its own" in said
    assert "--image hvisor=PATH" in said
    given = find_local_files(with_given(wanted, {"hvisor": folder / "hvisor.bin"}))
    assert given.images["hvisor"] == Image(path=folder / "hvisor.bin", address=0x4C000000)
