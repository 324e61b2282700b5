from __future__ import annotations

from dataclasses import replace

import pytest

from hvrig.doctor.host import Packages, check_disk, check_packages, locked_versions
from hvrig.doctor.result import Status
from hvrig.model.place import DeadlineSettings, GateSettings

LOCK = """\
click==8.1.8 \\
    --hash=sha256:00
colorama==0.4.6 ; sys_platform == 'win32' \\
    --hash=sha256:01
typing-extensions==4.12.2
"""
GOOD = Packages("3.11.2", ">=3.11", ("click>=8.1",), {"click": "8.1.8", "typing-extensions": "4.12.2"}, LOCK)


def test_only_this_machines_pins_count() -> None:
    assert locked_versions(LOCK) == {"click": "8.1.8", "typing-extensions": "4.12.2"}


def test_packages_as_locked() -> None:
    assert check_packages(GOOD).found == "Python 3.11.2; 2 packages as in requirements.lock"
    assert check_packages(replace(GOOD, lock=None)).status is Status.OK


@pytest.mark.parametrize(
    ("facts", "status", "said"),
    [
        (replace(GOOD, python="3.10.1"), Status.FAIL, "hvrig needs >=3.11"),
        (replace(GOOD, requires=("labgrid>=26",)), Status.FAIL, "labgrid is not installed"),
        (replace(GOOD, requires=("click>=9",)), Status.FAIL, "click is 8.1.8, and >=9 is needed"),
        (replace(GOOD, installed={"click": "8.2"}), Status.WARN, "click is 8.2 instead of 8.1.8"),
    ],
)
def test_packages_that_differ(facts: Packages, status: Status, said: str) -> None:
    result = check_packages(facts)
    assert result.status is status
    assert said in result.found
    assert "scripts/setup" in result.remedy


@pytest.mark.parametrize(("free", "status"), [(1 << 40, Status.OK), (100 << 20, Status.WARN), (1 << 20, Status.FAIL)])
def test_room_for_evidence(free: int, status: Status) -> None:
    assert check_disk("artifacts", free, 1_500_000, GateSettings(), DeadlineSettings()).status is status
