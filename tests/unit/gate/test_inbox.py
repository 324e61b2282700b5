from __future__ import annotations

import threading

import pytest

from hvrig.gate.inbox import Inbox, Job

BLOCK = b"x" * (1 << 19)


class Command:
    def __init__(self) -> None:
        self.abandoned = 0

    def abandon(self) -> None:
        self.abandoned += 1


@pytest.fixture
def taken() -> list[bytes]:
    return []


@pytest.fixture
def inbox() -> Inbox:
    return Inbox()


@pytest.fixture
def job(inbox: Inbox, taken: list[bytes]) -> Job:
    return Job(inbox, taken.append)


def hand_in(job: Job, blocks: int) -> tuple[threading.Thread, list[int]]:
    handed: list[int] = []

    def work() -> None:
        for index in range(blocks):
            job.output(BLOCK)
            handed.append(index)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread, handed


def test_one_message_announces_all_that_came_until_it_is_delivered(inbox: Inbox, job: Job, taken: list[bytes]) -> None:
    job.output(b"a")
    job.output(b"b")
    job.end(3)
    assert inbox.get(0) is job
    assert inbox.get(0) is None
    job.deliver()
    assert (taken, job.ended, job.status) == ([b"ab"], True, 3)


def test_output_that_nobody_takes_waits(job: Job, taken: list[bytes]) -> None:
    thread, _ = hand_in(job, 6)
    while thread.is_alive():
        job.deliver()
    job.deliver()
    assert b"".join(taken) == BLOCK * 6
    assert max(map(len, taken)) <= 3 * len(BLOCK)


def test_abandon_frees_a_waiting_command_and_keeps_what_came_before(job: Job, taken: list[bytes]) -> None:
    thread, handed = hand_in(job, 6)
    thread.join(0.1)
    assert thread.is_alive()
    assert handed == [0, 1]
    job.abandon()
    thread.join(10)
    assert not thread.is_alive()
    job.deliver()
    assert taken == [BLOCK * 2]


def test_a_command_that_is_named_after_it_was_abandoned_is_abandoned_at_once(job: Job) -> None:
    command = Command()
    job.attach(command)
    assert command.abandoned == 0
    job.abandon()
    late = Command()
    job.attach(late)
    assert (command.abandoned, late.abandoned) == (1, 1)


def test_an_empty_inbox_gives_nothing_in_time(inbox: Inbox) -> None:
    assert inbox.get(-1) is None
    inbox.put("hvrig-mark-0000000000000000")
    assert inbox.get(10) == "hvrig-mark-0000000000000000"
