from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hvrig.boot.sequence import bring_up
from hvrig.model.errors import LabError
from hvrig.model.evidence import BootedFile
from hvrig.model.phase import Phase
from hvrig.model.place import HypervisorSettings, Image, Place, SshSettings, UBootSettings

if TYPE_CHECKING:
    from tests.unit.boot.conftest import FakeUBoot

    Make = Callable[..., FakeUBoot]


class Heard:
    def __init__(self) -> None:
        self.phases: list[Phase] = []
        self.files: list[BootedFile] = []

    def entered(self, phase: Phase) -> None:
        self.phases.append(phase)

    def loaded(self, file: BootedFile) -> None:
        self.files.append(file)


def place(folder: Path, setup: tuple[str, ...] = ("setenv serverip 10.0.2.2",)) -> Place:
    images = {}
    for number, name in enumerate(("Image", "zone0.dtb", "hvisor.bin")):
        (folder / name).write_bytes(name.encode() * 50)
        images[name] = Image(path=folder / name, address=0x40000000 + number * 0x1000000)
    return Place(
        name="fake",
        images=images,
        uboot=UBootSettings(
            boot="bootm 0x42000000 - 0x40000000",
            interrupt_interval_s=0.01,
            setup=setup,
            before_boot=("mw.l 0x80b0080 0xffffffff || true",),
        ),
        hypervisor=HypervisorSettings(cpus=4),
        ssh=SshSettings(key=folder / "key", host_key="ssh-ed25519 AAAA"),
    )


def test_from_power_on_to_the_shell(fake_uboot: Make, tmp_path: Path) -> None:
    wanted = place(tmp_path)
    board = fake_uboot(
        files={name: image.path.read_bytes() for name, image in wanted.images.items()},
        answers={"mw.l 0x80b0080 0xffffffff || true": b""},
    )
    heard = Heard()
    bring_up(board.power_on(), wanted, heard, board.line.clock)
    assert heard.phases == [Phase.UBOOT, Phase.LOAD, Phase.HYPERVISOR, Phase.ROOT_LINUX]
    assert [file.name for file in heard.files] == ["Image", "zone0.dtb", "hvisor.bin"]
    assert board.ran[0] == "setenv serverip 10.0.2.2"
    assert board.ran[-2:] == ["mw.l 0x80b0080 0xffffffff || true", wanted.uboot.boot]


def test_what_was_loaded_before_a_failure_is_told(fake_uboot: Make, tmp_path: Path) -> None:
    wanted = place(tmp_path)
    board = fake_uboot(files={"Image": wanted.images["Image"].path.read_bytes()})
    heard = Heard()
    with pytest.raises(LabError, match=r"zone0\.dtb is not there"):
        bring_up(board.power_on(), wanted, heard, board.line.clock)
    assert [file.name for file in heard.files] == ["Image"]
    assert heard.phases[-1] is Phase.LOAD


def test_a_failing_setup_command_is_named(fake_uboot: Make, tmp_path: Path) -> None:
    board = fake_uboot()
    with pytest.raises(LabError, match="'nonsense' failed with status 1: Unknown command"):
        bring_up(board.power_on(), place(tmp_path, setup=("nonsense",)), Heard(), board.line.clock)
