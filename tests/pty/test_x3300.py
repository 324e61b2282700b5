"""hvrig's own console and dialogue through a pty that plays the x3300; `benchmarks/boot_pty.py` does 50 of these."""

from __future__ import annotations

import importlib.util
import sys
import zlib
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from hvrig.boot import uboot_dialogue
from hvrig.boot.uboot import Echo
from hvrig.model.errors import BoardError, LabError
from hvrig.model.phase import Phase

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


_load("virtual_bench")
player = _load("x3300_player")
boot_pty = _load("boot_pty")


@pytest.mark.parametrize(
    ("seed", "load", "console"),
    [
        (0, "tftp {address} {file}", "ttyFIQ0"),
        (1, "fatload mmc 0:1 {address} {file}", "ttyS2"),
        (2, "tftp {address} {file}", "ttyS2"),
    ],
)
def test_booted_through(tmp_path: Path, seed: int, load: str, console: str) -> None:
    files = boot_pty.make_images(tmp_path)
    with player.powered(player.Board(files=files, seed=seed, console=console)) as board:
        done = boot_pty.boot(board, boot_pty.x3300(tmp_path, load=load), tmp_path)
    assert done.heard.phases == [Phase.UBOOT, Phase.LOAD, Phase.HYPERVISOR, Phase.ROOT_LINUX]
    assert {file.crc32 for file in done.heard.files} == {zlib.crc32(data) for data in files.values()}
    assert (done.alive, done.faults) == (True, [])
    assert (done.overrun, done.unheard) == (0, 0)
    # Whatever was lost on the way, U-Boot ran nothing but what was meant.
    loads = [load.format(address=f"{address:#x}", file=f"{name}.bin") for name, address, _ in boot_pty.IMAGES]
    sums = [f"crc32 {address:x} {size:x}" for _, address, size in boot_pty.IMAGES]
    assert set(board.ran) == {*boot_pty.SETUP, *loads, *sums, "bootm 0x00500000 - 0x00400000"}


@pytest.mark.parametrize("broken", ["whole lines", "no echo"])
def test_without_the_pace_of_typing_it_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    if broken == "whole lines":
        monkeypatch.setattr(uboot_dialogue, "pieces", lambda text, _: [text.encode("ascii")])
    else:
        monkeypatch.setattr(uboot_dialogue, "judge_echo", lambda _typed, _received: Echo.WHOLE)
    files = boot_pty.make_images(tmp_path)
    with player.powered(player.Board(files=files)) as board, pytest.raises(BoardError) as raised:
        boot_pty.boot(board, boot_pty.x3300(tmp_path, uboot_s=2.5), tmp_path)
    assert raised.value.phase is Phase.UBOOT
    assert board.overrun > 0


def test_another_key_does_not_stop_a_zero_delay_autoboot(tmp_path: Path) -> None:
    place = boot_pty.x3300(tmp_path)
    place = replace(place, uboot=replace(place.uboot, interrupt=" "))
    boot_pty.make_images(tmp_path)
    with player.powered(player.Board(files={})) as board, pytest.raises(BoardError, match="was not stopped"):
        boot_pty.boot(board, place, tmp_path)


def test_a_bit_that_flipped_on_the_way_is_found_by_its_crc(tmp_path: Path) -> None:
    files = boot_pty.make_images(tmp_path)
    with (
        player.powered(player.Board(files=files, corrupt="kernel.bin")) as board,
        pytest.raises(LabError) as raised,
    ):
        boot_pty.boot(board, boot_pty.x3300(tmp_path), tmp_path)
    for part in ("kernel", "CRC-32", f"{zlib.crc32(files['kernel.bin']):08x}", "both have 4000000 bytes"):
        assert part in raised.value.message
    assert not any(command.startswith("bootm") for command in board.ran)


def test_a_file_that_is_not_on_the_card_is_named(tmp_path: Path) -> None:
    files = boot_pty.make_images(tmp_path)
    del files["hvisor.bin"]
    place = boot_pty.x3300(tmp_path, load="fatload mmc 0:1 {address} {file}")
    with player.powered(player.Board(files=files)) as board, pytest.raises(LabError, match=r"hvisor\.bin is not there"):
        boot_pty.boot(board, place, tmp_path)


def test_a_login_prompt_names_the_terminal_that_needs_an_automatic_login(tmp_path: Path) -> None:
    files = boot_pty.make_images(tmp_path)
    place = boot_pty.x3300(tmp_path)
    place = replace(place, deadlines=replace(place.deadlines, root_linux_s=3.0))
    with (
        player.powered(player.Board(files=files, autologin=False)) as board,
        pytest.raises(LabError, match="asks for a login") as raised,
    ):
        boot_pty.boot(board, place, tmp_path)
    assert "serial-getty@ttyFIQ0" in raised.value.remedy
