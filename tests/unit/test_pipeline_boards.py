"""A place that is any of several boards: what is checked before one is acquired, and what it is afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from hvrig.model.errors import UsageError
from hvrig.model.progress import Event, LayoutChecked, Step
from hvrig.model.run import RunOptions, split_images
from hvrig.pipeline import Run, prepare_place

PLACES = """\
targets:
  any:
    resources: [RemotePlace: {name: +}]
    options:
      hvrig:
        images:
          hvisor: {path: hvisor.bin, address: 0x500000}
          zone0_dtb: {path: zone0.dtb, address: 0x10000000}
        uboot: {boot: bootm}
        ssh: {key: id, host_key: ssh-ed25519 AAAA}
        boards:
          x2:
            ssh: {host_key: ssh-ed25519 BBBB}
          x3:
            images: {zone0_dtb: {path: x3.dtb}}
"""


@pytest.fixture
def options(tmp_path: Path) -> RunOptions:
    (tmp_path / "places.yaml").write_text(PLACES)
    for name in ("hvisor.bin", "mine.bin", "zone0.dtb", "x3.dtb"):
        (tmp_path / name).touch()
    key = Ed25519PrivateKey.generate()
    (tmp_path / "id").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    images = split_images([f"hvisor={tmp_path}/mine.bin"])
    return RunOptions(places=tmp_path / "places.yaml", place="any", artifacts=tmp_path, images=images, ladder=("1M",))


def test_a_runs_own_files_and_ladder_are_for_every_board(options: RunOptions, tmp_path: Path) -> None:
    place = prepare_place(options)
    for each in (place, *place.boards.values()):
        assert each.images["hvisor"].path == tmp_path / "mine.bin"
        assert each.gate.ladder == ("1M",)


def test_a_file_that_one_board_lacks_is_missed_before_any_is_acquired(options: RunOptions, tmp_path: Path) -> None:
    (tmp_path / "x3.dtb").unlink()
    with (
        Run(prepare_place(options), options, lambda _: None) as run,
        pytest.raises(UsageError, match=r"Board x3: Local files .*x3\.dtb is not there"),
    ):
        run.find_files()


@pytest.mark.parametrize(
    ("board", "host_key", "dtb", "checked_again"),
    [("x1", "AAAA", "zone0.dtb", 0), ("x2", "BBBB", "zone0.dtb", 0), ("x3", "AAAA", "x3.dtb", 1)],
)
def test_a_run_goes_on_with_the_acquired_boards_settings(
    options: RunOptions, board: str, host_key: str, dtb: str, checked_again: int
) -> None:
    heard: list[Event] = []
    with Run(prepare_place(options), options, heard.append) as run:
        run.find_files()
        run._go_to(board)
        run.catch_up()
        assert run.place.ssh.host_key == f"ssh-ed25519 {host_key}"
        assert run.place.images["zone0_dtb"].path.name == dtb
        evidence = run.verdict().evidence
    assert (evidence.place, evidence.board) == ("any", board)
    assert sum(isinstance(event, LayoutChecked) for event in heard) == checked_again
    told = [event.text for event in heard if isinstance(event, Step) and "no settings of its own" in event.text]
    assert len(told) == (board == "x1")
