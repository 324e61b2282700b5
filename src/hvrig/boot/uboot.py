r"""What is said to U-Boot and how its answers are read; no I/O.

Checked against U-Boot 2023.01 (qemu_arm64); the words of 2017.09 (Rockchip) are from its sources. Every number that
U-Boot takes or prints without saying otherwise is hexadecimal.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

# cread_line() of U-Boot echoes each character as it comes. Line ends, NULs and complete or cut terminal sequences
# between them change nothing that U-Boot has taken.
_NOT_TYPED = re.compile(rb"[\x00\r\n]|\x1b\[[0-?]{0,16}[ -/]{0,4}(?:[@-~]|\Z)|\x1b\Z")
_BELL = b"\x07"  # U-Boot rings when its line (CONFIG_SYS_CBSIZE, 256 to 2048) is full
SHORTEST_LINE = 128  # no U-Boot has a shorter line: a bell before it is noise


class Echo(enum.Enum):
    """How far the echo of what was typed has come."""

    PARTIAL = "partial"
    WHOLE = "whole"
    WRONG = "wrong"
    LINE_FULL = "line full"


def judge_echo(typed: bytes, received: bytes) -> Echo:
    """Compare what came back with what was typed.

    Strict: any other printable or undecodable byte means that a character was lost, mangled, or added, here or on
    the board, and the line must be typed again.
    """
    seen = _NOT_TYPED.sub(b"", received)
    if _BELL in seen and typed.startswith(seen.replace(_BELL, b"")):
        return Echo.LINE_FULL
    if seen == typed:
        return Echo.WHOLE
    return Echo.PARTIAL if typed.startswith(seen) else Echo.WRONG


def pieces(text: str, size: int) -> list[bytes]:
    """`text` in pieces of at most `size` characters, ready to be typed."""
    data = text.encode("ascii")
    return [data[start : start + size] for start in range(0, len(data), size)]


def marked(command: str, token: str) -> str:
    """`command`, followed by a marker with its exit status.

    The marker is typed in two halves that U-Boot's shell joins, so that the echo of the typing does not match
    `end_of(token)`. The status is kept in a shell variable, so that it can be asked for again (`ask_status`).
    """
    return f"{command}; hvrig=$?; {ask_status(token)}"


def ask_status(token: str) -> str:
    """The line that prints the marker and the status of the last `marked` command."""
    return f'echo "hvrig-""end" {token} $hvrig'


def end_of(token: str) -> re.Pattern[bytes]:
    """The marker of `marked`; group 1 is the exit status."""
    return re.compile(rb"hvrig-end %s (\d{1,3})(?=[\r\n])" % token.encode("ascii"))


def prompt_pattern(prompt: str) -> re.Pattern[bytes]:
    """The prompt at the beginning of a line."""
    return re.compile(rb"[\r\n]\x00*" + re.escape(prompt.encode("utf-8")))


def stands_last(prompt: re.Pattern[bytes], data: bytes) -> bool:
    """Whether `data` ends with the prompt."""
    return any(found.end() == len(data) for found in prompt.finditer(data))


@dataclass(frozen=True)
class UBootResult:
    """A command that ended: its exit status (0 is good) and what it printed, as text with `\\n` line ends."""

    status: int
    output: str


def as_text(data: bytes) -> str:
    """Console bytes as text; what is not ASCII is kept visible and cannot match anything that U-Boot prints."""
    return data.decode("ascii", "backslashreplace").replace("\r\n", "\n").replace("\r", "\n")


# A U-Boot that starts again prints one of these (the first of DDR init, TPL, SPL and U-Boot proper is enough).
# The `version` command prints the last one without the empty line before it.
RESET = re.compile(
    rb"[\r\n]DDR V(?:ersion )?\d|[\r\n]U-Boot [ST]PL (?:board init|20\d\d\.\d\d)|\n\r*\n\r*U-Boot 20\d\d\.\d\d"
)
# The same, where nothing of ours can have printed it: for counting starts.
BANNER = re.compile(rb"[\r\n]U-Boot 20\d\d\.\d\d")
KERNEL_STARTED = re.compile(rb"Starting kernel \.\.\.")


@dataclass(frozen=True)
class BadWord:
    """Words of U-Boot after which waiting is in vain. `meaning` follows 'U-Boot says so: '."""

    pattern: re.Pattern[bytes]
    meaning: str
    remedy: str


_IMAGE = "Build hvisor.bin again with mkimage -A arm64 -O linux -C none -T kernel, and look at the load addresses."
BAD_WORDS = (
    BadWord(
        re.compile(rb"resetting \.\.\."),
        "it resets the board",
        "Look at the lines before it in uart.log for the reason.",
    ),
    BadWord(
        re.compile(rb"### ERROR ### Please RESET the board ###"),
        "it has given up and waits for a reset",
        "Look at the lines before it in uart.log; often an image overwrites U-Boot or its stack.",
    ),
    BadWord(
        re.compile(rb'"(?:Synchronous Abort|Error)" handler'),
        "U-Boot itself has crashed",
        "Does a load address lie outside of RAM, or in U-Boot's own memory?",
    ),
    BadWord(re.compile(rb"Wrong Image Format"), "the image is none that its boot command takes", _IMAGE),
    BadWord(re.compile(rb"Bad (?:Data CRC|Header Checksum)"), "the image's own checksum is wrong", _IMAGE),
    BadWord(re.compile(rb"ERROR: can't get kernel image!"), "it finds no kernel at the address given to boot", _IMAGE),
)


_BYTES = re.compile(r"Bytes transferred = (\d+) \(|(?:^|\n)(\d+) bytes read in ")


def transferred(output: str) -> int | None:
    """How many bytes `tftp`, `fatload` and their like say that they loaded; None where they do not say."""
    found = _BYTES.search(output)
    return int(found[1] or found[2]) if found else None


def crc_command(address: int, size: int) -> str:
    """The command for the CRC-32 (IEEE 802.3, as zlib's) of `size` bytes of memory."""
    return f"crc32 {address:x} {size:x}"


_CRC = re.compile(r"crc32 for ([0-9a-f]+) \.\.\. ([0-9a-f]+) ==> ([0-9a-f]{8})(?![0-9a-f])", re.IGNORECASE)


def crc_of(output: str, address: int, size: int) -> int | None:
    """The value in `crc32 for 40000000 ... 401fffff ==> 1a2b3c4d`; None if there is none for that very range."""
    found = _CRC.search(output)
    if found is None or (int(found[1], 16), int(found[2], 16)) != (address, address + size - 1):
        return None
    return int(found[3], 16)


@dataclass(frozen=True)
class LoadTrouble:
    """Why a load failed, in words that follow the file's name, and what to do."""

    meaning: str
    remedy: str


# The first that is found counts: from the most telling to the least.
_LOAD_TROUBLE = (
    (
        r"File not found|Unable to read file|Failed to load '",
        "is not there",
        "Copy it into the folder that the board's TFTP server (or its card) serves, under exactly that name.",
    ),
    (
        r"Access violation|permission denied",
        "may not be read",
        "Make it readable for the TFTP server: chmod a+r, and below the folder that it serves.",
    ),
    (
        r"serverip' not set|ipaddr' not set",
        "was not asked for: U-Boot has no network address",
        "Set ipaddr and serverip in the place's U-Boot setup.",
    ),
    (
        r"No ethernet found|Could not get PHY|No such device|PHY.*not found",
        "was not asked for: U-Boot finds no Ethernet",
        "Does this U-Boot have a driver for the board's Ethernet?",
    ),
    (
        r"auto negotiation.*TIMEOUT|link.*(?:down|not up)|No link",
        "was not asked for: the network link is down",
        "Look at the network cable and at the host's interface.",
    ),
    (
        r"ARP Retry count exceeded",
        "was not asked for: nobody answers at the server's address",
        "Look at the network cable, serverip, and the host's address on that interface.",
    ),
    (
        r"Retry count exceeded|(?:\bT ){2}|Loading: \*\x08?\s*\Z",
        "did not come: the TFTP server does not answer",
        "Is it running (systemctl status tftpd-hpa), and does a firewall let UDP port 69 through?",
    ),
    (
        r"no card present|Bad device spec|Card did not respond|No partition table",
        "was not read: U-Boot finds no card",
        "Is the card in, and is it the device that the place's load command names?",
    ),
)


def load_trouble(output: str) -> LoadTrouble | None:
    """Why a load failed, from what U-Boot printed; None where it says nothing that is known."""
    for pattern, meaning, remedy in _LOAD_TROUBLE:
        if re.search(pattern, output, re.IGNORECASE):
            return LoadTrouble(meaning, remedy)
    return None


def looks_like_wrong_baud(data: bytes) -> bool:
    """True where most bytes are none that a console prints."""
    if len(data) < 16:
        return False
    legible = sum(byte in b"\t\r\n\x08\x1b" or 0x20 <= byte < 0x7F for byte in data)
    return legible < 0.6 * len(data)
