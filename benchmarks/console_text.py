"""Console text for benchmarks: real captures of good boots and memtester's backspaces, and a fault to put into it."""

from __future__ import annotations

from pathlib import Path

_CAPTURES = Path(__file__).parents[1] / "tests/data/uart"
_CLEAN = ("hvisor-qemu-ok.raw.log", "hvisor-qemu-stock-ok.raw.log")
_FAULTY = "hvisor-qemu-fault.raw.log"

# memtester 4.6, tests.c and memtester.c: a progress text is overwritten by as many backspaces as it has characters.
_STEPS = (
    ("Stuck Address", 16),
    ("Compare XOR", 64),
    ("Solid Bits", 64),
    ("Block Sequential", 256),
    ("Bit Spread", 128),
)


def console_text(count: int) -> bytes:
    """`count` bytes in which nothing is wrong: boots of the real hvisor, and memtester, again and again.

    About two bytes in five are memtester's.
    """
    cycle = b"".join((_CAPTURES / name).read_bytes() + memtester_text() for name in _CLEAN)
    return (cycle * (count // len(cycle) + 1))[:count]


def memtester_text() -> bytes:
    """One loop of memtester, some 25 kB, as a terminal gets it (lines end with CR LF)."""
    lines = ["Loop 1/1:\r\n"]
    for name, steps in _STEPS:
        progress = "".join(
            f"{text}{len(text) * chr(8)}"
            for step in range(steps)
            for text in (f"setting {step:3}", f"testing {step:3}")
        )
        lines.append(f"  {name:<20}: {progress}{11 * ' '}{11 * chr(8)}ok\r\n")
    return "".join(lines).encode("ascii")


def mmio_fault() -> tuple[bytes, int]:
    """The report of an MMIO fault as the real hvisor printed it, and the index behind the words that it is known by."""
    capture = (_CAPTURES / _FAULTY).read_bytes()
    words = b"Zone 0 unhandled mmio fault MMIOAccess {"
    at = capture.index(words)
    start = capture.rindex(b"...", 0, at) + len(b"...")
    end = capture.index(b"\r\n", capture.index(b"\r\n}", at) + 2) + 2
    return capture[start:end], at + words.index(b" MMIOAccess") - start
