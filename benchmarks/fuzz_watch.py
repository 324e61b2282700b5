"""Fuzz the watch with atheris: no exception, no growth, and the same events however the bytes are cut.

`pip install atheris`, then `python benchmarks/fuzz_watch.py -max_total_time=600 -max_len=8192 -dict=/dev/null CORPUS`
(libFuzzer's options). The dictionary of the words is built in: the first byte of each 3 of the input picks a piece.
"""

from __future__ import annotations

import sys
import tracemalloc
from dataclasses import replace

import atheris  # type: ignore[import-not-found, import-untyped, unused-ignore]

with atheris.instrument_imports(include=["hvrig.watch"]):
    from hvrig.model.finding import WatchEvent
    from hvrig.watch import Watch
    from hvrig.watch.catalogue import KINDS, MARKS

_PIECES = [
    *(kind.sample.encode() for kind in KINDS),
    *(words.literal for kind in KINDS for words in (*kind.words, *kind.late)),
    *(mark.words.literal for mark in MARKS),
    *(b"\r\n", b"}\r\n", b"\x1b[37m", b"\x1b", b"\x08|", b"[WARN  1] (hvisor::zone:1) ", b"[    1.000000] "),
    *(b"    address: 0x10,\r\n", b"    size: 0x1,\r\n", b"    is_write: true,\r\n", b"    value: 0x0,\r\n"),
    *(b"    message: Some(\r\n", b"        root zone has some error,\r\n", b"x" * 600),
]
_KEPT_BYTES = 400_000  # what a watch may hold after any input: reports, excerpts, the tally


def _expand(data: bytes) -> bytes:
    """Input bytes as a stream: a byte from 128 on is a piece of the table, any other is itself."""
    return b"".join(_PIECES[byte % len(_PIECES)] if byte >= 128 else bytes([byte]) for byte in data)


def _events(blocks: list[bytes]) -> list[WatchEvent]:
    watch = Watch()
    events = [event for block in blocks for event in watch.feed(block, 0.0)] + watch.flush(0.0)
    return [replace(event, t=0.0) for event in events]


def check(data: bytes) -> None:
    """Raise AssertionError, or what the watch raises, if an input shows a fault of the watch."""
    stream = _expand(data)
    size = 1 + (data[0] if data else 0)
    blocks = [stream[start : start + size] for start in range(0, len(stream), size)]
    assert _events(blocks) == _events([stream]), "cuts change the events"
    watch = Watch()
    tracemalloc.start()
    for _ in range(3):
        watch.feed(stream, 0.0)
    kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert kept < _KEPT_BYTES + 20 * len(stream), f"{kept} bytes kept"


def main() -> None:
    atheris.Setup(sys.argv, check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
