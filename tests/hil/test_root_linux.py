"""What root-linux must be once the memory gate has passed."""

from __future__ import annotations

import re

import pytest

from hvrig.model.harmless import harmless
from hvrig.pytest_plugin import Board

pytestmark = pytest.mark.hil

# syslog severities, https://www.kernel.org/doc/Documentation/ABI/testing/dev-kmsg: 3 is err, 0 is emerg.
ERROR_SEVERITY = 3


def test_root_linux_has_its_cpus(board: Board) -> None:
    found = board.run("nproc")
    assert int(found.stdout) == board.place.root_linux.cpus


def test_kernel_log_is_clean(board: Board) -> None:
    log = board.run("dmesg -r")
    assert log.status == 0
    lines = log.stdout.decode("utf-8", "replace").splitlines()
    assert len(lines) > 50, "that is no kernel log"
    known = [re.compile(pattern) for pattern in board.place.root_linux.known_errors]
    errors = [line for line in lines if _severity(line) <= ERROR_SEVERITY]
    new = [harmless(line) for line in errors if not any(pattern.search(line) for pattern in known)]
    assert new == [], "what this kernel prints at every boot belongs into root_linux.known_errors of the place"


def _severity(line: str) -> int:
    """The severity in a raw kernel line's `<N>`: the low three bits."""
    number, bracket, _ = line.removeprefix("<").partition(">")
    return int(number) & 7 if bracket and number.isdigit() else 7


def test_second_boot(board: Board) -> None:
    before = board.run("cat /proc/sys/kernel/random/boot_id").stdout
    board.reboot()
    after = board.run("cat /proc/sys/kernel/random/boot_id").stdout
    assert len(after) == len(before) == 37
    assert after != before
