from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hvrig.boot.console_pexpect import TapSpawn
from hvrig.boot.uboot_dialogue import Pace, UBoot
from hvrig.model.errors import BoardError, LabError, UsageError
from hvrig.model.phase import Phase
from hvrig.model.place import Image, UBootSettings

if TYPE_CHECKING:
    from tests.unit.boot.conftest import FakeUBoot, Line

    from hvrig.model.deadline import Deadline

    Make = Callable[..., FakeUBoot]
    Within = Callable[[float], Deadline]

SETTINGS = UBootSettings(boot="bootm 0x4c000000 - 0x40000000", interrupt_interval_s=0.005)


PACE = Pace(echo_s=0.1, quiet_s=0.02, garbled_s=0.15)
HASTY = Pace(echo_s=0.025, quiet_s=0.008, garbled_s=0.1)


def dialogue(tap: Line, settings: UBootSettings = SETTINGS, pace: Pace = PACE) -> UBoot:
    return UBoot(TapSpawn(tap), settings, pace)


@pytest.fixture
def image(tmp_path: Path) -> Image:
    path = tmp_path / "Image"
    path.write_bytes(b"kernel" * 1000)
    return Image(path=path, address=0x50400000)


def test_commands_run_one_by_one_and_say_their_status(fake_uboot: Make, deadline: Within) -> None:
    board = fake_uboot()
    uboot = dialogue(board.power_on())
    uboot.interrupt(deadline(5))
    assert uboot.run("setenv ipaddr 10.0.2.15", deadline(2)).status == 0
    answer = uboot.run("nonsense", deadline(2))
    assert (answer.status, answer.output) == (1, "Unknown command 'nonsense' - try 'help'")
    assert uboot.run("version", deadline(2)).output.startswith("U-Boot 2017.09-fake")
    assert board.ran == ["setenv ipaddr 10.0.2.15", "nonsense", "version"]


@pytest.mark.parametrize("seed", range(100))
def test_a_bad_line_is_survived(fake_uboot: Make, image: Image, seed: int, deadline: Within) -> None:
    board = fake_uboot(
        seed=seed,
        files={"Image": image.path.read_bytes()},
        autoboot_s=(0.0, 0.05)[seed % 2],
        late_s=(0.0, 0.02, 0.1)[seed % 3],
        lose=(0.0, 0.01, 0.03)[seed % 3],
        noise=(0.0, 0.1)[seed // 2 % 2],
        fifo=(8, 16)[seed % 2],
    )
    uboot = dialogue(board.power_on(), pace=HASTY)
    uboot.interrupt(deadline(20))
    uboot.run("setenv serverip 10.0.2.2", deadline(20))
    booted = uboot.load("kernel", image, deadline(40))
    assert booted.crc32 == zlib.crc32(image.path.read_bytes())
    uboot.boot(deadline(10))
    # Whatever was lost on the way, U-Boot has never run anything but what was meant.
    assert set(board.ran) <= {
        "setenv serverip 10.0.2.2",
        "tftp 0x50400000 Image",
        f"crc32 50400000 {booted.size:x}",
        SETTINGS.boot,
    }
    assert board.env["serverip"] == "10.0.2.2"


def test_the_typing_never_overruns_a_small_fifo(fake_uboot: Make, deadline: Within) -> None:
    board = fake_uboot(fifo=4)
    uboot = dialogue(board.power_on(), UBootSettings(boot="bootm", interrupt_interval_s=0.005, piece=4))
    uboot.interrupt(deadline(5))
    before = len(board.line.typed)
    uboot.run("setenv bootargs console=ttyAMA0,115200n8", deadline(2))
    assert board.line.typed[before:].count(b"setenv") == 1  # typed once: nothing was lost


def test_prompt_like_text_in_an_answer_does_not_end_it(fake_uboot: Make, deadline: Within) -> None:
    board = fake_uboot(answers={"decoy": b'\r\n=> echo "hvrig-""end" 3 0\r\n=> \r\nthe rest\r\n'})
    uboot = dialogue(board.power_on())
    uboot.interrupt(deadline(5))
    assert uboot.run("decoy", deadline(2)).output.endswith("the rest")
    assert uboot.run("true", deadline(2)).output == ""


def test_a_garbled_end_is_asked_for_again(fake_uboot: Make, deadline: Within) -> None:
    board = fake_uboot(answers={"once": b""})
    uboot = dialogue(board.power_on())
    uboot.interrupt(deadline(5))
    say = board._say
    garbled: list[bytes] = []

    def garble(data: bytes) -> None:
        if data.startswith(b"hvrig-end") and not garbled:
            garbled.append(data)
            data = data.replace(b"end", b"\xffnd")
        say(data)

    board._say = garble  # type: ignore[method-assign]
    assert uboot.run("once", deadline(10)).status == 0
    assert garbled
    assert board.ran.count("once") == 1


def test_a_loaded_image_is_proven(fake_uboot: Make, image: Image, deadline: Within) -> None:
    data = image.path.read_bytes()
    uboot = dialogue(fake_uboot(files={"Image": data}).power_on())
    uboot.interrupt(deadline(5))
    booted = uboot.load("kernel", image, deadline(5))
    assert (booted.name, booted.address, booted.size) == ("kernel", 0x50400000, 6000)
    assert booted.sha256 == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"files": {}}, ["Image is not there", "TFTP"]),
        ({"files": {"Image": b"kernel" * 999}}, ["5994", "6000", "copy the local file"]),
        (
            {"files": {"Image": b"kernel" * 1000}, "corrupt": ("Image",)},
            [f"{zlib.crc32(b'kernel' * 1000):08x}", "cksum"],
        ),
        ({"silent_server": True}, ["server does not answer", "tftpd"]),
    ],
)
def test_a_wrong_image_is_the_labs_and_named(
    fake_uboot: Make, image: Image, how: dict[str, object], words: list[str], deadline: Within
) -> None:
    uboot = dialogue(fake_uboot(**how).power_on())
    uboot.interrupt(deadline(5))
    with pytest.raises(LabError) as raised:
        uboot.load("kernel", image, deadline(0.5 if "silent_server" in how else 5))
    assert all(word in str(raised.value) for word in words), raised.value


def test_a_missing_or_empty_local_file_is_the_labs(fake_uboot: Make, tmp_path: Path, deadline: Within) -> None:
    uboot = dialogue(fake_uboot().power_on())
    (tmp_path / "empty").touch()
    with pytest.raises(LabError, match="cannot be read: No such file"):
        uboot.load("kernel", Image(path=tmp_path / "none", address=0), deadline(1))
    with pytest.raises(LabError, match="is empty"):
        uboot.load("kernel", Image(path=tmp_path / "empty", address=0), deadline(1))


def test_a_board_that_resets_itself_is_reported_as_such(fake_uboot: Make, image: Image, deadline: Within) -> None:
    uboot = dialogue(fake_uboot(cut_power="tftp", files={"Image": b"x"}).power_on())
    uboot.interrupt(deadline(5))
    with pytest.raises(BoardError, match="reset itself") as raised:
        uboot.load("kernel", image, deadline(5))
    assert raised.value.phase is Phase.LOAD
    assert "half an ans" in raised.value.tail


def test_a_reset_while_it_is_stopped_is_survived(fake_uboot: Make, deadline: Within) -> None:
    board = fake_uboot(cut_power="hvrig")
    uboot = dialogue(board.power_on())
    uboot.interrupt(deadline(5))
    assert uboot.run("true", deadline(2)).status == 0
    assert board.cut_power == ""


@pytest.mark.parametrize(
    ("answer", "meaning"),
    [
        (b"Wrong Image Format for bootm command\r\n", "none that its boot command takes"),
        (b"resetting ...\r\n", "resets the board"),
        (b"### ERROR ### Please RESET the board ###\r\n", "given up"),
        (b'"Synchronous Abort" handler, esr 0x96000010\r\n', "itself has crashed"),
    ],
)
def test_words_after_which_waiting_is_in_vain(fake_uboot: Make, answer: bytes, meaning: str, deadline: Within) -> None:
    uboot = dialogue(fake_uboot(answers={"bad": answer}).power_on())
    uboot.interrupt(deadline(5))
    within = deadline(5)
    with pytest.raises(BoardError, match=meaning):
        uboot.run("bad", within)
    assert within.elapsed < 2


def test_a_line_that_is_too_long_is_the_persons(fake_uboot: Make, deadline: Within) -> None:
    uboot = dialogue(fake_uboot(line_full=256).power_on())
    uboot.interrupt(deadline(5))
    with pytest.raises(UsageError, match="no more than 256 of the"):
        uboot.run("true " + "x" * 300, deadline(2))
    assert uboot.run("true", deadline(2)).status == 0


def test_silence_since_power_on_is_told_apart(fake_uboot: Make, deadline: Within) -> None:
    board = fake_uboot()  # never powered on
    first_byte = deadline(0.1)
    with pytest.raises(BoardError, match="Not one byte") as raised:
        dialogue(board.line).interrupt(deadline(30), first_byte=first_byte)
    assert raised.value.phase is Phase.POWER
    assert "powered" in raised.value.remedy
    assert first_byte.elapsed < 1


def test_bytes_without_a_prompt_are_told_apart(fake_uboot: Make, deadline: Within) -> None:
    wrong_prompt = UBootSettings(boot="bootm", prompt="rk3588> ", interrupt_interval_s=0.005)
    with pytest.raises(BoardError, match="but no prompt 'rk3588> '") as raised:
        dialogue(fake_uboot().power_on(), wrong_prompt).interrupt(deadline(0.4))
    assert raised.value.phase is Phase.UBOOT
    assert "INTERRUPT" in raised.value.tail


def test_a_wrong_baud_rate_is_told_apart(fake_uboot: Make, deadline: Within) -> None:
    board = fake_uboot()
    board.line.say(bytes(range(128, 256)))
    with pytest.raises(BoardError, match="no text"):
        dialogue(board.line).interrupt(deadline(0.1))


def test_a_prompt_that_answers_nothing_is_told_apart(fake_uboot: Make, deadline: Within) -> None:
    with pytest.raises(BoardError, match="no command was answered"):
        dialogue(fake_uboot(dead_prompt=True).power_on()).interrupt(deadline(0.5))


def test_an_autoboot_that_was_not_stopped_is_said_at_once(fake_uboot: Make, deadline: Within) -> None:
    within = deadline(10)
    settings = UBootSettings(boot="bootm", interrupt=" ", interrupt_interval_s=0.005)
    with pytest.raises(BoardError, match="not stopped"):
        dialogue(fake_uboot(decoy=b"").power_on(), settings).interrupt(within)
    assert within.elapsed < 2


def test_after_boot_the_handle_raises(fake_uboot: Make, deadline: Within) -> None:
    board = fake_uboot()
    with dialogue(board.power_on()) as uboot:
        uboot.interrupt(deadline(5))
        uboot.boot(deadline(2))
        with pytest.raises(RuntimeError):
            uboot.run("true", deadline(1))
