"""Every kind of fault and fact that the watch knows, and the marks of a boot: one table.

Sources: hvisor's `src/memory/mmio.rs`, `src/zone.rs`, `src/panic.rs`, `src/arch/aarch64/trap.rs` and its
issue 221; Linux `kernel/panic.c`, `arch/arm64/kernel/traps.c`, `arch/arm64/mm/fault.c`, `kernel/rcu/tree_stall.h`,
`kernel/watchdog.c`, `kernel/hung_task.c`, `mm/oom_kill.c`, `mm/slub.c`,
`lib/list_debug.c`; TF-A `bl31/aarch64/crash_reporting.S`, `plat/common/aarch64/plat_common.c`; OP-TEE's panic from
knowledge of its console.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from hvrig.model.finding import Mark, Origin, Severity
from hvrig.watch.words import Words

# Where a kernel message begins: at a line's beginning, after what a progress display wrote over itself, or after
# printk's timestamp (with CONFIG_PRINTK_CALLER the thread or CPU, too), which may stand in the middle of a guest line.
# So may the thread or CPU alone, with printk.time=0.
_CALLER = rb"\[ {0,5}[TC]\d{1,7}\]"
STAMP = rb"\[ {0,5}\d{1,9}\.\d{6}\]"
_STAMP = STAMP + rb"(?:" + _CALLER + rb")?"
# A stamp that has lost a byte or taken one in, or its end behind a hypervisor's report that broke in.
TORN_STAMP = (
    rb"(?:\[ {0,5}\d{0,9}[^\n\[]?\d{0,9}\.(?=(?:[^\n]?\d){5})\d{0,6}[^\n]?\d{1,6}\]? ?[^\n]?"
    rb"|\[ {0,5}\d{7,15}\] ?[^\n]?|\d\.\d{6}\] ?[^\n]?|\A[ \d.]{0,13}\d\d\] )"
)
_MESSAGE = rb"(?:\A|(?<=[\r\x08])|(?:" + _STAMP + rb"|" + _CALLER + rb") |" + TORN_STAMP + rb")"
# Behind a stamp, what stands before rare words may have lost bytes.
_STAMPED = rb"(?:" + _STAMP + rb" |" + TORN_STAMP + rb")"
# Of a kernel without timestamps, in the middle of memtester's `trying mlock ...` or `testing  12`, or behind a prompt.
_PANIC = rb"(?:" + _MESSAGE + rb"|(?<=[.\d])|(?<=login: )|(?<=[^\s#$][#$] )|(?<=/ # ))"
# The last line of a kernel panic up to its words, where a kernel without timestamps lost the first in a guest's line.
PANIC_END = rb"---\[ end "
# A firmware's banner begins with a newline of its own.
_LINE = rb"(?:\A|(?<=\r))"
# Words in quotes are what somebody searches for.
_UNQUOTED = rb"(?:\A|(?<=[^'\"`=]))"
# Behind its opening brace, a structure's line is over; in prose it goes on.
_NO_PROSE = rb"\A(?!.*\{\s*\S)"
_NO_SOURCE = _UNQUOTED + rb"(?<!struct )"
# In a source's format string, `{}` stands for the number.
_FILLED = rb"(?<!\{\})(?<!\{\} )"
_HVISOR_TARGET = rb"\(hvisor[\w:]{0,80}\) "

# What a terminal program puts before each line of its log.
_DATE = rb"(?:\[?\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[\d.,]{0,10}\]? )?"

# A pretty-printed structure's last line; `    },` ends an inner one.
_CLOSING_BRACE = rb"\A" + _DATE + rb"\}\s*\Z"

_HEX = rb"(0x[0-9a-fA-F]{1,16})"
# How a line of a pretty-printed structure ends.
_COMMA = rb",\s*\Z"
# Its fields are indented by four; deeper ones are of the structures that hvisor prints while it boots.
_FOUR = rb"(?<!\A {8})(?<!\A {12})(?<!\A {16})"
# A line inside of a pretty-printed structure begins so.
_INSIDE = rb"\A {1,8}"
# A number outside of structures is followed by one of these, if it is whole.
_AFTER = rb"(?=[,\s!)])"
# What can be left of a log line's head, or of its colours, that lost bytes or took some in.
HEAD_REMAINS = (
    rb"\(hvisor|hvisor::|\[(?:ERROR|WARN) |(?:ERROR|WARN) {1,3}(?:CPU)?\d|[:\d]\) |\[\d{0,2}m |[a-z]::\w{1,40}:|"
    rb"\) (?:[Zz]one \d{1,3} )?\Z"
)
# What stands before a line, or a log line in it, that a tool shows from a file: grep's file name, with or without line
# number. A compiler's line has a column, hvisor's own errors name a source: their ends are their own, and a fault can
# break them.
_FILE = rb"(?:/[A-Za-z][\w./+~-]*|[A-Za-z_.~][\w./+~-]*\.(?!rs:)[A-Za-z]\w{0,7})"
SHOWN = rb"\A" + _FILE + rb":(?:(?!:|\d{1,6}\) |\d{1,7}:\d{1,5}[:\]])\S.*)?\Z"
# The same before a log line's head or a kernel's stamp: the number of `grep -n`, `cat -n`, `less -N`, what `hvrig scan`
# puts before an excerpt. A diff's mark is none: a byte that stands there alone may be memtester's, or what is left of a
# guest's line.
SHOWN_LOG = rb"\A(?:\d{1,7}:| {4}\| |(?=.{6}\t) {0,5}\d{1,6}\t|(?=.{7} ) {1,6}\d{1,6} )\Z"
# The same before a kernel's message: rsyslog's date, host and program.
SHOWN_KERNEL = rb"\A(?:[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d|\d{4}-\d\d-\d\dT[\d:.+Z-]{8,24}) [\w.-]{1,64} kernel: \Z"
# The level that `dmesg -r` and pstore show, and that a kernel with console_msg_format=syslog prints itself.
LEVEL = rb"\A<\d{1,3}>\Z"
# A panic's short form; of a program's panic it says the thread: `thread 'main' panicked at`.
_PANICKED = rb"(?<!' )panicked at"
# What `grep -A` puts before the lines that follow: the file's name with a dash.
SHOWN_AFTER = rb"\A" + _FILE + rb"-(?:\d{1,7}-)?[ }]"
# Where a Rust panic was, as newer ones print it; `_IN_PLACE` takes brackets around file, line and column.
_IN_PLACE = rb"(?:'.{1,400}?', )?%b[\w./-]{1,200}%b:%b\d{1,7}%b:%b\d{1,5}%b:?\s*\Z"
_PLACE = _IN_PLACE % ((b"",) * 6)


class FieldType(enum.Enum):
    """How a field's text becomes its value."""

    INTEGER = "integer"
    BOOLEAN = "boolean"
    TEXT = "text"


@dataclass(frozen=True)
class Field:
    """One value of a report: the last group that took part in the pattern's match, in one line.

    A line's end belongs to the pattern where the source prints one: a number that is cut has none, and half a number
    is no number. below: openers, each with the pattern of a later line that has the value instead.
    A `required` one that is not found is named as missing; they are printed in the order of the table.
    whole: what a value matches that nothing was lost of and nothing got into. known: texts that the source prints there
    among others; one that is nearly such was one.
    """

    pattern: bytes
    type: FieldType = FieldType.INTEGER
    required: bool = True
    below: tuple[tuple[bytes, bytes], ...] = ()
    whole: str | None = None
    known: tuple[str, ...] = ()


def _error_behind(words: bytes) -> Mapping[str, Field]:
    """Where hvisor made an error: `[src/memory/mmio.rs:110:13] Invalid argument`, directly behind the words."""
    return {
        "file": Field(words + rb"\[([\w./-]{1,200}):\d{1,7}:\d{1,5}\]", FieldType.TEXT, required=False),
        "line": Field(words + rb"\[[\w./-]{1,200}:(\d{1,7}):\d{1,5}\]", required=False),
    }


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of fault or fact.

    words: any of them begins a report. sample: a line as it came from a board or as the source prints it.
    max_lines: after so many lines the report is complete; `end` matches the line that completes it earlier; once a
    line matches `short`, it is complete as soon as nothing is missing.
    late: words from a report's inside: they begin a report only where its first words did not come through.
    absorbs: kinds whose words belong to this report while it is open.
    zone, cpu: patterns in the report's text, used where the log line's prefix does not say. A zone's pattern without
    its group means zone 0.
    zone_in_head: it stands before the fields.
    target: who logs it, in the crate `hvisor`; in a report of the kind, the beginning of another one.
    line_is_message: the line itself, without its prefix, is the field `message`.
    quotes: what one of its lines says up to words of another kind that are its message.
    proof: words without any remains of a log line's head are somebody's notes, a source or an echo, unless so many
    fields follow, or a line of its own matches `proved_by`. opener: what its first line
    must match, where only lines above say that a log line had begun.
    """

    name: str
    origin: Origin
    words: tuple[Words, ...]
    sample: str
    meaning: str
    remedy: str
    severity: Severity = Severity.FATAL
    late: tuple[Words, ...] = ()
    max_lines: int = 1
    end: bytes | None = None
    short: bytes | None = None
    fields: Mapping[str, Field] = field(default_factory=dict)
    absorbs: frozenset[str] = frozenset()
    zone: bytes | None = None
    cpu: bytes | None = None
    zone_in_head: bool = False
    target: bytes | None = None
    line_is_message: bool = True
    quotes: bytes | None = None
    proof: int = 1
    proved_by: bytes | None = None
    opener: bytes | None = None


@dataclass(frozen=True, kw_only=True)
class MarkWords:
    """The words of one mark; `text` is a pattern in the line up to the words' end whose group says which one."""

    mark: Mark
    words: Words
    text: bytes | None = None
    step: int = 0


MMIO_FAULT = "unhandled-mmio-fault"
MMIO_HANDLER_ERROR = "mmio-handler-error"
HYPERVISOR_PANIC = "hypervisor-panic"
KERNEL_PANIC = "kernel-panic"
OOM_KILL = "oom-kill"
UNEXPECTED_RESET = "unexpected-reset"
EL3_EXCEPTION = "el3-exception"
TEE_PANIC = "tee-panic"
LAYOUT = "hypervisor-layout"
LOG_LEVEL = "log-level"

# What hvisor panics with after an access that it could not handle; the zone's number as 1.
ZONE_FAILED = ("root zone has some error", "zone 1 has some error, please shut down it")

# The words of `mmio_handle_access`'s own log line, which follows an MMIO fault's report.
HANDLE_ACCESS = Words(b"mmio_handle_access: ", before=_UNQUOTED)

# What begins a log line of hvisor's at level ERROR or WARN, but for main.rs, which logs no faults. At any level it
# begins nearly every line of hvisor's boot.
HYPERVISOR_COMPLAINS = Words(
    b"(hvisor::",
    before=rb"(?:ERROR|WARN) {1,3}\d{1,3}\] |(?:ERROR|WARN) {1,2}CPU\d{1,3} hvisor: ",
    near=tuple(
        level + digits + end
        for level, end in (
            (rb"ERROR ", rb"\] "),
            (rb"WARN  ", rb"\] "),
            (rb"ERROR CPU", rb" hvisor: "),
            (rb"WARN  CPU", rb" hvisor: "),
        )
        for digits in (rb"\d", rb"\d\d", rb"\d\d\d")
    ),
)

# `rcu: INFO: rcu_preempt `
_STALL = rb"(?:" + _PANIC + rb"(?:rcu: )?INFO: \w{1,40} |" + _STAMPED + rb"[^\[]{1,60})"

KINDS: tuple[Kind, ...] = (
    Kind(
        name=MMIO_FAULT,
        origin=Origin.HYPERVISOR,
        words=(
            Words(b"unhandled mmio fault", before=_UNQUOTED + rb"(?:Zone \d{1,3} )?" + _FILLED),
            Words(b"MMIOAccess {", before=_NO_SOURCE, second=True),
        ),
        sample="[WARN  1] (hvisor::memory::mmio:109) Zone 0 unhandled mmio fault MMIOAccess {",
        meaning="A zone touched an address that the hypervisor finds in none of the zone's regions.",
        remedy="If the address is the zone's own RAM, the hypervisor's tables were overwritten: compare the "
        "reserved-memory of root-linux's device tree with [skernel, hv_end). If it lies in the hypervisor's range, "
        "the device tree gives Linux what board.rs excludes. Otherwise the zone's regions lack something.",
        max_lines=40,
        end=_CLOSING_BRACE,
        fields={
            "address": Field(_FOUR + rb"address: " + _HEX + _COMMA),
            "size": Field(_FOUR + rb"size: (0x[1248])" + _COMMA),  # bytes that one access can have
            "is_write": Field(_FOUR + rb"is_write: (true|false)" + _COMMA, FieldType.BOOLEAN),
            "value": Field(_FOUR + rb"value: " + _HEX + _COMMA),
        },
        late=(Words(b"is_write: true,", before=_INSIDE), Words(b"is_write: false,", before=_INSIDE)),
        zone=rb"[Zz]one (\d{1,3}) unhandled",
        zone_in_head=True,
        target=b"memory::mmio:",
        line_is_message=False,
        proof=2,
        opener=_NO_PROSE,
    ),
    Kind(
        name=MMIO_HANDLER_ERROR,
        origin=Origin.HYPERVISOR,
        words=(HANDLE_ACCESS, Words(b"mmio handler returned error", before=_UNQUOTED)),
        sample="[ERROR 0] (hvisor::arch::aarch64::trap:251) mmio_handle_access: [src/memory/mmio.rs:110:13] "
        "Invalid argument",
        meaning="An access that the hypervisor had to handle for a zone failed. With LOG=error this is all that is "
        "printed of an unhandled MMIO fault.",
        remedy="Build hvisor with LOG=warn or more to see the address; then as for unhandled-mmio-fault.",
        fields=_error_behind(rb"(?:mmio_handle_access|returned error): "),
        proved_by=rb"(?:mmio_handle_access|mmio handler returned error): \[src/",
    ),
    Kind(
        name=HYPERVISOR_PANIC,
        origin=Origin.HYPERVISOR,
        words=(Words(b"panic occurred: ", before=_UNQUOTED), Words(b"PanicInfo {", before=_NO_SOURCE, second=True)),
        sample="[ERROR 1] (hvisor::panic:24) panic occurred: PanicInfo {",
        meaning="The hypervisor panicked; that CPU loops for ever and the board hangs.",
        remedy="If it is tied to an MMIO fault, begin there. A panic without one, at a place that cannot fail, such "
        "as src/cpu_data.rs, also comes of overwritten memory: check the reservation.",
        max_lines=40,
        end=_CLOSING_BRACE,
        fields={
            "message": Field(
                rb"message: (?!Some\()(\S.{0,400}?)"
                + _COMMA
                + rb"|message: (assertion .{1,200} failed(?:: .{1,200}?)?)\s*\Z"
                + rb"|"
                + _PANICKED
                + rb" '(.{1,400}?)', "
                + _PLACE,
                FieldType.TEXT,
                below=(
                    (rb"message: Some\(\s*\Z", rb"\A" + _DATE + rb" {8}(?!(?:file|line|col): )(\S.{0,400}?)" + _COMMA),
                    (_PANICKED + rb" " + _PLACE, rb"\A(?![\[\s]|.*\{\s*\Z)(.{1,400}?)\s*\Z"),
                ),
                known=ZONE_FAILED,
            ),
            "file": Field(
                rb'file: "([^"\n]{1,200})"'
                + _COMMA
                + rb"|"
                + _PANICKED
                + rb" "
                + _IN_PLACE % (b"(", b")", b"", b"", b"", b""),
                FieldType.TEXT,
                whole=r"[\w./+-]+\.rs",
            ),
            "line": Field(
                rb"line: (\d{1,7})" + _COMMA + rb"|" + _PANICKED + rb" " + _IN_PLACE % (b"", b"", b"(", b")", b"", b"")
            ),
            "col": Field(
                rb"col: (\d{1,5})" + _COMMA + rb"|" + _PANICKED + rb" " + _IN_PLACE % (b"", b"", b"", b"", b"(", b")")
            ),
        },
        late=(
            Words(b"can_unwind: true,", before=_INSIDE, last=True),
            Words(b"force_no_backtrace: false,", before=_INSIDE, last=True),
            Words(b"location: Location {", before=_INSIDE),
            # Alone in its line, or as the field `message`.
            Words(
                b"root zone has some error",
                tail=(rb"[,\r]",),
                before=rb"(?:\A {0,8}|message: )",
                alone=True,
            ),
        ),
        short=_PANICKED,
        zone=rb"[Zz]one (\d{1,3}) has|root zone has",
        quotes=rb"\bmessage: (?:Some\()?\Z",
        target=b"panic:",
        line_is_message=False,
        proof=2,
        opener=_NO_PROSE,
        proved_by=rb"\A {4}(?:can_unwind: true|force_no_backtrace: false|location: Location \{|payload: Any|"
        rb"message: Some\()",
    ),
    Kind(
        name="el2-exception",
        origin=Origin.HYPERVISOR,
        words=(
            # `Data Abort`, `Instruction Abort`, `EC=0x...`, `HVC64 call`, `SMC64 call`
            Words(
                b"EL2 Exception: ",
                tail=(rb"[DIEHS]", rb"[anCVM]", rb"[ts=C]"),
                # Behind a single quote it can have broken into a panic's `panicked at 'message'`.
                before=rb"(?:(?<![\"`=])Unhandled |" + _UNQUOTED + rb"(?<!Unhandled ))",
                bare=True,
                alone=True,
            ),
            Words(b"Unsupported Exception EC", before=_UNQUOTED),
            Words(b"Unsupported Exit:", before=_UNQUOTED, alone=True),
            Words(b"irq not handle from el2", before=_UNQUOTED, alone=True),
        ),
        sample="EL2 Exception: Data Abort, ELR_EL2: 0x40412340, ESR_EL2: 0x96000045, FAR_EL2: 0xdeadbeef000",
        meaning="The hypervisor itself took an exception, or a zone one that the hypervisor has no handler for.",
        remedy="Look ELR_EL2 up in hvisor's ELF. A wild FAR_EL2 means overwritten memory: check the reservation.",
        fields={
            "elr": Field(rb"(?:ELR(?:_EL2)?|\belr)[:=] ?" + _HEX + _AFTER, required=False),
            "esr": Field(rb"ESR(?:_EL2)?[:=] ?" + _HEX + _AFTER, required=False),
            "far": Field(rb"FAR(?:_EL2)?[:=] ?" + _HEX + _AFTER, required=False),
            "ec": Field(rb"\bEC[:=] ?" + _HEX + _AFTER, required=False),
        },
    ),
    Kind(
        name="hypercall-error",
        origin=Origin.HYPERVISOR,
        severity=Severity.ERROR,
        words=(Words(b"hypercall error:", before=_UNQUOTED),),
        sample="[ERROR 0] (hvisor::arch::aarch64::trap:290) hypercall error: [src/hypercall/mod.rs:120:13] "
        "Invalid argument",
        meaning="The hypervisor refused a call of hvisor.ko or hvisor-tool.",
        remedy="Check that hvisor, hvisor.ko and hvisor-tool are of one version, and the zone's JSON.",
        fields=_error_behind(rb"hypercall error: "),
        proved_by=rb"hypercall error: \[src/",
    ),
    Kind(
        name="instruction-fetch-failure",
        origin=Origin.HYPERVISOR,
        words=(Words(b"Failed to fetch instruction", tail=(rb"[^s\n]",), before=_UNQUOTED),),
        sample="[ERROR 0] (hvisor::arch::aarch64::trap:205) Failed to fetch instruction at 0x50fd22c8",
        meaning="A zone executed at an address that stage 2 does not map.",
        remedy="Check the zone's RAM regions, the entry point, and the hypervisor's reservation.",
        fields={
            "address": Field(rb"\bat " + _HEX + _AFTER, required=False),
            "elr": Field(rb"ELR(?:_EL2)?[:=] ?" + _HEX + _AFTER, required=False),
        },
    ),
    Kind(
        name="zone-error",
        origin=Origin.HYPERVISOR,
        words=(Words(b" has some error, please shut", before=_FILLED + rb"(?:[Zz]one)? ?\d{0,3}"),),
        sample="[ERROR 2] (hvisor::zone:417) zone 1 has some error, please shut down it",
        meaning="The hypervisor gave a zone up.",
        remedy="The reason stands above it on the UART: begin with the first finding.",
        zone=rb"[Zz]one (\d{1,3}) has",
        proved_by=rb"\A(?:[Zz]one)? ?\d{0,3} has some error, please shut down it\s*\Z",
    ),
    Kind(
        name=KERNEL_PANIC,
        origin=Origin.KERNEL,
        words=(Words(b"Kernel panic - not syncing", before=rb"(?:" + _MESSAGE + PANIC_END + rb"|" + _PANIC + rb")"),),
        sample="[   12.345678] Kernel panic - not syncing: Attempted to kill init! exitcode=0x0000000b",
        meaning="root-linux panicked.",
        remedy="If it is tied to another kernel fault, begin there; else with its message.",
    ),
    Kind(
        name="kernel-oops",
        origin=Origin.KERNEL,
        severity=Severity.ERROR,
        words=(
            Words(b"Unable to handle kernel", before=_PANIC),
            Words(b"Internal error: ", tail=(rb"[^s\n]",), before=_MESSAGE),
            Words(b"Oops: ", tail=(rb"[0-9a-f]",), before=_MESSAGE),
            Words(b"Oops - ", before=_MESSAGE),
            Words(b"Oops [#", before=_MESSAGE),
            Words(b"Oops[#", before=_MESSAGE),
            Words(b" handler detected on CPU", before=_MESSAGE + rb"Bad mode in [\w ]{1,30}"),
            Words(b"Unhandled 64-bit el1", before=_MESSAGE),
            Words(b"Insufficient stack space to handle exception", before=_MESSAGE),
        ),
        sample="[   12.345678] Unable to handle kernel NULL pointer dereference at virtual address 0000000000000010",
        meaning="root-linux's kernel did something it must not.",
        remedy="Read the call trace in the excerpt. Random oopses under memory load point at overwritten memory.",
        max_lines=60,
        end=rb"---\[ end trace",
        cpu=rb"\bCPU: (\d{1,4}) ",
        absorbs=frozenset({"kernel-oops"}),
    ),
    Kind(
        name="kernel-bug",
        origin=Origin.KERNEL,
        severity=Severity.ERROR,
        words=(
            Words(b"BUG: ", tail=(rb"[^s\n]",), before=_MESSAGE),
            Words(b"BUG: s", tail=(rb"[^o\n]",), before=_MESSAGE),  # `BUG: soft lockup` is its own kind
            Words(b"kernel BUG at ", before=_PANIC),
            # SLUB's `BUG kmalloc-256 (Not tainted): Poison overwritten`; without a stamp programs say such things, too.
            Words(b"BUG ", tail=(rb"[A-Zb-z]",), before=_STAMP + rb" "),
            Words(b"BUG a", tail=(rb"[^t\n]",), before=_STAMP + rb" "),
            Words(b"list_del corruption", before=_PANIC),
            Words(b"list_add corruption", before=_PANIC),
        ),
        sample="[   12.345678] kernel BUG at mm/slub.c:4132!",
        meaning="root-linux's kernel found itself in a state that cannot be.",
        remedy="Read the message and the call trace in the excerpt.",
        max_lines=60,
        end=rb"---\[ end trace",
        cpu=rb"\bCPU: (\d{1,4}) ",
        absorbs=frozenset({"kernel-oops"}),
    ),
    Kind(
        name="serror",
        origin=Origin.KERNEL,
        words=(Words(b"SError Interrupt on CPU", before=_PANIC),),
        sample="[   12.345678] SError Interrupt on CPU1, code 0x00000000be000011 -- SError",
        meaning="The hardware reported an asynchronous error, often of an access to an address that nobody answers.",
        remedy="Check device addresses in the device tree, and power and clocks of the device last touched.",
        cpu=rb"on CPU ?(\d{1,4})",
    ),
    Kind(
        name="external-abort",
        origin=Origin.KERNEL,
        severity=Severity.ERROR,
        words=(
            Words(b"Internal error: synchronous ", before=_MESSAGE),
            Words(b"Unhandled fault: synchronous ", before=_MESSAGE),
        ),
        sample="[   12.345678] Internal error: synchronous external abort: 0000000096000010 [#1] SMP",
        meaning="root-linux touched an address that no device or memory answers.",
        remedy="Check that the device tree holds only what the zone may touch.",
        max_lines=60,
        end=rb"---\[ end trace",
        cpu=rb"\bCPU: (\d{1,4}) ",
        absorbs=frozenset({"kernel-oops"}),
    ),
    Kind(
        name="rcu-stall",
        origin=Origin.KERNEL,
        severity=Severity.ERROR,
        words=(
            Words(b"self-detected stall on CPU", before=_STALL),
            Words(b"detected stalls on CPUs/tasks", before=_STALL),
            Words(b"detected stalls on tasks", before=_STALL),
            Words(b"detected expedited stalls on", before=_STALL),
        ),
        sample="[   47.123456] rcu: INFO: rcu_preempt self-detected stall on CPU",
        meaning="A CPU of root-linux did not come round for many seconds.",
        remedy="Often another CPU is gone, stopped in the hypervisor: look for hypervisor findings above.",
    ),
    Kind(
        name="soft-lockup",
        origin=Origin.KERNEL,
        severity=Severity.ERROR,
        words=(
            Words(
                b"BUG: soft lockup - CPU#", before=rb"(?:" + _PANIC + rb"(?:watchdog: )?|" + _STAMPED + rb"[^\[]{1,12})"
            ),
        ),
        sample="[   60.123456] watchdog: BUG: soft lockup - CPU#1 stuck for 22s! [memtester:214]",
        meaning="A CPU of root-linux ran kernel code for many seconds without a break.",
        remedy="As for rcu-stall. On an overloaded virtual board it can be the host's fault.",
        cpu=rb"CPU#(\d{1,4})",
    ),
    Kind(
        name="hard-lockup",
        origin=Origin.KERNEL,
        words=(
            Words(
                b"Watchdog detected hard LOCKUP on cpu",
                before=_PANIC + rb"(?:NMI watchdog: |watchdog: )?(?:CPU\d{1,4}: )?",
            ),
        ),
        sample="[   95.974379] watchdog: Watchdog detected hard LOCKUP on cpu 3",
        meaning="A CPU of root-linux does not even take interrupts any more.",
        remedy="It has often stopped in the hypervisor: look for hypervisor findings above.",
        cpu=rb"LOCKUP on cpu (\d{1,4})\b",
    ),
    Kind(
        name="hung-task",
        origin=Origin.KERNEL,
        severity=Severity.ERROR,
        words=(
            Words(
                b" blocked for more than ",
                before=rb"(?:"
                + _PANIC
                + rb"INFO: task (?:(?!INFO: task ).){1,80}|"
                + _STAMPED
                + rb"[^\[]{1,90}):\d{1,10}",
            ),
        ),
        sample="[  243.123456] INFO: task kworker/0:1:123 blocked for more than 120 seconds.",
        meaning="A task of root-linux has waited for minutes, often for storage or a lock.",
        remedy="Look at what it waits for in the call trace that follows on the UART.",
    ),
    Kind(
        name=OOM_KILL,
        origin=Origin.KERNEL,
        severity=Severity.WARNING,
        words=(
            Words(b"Out of memory: Kill", before=_PANIC),
            Words(b"Memory cgroup out of memory: Kill", before=_PANIC),
            Words(b"Out of memory (oom_kill_allocating_task): Kill", before=_PANIC),
        ),
        sample="[   33.123456] Out of memory: Killed process 214 (memtester) total-vm:788072kB, anon-rss:741048kB",
        meaning="root-linux had no memory left and killed a process: the size is wrong for this board. "
        "Not a hypervisor fault.",
        remedy="Lower the ladder's highest size, or find out who took the memory.",
        fields={
            "pid": Field(rb"process (\d{1,10})", required=False),
            "process": Field(rb"process \d{1,10},? \(([^)\n]{1,64})\)", FieldType.TEXT, required=False),
        },
    ),
    Kind(
        name="u-boot-exception",
        origin=Origin.BOARD,
        words=(
            # With a digit: U-Boot's binary has its format, `esr 0x%08lx`.
            Words(b'"Synchronous Abort" handler, esr 0x', tail=(rb"[0-9a-f]",), before=_UNQUOTED),
            Words(b'"Irq" handler, esr 0x', tail=(rb"[0-9a-f]",), before=_UNQUOTED),
            Words(b'"Fiq" handler, esr 0x', tail=(rb"[0-9a-f]",), before=_UNQUOTED),
            Words(b'"Error" handler, esr 0x', tail=(rb"[0-9a-f]",), before=_UNQUOTED + rb"(?:Bad mode in )?"),
        ),
        sample='"Synchronous Abort" handler, esr 0x96000004',
        meaning="U-Boot, or what it has just started with its own exception vectors still in place, took an "
        "exception. U-Boot then resets the board.",
        remedy="After `Starting kernel ...`: is the image built for the address at which it was loaded, and whole? "
        "Before it: look up elr (of the line with `(reloc)`) in U-Boot's map.",
        max_lines=3,
        end=rb"\Aelr: [0-9a-f]{16} lr : [0-9a-f]{16}\s*\Z",
        fields={
            "esr": Field(rb"handler, esr (0x[0-9a-f]{8,16})" + _AFTER),
            "far": Field(rb"handler, esr 0x[0-9a-f]{8,16}, far (0x[0-9a-f]{1,16})" + _AFTER, required=False),
        },
    ),
    Kind(
        name=EL3_EXCEPTION,
        origin=Origin.BOARD,
        words=(
            Words(b"Unhandled Exception in EL3", before=_LINE),
            Words(b"Unhandled Exception from ", tail=(rb"[El]", rb"[Lo]"), before=_LINE),
            Words(b"Unhandled External Abort received on 0x", tail=(rb"[0-9a-f]",), before=_LINE + rb"ERROR: {1,4}"),
            Words(b"PANIC at PC : 0x", tail=(rb"[0-9a-f]",), before=_LINE),
            Words(b"ASSERT: plat/", before=_LINE),
        ),
        sample="Unhandled Exception in EL3.",
        meaning="The secure firmware (TF-A's BL31, at EL3) took an exception that it has no handler for, its own or "
        "one of a lower level that was routed to it, and stopped.",
        remedy="Registers follow on the UART: esr_el3 says what it was, elr_el3 where. With `External Abort` or esr "
        "0xbe...: an access to an address, or to a device without power or clock, that nobody answers; look at what "
        "was done last by whom. Which of hvisor, root-linux and the firmware did it, the text does not say.",
        max_lines=60,
        end=rb"\A(?:elr_el3|far_el3) += 0x",
        fields={"esr": Field(rb"\Aesr_el3 += " + _HEX + rb"\s", required=False)},
    ),
    Kind(
        name=TEE_PANIC,
        origin=Origin.BOARD,
        words=(
            Words(b"'unhandled pager abort'", before=rb"E/TC:[\d? ]{1,12}Panic "),
            Words(b"Panic at core/arch/arm/k", before=rb"E/TC:[\d? ]{1,12}"),
        ),
        sample="E/TC:0 0 Panic 'unhandled pager abort' at core/arch/arm/kernel/abort.c:586 <abort_handler>",
        meaning="OP-TEE, the secure world's operating system, panicked; that CPU does not come back.",
        remedy="The abort's address stands in the lines above. Check that OP-TEE's memory is reserved in the device "
        "tree of whoever touched it, and that BL31, OP-TEE and U-Boot are of one release.",
    ),
    Kind(
        name=UNEXPECTED_RESET,
        origin=Origin.BOARD,
        words=(),
        sample="U-Boot 2023.01+dfsg-2+deb12u3 (Jun 22 2026 - 08:38:07 +0000)",
        meaning="SPL, U-Boot or the hypervisor began anew although nobody asked for it. The field `seen` is the mark "
        "that came out of turn, `phase` where the board was.",
        remedy="Look at the power supply and watchdogs; then at what was printed last before it.",
        fields={
            "seen": Field(b"", FieldType.TEXT),
            "phase": Field(b"", FieldType.TEXT),
        },
        line_is_message=False,
    ),
    Kind(
        name=LAYOUT,
        origin=Origin.FACT,
        severity=Severity.INFO,
        words=(
            Words(b"__core_end = 0x", before=_HVISOR_TARGET),
            Words(b"mem_pool_start = 0x", before=_HVISOR_TARGET),
            Words(b"hv_end = 0x", before=_HVISOR_TARGET),
        ),
        sample="[INFO  0] (hvisor:117) hv_end = 0x447b0000",
        meaning="Where the hypervisor says it lies. One finding a boot: complete with `hv_end`, else when Linux boots.",
        remedy="Nothing: it is compared with what root-linux may use.",
        fields={
            "skernel": Field(rb"start HVISOR at " + _HEX + rb"!"),
            "core_end": Field(rb"__core_end = " + _HEX + rb"\s"),
            "mem_pool_start": Field(rb"mem_pool_start = " + _HEX + rb"\s"),
            "hv_end": Field(rb"hv_end = " + _HEX + rb"\s"),
        },
        line_is_message=False,
    ),
    Kind(
        name=LOG_LEVEL,
        origin=Origin.FACT,
        severity=Severity.INFO,
        words=(Words(b"log_level: ", before=rb"build_mode: \w{1,20}, "),),
        sample="[INFO  0] (hvisor:121) build_mode: debug, log_level: info, arch: aarch64, stats: off",
        meaning="The hypervisor's log level, fixed when it was built. Below warn, silence is no evidence.",
        remedy="Build hvisor with LOG=warn or more.",
        fields={"log_level": Field(rb"\blog_level: (off|error|warn|info|debug|trace),", FieldType.TEXT)},
        line_is_message=False,
    ),
)

_DDR = Words(b"DDR V", tail=(rb"\d", rb"\.", rb"\d", rb"\d", rb" ", *[rb"[0-9a-f]"] * 6))

# `step` orders what comes once in a boot: a step that is not above the last one means that the board began anew.
MARKS: tuple[MarkWords, ...] = (
    MarkWords(mark=Mark.SPL, words=_DDR, step=1),
    # Since 2024: `DDR 9fa84341ce typ 24/09/06-09:51:11,fwver: v1.18`.
    MarkWords(mark=Mark.SPL, words=Words(b" typ ", tail=(rb"\d", rb"\d", rb"/"), before=rb"DDR [0-9a-f]{10}"), step=1),
    MarkWords(mark=Mark.SPL, words=Words(b"U-Boot TPL 20", before=_LINE), step=1),
    MarkWords(mark=Mark.SPL, words=Words(b"U-Boot SPL board init", before=_LINE), step=2),
    MarkWords(mark=Mark.SPL, words=Words(b"U-Boot SPL 20", tail=(rb"\d", rb"\d", rb"\."), before=_LINE), step=3),
    MarkWords(
        mark=Mark.UBOOT_BANNER,
        # It comes behind an empty line; in a binary's strings it does not. The command `version` prints it, too.
        words=Words(
            b"U-Boot 20",
            tail=(rb"\d", rb"\d", rb"\.", rb"\d", rb"\d", rb"[ +.-]"),
            before=_LINE,
            unless=rb"[^\r\n]\r{0,3}\n|(?:[\r\n]|[>#$] )version[^\n]{0,80}\s{1,4}",
        ),
        step=4,
    ),
    MarkWords(mark=Mark.AUTOBOOT, words=Words(b" to stop autoboot", before=rb"Hit .{0,20}key")),
    MarkWords(mark=Mark.STARTING_KERNEL, words=Words(b"Starting kernel ...", before=_LINE)),
    MarkWords(
        mark=Mark.HYPERVISOR_HELLO, words=Words(b"Hello, start HVISOR at 0x", tail=(rb"[0-9a-f]",), before=_UNQUOTED)
    ),
    MarkWords(
        mark=Mark.CPU_ENTERED,
        words=Words(b" has entered.", before=rb"(?:Primary|Secondary) CPU \d{1,3}"),
        text=rb"CPU (\d{1,3}) has entered\.\Z",
    ),
    MarkWords(mark=Mark.LINUX_BOOTING, words=Words(b"Booting Linux on physical CPU", before=_MESSAGE)),
    MarkWords(
        mark=Mark.ECHO,
        words=Words(b"hvrig-mark-", tail=(rb"[0-9a-f]",) * 16),  # hvrig.model.marker.MARKER
        text=rb"(hvrig-mark-[0-9a-f]{16})\Z",
    ),
)

BY_NAME: Mapping[str, Kind] = {kind.name: kind for kind in KINDS}


def _said(kind: Kind) -> str:
    return ", ".join(f"`{words.literal.decode().strip()}`" for words in kind.words) or "those of the marks of a boot"


def as_markdown() -> str:
    """The fault catalogue as a page: docs/fault-catalogue.md."""
    parts = [
        "# Fault catalogue\n\n"
        "What hvrig's watch finds on the UART. Made from `hvrig.watch.catalogue` by\n"
        "`python -c \"from hvrig.watch.catalogue import as_markdown; print(as_markdown(), end='')\"`.\n\n"
        "**Severity**: `fatal`: a CPU, a zone or the board does not go on; `error`: something failed and the system "
        "goes on, for now; `warning`: a limit was met; `info`: a fact.\n\n"
        "**Confidence** of a finding: `high`: its words and every line that its report should have came whole. `low`: "
        "its words were torn by other output and put together again, a line is missing or broken, or lines of two "
        "CPUs' reports could not be told apart. A fault of low confidence is still a fault; its numbers are hints. "
        "What nobody can see: a digit lost inside of a line that is otherwise whole. And `cpu` is a hint always: "
        "hvisor reads it from memory that the fault may have overwritten.\n\n"
        "A field is given only where its line came to its end; one that did not is named in `missing`.\n"
    ]
    for kind in KINDS:
        fields = ", ".join(f"`{name}`" for name in kind.fields) or "none of its own"
        parts.append(
            f"\n## {kind.name}\n\n{kind.meaning}\n\n    {kind.sample}\n\n"
            f"- words: {_said(kind)}\n"
            f"- origin: {kind.origin.value}\n- severity: {kind.severity.value}\n- fields: {fields}\n"
            f"- what to do: {kind.remedy}\n"
        )
    return "".join(parts)
