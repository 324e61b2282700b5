"""Streams of console text with faults whose truth is known, torn in every way a UART tears them: what does hvrig find?

Each stream is guest text with none, one or several reports of hvisor or the kernel in it: beginning in the middle of a
guest line, cut by guest bytes, guest lines, memtester's progress or another CPU's report, woven with one line by line,
repeated, with bytes lost; in both log shapes, with and without colours; fed in chunks of any size. Some have more
(`Scene`): lines with a fault's words that are none, boots that were asked for or not, with the layout and the log level
that hvisor prints, and the reports of other versions of hvisor and Rust.

A fault must be found where one of its kind's words survives in one piece. Its fields must be right where their line
survives, and right or missing elsewhere. Three cases nobody can see in the text are counted apart: a number whose
digits were lost or added while its line kept its shape (`unknowable`), numbers of a report that says itself that it is
not whole (`low`), and lines of two reports of one kind that stand in each other, given to the wrong one by a finding
that says that it is not sure (`swapped`). Nothing else may be found, nothing of a boot that was asked for, and one
`unexpected-reset` for each that was not.

A fault whose line begins directly behind what looks like a file's name and a colon, or a level in brackets, is byte for
byte what `grep` or `dmesg -r` shows of an old log (`as shown`): it must be found only if lines of its own follow.
So must words of hvisor's of whose log line's head fewer than eight bytes in a row are left: without it they are what
somebody writes in his notes (`as a note`).

`python benchmarks/watch_streams.py --seed 1 --streams 100000` prints the counts as JSON; exit status 1 if there was
a miss, an invention or a wrong field, with the seeds of the first few, to be looked at with `--show SEED`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

from hvrig.model.finding import Confidence, Finding
from hvrig.watch import Watch
from hvrig.watch.catalogue import BY_NAME, KINDS, LAYOUT, LOG_LEVEL, MARKS, UNEXPECTED_RESET

_CAPTURES = Path(__file__).parents[1] / "tests" / "data" / "uart"
_ESCAPES_BEFORE = re.compile(rb"(?:\x1b\[[0-9;]*m)*\Z")
# What `grep` and `dmesg -r` put before a line.
_AS_SHOWN = re.compile(rb"(?:[A-Za-z.~/][\w.~+/-]*\.[A-Za-z]\w*:(?:\S.*)?|/[\w.~+/-]+:(?:\S.*)?|<\d+>)\Z")
_STILL = re.compile(rb"\x1b\[[0-9;]*m|\x08+[-\\|/]?")
# Quotes before words are what somebody searches for, and an escape sequence that was cut takes a byte of them.
_BAD_BEFORE = re.compile(rb"(?:['\"`=]|\x1b(?:\[[0-?]*[ -/]*)?)\Z")
_Value = int | bool | str


@dataclass(frozen=True)
class Span:
    """`[start, end)` of a message's bytes."""

    start: int
    end: int


@dataclass
class Message:
    """One report as it was printed, and what must be found in it.

    words: one of them in a piece is enough. head: from the log line's prefix to the end of the first words.
    follows: the index of the message that this one belongs to (a panic, an access error), or None.
    asked: of a boot, whether hvrig had asked for it.
    """

    kind: str
    data: bytes
    cpu: int | None = None
    zone: int | None = None
    words: list[Span] = field(default_factory=list)
    head: Span | None = None
    zone_at: Span | None = None
    fields: dict[str, tuple[Span, _Value]] = field(default_factory=dict)
    follows: int | None = None
    count: int = 1
    woven: bool = False
    asked: bool = False

    @property
    def is_fault(self) -> bool:
        """Whether it is no boot and nothing that hvisor says of itself."""
        return self.kind not in (BOOT, LAYOUT, LOG_LEVEL)


@dataclass(frozen=True)
class Scene:
    """What a stream has besides the reports of today's hvisor in a guest's text."""

    decoys: bool = False
    boots: bool = False
    rare: bool = False


PLAIN = Scene()
BOOT = "boot"


def scene_of(seed: int) -> Scene:
    """What the stream of a seed has, if nobody says."""
    rng = random.Random(f"scene {seed}")
    return Scene(decoys=rng.random() < 0.35, boots=rng.random() < 0.25, rare=rng.random() < 0.35)


@dataclass(frozen=True)
class Piece:
    """Bytes of a stream: of message number `owner` from its byte `start` on, or of the guest."""

    owner: int | None
    start: int
    data: bytes


@dataclass
class Stream:
    """A stream and its truth."""

    messages: list[Message]
    pieces: list[Piece]

    @property
    def data(self) -> bytes:
        """The bytes as they come over the wire."""
        return b"".join(piece.data for piece in self.pieces)

    def survives(self, owner: int, span: Span) -> bool:
        """Whether a span of a message came through in one piece, with the escape sequences before it."""
        data = self.messages[owner].data
        guard = _ESCAPES_BEFORE.search(data[: span.start])
        start = guard.start() if guard else span.start
        for number, piece in enumerate(self.pieces):
            end = piece.start + len(piece.data)
            if piece.owner == owner and piece.start <= start and end >= span.end:
                if piece.start + 2 < start:
                    return True
                return _BAD_BEFORE.search(b"".join(each.data for each in self.pieces[:number])[-64:]) is None
        return False

    def survives_as_line(self, owner: int, span: Span) -> bool:
        """Whether a line of a message came through in one piece, and as a line: nothing stands before it."""
        before = b""
        for piece in self.pieces:
            end = piece.start + len(piece.data)
            if piece.owner == owner and piece.start <= span.start and end >= span.end:
                before += piece.data[: span.start - piece.start]
                return re.sub(rb"\x1b\[[0-9;]*m|\x08+[-\\|/]?", b"", before[-400:])[-1:] in (b"", b"\n")
            before += piece.data
        return False

    def is_as_shown(self, owner: int) -> bool:
        """Whether what stands before a message in its line is what a tool puts before lines of a file."""
        at = self.offset_of(owner)
        before = self.data[max(0, at - 400) : at]
        line = _STILL.sub(b"", before[before.rfind(b"\n") + 1 :])
        return b"\n" in before and _AS_SHOWN.match(line) is not None

    def offset_of(self, owner: int) -> int:
        """Where a message's first byte is."""
        return sum(len(piece.data) for piece in self.pieces[: self.places_of(owner)[0]])

    def touched(self, owner: int, span: Span) -> bool:
        """Whether bytes were lost or put in between a span's bytes, or at its ends."""
        return not any(
            piece.owner == owner and piece.start < span.start and piece.start + len(piece.data) > span.end
            for piece in self.pieces
        )

    def is_in_one_piece(self, owner: int, span: Span) -> bool:
        """Whether nothing was lost or put in between a span's first byte and its last."""
        return any(
            piece.owner == owner and piece.start <= span.start and piece.start + len(piece.data) >= span.end
            for piece in self.pieces
        )

    def places_of(self, owner: int) -> list[int]:
        """The numbers of a message's pieces, none where all its bytes were lost."""
        return [number for number, piece in enumerate(self.pieces) if piece.owner == owner]

    def owner_of(self, offset: int) -> int | None:
        """The message that the byte at `offset` belongs to."""
        for piece in self.pieces:
            if offset < len(piece.data):
                return piece.owner
            offset -= len(piece.data)
        return None


# --- what is printed -------------------------------------------------------------------------------------------------


@lru_cache
def _guest_lines() -> tuple[bytes, ...]:
    marks = [mark.words.literal for mark in MARKS] + [b"DDR V", b"log_level", b"_end = ", b"mem_pool_start", b"__core"]
    lines: list[bytes] = []
    for name in ("hvisor-qemu-ok.raw.log", "hvisor-qemu-stock-ok.raw.log", "uart-rk3588-boot.log"):
        text = (_CAPTURES / name).read_bytes().replace(b"\r", b"")
        lines += [line + b"\r\n" for line in text.split(b"\n") if not any(word in line for word in marks)]
    return tuple(line for line in lines if len(line) < 300)


@lru_cache
def _guest_words() -> bytes:
    return b"".join(line for line in _guest_lines() if b"\x1b" not in line and b"\x08" not in line)


def _spin(rng: random.Random) -> bytes:
    if rng.random() < 0.3:
        number = rng.randrange(64)
        return b"\x08" * 11 + rng.choice((b"setting", b"testing")) + b" %3d" % number
    return b"".join(b"\x08" + b"-\\|/"[n % 4 :][:1] for n in range(rng.randrange(4), rng.randrange(5, 24)))


def _burst(rng: random.Random) -> bytes:
    """What a guest writes between two bytes of a report."""
    choice = rng.random()
    if choice < 0.35:
        return _spin(rng)
    if choice < 0.55:
        return b"[%5d.%06d] " % (rng.randrange(99999), rng.randrange(10**6)) + rng.choice(
            (b"random: crng init done\r\n", b"br0: port 1(eth0) entered disabled state\r\n", b"usb 1-1: new device\r\n")
        )
    text = _guest_words()
    start = rng.randrange(len(text) - 64)
    return text[start : start + rng.randrange(1, 40)].rstrip(b"'\"`=\r\n") or b"x"


def _log(
    rng: random.Random, level: bytes, cpu: int, target: bytes, text: bytes, *, colours: bool, stamped: bool
) -> bytes:
    args = b"31" if level == b"ERROR" else b"33"
    bright = b"91" if level == b"ERROR" else b"93"
    if stamped:
        head = b"<37>[<97>%5d.%06d<>] <%b>%-5b<> <92>CPU%d<> hvisor: <37>(%b:%d)<> <%b>" % (
            rng.randrange(99999), rng.randrange(10**6), bright, level, cpu, target, rng.randrange(1, 999), args,
        )  # fmt: skip
    else:
        head = b"<37>[<%b>%-5b<> <37>%d<>] <37>(%b:%d)<> <%b>" % (
            bright,
            level,
            cpu,
            target,
            rng.randrange(1, 999),
            args,
        )
    line = head + text.replace(b"\n", b"\r\n") + b"<>\r\n<>"
    return re.sub(rb"<(\d*)>", lambda code: b"\x1b[" + code[1] + b"m" if colours else b"", line)


def _message(kind: str, data: bytes, values: dict[str, tuple[bytes, _Value]], **known: int | None) -> Message:
    """A message whose words, fields and prefix are found in its text."""
    words = [
        Span(match.start(), match.end())
        for each in BY_NAME[kind].words
        if (match := re.search(re.escape(each.literal) + b"".join(each.tail), data)) is not None
    ]
    first = min(span.start for span in words)
    prefix = re.search(rb"\[(?=[^()]*\()", data)
    message = Message(kind, data, cpu=known.get("cpu"), zone=known.get("zone"), words=words)
    if prefix is not None and prefix.start() < first:
        message.head = Span(prefix.start(), min(span.end for span in words))
    for name, (text, value) in values.items():
        at = data.index(text)
        message.fields[name] = (Span(data.rfind(b"\n", 0, at) + 1, data.index(b"\n", at) + 1), value)
    if message.zone is not None and (where := re.search(rb"[Zz]one \d+ unhandled|root zone has", data)):
        message.zone_at = Span(where.start(), where.end())
    return message


def _mmio(rng: random.Random, cpu: int, **shape: bool) -> Message:
    address, value, size = rng.getrandbits(rng.choice((28, 32, 36))), rng.getrandbits(64), rng.choice((1, 2, 4, 8))
    write, zone = rng.random() < 0.5, rng.choice((0, 0, 1))
    text = (
        b"Zone %d unhandled mmio fault MMIOAccess {\n    address: 0x%x,\n    size: 0x%x,\n"
        b"    is_write: %b,\n    value: 0x%x,\n}" % (zone, address, size, b"true" if write else b"false", value)
    )
    data = _log(rng, b"WARN", cpu, b"hvisor::memory::mmio", text, **shape)
    values: dict[str, tuple[bytes, _Value]] = {
        "address": (b"address: ", address), "size": (b"size: ", size),
        "is_write": (b"is_write: ", write), "value": (b"value: ", value),
    }  # fmt: skip
    return _message("unhandled-mmio-fault", data, values, cpu=cpu, zone=zone)


def _access(rng: random.Random, cpu: int, **shape: bool) -> Message:
    text = b"mmio_handle_access: [src/memory/mmio.rs:%d:13] Invalid argument" % rng.randrange(1, 999)
    return _message(
        "mmio-handler-error", _log(rng, b"ERROR", cpu, b"hvisor::arch::aarch64::trap", text, **shape), {}, cpu=cpu
    )


def _panic(rng: random.Random, cpu: int, message: bytes, **shape: bool) -> Message:
    file, line, col = (
        rng.choice((b"src/zone.rs", b"src/cpu_data.rs", b"src/event.rs")),
        rng.randrange(1, 2000),
        rng.randrange(1, 99),
    )
    style = rng.random()
    said: tuple[bytes, _Value]
    if style < 0.15:
        text = b"panic occurred: panicked at %b:%d:%d:\n%b" % (file, line, col, message)
        data = _log(rng, b"ERROR", cpu, b"hvisor::panic", text, **shape)
        place = b"panicked at "
        values: dict[str, tuple[bytes, _Value]] = {
            "file": (place, file.decode()),
            "line": (place, line),
            "col": (place, col),
        }
        return _message("hypervisor-panic", data, values, cpu=cpu)
    if style < 0.6:
        middle, said = b"    message: %b,\n" % message, (b"message: ", message.decode())
    else:
        middle = b"    payload: Any { .. },\n    message: Some(\n        %b,\n    ),\n" % message
        said = (b"message: Some(", message.decode())
    text = (
        b"panic occurred: PanicInfo {\n" + middle + b"    location: Location {\n"
        b'        file: "%b",\n        line: %d,\n        col: %d,\n    },\n'
        b"    can_unwind: true,\n    force_no_backtrace: false,\n}" % (file, line, col)
    )
    data = _log(rng, b"ERROR", cpu, b"hvisor::panic", text, **shape)
    values = {"message": said, "file": (b"file: ", file.decode()), "line": (b" line: ", line), "col": (b" col: ", col)}
    made = _message("hypervisor-panic", data, values, cpu=cpu, zone=0 if message.startswith(b"root zone has") else None)
    if b"Some(" in data:
        start = made.fields["message"][0].start
        made.fields["message"] = (Span(start, data.index(b",", start) + 3), said[1])
    return made


_LINES = (
    ("hypercall-error", b"ERROR", b"hypercall error: [src/hypercall/mod.rs:120:13] Invalid argument"),
    ("instruction-fetch-failure", b"ERROR", b"Failed to fetch instruction (op=0) at 0x50fd22c8, ELR_EL2=0xffff0000!"),
    ("zone-error", b"ERROR", b"zone 1 has some error, please shut down it"),
    ("el2-exception", b"ERROR", b"Unsupported Exception EC:0x1!"),
    ("mmio-handler-error", b"ERROR", b"mmio handler returned error: [src/device/virtio.rs:1:2] I/O error"),
)
_KERNEL = (
    ("kernel-panic", b"Kernel panic - not syncing: Attempted to kill init! exitcode=0x0000000b"),
    ("kernel-bug", b"BUG: Bad page state in process memtester  pfn:0b600"),
    ("kernel-oops", b"Unable to handle kernel NULL pointer dereference at virtual address 0000000000000010"),
    ("external-abort", b"Internal error: synchronous external abort: 0000000096000010 [#1] SMP"),
    ("serror", b"SError Interrupt on CPU1, code 0x00000000be000011 -- SError"),
    ("rcu-stall", b"rcu: INFO: rcu_preempt self-detected stall on CPU"),
    ("soft-lockup", b"watchdog: BUG: soft lockup - CPU#1 stuck for 22s! [memtester:214]"),
    ("hard-lockup", b"watchdog: Watchdog detected hard LOCKUP on cpu 3"),
    ("hung-task", b"INFO: task kworker/0:1:123 blocked for more than 120 seconds."),
    ("oom-kill", b"Out of memory: Killed process 214 (memtester) total-vm:788072kB, anon-rss:741048kB"),
)


def _kernel(rng: random.Random) -> Message:
    kind, text = rng.choice(_KERNEL)
    stamp = b"[%5d.%06d] " % (rng.randrange(99999), rng.randrange(10**6))
    made = _message(kind, stamp + text + b"\r\n", {})
    made.words = [Span(0, max(span.end for span in made.words) + 1)]
    made.head = None
    return made


def _uboot(rng: random.Random) -> list[Message]:
    """What U-Boot prints of an exception before it resets the board."""
    esr, far = rng.choice((0x96000004, 0x96000045, 0x02000000)), rng.getrandbits(40)
    registers = "".join(
        f"elr: {rng.getrandbits(40):016x} lr : {rng.getrandbits(40):016x}{end}\r\n" for end in (" (reloc)", "")
    )
    text = f'"Synchronous Abort" handler, esr {esr:#010x}, far {far:#x}\r\n{registers}'.encode()
    made = _message("u-boot-exception", text, {})
    made.fields = {"esr": (Span(0, text.index(b"\n") + 1), esr), "far": (Span(0, text.index(b"\n") + 1), far)}
    return [made]


def _oops(rng: random.Random) -> list[Message]:
    """A kernel's oops with its call trace, and the panic that may follow."""
    t, cpu = rng.randrange(1, 99999), rng.randrange(8)
    lines = (
        "Unable to handle kernel paging request at virtual address ffff8000deadbeef",
        *("Mem abort info:", "  ESR = 0x0000000096000006", "  EC = 0x25: DABT (current EL), IL = 32 bits"),
        "Internal error: Oops: 0000000096000006 [#1] SMP",
        f"CPU: {cpu} PID: {rng.randrange(1, 999)} Comm: memtester Not tainted 6.1.0-arm64 #1",
        "Call trace:",
        *(f" some_function_{rng.randrange(99)}+0x{rng.randrange(99):x}/0x100" for _ in range(rng.randrange(1, 12))),
        "Code: d2800000 f9400000 (b9000000) d65f03c0",
        "---[ end trace 0000000000000000 ]---",
        "Kernel panic - not syncing: Oops: Fatal exception",
    )
    data = [f"[{t:5}.{number:06}] {line}\r\n".encode() for number, line in enumerate(lines)]
    oops = _message("kernel-oops", b"".join(data[:-1]), {}, cpu=cpu)
    first = data[0].index(b"Unable") + len(b"Unable to handle kernel")
    oops.words, oops.head = [Span(0, first + 1)], None
    panic = _message("kernel-panic", data[-1], {})
    panic.words, panic.head = [Span(0, len(data[-1]) - 2)], None
    return [oops, panic][: rng.choice((1, 2))]


def _incident(rng: random.Random, cpu: int, base: int) -> list[Message]:
    """The messages of one fault, in order; `base` is the number of the first."""
    shape = {"colours": rng.random() < 0.7, "stamped": rng.random() < 0.3}
    choice = rng.random()
    if choice < 0.45:
        fault, access = _mmio(rng, cpu, **shape), _access(rng, cpu, **shape)
        panic = _panic(rng, cpu, b"root zone has some error", **shape)
        access.follows = panic.follows = base
        return [fault, access, panic][: rng.choice((1, 3, 3, 3))]
    if choice < 0.55:  # LOG=error
        access, panic = _access(rng, cpu, **shape), _panic(rng, cpu, b"root zone has some error", **shape)
        panic.follows = base
        return [access, panic]
    if choice < 0.7:
        return [_panic(rng, cpu, b"called `Option::unwrap()` on a `None` value", **shape)]
    if choice < 0.78:
        elr, far = rng.getrandbits(32), rng.getrandbits(48)
        text = b"EL2 Exception: Data Abort, ELR_EL2: 0x%x, ESR_EL2: 0x96000045, FAR_EL2: 0x%x\r\n" % (elr, far)
        made = _message("el2-exception", text, {})
        made.fields = {"elr": (Span(0, len(text)), elr), "far": (Span(0, len(text)), far)}
        return [made]
    if choice < 0.9:
        kind, level, line = rng.choice(_LINES)
        return [_message(kind, _log(rng, level, cpu, b"hvisor::zone", line, **shape), {}, cpu=cpu)]
    return [_kernel(rng)]


def _line_message(kind: str, data: bytes, cpu: int | None, **values: _Value) -> Message:
    """A fault in one line, with the fields that it says."""
    made = _message(kind, data, {}, cpu=cpu)
    made.fields = {name: (Span(0, data.index(b"\n") + 1), value) for name, value in values.items()}
    return made


def _rare_incident(rng: random.Random, cpu: int, base: int) -> list[Message]:
    """As `_incident`, of older and newer hvisors and Rusts."""
    shape = {"colours": rng.random() < 0.5, "stamped": rng.random() < 0.3}
    elr, esr, far = rng.getrandbits(32), 0x96000000 + rng.getrandbits(7), rng.getrandbits(48)
    choice = rng.random()
    if choice < 0.35:
        return [_bare_exception(rng, elr, esr, far)]
    if choice < 0.6:
        text, values = rng.choice(
            (
                (b"irq not handle from el2", {}),
                (b"Unsupported Exit:0x%x, elr=0x%x" % (esr, elr), {"elr": elr}),
                (b"Unsupported Exception EC:0x%x!" % (esr % 64), {"ec": esr % 64}),
            )
        )
        data = _log(rng, b"ERROR", cpu, b"hvisor::arch::aarch64::trap", text, **shape)
        return [_line_message("el2-exception", data, cpu, **values)]
    made: list[Message] = []
    if rng.random() < 0.5:
        made = [_mmio(rng, cpu, **shape), _access(rng, cpu, **shape)]
        made[1].follows = base
    said = rng.choice((b"root zone has some error", b"called `Option::unwrap()` on a `None` value", b"explicit panic"))
    panic = _short_panic(rng, cpu, said, **shape)
    if made and said.startswith(b"root zone"):
        panic.follows = base
    return [*made, panic]


def _bare_exception(rng: random.Random, elr: int, esr: int, far: int) -> Message:
    """An exception of the hypervisor's own, which it prints without a log line's head."""
    text, names = rng.choice(
        (
            (b"EL2 Exception: Data Abort, ELR_EL2: %(elr)b, ESR_EL2: %(esr)b, FAR_EL2: %(far)b", "elr esr far"),
            (b"EL2 Exception: Data Abort, ELR_EL2: %(elr)b, FAR_EL2: %(far)b", "elr far"),
            (b"EL2 Exception: Instruction Abort, ELR_EL2: %(elr)b, FAR_EL2: %(far)b", "elr far"),
            (b"EL2 Exception: HVC64 call, ELR_EL2: %(elr)b", "elr"),
            (b"EL2 Exception: SMC64 call, ELR_EL2: %(elr)b", "elr"),
            (b"Unhandled EL2 Exception: EC=%(ec)b", "ec"),
            (b"Unhandled EL2 Exception: EC=%(ec)b ELR=%(elr)b ESR=%(esr)b FAR=%(far)b", "ec elr esr far"),
        )
    )
    known = {"elr": elr, "esr": esr, "far": far, "ec": esr >> 26}
    data = text % {name.encode(): b"0x%x" % value for name, value in known.items()} + b"\r\n"
    return _line_message("el2-exception", data, None, **{name: known[name] for name in names.split()})


def _short_panic(rng: random.Random, cpu: int, said: bytes, **shape: bool) -> Message:
    """A panic that is printed by `Display`, not `Debug`: one line of an older Rust, two of a newer one."""
    file, line, col = rng.choice((b"src/zone.rs", b"src/percpu.rs")), rng.randrange(1, 2000), rng.randrange(1, 99)
    place = b"%b:%d:%d" % (file, line, col)
    old = rng.random() < 0.6
    text = b"panic occurred: panicked at " + (b"'%b', %b" % (said, place) if old else b"%b:\n%b" % (place, said))
    values: dict[str, tuple[bytes, _Value]] = {
        "file": (b"panicked at ", file.decode()), "line": (b"panicked at ", line), "col": (b"panicked at ", col),
    }  # fmt: skip
    if old:
        values["message"] = (b"panicked at ", said.decode())
    data = _log(rng, b"ERROR", cpu, b"hvisor::panic", text, **shape)
    return _message("hypervisor-panic", data, values, cpu=cpu)


def _boot(rng: random.Random, *, asked: bool) -> list[Message | bytes]:
    """A boot: what the boards' firmware prints, what hvisor says of itself, and Linux's first lines."""
    ddr = b"\r\nDDR V1.12 52218f4949 cym 23/07/06-19:46:50\r\nLPDDR5, 2400MHz\r\nchannel[0] BW=16\r\n"
    spl = b"U-Boot SPL board init\r\nU-Boot SPL 2017.09-g5f53abfa1e-221223 #zzz (Dec 26 2022 - 09:10:09)\r\n"
    banner = b"\r\n\r\nU-Boot 2023.01+dfsg-2+deb12u3 (Jun 22 2026 - 08:38:07 +0000)\r\n\r\nDRAM:  4 GiB\r\n"
    first = rng.choice((b"", b"", ddr + spl))
    end = b"Hit any key to stop autoboot:  2 \x08\x08\x08 1 \x08\x08\x08 0 \r\n\r\nStarting kernel ...\r\n\r\n"
    boot = Message(BOOT, first + banner + end, asked=asked)
    boot.words = [Span(len(first), len(first) + banner.index(b" (Jun"))]
    start = rng.getrandbits(20) << 12
    core, pool, top = start + 0x1E6000, start + 0x5E6000, start + 0x45E6000
    shape = {"colours": rng.random() < 0.7, "stamped": rng.random() < 0.3}
    hello = b"".join(
        b"Hello, start HVISOR at 0x%x!\r\nBooting CPU %d: 0x%x arch:0x%x, DTB: 0xffefc000\r\n"
        % (start, cpu, core, core)
        for cpu in range(rng.choice((1, 4)))
    )
    lines = {
        name: _log(rng, b"INFO", 0, b"hvisor", b"%b = 0x%x" % (text, value), **shape)
        for name, text, value in (
            ("core_end", b"__core_end", core), ("mem_pool_start", b"mem_pool_start", pool), ("hv_end", b"hv_end", top),
        )
    }  # fmt: skip
    layout = Message(LAYOUT, hello + b"Primary CPU 0 has entered.\r\n" + b"".join(lines.values()))
    values = {"core_end": core, "mem_pool_start": pool, "hv_end": top}
    for name, line in lines.items():
        at = layout.data.index(line)
        layout.fields[name] = (Span(at, at + len(line)), values[name])
    layout.fields["skernel"] = (Span(0, hello.index(b"\n") + 1), start)
    level = rng.choice((b"info", b"debug", b"trace"))
    text = b"build_mode: debug, log_level: %b, arch: aarch64, stats: off" % level
    said = Message(LOG_LEVEL, _log(rng, b"INFO", 0, b"hvisor", text, **shape))
    said.fields["log_level"] = (Span(0, said.data.index(b"\n") + 1), level.decode())
    linux = b"[    0.000000] Booting Linux on physical CPU 0x0000000000 [0x410fd083]\r\n"
    return [boot, layout, said, linux]


_NAMES = (b"old-uart.log", b"/var/log/uart-old.log", b"/var/log/kern.log", b"./logs/run.txt", b"dmesg.txt")
_PROMPT = b"root@linaro-alip:/# "
_TYPED = (
    b"dmesg | grep -i panic", b"dmesg | grep -E 'panic|Oops|BUG:'", b'grep -rn "unhandled mmio fault" /var/log',
    b"grep -c 'panic occurred: PanicInfo {' uart.log", b"journalctl -k | grep 'Kernel panic - not syncing'",
    b"echo panic occurred: PanicInfo {", b"echo Zone 0 unhandled mmio fault MMIOAccess {", b"cat src/panic.rs",
    b"memtester 1G 1", b"sysctl kernel.panic=10 kernel.panic_on_oops=1", b"echo hypercall error: none",
    b"strings vmlinux | grep 'Unable to handle kernel'", b"echo EL2 Exception: none", b"vi MMIOAccess { PanicInfo {",
)  # fmt: skip
_PLAIN_TEXT = (
    b"[    0.000000] Kernel command line: root=/dev/mmcblk0p6 console=ttyS2,1500000 panic=10 oops=panic",
    b'[    0.012345] Unknown kernel command line parameters "panic_print=1f", will be passed to user space.',
    b"bootargs=console=ttyS2,1500000 root=/dev/mmcblk0p6 panic=10",
    b"FAILURE: 0x00000000deadbeef != 0x00000000deadbeee at offset 0x0000000000001000.",
    b"FAILURE: possible bad address line at offset 0x0000000000001000.",
    b"  Stuck Address       : testing   1FAILURE: possible bad address line at offset 0x10.",
    b'    panic!("root zone has some error");',
    b'        panic!("zone {} has some error, please shut down it", zone_id);',
    b'    error!("panic occurred: {:#?}", info);',
    b'            warn!("Zone {} unhandled mmio fault {:#x?}", this_zone_id(), mmio_access);',
    b"struct MMIOAccess {\r\n    address: u64,\r\n    size: u8,\r\n    is_write: bool,\r\n    value: u64,\r\n}",
    b"unhandled mmio fault MMIOAccess {      is what hvisor prints",
    b"thread 'main' panicked at src/main.rs:4:5:\r\nexplicit panic",
    b"thread 'main' panicked at 'explicit panic', src/main.rs:4:5",
    b"src/panic.c:12:8: warning: unused variable in PanicInfo {",
    b"   12 | struct MMIOAccess {",
    b"error[E0063]: missing field `value` in initializer of `MMIOAccess`",
    b" --> src/memory/mmio.rs:110:13",
    b"note: `Kernel panic - not syncing` is what a kernel says",
    b"Nov 24 15:03:48 debian kernel: Kernel panic - not syncing: Fatal exception",
    b"Nov 24 15:03:48 debian kernel: watchdog: BUG: soft lockup - CPU#1 stuck for 22s! [memtester:214]",
    b"<0>[   12.345678] Kernel panic - not syncing: Fatal exception",
    b"<4>[   12.345678] Internal error: Oops: 96000004 [#1] SMP",
    b"| `Hello, start HVISOR at 0x40400000!` | once for each CPU |",
    b'"Synchronous Abort" handler, esr 0x%08lx, far 0x%lx',
    b"CONFIG_PANIC_TIMEOUT=10",
)


def _decoy(rng: random.Random) -> bytes:
    """Lines that have a fault's words and are none: typed, shown from a file, compiled, told by others."""
    choice = rng.random()
    if choice < 0.3:
        return _PROMPT + rng.choice(_TYPED) + b"\r\n"
    if choice < 0.65:
        return rng.choice(_PLAIN_TEXT) + b"\r\n"
    cpu, shape = rng.randrange(8), {"colours": rng.random() < 0.2, "stamped": rng.random() < 0.3}
    made = rng.choice(
        (
            _mmio(rng, cpu, **shape),
            _access(rng, cpu, **shape),
            _panic(rng, cpu, b"root zone has some error", **shape),
            _short_panic(rng, cpu, b"explicit panic", **shape),
        )
    )
    lines = made.data.split(b"\n")
    if rng.random() < 0.3:
        kind_line = rng.choice(_KERNEL)[1]
        lines = [b"[   12.345678] " + kind_line + b"\r"]
    name, number = rng.choice(_NAMES), rng.randrange(1, 999)
    shown = name + (b":%d:" % number if rng.random() < 0.5 else b":") + lines[0] + b"\n"
    if rng.random() < 0.3:  # grep -A
        shown += b"".join(name + b"-" + line + b"\n" for line in lines[1:4])
    return shown


# --- how it comes through --------------------------------------------------------------------------------------------


def _split(pieces: list[Piece], at: int) -> int:
    """Split the piece that holds byte `at`, and say which piece now begins there."""
    for number, piece in enumerate(pieces):
        if at <= 0:
            return number
        if at < len(piece.data):
            pieces[number : number + 1] = [
                Piece(piece.owner, piece.start, piece.data[:at]),
                Piece(piece.owner, piece.start + at, piece.data[at:]),
            ]
            return number + 1
        at -= len(piece.data)
    return len(pieces)


def _lines_of(number: int, message: Message) -> list[Piece]:
    cuts = [0] + [match.end() for match in re.finditer(rb"\n", message.data)]
    cuts = cuts if cuts[-1] == len(message.data) else [*cuts, len(message.data)]
    return [Piece(number, start, message.data[start:end]) for start, end in itertools.pairwise(cuts)]


def _woven(rng: random.Random, left: list[Piece], right: list[Piece]) -> list[Piece]:
    """Lines of two messages, each in its own order."""
    made: list[Piece] = []
    left, right = left.copy(), right.copy()
    while left or right:
        made.append((left if left and (not right or rng.random() < 0.5) else right).pop(0))
    return made


def make(seed: int, scene: Scene | None = None) -> Stream:
    """The stream of a seed, with what `scene_of` says or the caller."""
    scene = scene_of(seed) if scene is None else scene
    stream = _faults(seed, scene)
    if scene.decoys:
        _add_decoys(random.Random(f"decoys {seed}"), stream)
    return stream


def _faults(seed: int, scene: Scene) -> Stream:
    rng, rare = random.Random(seed), random.Random(f"rare {seed}")
    messages: list[Message] = []
    groups: list[list[Piece]] = []
    for cpu in rng.sample(range(12), rng.choice((0, 1, 1, 1, 2, 2, 3))):
        made = _incident(rng, cpu, len(messages))
        if scene.rare and rare.random() < 0.6:
            made = _rare_incident(rare, cpu, len(messages))
        first = len(messages)
        messages += made
        group: list[Piece] = []
        for number in range(first, len(messages)):
            group.append(Piece(number, 0, messages[number].data))
            if rng.random() < 0.2:
                group += [Piece(None, 0, rng.choice(_guest_lines())) for _ in range(rng.randrange(1, 3))]
        groups.append(group)
    others = random.Random(f"others {seed}")
    if not messages and others.random() < 0.6:
        messages += others.choice((_uboot, _oops))(others)
        groups.append([Piece(number, 0, message.data) for number, message in enumerate(messages)])
    if len(groups) >= 2 and rng.random() < 0.5:
        _mix(rng, messages, groups)
    if len(groups) == 1 and rng.random() < 0.1:
        repeat = messages[0]
        repeat.count = rng.randrange(2, 6)
        if len(messages) == 1 and repeat.kind != "unhandled-mmio-fault":
            return Stream(messages, _in_guest(rng, [[Piece(0, 0, repeat.data)] * repeat.count]))
        repeat.count = 1
    if scene.boots:
        _add_boots(random.Random(f"boots {seed}"), messages, groups)
    pieces = _in_guest(rng, groups)
    _tear(rng, messages, pieces)
    return Stream(messages, pieces)


def _add_boots(rng: random.Random, messages: list[Message], groups: list[list[Piece]]) -> None:
    """A boot before the first fault, and others, asked for or not, behind some; what came before may come again."""
    made = [_boot_group(rng, messages, asked=True)]
    for group in groups:
        made.append(group)
        if rng.random() < 0.6:
            made.append(_boot_group(rng, messages, asked=rng.random() < 0.5))
            if rng.random() < 0.4:
                made.append(_again(messages, group))
    groups[:] = made


def _boot_group(rng: random.Random, messages: list[Message], *, asked: bool) -> list[Piece]:
    group: list[Piece] = []
    for each in _boot(rng, asked=asked):
        if isinstance(each, bytes):
            group.append(Piece(None, 0, each))
        else:
            group.append(Piece(len(messages), 0, each.data))
            messages.append(each)
    return group


def _again(messages: list[Message], group: list[Piece]) -> list[Piece]:
    """The same bytes as other messages."""
    owners = sorted({piece.owner for piece in group if piece.owner is not None})
    copies = {owner: len(messages) + number for number, owner in enumerate(owners)}
    for owner in owners:
        follows = messages[owner].follows
        messages.append(replace(messages[owner], follows=None if follows is None else copies[follows]))
    return [replace(piece, owner=None if piece.owner is None else copies[piece.owner]) for piece in group]


def _add_decoys(rng: random.Random, stream: Stream) -> None:
    """Put them where a line begins, also inside of reports, or their beginnings before faults that break into them."""
    once = all(message.count == 1 for message in stream.messages)
    cut_short = rng.random() < 0.4
    for _ in range(rng.choice((1, 1, 2, 3))):
        decoy = _decoy(rng)
        pieces = stream.pieces
        begun = [n for n, piece in enumerate(pieces) if piece.owner is not None and piece.start == 0 and n]
        if begun and cut_short and once:
            last = decoy.rstrip(b"\r\n").split(b"\n")[-1]
            cut = last[: rng.randrange(1, len(last) + 1)].rstrip(b"'\"`=\r")
            number = rng.choice(begun)
            owner = pieces[number].owner
            torn = b"\n" not in pieces[number].data or (owner is not None and stream.messages[owner].woven)
            if (_AS_SHOWN.match(_STILL.sub(b"", cut)) and torn) or decoy.startswith(b"unhandled"):
                continue  # a file can have such a broken line, too; and these words, without more, are a fault's
            if _at_line_start(stream, number) and cut:
                pieces.insert(number, Piece(None, 0, re.sub(rb"\x1b[^a-zA-Z]{0,30}\Z", b"", cut)))
            continue
        if rng.random() < 0.4 and begun and once:
            at = stream.data.find(b"\n", rng.randrange(len(stream.data))) + 1
            number = _split(pieces, at)
        else:
            number = rng.randrange(len(pieces) + 1)
        if decoy.startswith(b"unhandled") and 0 < number < len(pieces) and pieces[number].start:
            continue  # behind a log line's head these words are its own, whatever follows them
        if _at_line_start(stream, number):
            pieces.insert(number, Piece(None, 0, decoy))


def _at_line_start(stream: Stream, number: int) -> bool:
    before = b"".join(piece.data for piece in stream.pieces[:number])[-400:]
    return re.sub(rb"\x1b\[[0-9;]*m", b"", before).endswith(b"\n")


def _mix(rng: random.Random, messages: list[Message], groups: list[list[Piece]]) -> None:
    """Two CPUs at once: one's whole group inside the other's message, or two messages line by line."""
    inner = groups.pop()
    outer = groups[-1]
    if rng.random() < 0.5:
        cut = _split(outer, rng.randrange(1, len(outer[0].data)))
        outer[cut:cut] = inner
        return
    one, other = outer[0].owner, inner[0].owner
    assert one is not None
    assert other is not None
    messages[one].woven = messages[other].woven = True
    outer[:1] = _woven(rng, _lines_of(one, messages[one]), _lines_of(other, messages[other]))
    outer += inner[1:]


def _in_guest(rng: random.Random, groups: list[list[Piece]]) -> list[Piece]:
    """The groups, one after the other, in guest text that is cut anywhere."""
    pieces: list[Piece] = []
    for group in [*groups, None]:
        text = b"".join(rng.choice(_guest_lines()) for _ in range(rng.randrange(1, 12)))
        if rng.random() < 0.3:
            text += b"got  768MB (805306368 bytes), trying mlock ..." if rng.random() < 0.5 else _spin(rng)
        text = text[rng.randrange(len(text)) :] if rng.random() < 0.3 else text
        text = text[: rng.randrange(1, len(text) + 1)] if rng.random() < 0.6 else text
        text = re.sub(rb"\x1b[^a-zA-Z]{0,30}\Z", b"", text).rstrip(b"'\"`=")
        pieces.append(Piece(None, 0, text))
        if group is not None:
            if group[0].owner is not None and BY_NAME[_kind(group)].origin.value == "kernel" and text[-1:] != b"\n":
                pieces.append(Piece(None, 0, b"\r\n" if rng.random() < 0.5 else b""))
            pieces += group
    return [piece for piece in pieces if piece.data]


def _kind(group: list[Piece]) -> str:
    return "kernel-panic" if b"hvisor" not in group[0].data and b"EL2" not in group[0].data else "hypervisor-panic"


def _tear(rng: random.Random, messages: list[Message], pieces: list[Piece]) -> None:
    for _ in range(rng.choice((0, 0, 1, 1, 2, 4))):
        inside = [n for n, piece in enumerate(pieces) if piece.owner is not None and len(piece.data) > 1]
        if not inside:
            return
        number = rng.choice(inside)
        at = sum(len(piece.data) for piece in pieces[:number]) + rng.randrange(1, len(pieces[number].data))
        cut = _split(pieces, at)
        pieces.insert(cut, Piece(None, 0, _burst(rng)))
    if messages and rng.random() < 0.3:
        length = sum(len(piece.data) for piece in pieces)
        for _ in range(rng.choice((1, 1, 2, 3))):
            start = rng.randrange(length)
            first = _split(pieces, start)
            last = _split(pieces, start + rng.choice((1, 1, 2, 8, rng.randrange(1, 64))))
            del pieces[first:last]


# --- what is found ---------------------------------------------------------------------------------------------------


def found_in(stream: Stream, rng: random.Random) -> list[Finding]:
    """What is found in a stream that comes in chunks; of a repeated fault the last telling."""
    watch = Watch()
    found: dict[tuple[str, int], Finding] = {}
    asked = [
        stream.offset_of(number)
        for number, message in enumerate(stream.messages)
        if message.asked and stream.places_of(number)
    ]
    at, data = 0, stream.data
    events = []
    while at < len(data):
        if at in asked:
            watch.expect_boot()
        size = rng.choice((1, 3, 16, 64, 300, 4096))
        size = min([size, *(boot - at for boot in asked if boot > at)])
        events += watch.feed(data[at : at + size], 0.0)
        at += size
    for event in [*events, *watch.flush(0.0)]:
        if isinstance(event, Finding):
            found[event.kind, event.offset] = event
    return list(found.values())


def check(stream: Stream, found: list[Finding]) -> Iterator[tuple[str, str]]:
    """What is wrong, or only known to be unknowable: pairs of a class and a sentence."""
    yield from _check_boots(stream, [each for each in found if each.kind == UNEXPECTED_RESET])
    yield from _check_facts(stream, [each for each in found if not each.is_fault])
    found = [each for each in found if each.is_fault and each.kind != UNEXPECTED_RESET]
    by_owner: dict[int, list[Finding]] = {}
    for finding in found:
        owner = _owner(stream, finding)
        if owner is None:
            yield "invented", f"{finding.kind} at {finding.offset}"
        else:
            by_owner.setdefault(owner, []).append(finding)
    for number, mine in tuple(by_owner.items()):
        # A report without its first words begins at a later line, one of those that two woven ones both have.
        for extra in sorted(mine, key=lambda each: (each.cpu is not None, _agreement(stream, number, each))):
            if extra.confidence is not Confidence.LOW or len(mine) == 1:
                continue
            other = next((n for n in _woven_with(stream, number) if n not in by_owner), None)
            if other is not None:
                mine.remove(extra)
                by_owner[other] = [extra]
    spare = Counter({kind.name: sum(f.count - 1 for f in found if f.kind == kind.name) for kind in KINDS})
    for number, message in enumerate(stream.messages):
        if not message.is_fault:
            continue
        mine = by_owner.get(number, [])
        if len(mine) > 1:
            yield "invented", f"{message.kind} twice, at {', '.join(str(each.offset) for each in mine)}"
        if not mine:
            whole = any(stream.survives(number, span) for span in message.words)
            if whole and stream.is_as_shown(number) and not _follows_by_itself(stream, number):
                yield "as shown", message.kind
            elif whole and _is_as_a_note(stream, number) and not _follows_by_itself(stream, number):
                yield "as a note", message.kind
            elif _told_by_another(stream, number, by_owner) or not whole:
                yield "torn and not found" if not whole else "part of another", message.kind
            elif spare[message.kind] > 0:
                spare[message.kind] -= 1
            else:
                yield "missed", message.kind
            continue
        if not any(stream.survives(number, span) for span in message.words):
            yield "torn and found", message.kind
        yield from _check_fields(stream, number, mine[0])
        yield from _check_tie(stream, number, mine[0], by_owner)
        if message.count > 1 and mine[0].count != message.count:
            yield "wrong", f"{message.kind} counted {mine[0].count} times instead of {message.count}"


def _follows_by_itself(stream: Stream, number: int) -> bool:
    """Whether enough of a report's later lines came whole to say that its first one is no line of a file."""
    fields = stream.messages[number].fields.values()
    return sum(span.start > 0 and stream.survives_as_line(number, span) for span, _ in fields) >= 2


def _is_as_a_note(stream: Stream, number: int) -> bool:
    """Whether a report's log line has lost its head, but for less than eight bytes in a row."""
    message = stream.messages[number]
    if message.head is None:
        return False
    head = range(message.head.start, min(span.start for span in message.words))
    left = (
        message.data[max(piece.start, head.start) : min(piece.start + len(piece.data), head.stop)]
        for piece in stream.pieces
        if piece.owner == number
    )
    return all(len(re.sub(rb"\x1b\[[0-9;]*m?|[Zz]one \d{1,3} \Z", b"", each)) < 8 for each in left)


def _check_boots(stream: Stream, resets: list[Finding]) -> Iterator[tuple[str, str]]:
    """One reset for each boot that was not asked for; it may be seen by any mark from that boot on."""
    boots = [n for n, each in enumerate(stream.messages) if each.kind == BOOT and stream.places_of(n)]
    boots.sort(key=stream.offset_of)
    for number, following in itertools.zip_longest(boots, boots[1:]):
        end = len(stream.data) if following is None else stream.offset_of(following)
        begin, asked = stream.offset_of(number), stream.messages[number].asked
        mine = [each for each in resets if begin <= each.offset < end]
        resets = [each for each in resets if each not in mine]
        survived = any(stream.survives(number, span) for span in stream.messages[number].words)
        if (asked and mine) or len(mine) > 1:
            yield "invented", f"a reset at {', '.join(str(each.offset) for each in mine)}"
        elif not asked and not mine:
            yield "missed" if survived else "torn and not found", "unexpected-reset"
        elif not asked:
            yield "reset seen", "unexpected-reset"
    for each in resets:
        yield "invented", f"a reset at {each.offset}"


def _is_boot_seen(stream: Stream, fact: int) -> bool:
    """Whether the banner of the boot that said a fact came whole: else its facts can be taken for the last boot's."""
    boot = max(n for n, each in enumerate(stream.messages[:fact]) if each.kind == BOOT)
    return bool(stream.places_of(boot)) and any(stream.survives(boot, span) for span in stream.messages[boot].words)


def _check_facts(stream: Stream, facts: list[Finding]) -> Iterator[tuple[str, str]]:
    """What hvisor says of itself: each field right or missing where it was torn, right where it was not."""
    for number, message in enumerate(stream.messages):
        if message.kind not in (LAYOUT, LOG_LEVEL) or not stream.places_of(number):
            continue
        begin = stream.offset_of(number)
        end = begin + sum(len(piece.data) for piece in stream.pieces[stream.places_of(number)[0] :])
        later = [n for n, each in enumerate(stream.messages) if each.kind == message.kind and stream.places_of(n)]
        end = min([end, *(stream.offset_of(n) - 200 for n in later if stream.offset_of(n) > begin)])
        mine = [each for each in facts if each.kind == message.kind and begin - 200 <= each.offset < end]
        facts = [each for each in facts if each not in mine]
        if len(mine) > 1:
            yield "invented", f"{message.kind} {len(mine)} times"
        seen = _is_boot_seen(stream, number)
        for name, (span, value) in message.fields.items():
            got = mine[0].fields.get(name) if mine else None
            if got == value:
                yield "fact right", name
            elif got is not None:
                whole = stream.is_in_one_piece(number, span)
                yield "wrong" if whole else "fact unknowable", f"{message.kind}: {name} is {got!r}"
            elif seen and stream.survives_as_line(number, span):
                yield "wrong", f"{message.kind}: {name} survived and is missing"
            else:
                yield "fact missing", name
    for each in facts:
        yield "invented", f"{each.kind} at {each.offset}"


def _owner(stream: Stream, finding: Finding) -> int | None:
    """The message that a finding tells of: one of its kind that has bytes at or soon behind where it says it begins.

    A prefix's remains may stand before, more of them where the words came torn. A byte of another's may look like the
    prefix's first: of two that are so near, the one whose values it has.
    """
    reach = 400 if finding.confidence is Confidence.LOW else 96
    line = stream.data[finding.offset : finding.offset + reach]

    def whole(number: int) -> bool:
        return any(stream.survives(number, span) for span in stream.messages[number].words)

    owners: list[int] = []
    for shift in range(reach):
        number = stream.owner_of(finding.offset + shift)
        if number is not None and _tells_of(finding, stream.messages[number]) and number not in owners:
            # Of a log line's head that is left alone, the next words in its line may be another's.
            alone = finding.confidence is Confidence.HIGH and all(stream.messages[n].head for n in owners)
            if shift >= 8 and owners and (b"\n" in line[:shift] or any(map(whole, owners)) or not alone):
                break
            owners.append(number)
    if not owners and finding.confidence is Confidence.LOW:
        # Words that somebody typed can stand far above a report that has lost its own: its values tell whose it is.
        behind = [n for n, each in enumerate(stream.messages) if _tells_of(finding, each) and stream.places_of(n)]
        owners = [n for n in behind if stream.offset_of(n) > finding.offset and _agreement(stream, n, finding) >= 2]

    return max(owners, key=lambda number: (_agreement(stream, number, finding), whole(number)), default=None)


def _tells_of(finding: Finding, message: Message) -> bool:
    """Whether the kinds agree. The words of an external abort that lose their end are those of an oops, and so on."""
    shorter = {"external-abort": "kernel-oops", "soft-lockup": "kernel-bug"}
    return finding.kind in (message.kind, shorter.get(message.kind))


def _agreement(stream: Stream, number: int, finding: Finding) -> int:
    fields = stream.messages[number].fields
    said = sum(finding.fields.get(name) == value for name, (_, value) in fields.items())
    at = b":%d:" % int(finding.fields["line"]) if "line" in finding.fields else b""
    return said + bool(at and at in stream.messages[number].data)


def _woven_with(stream: Stream, number: int) -> Iterator[int]:
    """The other messages of the kind whose bytes begin before this one's end and the other way round."""
    kind = stream.messages[number].kind
    own = stream.places_of(number)
    for other, message in enumerate(stream.messages):
        theirs = stream.places_of(other)
        if other != number and message.kind == kind and theirs and theirs[0] < own[-1] and own[0] < theirs[-1]:
            yield other


def _told_by_another(stream: Stream, number: int, by_owner: dict[int, list[Finding]]) -> bool:
    """Whether this belongs to a fault that was found: its access error, or an oops inside of an open report of one."""
    message = stream.messages[number]
    absorbing = {kind.name for kind in KINDS if message.kind in kind.absorbs}
    begun = {piece.owner for piece in stream.pieces[: next(iter(stream.places_of(number)), 0)]}
    return any(other in begun and stream.messages[other].kind in absorbing for other in by_owner) or (
        message.kind == "mmio-handler-error"
        and b"mmio_handle_access" in message.data
        and any(stream.messages[other].kind in ("unhandled-mmio-fault", "mmio-handler-error") for other in by_owner)
    )


def _check_fields(stream: Stream, number: int, finding: Finding) -> Iterator[tuple[str, str]]:
    message = stream.messages[number]
    for name, (span, value) in message.fields.items():
        got = finding.fields.get(name)
        if got == value:
            yield "right", name
        elif got is None:
            headless = not any(stream.survives(number, each) for each in message.words)
            doubted = stream.is_as_shown(number)
            unsure = message.woven or headless or doubted or _crossed(stream, number)
            if stream.survives_as_line(number, span) and not unsure:
                yield "wrong", f"{message.kind}: {name} survived and is missing"
            yield "missing", name
        elif stream.touched(number, span) and finding.confidence is Confidence.LOW:
            yield "low", name
        elif finding.confidence is Confidence.LOW and got in _said_around(stream, number, name):
            yield "swapped", name
        elif stream.touched(number, span):
            yield "unknowable", name
        elif stream.is_as_shown(number) and got in _said_around(stream, number, name):
            yield "as shown", name
        else:
            yield "wrong", f"{message.kind}: {name} is {got!r} instead of {value!r}"
    headed = message.head is not None and stream.survives(number, message.head) and not stream.is_as_shown(number)
    if headed and finding.cpu != message.cpu:
        yield "wrong", f"{message.kind}: CPU {finding.cpu} instead of {message.cpu}"
    elif finding.cpu is not None and message.cpu is not None and finding.cpu != message.cpu:
        yield "cpu hint", f"{finding.cpu} instead of {message.cpu}"
    if (
        message.zone_at is not None
        and stream.survives(number, message.zone_at)
        and finding.zone not in (message.zone, None)
    ):
        others = {stream.messages[other].zone for other in _woven_with(stream, number)}
        unsure = finding.confidence is Confidence.LOW and finding.zone in others
        yield "swapped" if unsure else "wrong", f"{message.kind}: zone {finding.zone} instead of {message.zone}"


def _said_around(stream: Stream, number: int, name: str) -> Iterator[_Value]:
    """What the other messages of the kind say of a field whose lines cross with this one's."""
    for other in _woven_with(stream, number):
        if name in stream.messages[other].fields:
            yield stream.messages[other].fields[name][1]


def _crossed(stream: Stream, number: int) -> bool:
    """Whether another report of the kind begins inside this one: then lines that both lack may be given to neither."""
    own = stream.places_of(number)
    kind = stream.messages[number].kind
    return (
        any(
            piece.owner is not None and piece.owner != number and stream.messages[piece.owner].kind == kind
            for piece in stream.pieces[own[0] : own[-1]]
        )
        or any(
            # Or an unfinished one stands before it: whose lines these are is not known.
            each.kind == kind
            and other != number
            and stream.places_of(other)[:1] < own[:1]
            and not all(stream.survives(other, at) for at, _ in each.fields.values())
            for other, each in enumerate(stream.messages)
        )
        or any(
            # Or this one inside of another one of its kind.
            each.kind == kind and other != number and _around(stream, other, own[0])
            for other, each in enumerate(stream.messages)
        )
    )


def _around(stream: Stream, number: int, place: int) -> bool:
    own = stream.places_of(number)
    return bool(own) and own[0] < place < own[-1]


def _check_tie(
    stream: Stream, number: int, finding: Finding, by_owner: dict[int, list[Finding]]
) -> Iterator[tuple[str, str]]:
    message = stream.messages[number]
    if finding.kind != "hypervisor-panic" or message.follows is None or message.follows not in by_owner:
        return
    if any(each.head and not stream.survives(other, each.head) for other, each in enumerate(stream.messages)):
        return  # whose line that one was is a guess, and guesses take each other's place
    cause = by_owner[message.follows][0]
    if (
        finding.cpu == message.cpu
        and cause.cpu == message.cpu
        and finding.fields.get("message") in (None, "root zone has some error")
    ):
        if finding.tied_to != cause.offset:
            yield "wrong", f"panic tied to {finding.tied_to} instead of {cause.offset}"
        else:
            yield "tied", "panic"


WRONG = ("missed", "invented", "wrong")


@dataclass
class Tallied:
    """What came of many streams."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    def add(self, other: Tallied) -> None:
        """Take in another's counts."""
        self.counts += other.counts
        self.examples = (self.examples + other.examples)[:12]


def run(first: int, streams: int, scene: Scene | None = None) -> Tallied:
    """Check the streams of `streams` seeds from `first` on, with what `scene_of` says or the caller."""
    tallied = Tallied()
    for seed in range(first, first + streams):
        stream = make(seed, scene)
        tallied.counts["streams"] += 1
        tallied.counts["faults"] += sum(message.count for message in stream.messages if message.is_fault)
        tallied.counts["boots"] += sum(message.kind == BOOT for message in stream.messages)
        tallied.counts["bytes"] += len(stream.data)
        for what, why in check(stream, found_in(stream, random.Random(seed))):
            tallied.counts[what] += 1
            if what in WRONG and len(tallied.examples) < 12:
                plain = " --plain" if scene == PLAIN else ""
                tallied.examples.append(f"--show {seed}{plain}: {what}: {why}")
    return tallied


def _show(seed: int, scene: Scene | None) -> None:
    stream = make(seed, scene)
    for piece in stream.pieces:
        print(f"{'guest' if piece.owner is None else piece.owner!s:>5} {piece.start:5} {piece.data!r}")
    for finding in (found := found_in(stream, random.Random(seed))):
        print(finding)
    for what, why in check(stream, found):
        print(f"{what}: {why}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--streams", type=int, default=100_000)
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--show", type=int, metavar="SEED", help="print one stream, what it holds and what was found")
    parser.add_argument("--plain", action="store_true", help="without decoys, boots and rare reports")
    options = parser.parse_args()
    scene = PLAIN if options.plain else None
    if options.show is not None:
        _show(options.show, scene)
        return 0
    began = time.monotonic()
    step = max(1, min(2000, options.streams // options.jobs))
    starts = range(options.seed, options.seed + options.streams, step)
    sizes = [min(step, options.seed + options.streams - start) for start in starts]
    tallied = Tallied()
    with ProcessPoolExecutor(options.jobs) as pool:
        for part in pool.map(run, starts, sizes, itertools.repeat(scene)):
            tallied.add(part)
    seconds = time.monotonic() - began
    print(
        json.dumps(
            {"seed": options.seed, "seconds": round(seconds, 1), **dict(sorted(tallied.counts.items()))}, indent=2
        )
    )
    for example in tallied.examples:
        print(example, file=sys.stderr)
    return 1 if any(tallied.counts[what] for what in WRONG) else 0


if __name__ == "__main__":
    raise SystemExit(main())
