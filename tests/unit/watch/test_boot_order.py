from __future__ import annotations

from hvrig.model.finding import Mark
from hvrig.model.phase import Phase
from hvrig.watch.boot_order import BootOrder

BOOT = [(Mark.SPL, 1), (Mark.SPL, 2), (Mark.SPL, 3), (Mark.UBOOT_BANNER, 4), (Mark.AUTOBOOT, 0)]
LATER = [
    (Mark.STARTING_KERNEL, 0),
    (Mark.HYPERVISOR_HELLO, 0),
    (Mark.HYPERVISOR_HELLO, 0),
    (Mark.CPU_ENTERED, 0),
    (Mark.LINUX_BOOTING, 0),
]


def resets(order: BootOrder, marks: list[tuple[Mark, int]]) -> list[Phase | None]:
    return [order.see(mark, step).reset_in for mark, step in marks]


def test_a_boot_is_in_turn_and_so_is_one_that_was_asked_for() -> None:
    order = BootOrder()
    assert set(resets(order, BOOT + LATER)) == {None}
    order.expect_boot()
    assert set(resets(order, BOOT + LATER)) == {None}


def test_a_second_boot_is_one_reset() -> None:
    order = BootOrder()
    resets(order, BOOT + LATER)
    assert resets(order, BOOT + LATER) == [Phase.ROOT_LINUX] + [None] * 9


def test_any_step_again_is_a_reset_in_the_phase_where_the_board_was() -> None:
    order = BootOrder()
    assert resets(order, [*BOOT, (Mark.UBOOT_BANNER, 4)])[-1] is Phase.UBOOT
    assert resets(order, [(Mark.STARTING_KERNEL, 0), (Mark.SPL, 2)])[-1] is Phase.HYPERVISOR
    assert resets(order, [(Mark.SPL, 1)])[-1] is Phase.SPL


def test_a_hello_after_linux_has_begun_is_a_reset() -> None:
    order = BootOrder()
    resets(order, BOOT + LATER)
    assert resets(order, [(Mark.HYPERVISOR_HELLO, 0), (Mark.HYPERVISOR_HELLO, 0)]) == [Phase.ROOT_LINUX, None]


def test_a_recording_may_begin_anywhere() -> None:
    order = BootOrder()
    assert resets(order, [(Mark.LINUX_BOOTING, 0), (Mark.UBOOT_BANNER, 4)]) == [None, Phase.ROOT_LINUX]
