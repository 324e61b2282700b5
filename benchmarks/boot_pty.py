"""How often hvrig's console and dialogue boot through a pty that plays the x3300 (`x3300_player.py`), of N runs.

`--typing whole-lines` types each line at once, `--typing no-echo` in pieces without waiting for their echo: as a naive
script does, to see it fail. Exit status 1 when a run failed.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from random import Random

from virtual_bench import report
from x3300_player import X3300, Board

from hvrig.board.console import Console
from hvrig.boot import uboot_dialogue
from hvrig.boot.guest_dialogue import console_alive
from hvrig.boot.sequence import bring_up
from hvrig.boot.uboot import Echo
from hvrig.model.bench import SerialEndpoint
from hvrig.model.deadline import Deadline
from hvrig.model.errors import HvrigError
from hvrig.model.evidence import BootedFile
from hvrig.model.finding import Finding
from hvrig.model.phase import Phase
from hvrig.model.place import DeadlineSettings, Image, Place, RootLinuxSettings, SshSettings, UBootSettings
from hvrig.watch.watch import Watch

# name, address on the x3300 (hvisor-book), bytes: smaller than the real ones, the same dialogue.
IMAGES = (
    ("board_dtb", 0x0040_0000, 180_000),
    ("hvisor", 0x0050_0000, 900_000),
    ("kernel", 0x0940_0000, 4_000_000),
    ("zone0_dtb", 0x1000_0000, 120_000),
)
SETUP = ("setenv ipaddr 192.168.255.2", "setenv netmask 255.255.255.252", "setenv serverip 192.168.255.1")


@dataclass
class Heard:
    """What a boot told."""

    phases: list[Phase]
    files: list[BootedFile]

    def entered(self, phase: Phase) -> None:
        """See BootListener."""
        self.phases.append(phase)

    def loaded(self, file: BootedFile) -> None:
        """See BootListener."""
        self.files.append(file)


@dataclass(frozen=True)
class Booted:
    """A boot that reached the shell: seconds, what was told, faults that the watch believes in, bytes lost."""

    seconds: float
    heard: Heard
    faults: list[str]
    alive: bool
    overrun: int
    unheard: int


def make_images(folder: Path) -> dict[str, bytes]:
    """The files that the board will ask for, written to `folder`."""
    files = {f"{name}.bin": Random(name).randbytes(size) for name, _, size in IMAGES}
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return files


def x3300(folder: Path, *, load: str = "tftp {address} {file}", uboot_s: float = 20.0) -> Place:
    """The x3300's settings of the hvisor-book, for the files in `folder`."""
    return Place(
        name="x3300",
        images={name: Image(path=folder / f"{name}.bin", address=address) for name, address, _ in IMAGES},
        uboot=UBootSettings(boot="bootm 0x00500000 - 0x00400000", setup=SETUP, load=load),
        root_linux=RootLinuxSettings(prompt=r"root@linaro-alip:[^\r\n]*# $"),
        ssh=SshSettings(key=folder / "key", host_key="ssh-ed25519 AAAA"),
        deadlines=DeadlineSettings(first_byte_s=5, uboot_s=uboot_s, command_s=10, load_s=30, root_linux_s=20),
    )


def boot(player: X3300, place: Place, folder: Path) -> Booted:
    """One boot by hvrig's own console, watch and dialogue. Raises what they raise."""
    watch = Watch()
    faults: list[str] = []

    def listen(block: bytes, t: float) -> None:
        faults.extend(e.kind for e in watch.feed(block, t) if isinstance(e, Finding) and e.is_fault)

    watch.expect_boot()
    began = time.monotonic()
    heard = Heard([], [])
    with Console(SerialEndpoint("local", 1_500_000, device=player.device), folder, [listen]) as console:
        console.open(Deadline(5))
        with console.tap() as tap:
            player.power_on()
            bring_up(tap, place, heard)
        seconds = time.monotonic() - began
        with console.tap() as tap:
            alive = console_alive(tap, Deadline(5))
        player.power_off()
        console.check()
    return Booted(seconds, heard, faults, alive, player.overrun, player.unheard)


def break_typing(how: str) -> None:
    """Type as a naive script does."""
    if how == "whole-lines":
        setattr(uboot_dialogue, "pieces", lambda text, _: [text.encode("ascii")])  # noqa: B010 - mypy knows it imported
    elif how == "no-echo":
        setattr(uboot_dialogue, "judge_echo", lambda _typed, _received: Echo.WHOLE)  # noqa: B010 - likewise


def main() -> int:
    """Run and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--typing", choices=["hvrig", "whole-lines", "no-echo"], default="hvrig")
    given = parser.parse_args()
    break_typing(given.typing)
    seconds: list[float] = []
    why: Counter[str] = Counter()
    overrun = unheard = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = make_images(folder)
        for seed in range(given.seed, given.seed + given.runs):
            load = ("tftp {address} {file}", "fatload mmc 0:1 {address} {file}")[seed % 2]
            place = x3300(folder, load=load, uboot_s=20.0 if given.typing == "hvrig" else 5.0)
            artifacts = folder / f"run-{seed}"
            artifacts.mkdir()
            with X3300(Board(files=files, seed=seed, console=("ttyFIQ0", "ttyS2")[seed // 2 % 2])) as player:
                try:
                    done = boot(player, place, artifacts)
                except HvrigError as error:
                    why[error.message] += 1
                else:
                    if done.faults or not done.alive or len(done.heard.files) != len(IMAGES):
                        why[f"booted, but {done}"] += 1
                    else:
                        seconds.append(done.seconds)
                overrun += player.overrun
                unheard += player.unheard
    report(
        "boot_pty",
        {
            "typing": given.typing,
            "booted_through": f"{len(seconds)} of {given.runs}",
            "boot_s_median": round(statistics.median(seconds), 2) if seconds else None,
            "boot_s_max": round(max(seconds), 2) if seconds else None,
            "typed_bytes_lost_in_the_fifo": overrun,
            "sent_bytes_that_nobody_read": unheard,
            "failures": dict(why),
        },
    )
    return 0 if len(seconds) == given.runs else 1


if __name__ == "__main__":
    sys.exit(main())
