"""The phases of a run, in the order in which a board goes through them."""

from __future__ import annotations

import enum


class Phase(enum.Enum):
    """Where the board is. A later phase never comes before an earlier one in the same boot."""

    POWER = "power"
    SPL = "spl"
    UBOOT = "u-boot"
    LOAD = "load"
    HYPERVISOR = "hypervisor"
    ROOT_LINUX = "root-linux"
    SSH = "ssh"
    GATE = "gate"
    TESTS = "tests"

    @property
    def order(self) -> int:
        """Position in a boot, 0 for power."""
        return list(Phase).index(self)

    @property
    def silence_is_hang(self) -> bool:
        """True where silence is the board's fault (FAIL, hang), False where it is the lab's (INFRA).

        From `bootm` on the hypervisor runs; before it, power, cables and TFTP are in question.
        """
        return self.order >= Phase.HYPERVISOR.order
