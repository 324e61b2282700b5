from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from hvrig.boot.console_pexpect import TapSpawn
from hvrig.boot.guest_dialogue import await_hypervisor, await_root_linux, console_alive
from hvrig.model.errors import BoardError, LabError, UsageError
from hvrig.model.marker import MARKER
from hvrig.model.phase import Phase
from hvrig.model.place import HypervisorSettings, RootLinuxSettings

if TYPE_CHECKING:
    from tests.unit.boot.conftest import FakeUBoot, Line

    from hvrig.model.deadline import Deadline

    Make = Callable[..., FakeUBoot]
    Within = Callable[[float], Deadline]
    Said = Callable[[bytes], TapSpawn]
    Hypervisor = Callable[[bytes], None]

HELLO = b"".join(b"Hello, start HVISOR at 0x40400000!\r\nBooting CPU %d: 0x405b0000\r\n" % cpu for cpu in range(4))
ENTERED = b"Primary CPU 0 has entered.\r\nSecondary CPU 2 has entered.\r\nSecondary CPU 1 has entered.\r\n"
LAST = b"Secondary CPU 3 has entered.\r\n"


@pytest.fixture
def said(line: Line) -> Callable[[bytes], TapSpawn]:
    """Makes a spawn on which all is said already."""

    def make(data: bytes) -> TapSpawn:
        line.say(data)
        return TapSpawn(line)

    return make


@pytest.fixture
def hypervisor(said: Said, deadline: Within) -> Callable[[bytes], None]:
    """Awaits the hypervisor where that was said."""
    return lambda data: await_hypervisor(said(data), HypervisorSettings(cpus=4), deadline(5), uboot_prompt="=> ")


def test_all_cpus_enter(hypervisor: Hypervisor) -> None:
    hypervisor(b"\r\nStarting kernel ...\r\n" + HELLO + ENTERED + LAST)


def test_a_guest_that_starts_proves_what_a_garbled_line_hides(hypervisor: Hypervisor) -> None:
    hypervisor(HELLO + ENTERED + LAST.replace(b"3", b"\xff") + b"[    0.0] Booting Linux on physical CPU 0x0")


def test_cpus_that_do_not_enter_are_named(hypervisor: Hypervisor) -> None:
    with pytest.raises(BoardError, match="of CPU 2, 3 did not come") as raised:
        hypervisor(HELLO + b"Primary CPU 0 has entered.\r\nSecondary CPU 1 has entered.\r\n")
    assert raised.value.phase is Phase.HYPERVISOR
    assert "Secondary CPU 1" in raised.value.tail


def test_silence_after_the_boot_command_is_the_hypervisors(hypervisor: Hypervisor) -> None:
    with pytest.raises(BoardError, match="no 'Hello, start HVISOR'") as raised:
        hypervisor(b"\r\nStarting kernel ...\r\n")
    assert raised.value.phase is Phase.HYPERVISOR


@pytest.mark.parametrize(
    "answer", [b"Wrong Image Format for bootm command\r\n=> ", b"bootm - no\r\nSome refusal of its own\r\n=> "]
)
def test_a_boot_command_that_comes_back_is_the_loads(answer: bytes, said: Said, deadline: Within) -> None:
    within = deadline(20)
    with pytest.raises(BoardError) as raised:
        await_hypervisor(said(answer), HypervisorSettings(), within, uboot_prompt="=> ")
    assert raised.value.phase is Phase.LOAD
    assert within.elapsed < 3


def test_a_reset_is_one(said: Said, hypervisor: Hypervisor, deadline: Within) -> None:
    with pytest.raises(BoardError, match="reset itself"):
        hypervisor(HELLO + b"\r\n\r\nU-Boot 2017.09 (Nov 22 2026)\r\n")
    with pytest.raises(BoardError, match="reset itself") as raised:
        await_root_linux(said(b"[ 1.0] x\r\nDDR V1.12 5\r\n"), RootLinuxSettings(), deadline(1))
    assert raised.value.phase is Phase.ROOT_LINUX


@pytest.mark.parametrize("prompt", [b"\r\n/ # \x1b[6n", b"\r\n\x1b[01;32mroot@linaro-alip\x1b[m:/# "])
def test_the_shells_prompt(prompt: bytes, said: Said, deadline: Within) -> None:
    await_root_linux(said(b"[    2.7] random: crng init done\r\n" + prompt), RootLinuxSettings(), deadline(2))


def test_a_hidden_prompt_is_called_for(fake_uboot: Make, monkeypatch: pytest.MonkeyPatch, deadline: Within) -> None:
    monkeypatch.setattr("hvrig.boot.guest_dialogue.PROMPT_HIDDEN_S", 0.2)
    board = fake_uboot(shell=b"\r\n/ # ")
    tap = board.power_on_shell(b"/ # [    5.1] a message of the kernel over the prompt\r\n")
    await_root_linux(TapSpawn(tap), RootLinuxSettings(), deadline(5))
    assert tap.typed == b"\r"


def test_no_shell_is_the_boards(said: Said, deadline: Within) -> None:
    with pytest.raises(BoardError, match="gave no shell"):
        await_root_linux(said(b"[ 1.0] Booting\r\n"), RootLinuxSettings(), deadline(0.2))


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hvrig.boot.guest_dialogue.PROMPT_HIDDEN_S", 0.1)


@pytest.mark.usefixtures("impatient")
def test_a_console_that_asks_for_a_login_is_the_labs_and_no_hang(fake_uboot: Make, deadline: Within) -> None:
    board = fake_uboot(shell=b"\r\nlinaro-alip login: ")
    within = deadline(20)
    with pytest.raises(LabError, match="asks for a login on its console: 'linaro-alip login: '"):
        await_root_linux(TapSpawn(board.power_on_shell(b"")), RootLinuxSettings(), within)
    assert within.elapsed < 10


@pytest.mark.usefixtures("impatient")
def test_a_shell_with_another_prompt_is_a_mistake_of_the_place(fake_uboot: Make, deadline: Within) -> None:
    board = fake_uboot(shell=b"\r\nroot@x3300-2 \x1b[1m>\x1b[m ")
    with pytest.raises(UsageError, match=r"answers on its console with 'root@x3300-2 > '.*not the place's prompt"):
        await_root_linux(TapSpawn(board.power_on_shell(b"")), RootLinuxSettings(), deadline(1.5))


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    "shell", [b"\r\n(initramfs) ", b"\r\nGive root password for maintenance\r\n(or type Control-D): "]
)
def test_a_rescue_shell_is_the_boards(fake_uboot: Make, shell: bytes, deadline: Within) -> None:
    with pytest.raises(BoardError, match="rescue shell"):
        await_root_linux(TapSpawn(fake_uboot(shell=shell).power_on_shell(b"")), RootLinuxSettings(), deadline(1.5))


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("shell", [b"", b"\r\n"])
def test_a_terminal_that_only_echoes_has_no_shell(fake_uboot: Make, shell: bytes, deadline: Within) -> None:
    board = fake_uboot(shell=shell)
    with pytest.raises(BoardError, match="gave no shell"):
        await_root_linux(TapSpawn(board.power_on_shell(b"[ 1.0] stuck")), RootLinuxSettings(), deadline(1.5))


def test_a_living_console_answers(fake_uboot: Make, deadline: Within) -> None:
    tap = fake_uboot().power_on_shell(b"noise\xff\x00\r\n")
    assert console_alive(tap, deadline(5))
    assert MARKER.search(bytes(tap.typed)) is None  # its echo cannot pass for the answer


def test_a_dead_console_does_not(fake_uboot: Make, deadline: Within) -> None:
    within = deadline(0.5)
    assert not console_alive(fake_uboot(shell=b"").power_on_shell(b""), within)
    assert within.elapsed < 1.5
