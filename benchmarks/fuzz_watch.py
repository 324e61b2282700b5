"""Fuzz the watch with atheris: no exception, no growth, and the same events however the bytes are cut.

`pip install atheris`, then `python benchmarks/fuzz_watch.py -max_total_time=600 -len_control=0 -max_len=512 CORPUS`:
libFuzzer's options; CORPUS is a folder that keeps inputs from one run to the next. An input is a little program: a byte
from 128 on is a piece of the table below, 0x01 a flush, 0x02 an announced boot, any other is itself.
"""

from __future__ import annotations

import random
import sys
import tracemalloc
from dataclasses import replace

import atheris  # type: ignore[import-not-found, import-untyped, unused-ignore]

with atheris.instrument_imports(include=["hvrig.watch"]):
    from hvrig.model.finding import Alarm, Finding, WatchEvent
    from hvrig.watch import Watch
    from hvrig.watch.catalogue import KINDS, MARKS

_FLUSH, _BOOT = 0x01, 0x02
# 128 pieces at most: those of the table that one byte names. The words' heads and ends come first.
_AROUND = [
    *(b"\r\n", b"}\r\n", b"\x1b[37m", b"\x1b", b"\x08|", b"[WARN  1] (hvisor::zone:1) ", b"[    1.000000] "),
    *(b"[   12.345678] ERROR CPU2 hvisor: (hvisor::panic:7) ", b"[ERROR 0] (hvisor::panic:24) ", b"[ERROR "),
    *(b"    address: 0x10,\r\n", b"    size: 0x1,\r\n", b"    is_write: true,\r\n", b"    value: 0x0,\r\n"),
    *(b"    message: Some(\r\n", b"        root zone has some error,\r\n", b"    location: Location {\r\n"),
    *(b'        file: "src/a.rs",\r\n', b"        line: 3,\r\n", b"        col: 4,\r\n", b"    can_unwind: true,\r\n"),
    *(b"panicked at src/zone.rs:303:9:\r\n", b"/tmp/a.log:", b"a.log:12:", b"<0>", b"root@virtual:/# ", b"x" * 600),
    *(b"\r\n\r\nU-Boot 2023.01 (\r\n", b"[    0.000000] Booting Linux on physical CPU 0x0\r\n", b"0x40400000!\r\n"),
    *(b"[    1.000000] ---[ end trace 0 ]---\r\n", b"(hvisor::", b"src/a.rs:1:2]", b"y" * 4100),
]
_PIECES = [
    *_AROUND,
    *(words.literal for kind in KINDS for words in (*kind.words, *kind.late)),
    *(mark.words.literal for mark in MARKS),
    *(kind.sample.encode() for kind in KINDS),
][:128]
_KEPT_BYTES = 400_000  # what a watch may hold after any input: reports, excerpts, the tally
_Step = bytes | int


def _steps(data: bytes) -> list[_Step]:
    """An input as what is done to a watch: bytes that come, or one of the two calls."""
    steps: list[_Step] = [b""]
    for byte in data:
        if byte in (_FLUSH, _BOOT):
            steps += [byte, b""]
            continue
        last = steps[-1]
        assert isinstance(last, bytes)
        steps[-1] = last + (_PIECES[(byte - 128) % len(_PIECES)] if byte >= 128 else bytes([byte]))
    return steps


def _events(steps: list[_Step], watch: Watch, sizes: random.Random | None) -> list[WatchEvent]:
    """The events of all steps and a last flush; with `sizes`, what comes is cut in blocks."""
    events: list[WatchEvent] = []
    for step in [*steps, _FLUSH]:
        if step == _FLUSH:
            events += watch.flush(0.0)
        elif step == _BOOT:
            watch.expect_boot()
        else:
            assert isinstance(step, bytes)
            at = 0
            while at < len(step):
                size = len(step) if sizes is None else sizes.choice((1, 3, 16, 64, 300, 4096))
                events += watch.feed(step[at : at + size], 0.0)
                at += size
    return [replace(event, t=0.0) for event in events]


def check(data: bytes) -> None:
    """Raise AssertionError, or what the watch raises, if an input shows a fault of the watch."""
    steps = _steps(data)
    total = sum(len(step) for step in steps if isinstance(step, bytes))
    whole = _events(steps, Watch(), None)
    assert _events(steps, Watch(), random.Random(len(data))) == whole, "cuts change the events"
    alarmed = {(event.kind, event.offset) for event in whole if isinstance(event, Alarm)}
    for event in whole:
        assert 0 <= event.offset < total, "an offset outside of the stream"
        if isinstance(event, Finding):
            assert not event.is_fault or (event.kind, event.offset) in alarmed, "a fault without an alarm"
            assert event.tied_to is None or event.tied_to < event.offset, "tied to what came later"
            assert not set(event.fields) & set(event.missing), "there and missing"
    if data and data[0] % 16 == 0:
        _check_growth(steps, total)


def _check_growth(steps: list[_Step], total: int) -> None:
    watch = Watch()
    tracemalloc.start()
    for _ in range(3):
        for step in steps:
            if isinstance(step, bytes):
                watch.feed(step, 0.0)
    kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert kept < _KEPT_BYTES + 20 * total, f"{kept} bytes kept"


def main() -> None:
    atheris.Setup(sys.argv, check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
