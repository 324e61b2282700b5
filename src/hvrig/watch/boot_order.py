"""Is what a boot prints in turn, or did the board begin anew by itself?"""

from __future__ import annotations

from dataclasses import dataclass

from hvrig.model.finding import Mark
from hvrig.model.phase import Phase

_PHASE_OF_MARK = {
    Mark.SPL: Phase.SPL,
    Mark.UBOOT_BANNER: Phase.UBOOT,
    Mark.AUTOBOOT: Phase.UBOOT,
    Mark.STARTING_KERNEL: Phase.HYPERVISOR,
    Mark.HYPERVISOR_HELLO: Phase.HYPERVISOR,
    Mark.CPU_ENTERED: Phase.HYPERVISOR,
    Mark.LINUX_BOOTING: Phase.ROOT_LINUX,
}
_ORDER = {phase: phase.order for phase in Phase}


@dataclass(frozen=True)
class Turn:
    """What a mark means. begins: it is the first of a boot. reset_in: the phase that a reset nobody asked for ended."""

    begins: bool = False
    reset_in: Phase | None = None


class BootOrder:
    """Follows one boot after the other.

    Steps (`MarkWords.step`: DDR, SPL, U-Boot) come once a boot and only upwards; the hypervisor's hello comes once
    a CPU, but not after Linux has begun. Anything else is a reset.
    """

    def __init__(self) -> None:
        self._step = 0
        self._phase = Phase.POWER

    def expect_boot(self) -> None:
        """Power was cycled or a reboot asked for: the next boot is in turn."""
        self._step = 0
        self._phase = Phase.POWER

    def see(self, mark: Mark, step: int) -> Turn:
        """Take one mark; `step` is 0 for marks that are none of the steps."""
        phase = _PHASE_OF_MARK.get(mark)
        if phase is None:
            return Turn()
        was = self._phase
        again = step and (step <= self._step or _ORDER[was] >= _ORDER[Phase.HYPERVISOR])
        if again or (mark is Mark.HYPERVISOR_HELLO and was is Phase.ROOT_LINUX):
            self._step, self._phase = step, phase
            return Turn(begins=True, reset_in=was)
        self._step = max(self._step, step)
        if _ORDER[phase] > _ORDER[was]:
            self._phase = phase
        return Turn(begins=was is Phase.POWER)
