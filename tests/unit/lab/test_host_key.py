from __future__ import annotations

from pathlib import Path

import pytest

from hvrig.lab.host_key import write_host_key
from hvrig.lab.places import load_place
from hvrig.model.errors import LabError

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE4stoyP4JYm9OIf7BRVlqAN"
PLACES = """\
# a comment that stays
targets:
  base:
    resources: [NetworkSerialPort: {host: h, port: 1}, NetworkService: {address: a, username: root}]
    options:
      hvrig:
        images: {hvisor: {path: hvisor.bin, address: 0x500000}}
        uboot: {boot: bootm}
        ssh: {key: id, host_key: "ssh-ed25519 AAAA..."}  # the board's
  desk:
    resources: [NetworkSerialPort: {host: h, port: 1}, NetworkService: {address: a, username: root}]
    options: {hvrig: {like: base}}
"""


def test_a_file_of_its_own_is_made_or_changed(tmp_path: Path) -> None:
    file = tmp_path / "keys" / "desk.pub"
    assert write_host_key(tmp_path / "places.yaml", "desk", str(file), KEY) == file
    assert file.read_text() == KEY + "\n"
    file.write_text("# desk\nssh-ed25519 OLD old\nssh-rsa OTHER\n")
    write_host_key(tmp_path / "places.yaml", "desk", str(file), KEY)
    assert file.read_text() == f"# desk\n{KEY}\nssh-rsa OTHER\n"


@pytest.mark.parametrize("place", ["base", "desk"])
def test_a_key_in_the_places_file_is_changed_where_it_stands(tmp_path: Path, place: str) -> None:
    file = tmp_path / "places.yaml"
    file.write_text(PLACES)
    assert write_host_key(file, place, load_place(file, place).ssh.host_key, KEY) == file
    assert file.read_text() == PLACES.replace('"ssh-ed25519 AAAA..."', KEY)
    assert load_place(file, "desk").ssh.host_key == KEY
    assert [path.name for path in tmp_path.iterdir()] == ["places.yaml"]


def test_the_key_of_one_of_several_boards_is_changed_where_it_stands(tmp_path: Path) -> None:
    file = tmp_path / "places.yaml"
    own = 'like: base, boards: {x1: {}, x2: {ssh: {host_key: "ssh-ed25519 BBBB"}}}'
    text = PLACES.replace("like: base", own)
    file.write_text(text)
    write_host_key(file, "desk", "ssh-ed25519 BBBB", KEY, "x2")
    assert file.read_text() == text.replace('"ssh-ed25519 BBBB"', KEY)
    write_host_key(file, "desk", "ssh-ed25519 AAAA...", KEY, "x1")
    assert load_place(file, "base").ssh.host_key == KEY


def test_a_file_that_cannot_be_written_is_the_labs(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LabError, match="cannot be written"):
        write_host_key(tmp_path / "places.yaml", "desk", str(tmp_path / "file" / "key.pub"), KEY)
