"""The order of a boot: U-Boot, images, hypervisor, root-linux."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from hvrig.boot.console_pexpect import TapSpawn
from hvrig.boot.guest_dialogue import await_hypervisor, await_root_linux
from hvrig.boot.uboot_dialogue import UBoot
from hvrig.model.deadline import Clock, Deadline
from hvrig.model.errors import LabError
from hvrig.model.evidence import BootedFile
from hvrig.model.harmless import harmless
from hvrig.model.phase import Phase
from hvrig.model.place import Place
from hvrig.model.protocols import ConsoleTap


class BootListener(Protocol):
    """Hears how a boot goes on, as it does, so that a boot that fails leaves all that it came to."""

    def entered(self, phase: Phase) -> None:
        """A phase begins."""
        ...

    def loaded(self, file: BootedFile) -> None:
        """An image is in the board's memory, and proven."""
        ...


def bring_up(tap: ConsoleTap, place: Place, listener: BootListener, clock: Clock = time.monotonic) -> None:
    """Take the board from power-on to root-linux's shell.

    To be called right after power-on, with a tap that was opened before it. Raises what the steps raise, and
    LabError when a command of the place's U-Boot settings fails.
    """
    seconds = place.deadlines
    spawn = TapSpawn(tap)
    with UBoot(spawn, place.uboot) as uboot:
        listener.entered(Phase.UBOOT)
        uboot.interrupt(Deadline(seconds.uboot_s, clock), first_byte=Deadline(seconds.first_byte_s, clock))
        prepare(uboot, place, clock)
        listener.entered(Phase.LOAD)
        load_images(uboot, place, listener.loaded, clock)
        start(uboot, spawn, place, listener, clock)


def prepare(uboot: UBoot, place: Place, clock: Clock = time.monotonic) -> None:
    """The commands before loading, the network's among them. Raises as `bring_up` does."""
    for command in place.uboot.setup:
        _run(uboot, command, Deadline(place.deadlines.command_s, clock))


def load_images(
    uboot: UBoot, place: Place, loaded: Callable[[BootedFile], object], clock: Clock = time.monotonic
) -> None:
    """Load and prove each image; `loaded` hears of each. Raises as `bring_up` does."""
    for name, image in place.images.items():
        loaded(uboot.load(name, image, Deadline(place.deadlines.load_s, clock)))


def start(uboot: UBoot, spawn: TapSpawn, place: Place, listener: BootListener, clock: Clock = time.monotonic) -> None:
    """From loaded images to root-linux's shell. Raises as `bring_up` does."""
    seconds = place.deadlines
    for command in place.uboot.before_boot:
        _run(uboot, command, Deadline(seconds.command_s, clock))
    # Said before the command is typed, so that no byte of the hypervisor comes before its phase.
    listener.entered(Phase.HYPERVISOR)
    uboot.boot(Deadline(seconds.command_s, clock))
    await_hypervisor(spawn, place.hypervisor, Deadline(seconds.hypervisor_s, clock), uboot_prompt=place.uboot.prompt)
    listener.entered(Phase.ROOT_LINUX)
    await_root_linux(spawn, place.root_linux, Deadline(seconds.root_linux_s, clock))


def _run(uboot: UBoot, command: str, deadline: Deadline) -> None:
    result = uboot.run(command, deadline)
    if result.status != 0:
        said = harmless(result.output, keep_newlines=False).strip()[-300:] or "it printed nothing"
        raise LabError(
            f"U-Boot's {command!r} failed with status {result.status}: {said}",
            "Mend that command in the place's U-Boot settings; where it may fail, let it end with `|| true`.",
        )
