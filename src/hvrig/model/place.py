"""A place: one board and all that hvrig must know to run the gate on it.

Loaded from a labgrid environment by `hvrig.lab`; checked here, so that a `Place` that exists is usable.
Defaults are those of the sysoul-x3300 where it has a say (`docs/places.md` lists every setting).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from hvrig.model.memory import Range
from hvrig.model.size import parse_size

_FORBID_UNKNOWN: dict[str, str] = {"extra": "forbid"}

# An image's path where the place has no file of its own: each run gives one (`--image NAME=PATH`).
GIVEN = "${given}"

# The machines of a rack.
VIRTUAL, OWN_HVISOR = "virtual", "hvisor-qemu-gicv3"


def _require(checks: Iterable[tuple[bool, str]]) -> None:
    """Raise one ValueError that names every failed check."""
    failed = [message for good, message in checks if not good]
    if failed:
        raise ValueError("; ".join(failed))


def _is_pattern(text: str) -> bool:
    try:
        re.compile(text)
    except re.error:
        return False
    return bool(text)


@dataclass(frozen=True, kw_only=True)
class Image:
    """One file that U-Boot loads.

    path: the local copy, whose size and CRC-32 the board's copy must have; a pattern that one file matches; or GIVEN.
    address: where it is loaded, a physical address.
    remote: its name for the board's TFTP client (or fatload); the file's own name by default. Of no account where
    hvrig itself puts the file into the TFTP folder, under a name of its own.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = _FORBID_UNKNOWN

    path: Path
    address: int
    remote: str = ""

    def __post_init__(self) -> None:
        _require(
            [
                (self.address >= 0, f"address {self.address:#x} is negative: give a physical address"),
                (
                    re.fullmatch(r"[\w./+-]*", self.remote) is not None,
                    f"remote {self.remote!r} must be a plain file name: U-Boot would take other characters as commands",
                ),
            ]
        )

    @property
    def remote_name(self) -> str:
        """The name that U-Boot asks the server for."""
        return self.remote or self.path.name


@dataclass(frozen=True, kw_only=True)
class UBootSettings:
    """How to speak with the place's U-Boot.

    prompt: what U-Boot prints when it takes a command, literally.
    interrupt: the characters that stop autoboot, ASCII, sent every `interrupt_interval_s` from power-on on.
    setup: commands before loading, such as the network's.
    load: the command for one image; `{address}` and `{file}` are filled in.
    before_boot: commands after the images are loaded and proven.
    boot: the command that enters the hypervisor and does not come back.
    piece: how many characters are typed before their echo is awaited; RK3588's UART has a 16-byte FIFO
    that a slow reader overruns, so at most 16.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = _FORBID_UNKNOWN

    boot: str
    prompt: str = "=> "
    interrupt: str = "\x03"
    interrupt_interval_s: float = 0.02
    setup: tuple[str, ...] = ()
    load: str = "tftp {address} {file}"
    before_boot: tuple[str, ...] = ()
    piece: int = 8

    def __post_init__(self) -> None:
        commands = (*self.setup, self.load, *self.before_boot, self.boot)
        _require(
            [
                (bool(self.prompt.strip()), "prompt is empty: give what U-Boot prints, such as '=> '"),
                (
                    bool(self.interrupt),
                    r'interrupt is empty: give the key that stops autoboot, such as "\x03" (Ctrl-C)',
                ),
                (self.interrupt.isascii(), f"interrupt {self.interrupt!r} must be ASCII: U-Boot compares bytes"),
                (0.005 <= self.interrupt_interval_s <= 1, "interrupt_interval_s must be between 0.005 and 1"),
                (bool(self.boot.strip()), "boot is empty: give the command that starts hvisor, such as 'bootm ...'"),
                ("{address}" in self.load and "{file}" in self.load, "load must contain {address} and {file}"),
                (1 <= self.piece <= 16, "piece must be 1 to 16 characters"),
                (
                    all(c.isascii() and c.isprintable() for c in commands),
                    "commands must be one line of printable ASCII each",
                ),
            ]
        )

    @property
    def loads_from_storage(self) -> bool:
        """Whether `load` reads a card or a disk of the board, and no server."""
        return re.match(r"(?:fatload|ext[24]load|load)\b", self.load) is not None


@dataclass(frozen=True, kw_only=True)
class TftpSettings:
    """The folder of this machine that the board's TFTP server serves; hvrig puts each run's images there.

    prefix: what stands before a file's name when U-Boot asks for it, such as `boards/x3300/`.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = _FORBID_UNKNOWN

    folder: Path
    prefix: str = ""

    def __post_init__(self) -> None:
        _require(
            [
                (
                    re.fullmatch(r"[\w./+-]*", self.prefix, re.ASCII) is not None,
                    f"prefix {self.prefix!r} must be a plain path: U-Boot would take other characters as commands",
                )
            ]
        )


@dataclass(frozen=True, kw_only=True)
class HypervisorSettings:
    """What is known of the hypervisor before it runs.

    cpus: how many CPUs print `Hello, start HVISOR` and enter; all must, or hvisor waits for ever.
    start, end: its memory, `[skernel, __hv_end)`, physical; what it prints itself while it boots counts more.
    elf, board_rs, consts_rs: what it was built to and from, for the layout check. The load addresses of zone 0's images
    must be those of board_rs.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = _FORBID_UNKNOWN

    cpus: int = 8
    start: int | None = None
    end: int | None = None
    elf: Path | None = None
    board_rs: Path | None = None
    consts_rs: Path | None = None

    def __post_init__(self) -> None:
        _require(
            [
                (1 <= self.cpus <= 256, "cpus must be 1 to 256"),
                (
                    (self.start is None) == (self.end is None),
                    "start and end belong together: give both or neither",
                ),
                (
                    self.start is None or self.end is None or 0 <= self.start < self.end,
                    "start must lie below end",
                ),
            ]
        )

    @property
    def range(self) -> Range | None:
        """Its memory, where the place gives it."""
        if self.start is None or self.end is None:
            return None
        return Range(self.start, self.end)


@dataclass(frozen=True, kw_only=True)
class RootLinuxSettings:
    """root-linux as it shows itself.

    prompt: a regular expression for its shell's prompt on the console.
    console: the device on the board whose writes go to the hypervisor's UART.
    cpus: how many CPUs it must have online.
    known_errors: regular expressions for lines of the kernel's log at severity err or worse that this board's kernel
    prints at every boot; one that matches somewhere in a line is enough.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = _FORBID_UNKNOWN

    cpus: int = 2
    prompt: str = r"[#$] $"
    console: str = "/dev/console"
    known_errors: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _require(
            [
                (1 <= self.cpus <= 256, "cpus must be 1 to 256"),
                (_is_pattern(self.prompt), f"prompt {self.prompt!r} is not a regular expression"),
                *(
                    (_is_pattern(known), f"known_errors: {known!r} is not a regular expression")
                    for known in self.known_errors
                ),
                (
                    re.fullmatch(r"/dev/[\w/.-]+", self.console) is not None,
                    f"console {self.console!r} must be a device such as /dev/console",
                ),
            ]
        )


@dataclass(frozen=True, kw_only=True)
class UartSettings:
    """Which of the target's serial ports is the hypervisor's UART.

    resource: its name among labgrid's resources; empty where there is one serial port.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = _FORBID_UNKNOWN

    resource: str = ""


@dataclass(frozen=True, kw_only=True)
class SshSettings:
    """How root-linux is reached over SSH; host, port and user come from the target's NetworkService.

    resource: that NetworkService's name; empty where there is one.
    key: the private key. host_key: the board's public host key, `ssh-ed25519 AAAA...`, or a file that holds it.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = _FORBID_UNKNOWN

    key: Path
    host_key: str
    keepalive_s: float = 5.0
    resource: str = ""

    def __post_init__(self) -> None:
        _require(
            [
                (
                    bool(self.host_key.strip()),
                    "host_key is empty: give 'ssh-ed25519 AAAA...' or the file that holds it",
                ),
                (0 < self.keepalive_s <= 60, "keepalive_s must be above 0 and at most 60"),
            ]
        )


@dataclass(frozen=True, kw_only=True)
class GateSettings:
    """The ladder of memtester runs.

    ladder: sizes, growing. loops: memtester's LOOPS. test_mask: MEMTESTER_TEST_MASK; must contain bit 0
    (Random Value), whose data the compare tests work on; None runs all tests.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = _FORBID_UNKNOWN

    ladder: tuple[str, ...] = ("1G", "2G", "4G", "12G")
    loops: int = 1
    test_mask: int | None = 0x1
    memtester: str = "memtester"

    def __post_init__(self) -> None:
        problems: list[tuple[bool, str]] = [(bool(self.ladder), "ladder is empty: a gate without rungs proves nothing")]
        sizes: list[int] = []
        for text in self.ladder:
            try:
                sizes.append(parse_size(text))
            except ValueError as error:
                problems.append((False, f"ladder: {error}"))
        problems += [
            (sizes == sorted(set(sizes)), "ladder must grow from rung to rung, such as 1G, 2G, 4G, 12G"),
            (1 <= self.loops <= 1_000_000, "loops must be 1 or more"),
            (
                self.test_mask is None or (self.test_mask & 1 == 1 and self.test_mask > 0),
                "test_mask needs bit 0 (Random Value): without it the compare tests fail on healthy memory",
            ),
            (
                re.fullmatch(r"[\w./+-]+", self.memtester) is not None,
                f"memtester {self.memtester!r} must be a command name or a path",
            ),
        ]
        _require(problems)


@dataclass(frozen=True, kw_only=True)
class DeadlineSettings:
    """Seconds after which a step that has not happened is given up.

    rung_bytes_per_s: how many bytes of memory a rung gets through per second, at the least, before any rung
    was measured; later rungs are timed by the rungs before them.
    person_s: what a person is asked to do by hand, such as switching the power.
    stall_s: silence of memtester after which the board is asked whether it is alive.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = _FORBID_UNKNOWN

    power_s: float = 15.0
    person_s: float = 120.0
    first_byte_s: float = 15.0
    uboot_s: float = 60.0
    command_s: float = 15.0
    load_s: float = 120.0
    hypervisor_s: float = 20.0
    root_linux_s: float = 120.0
    ssh_s: float = 60.0
    rung_bytes_per_s: float = 10.0 * (1 << 20)
    stall_s: float = 30.0
    probe_s: float = 10.0

    def __post_init__(self) -> None:
        _require((value > 0, f"{name} must be above 0") for name, value in vars(self).items())


@dataclass(frozen=True, kw_only=True)
class ZoneSettings:
    """hvisor's own zones, for tests/hil/test_zones.py; paths are the board's.

    tool: hvisor-tool's command. setup: commands where its driver is not loaded, such as `insmod hvisor.ko`.
    root_cpus: the CPUs of root-linux; None: the first `root_linux.cpus`.
    start: the JSON file of a zone to start and stop; empty: none. start_id: that zone's number.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = _FORBID_UNKNOWN

    tool: str = "hvisor"
    setup: tuple[str, ...] = ()
    root_cpus: tuple[int, ...] | None = None
    start: str = ""
    start_id: int = 1

    def __post_init__(self) -> None:
        _require(
            [
                (bool(self.tool.strip()), "tool is empty: give hvisor-tool's command"),
                (self.start_id >= 1, "start_id must be 1 or more: zone 0 is root-linux"),
                (
                    self.root_cpus is None or (bool(self.root_cpus) and min(self.root_cpus) >= 0),
                    "root_cpus must be CPU numbers, such as [0, 1]",
                ),
            ]
        )


@dataclass(frozen=True, kw_only=True)
class RackSettings:
    """A virtual board that is started for the run (`hvrig.virtual`), where the place has no board of its own.

    machine: `virtual`, the board with its own stand-in hypervisor, or `hvisor-qemu-gicv3`, for a hvisor.bin and a
    device tree of the person's own.
    reserved: how much of the hypervisor's memory root-linux's device tree reserves: a size such as `4M`, from the
    hypervisor's start on, or `all`; with a tree of one's own also `tree`, what that tree says.
    memory, bootargs: what is written into a copy of a tree of one's own. memory: `tree`, what it says, or `board-rs`.
    labgrid: whether the board stands in a lab of its own: a labgrid coordinator, an exporter and ser2net are started
    for the run, too.
    uart: how this machine has the UART: `tcp`, as ser2net serves it, or `device`, a device node as a USB adapter's.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = _FORBID_UNKNOWN

    machine: str = "virtual"
    reserved: str = "all"
    labgrid: bool = False
    uart: str = "tcp"
    memory: str = "tree"
    bootargs: str = "earlycon=pl011,0x9000000 console=ttyAMA0 loglevel=7 panic=0 ipv6.disable=1"

    def __post_init__(self) -> None:
        own = self.machine == OWN_HVISOR
        _require(
            [
                (self.machine in (VIRTUAL, OWN_HVISOR), f"machine must be {VIRTUAL} or {OWN_HVISOR}"),
                (self.memory in ("tree", "board-rs"), "memory must be tree or board-rs"),
                (not (own and self.labgrid), f"labgrid is not for machine {OWN_HVISOR}"),
                (self.uart in ("tcp", "device"), "uart must be tcp or device"),
                (
                    not (self.labgrid and self.uart != "tcp"),
                    "uart: device is not for a lab: its exporter has the device",
                ),
                (own or self.memory == "tree", f"memory: board-rs is for machine {OWN_HVISOR}"),
                (own or self.reserved != "tree", f"reserved: tree is for machine {OWN_HVISOR}"),
                (
                    self.bootargs.isascii() and self.bootargs.isprintable() and len(self.bootargs) < 2048,
                    "bootargs must be one line of printable ASCII, shorter than 2048 characters",
                ),
            ]
        )
        if self.reserved not in ("all", "tree"):
            parse_size(self.reserved)

    @property
    def reserved_bytes(self) -> int | None:
        """Bytes reserved from the hypervisor's start on; None for all of it, and for what a tree says."""
        return None if self.reserved in ("all", "tree") else parse_size(self.reserved)


@dataclass(frozen=True, kw_only=True)
class LabSettings:
    """How a place is acquired from a labgrid coordinator.

    tags: which places may be reserved where the target's RemotePlace is `+`, any that has all of them.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = _FORBID_UNKNOWN

    tags: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _require(
            (re.fullmatch("[a-z][a-z0-9_]+", key) is not None, f"tag {key!r} is not one that labgrid takes")
            for key in self.tags
        )


@dataclass(frozen=True, kw_only=True)
class Place:
    """A board in a lab, by name: what labgrid gives is under the target, the rest is here.

    tftp: None where hvrig does not serve the images itself: they lie on the server, or on the board's card, already.
    boards: what the place is on one of several boards, by the name under which labgrid's coordinator lends it out, for
    those that have settings of their own; those have no `boards`.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = _FORBID_UNKNOWN

    name: str
    images: Mapping[str, Image]
    uboot: UBootSettings
    ssh: SshSettings
    uart: UartSettings = field(default_factory=UartSettings)
    hypervisor: HypervisorSettings = field(default_factory=HypervisorSettings)
    root_linux: RootLinuxSettings = field(default_factory=RootLinuxSettings)
    gate: GateSettings = field(default_factory=GateSettings)
    deadlines: DeadlineSettings = field(default_factory=DeadlineSettings)
    lab: LabSettings = field(default_factory=LabSettings)
    rack: RackSettings | None = None
    tftp: TftpSettings | None = None
    zones: ZoneSettings = field(default_factory=ZoneSettings)
    boards: Mapping[str, Place] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _require(
            [
                (
                    bool(self.images),
                    "images is empty: name what U-Boot must load, at least hvisor, kernel and device trees",
                ),
                (
                    self.tftp is None or not self.uboot.loads_from_storage,
                    f"tftp is set, and uboot.load reads the board's own storage ({self.uboot.load}): keep one",
                ),
            ]
        )

    def on_board(self, board: str) -> Place:
        """What the place is on the board of that name: itself, where that has no settings of its own."""
        return self.boards.get(board, self)

    @property
    def zone0_cpus(self) -> frozenset[int]:
        """The CPUs that root-linux runs on, as the hypervisor numbers them."""
        return frozenset(range(self.root_linux.cpus) if self.zones.root_cpus is None else self.zones.root_cpus)
