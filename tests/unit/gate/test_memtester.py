from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvrig.gate.memtester import MemtesterOutput, describe_exit, work

# Captured from memtester 4.6.0 of Debian 12 through a pipe, stderr joined.
HERE = Path(__file__).parent
TWO_LOOPS = (HERE / "memtester-4.6.0-1M-mask-1-loops-2.raw").read_bytes()
ALL_TESTS = (HERE / "memtester-4.6.0-64K-all-tests.raw").read_bytes()

BANNER_4_5 = b"memtester version 4.5.1 (64-bit)\npagesize is 4096\npagesizemask is 0xfffffffffffff000\n"
WANT = BANNER_4_5 + b"want 64MB (67108864 bytes)\n"
LOCKED = WANT + b"got  64MB (67108864 bytes), trying mlock ...locked.\nLoop 1/1:\n"
STUCK = b"  Stuck Address       :            "
BACK = b"\b" * 11
FAILURE = b"FAILURE: 0xffffffff != 0xffffff00 at offset 0x099e03bc.\n"


def parsed(data: bytes, mask: int | None = 0x1) -> MemtesterOutput:
    output = MemtesterOutput(mask)
    output.feed(data)
    return output


def test_a_captured_run_of_two_loops() -> None:
    output = parsed(TWO_LOOPS)
    run = output.run
    assert (run.wanted_bytes, run.got_bytes, run.locked) == (1 << 20, 1 << 20, True)
    assert (run.loop, run.loops, run.done) == (2, 2, True)
    assert run.tests_done == ("Stuck Address", "Random Value")
    assert (run.failures, run.failure_count, run.notes) == ((), 0, ())
    assert output.page_size == 4096
    assert output.fraction == 1.0


def test_a_captured_run_of_all_tests() -> None:
    run = parsed(ALL_TESTS, None).run
    assert run.done
    assert len(run.tests_done) == 18
    assert run.tests_done[:2] == ("Stuck Address", "Random Value")
    assert run.tests_done[-1] == "16-bit Writes"


@pytest.mark.parametrize(("capture", "mask"), [(TWO_LOOPS, 0x1), (ALL_TESTS, None)])
def test_progress_never_goes_back_and_moves_in_small_steps(capture: bytes, mask: int | None) -> None:
    output = MemtesterOutput(mask)
    last, largest = 0.0, 0.0
    for at in range(0, len(capture), 7):
        output.feed(capture[at : at + 7])
        fraction = output.fraction
        assert fraction >= last
        largest = max(largest, fraction - last)
        last = fraction
    assert last == 1.0
    assert largest < 0.1


def test_the_pass_is_read_from_the_line_that_is_being_overwritten() -> None:
    at_pass_8 = LOCKED + STUCK + BACK + b"setting   7" + BACK + b"testing   7" + BACK + b"setting   8"
    assert parsed(at_pass_8).run.test == "Stuck Address"
    assert parsed(at_pass_8, 0x1).fraction == pytest.approx(0.6 * 16 / 32)
    # While it is overwritten, the line holds digits of both numbers.
    assert parsed(at_pass_8[:-1]).fraction == pytest.approx(0.6 * 15 / 32)
    assert parsed(LOCKED + STUCK + BACK + b"testing   9" + BACK + b"setting  1").fraction == pytest.approx(
        0.6 * 19 / 32
    )


def test_locking_is_seen_before_the_line_ends() -> None:
    waiting = parsed(WANT + b"got  64MB (67108864 bytes), trying mlock ...").run
    assert (waiting.got_bytes, waiting.locked, waiting.notes) == (67108864, False, ())
    assert parsed(WANT + b"got  64MB (67108864 bytes), trying mlock ...locked.\n").run.locked


def test_a_size_that_shrinks_is_noted_once_with_its_count() -> None:
    data = WANT
    for lost in range(3):
        data += b"got  64MB (%d bytes), trying mlock ...too many pages, reducing...\n" % (67108864 - 4096 * lost)
    run = parsed(data + b"got  63MB (67096576 bytes), trying mlock ...locked.\nLoop 1/1:\n").run
    assert (run.got_bytes, run.locked) == (67096576, True)
    assert run.notes == (
        "mlock: too many pages",
        "memtester reduced its size 3 times",
        "memtester wanted 67108864 bytes and got 67096576",
    )


@pytest.mark.parametrize(
    ("said", "note"),
    [
        (
            b"insufficient permission.\nTrying again, unlocked:\ngot  64MB (67108864 bytes)\n",
            "mlock: insufficient permission",
        ),
        (b"failed for unknown reason.\n", "mlock: failed for unknown reason"),
        (b"over system/pre-process limit, reducing...\n", "mlock: over system/pre-process limit"),
    ],
)
def test_a_failed_lock_is_noted(said: bytes, note: str) -> None:
    data = WANT + b"got  64MB (67108864 bytes), trying mlock ..." + said
    data += b"Continuing with unlocked memory; testing will be slower and less reliable.\nLoop 1/1:\n"
    run = parsed(data).run
    assert not run.locked
    assert note in run.notes
    assert "memtester ran on unlocked memory" in run.notes
    assert not any("printed" in text for text in run.notes)


def test_failures_are_counted_and_the_first_twenty_kept() -> None:
    output = parsed(LOCKED + STUCK + BACK + b"testing   3" + FAILURE)
    for _ in range(1000):
        output.feed(FAILURE * 10)
    output.feed(b"  Compare XOR         : ok\n")
    run = output.run
    assert run.failure_count == 10_001
    assert len(run.failures) == 20
    assert run.failures[0] == "FAILURE: 0xffffffff != 0xffffff00 at offset 0x099e03bc."
    assert run.tests_done == ("Compare XOR",)


def test_a_bad_address_line_skips_to_the_next_test() -> None:
    said = b"FAILURE: possible bad address line at offset 0x00001000.\nSkipping to next test...\n"
    run = parsed(LOCKED + STUCK + BACK + b"testing   3" + said + b"  Random Value        :  \b ok\n").run
    assert run.failures == ("FAILURE: possible bad address line at offset 0x00001000.",)
    assert run.notes == ()


def test_an_endless_line_and_foreign_lines_stay_bounded_and_harmless() -> None:
    output = MemtesterOutput()
    for _ in range(100):
        output.feed(b"\x1b]0;x" * 10_000)
    output.feed(b"\n" + b"sh: memtester: not found\n" * 100)
    notes = output.run.notes
    assert len(notes) == 5
    assert all(text.isprintable() and len(text) < 300 for text in notes)
    assert notes[1] == "memtester printed: sh: memtester: not found"


SHORT = b"\b|\b\b|\n|\r| |-|/|setting  12|testing   3|ok|Loop 3/7:|Done.|got  1MB (9 bytes)|\xff\x00\x1b".split(b"|")
PIECES = st.sampled_from([*SHORT, STUCK, BACK, FAILURE, WANT, LOCKED, b"  Random Value        : ", b"9" * 40])


@given(st.lists(PIECES | st.binary(max_size=30), max_size=40).map(b"".join), st.lists(st.integers(0, 400)))
def test_the_result_does_not_depend_on_how_the_bytes_were_cut(data: bytes, cuts: list[int]) -> None:
    whole = parsed(data, None)
    cut = MemtesterOutput(None)
    edges = [0, *sorted(cuts), max([len(data), *cuts])]
    for start, end in pairwise(edges):
        cut.feed(data[start:end])
        assert 0.0 <= cut.fraction <= 1.0
    assert cut.run == whole.run
    assert cut.fraction == whole.fraction


def test_exit_statuses_in_words() -> None:
    assert describe_exit(0) == "passed"
    assert "could not allocate or lock" in describe_exit(1)
    assert describe_exit(6) == "exit status 6: the Stuck Address test failed, another test failed"
    assert "signal 9" in describe_exit(137)
    assert "could not start" in describe_exit(127)
    assert describe_exit(None) == "did not end by itself"


def test_more_tests_are_more_work() -> None:
    assert work(0x1) < work(0x3) < work(None) == work(0)
