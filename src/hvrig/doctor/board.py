"""The board: power that does something, speed, autoboot, and root-linux as the gate needs it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hvrig.doctor.result import Fault, Result, fail, ok, warn
from hvrig.model.evidence import BootedFile, Gap, MemtestRun
from hvrig.model.harmless import harmless
from hvrig.model.size import format_size

# The board's own journal is read beside the timeline: further apart than this, that leads astray.
CLOCK_TOLERANCE_S = 5.0

# Fewer bytes than this say nothing about the speed.
_BYTES_TO_JUDGE = 64

_SAID = 120  # characters of what the board said that fit into a finding


@dataclass(frozen=True)
class PowerOn:
    """One time that the board was switched on.

    first_byte_s: from then to the first byte that was read, None where none came. received: bytes until the prompt,
    or until it was given up. garbled: they are no text. prompt_s: from then to U-Boot's prompt, None where it was not
    got; trouble, remedy, tail: why.
    """

    first_byte_s: float | None
    received: int
    garbled: bool
    prompt_s: float | None
    trouble: str = ""
    remedy: str = ""
    tail: str = ""


def check_power(heard_while_off: bytes, on: PowerOn, listened_s: float) -> Result:
    """Whether the outlet switches this board: silence after off, bytes after on.

    heard_while_off: what came when a newline was typed with the power off. A line that falls with the power is read as
    a NUL, and counts as silence.
    """
    heard = heard_while_off.replace(b"\0", b"")
    if heard:
        said = harmless(heard.decode("ascii", "replace"), keep_newlines=False).strip()[:_SAID]
        return fail(
            f"the board goes on talking with its outlet off: {len(heard)} bytes in {listened_s:g} s ({said!r})",
            "Is it another board's outlet, or has the board power from elsewhere (USB, the serial adapter)?",
        )
    if on.first_byte_s is None:
        return fail(
            "silent when switched off, and silent when switched on: not one byte came",
            "Is the board on this outlet, does its power supply work, are RX, TX and GND of the UART connected?",
        )
    return ok(f"silent when switched off; the first bytes {on.first_byte_s:.2f} s after it was switched on")


def check_baud(on: PowerOn, speed: int, *, ours: bool) -> Result:
    """Whether what came is text. ours: hvrig sets the speed; else the port's server does."""
    speed_text = f"{speed} baud" if ours else "the speed that the port's server has set"
    if on.received < _BYTES_TO_JUDGE:
        return fail(
            f"only {on.received} bytes came, too few to judge the speed by",
            "Look at uart.log, and at the cable's RX and GND.",
            tail=on.tail,
        )
    if on.garbled:
        return fail(
            f"{on.received} bytes came at {speed_text}, and most are no text: framing noise",
            "Set the speed of the place's serial resource, or the exporter's, to the board's (the x3300's is 1500000).",
        )
    return ok(f"{on.received} bytes of text at {speed_text}")


def check_autoboot(trials: Sequence[PowerOn]) -> Result:
    """Whether autoboot was stopped each time."""
    got = [trial.prompt_s for trial in trials if trial.prompt_s is not None]
    found = f"stopped {len(got)} times of {len(trials)}"
    if len(got) == len(trials):
        return ok(f"{found}, {min(got):.1f} to {max(got):.1f} s after power-on")
    missed = next(trial for trial in trials if trial.prompt_s is None)
    return fail(f"{found}: {missed.trouble}", missed.remedy, tail=missed.tail)


def check_tftp(files: Sequence[BootedFile], seconds: float) -> Result:
    """All images came, and the board's copies are the local files: the transfer itself raises where they are not."""
    total = sum(file.size for file in files)
    rate = f", {format_size(round(total / seconds))}/s" if seconds > 0 else ""
    return ok(f"{len(files)} files, {format_size(total)}{rate}; size and CRC-32 are the local files'")


def check_memtester(name: str, wanted: int, status: int, run: MemtestRun, said: str) -> Result:
    """Whether memtester is there and can lock memory: `wanted` bytes, one pass. said: what it printed, its end."""
    if status in (126, 127):
        return fail(
            f"{name} cannot be started: {_short(said)}",
            "Install it in root-linux (apt-get install memtester), or give its path under gate.memtester.",
            Fault.BOARD,
        )
    if run.failure_count:
        return fail(f"memtester found {run.failure_count} memory errors", "The board's memory is bad.", Fault.BOARD)
    if not run.locked:
        return fail(
            f"{name} could not lock {format_size(wanted)}: {_short('; '.join(run.notes) or said)}",
            "Log in as root, or raise the limit: ulimit -l (memlock in /etc/security/limits.conf on the board).",
            Fault.BOARD,
        )
    if status != 0 or not run.done:
        return fail(f"{name} ended with status {status}: {_short(said)}", "Run it by hand on the board.", Fault.BOARD)
    return ok(f"{name} got, locked and tested {format_size(wanted)}")


def check_clock(board_s: float, host_s: float) -> Result:
    """Whether board and host agree on the time (seconds since 1970)."""
    ahead = board_s - host_s
    if abs(ahead) <= CLOCK_TOLERANCE_S:
        return ok(f"the board's clock and this machine's are within {CLOCK_TOLERANCE_S:g} s")
    word = "ahead of" if ahead > 0 else "behind"
    return warn(
        f"the board's clock is {_span(abs(ahead))} {word} this machine's",
        "Times in the board's own logs do not match the run's: set up NTP on the board, or its RTC's battery is empty.",
    )


def check_recording(received: int, gaps: Sequence[Gap]) -> Result:
    """Whether the UART was heard all the time. received: bytes."""
    if not gaps:
        return ok(f"{received} bytes recorded without a gap; the board reported no fault")
    return fail(
        f"the UART was lost {len(gaps)} times, first at byte {gaps[0].offset}: {harmless(gaps[0].reason)}",
        "Look at the adapter, its cable and the exporter: a run with a gap cannot pass.",
    )


def _span(seconds: float) -> str:
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} seconds"


def _short(text: str) -> str:
    return harmless(text, keep_newlines=False).strip()[-_SAID:] or "it printed nothing"
