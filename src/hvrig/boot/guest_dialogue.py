"""After U-Boot: the hypervisor's CPUs, root-linux's shell on the console, and whether that shell still answers."""

from __future__ import annotations

import enum
import re

from hvrig.boot.console_pexpect import TapSpawn
from hvrig.boot.uboot import BAD_WORDS, RESET, BadWord, pieces, prompt_pattern, stands_last
from hvrig.model.deadline import Deadline
from hvrig.model.errors import BoardError, HvrigError, LabError, UsageError
from hvrig.model.harmless import harmless
from hvrig.model.marker import new_marker
from hvrig.model.phase import Phase
from hvrig.model.place import HypervisorSettings, RootLinuxSettings
from hvrig.model.protocols import ConsoleTap

# The texts of hvisor's `src/main.rs`, as captured from it.
_HELLO = re.compile(rb"Hello, start HVISOR at 0x[0-9a-fA-F]+")
_ENTERED = re.compile(rb"(?:Primary|Secondary) CPU (\d{1,3}) has entered\.")
# hvisor starts its guest only after all CPUs have entered.
_LINUX = re.compile(rb"Booting Linux on physical CPU")

PROMPT_STANDS_S = 0.1  # a prompt is the last thing on the console, a line cut by a read is not
PROMPT_HIDDEN_S = 2.0  # silence after which a prompt may be hidden behind kernel messages
ANSWERS = 2  # newlines that must bring the same line again before it is a prompt
UBOOT_PROMPT_S = 1.0  # silence after which U-Boot's prompt means that its boot command came back
LINE_KILL = b"\x15"  # Ctrl-U: the terminal forgets what stands in the line
PIECE = 8
PIECE_ECHO_S = 0.2
PROBE_S = 2.0  # for one try of console_alive

# Colours, a window title, bash's bracketed paste, and the question for the cursor's position that busybox's shell
# prints after its prompt.
_CONTROL = re.compile(rb"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b\r\n]{0,200}(?:\x07|\x1b\\)|[\x00\x07]")
# getty's issue line ends with the terminal: ttyFIQ0 with the vendor's kernel on RK3588, ttyS2 with a plain one.
_GETTY = re.compile(rb" (tty[A-Za-z]{1,8}\d{1,3})\s+\S+ login: *\Z")


_LOGIN = re.compile(rb"login: *\Z")
# Debian's initramfs, systemd's emergency mode: root-linux that did not come up, and answers all the same.
_RESCUE = re.compile(rb"\A\(initramfs\) |maintenance|Control-D")


class _Sign(enum.Enum):
    HELLO = "hello"
    ENTERED = "entered"
    LINUX = "linux"
    RESET = "reset"


def await_hypervisor(spawn: TapSpawn, settings: HypervisorSettings, deadline: Deadline, *, uboot_prompt: str) -> None:
    """Wait until the hypervisor has said hello and all its CPUs have entered.

    Raises BoardError: Phase.LOAD when U-Boot did not start it, Phase.HYPERVISOR, naming the CPUs that did not
    enter, when it did not come up.
    """
    patterns: dict[_Sign | BadWord, re.Pattern[bytes]] = {
        _Sign.HELLO: _HELLO,
        _Sign.ENTERED: _ENTERED,
        _Sign.LINUX: _LINUX,
        _Sign.RESET: RESET,
    }
    patterns |= {word: word.pattern for word in BAD_WORDS}
    prompt = prompt_pattern(uboot_prompt)
    hello = False
    entered: set[int] = set()
    while not (hello and len(entered) >= settings.cpus):
        awaited = _awaited(hello, entered, settings.cpus)
        seen = spawn.await_first(patterns, deadline.capped(UBOOT_PROMPT_S))
        if seen is None:
            if not hello and stands_last(prompt, spawn.pending):
                raise BoardError(
                    "U-Boot's boot command came back to its prompt instead of starting the hypervisor.",
                    "The last console lines say why; compare the boot command's addresses with the loaded images.",
                    phase=Phase.LOAD,
                    awaited=awaited,
                    tail=spawn.tail(),
                )
            if deadline.expired:
                raise _not_up(awaited, hello, spawn)
        elif isinstance(seen.key, BadWord):
            raise BoardError(
                f"U-Boot cannot start the hypervisor: {seen.key.meaning}.",
                seen.key.remedy,
                phase=Phase.HYPERVISOR if hello else Phase.LOAD,
                awaited=awaited,
                tail=spawn.tail(),
            )
        elif seen.key is _Sign.RESET:
            raise _reset(Phase.HYPERVISOR, awaited, spawn)
        elif seen.key is _Sign.LINUX:
            return
        elif seen.key is _Sign.HELLO:
            hello = True
        else:
            entered.add(int(seen.match[1]))


def _awaited(hello: bool, entered: set[int], cpus: int) -> str:
    if not hello:
        return "'Hello, start HVISOR'"
    missing = sorted(set(range(cpus)) - entered)
    return f"'has entered' of CPU {', '.join(map(str, missing))}"


def _not_up(awaited: str, hello: bool, spawn: TapSpawn) -> BoardError:
    if not hello:
        message = "The hypervisor did not come up: no 'Hello, start HVISOR' after the boot command."
        remedy = "Is hvisor.bin linked for the address that it is started at, and built for this board?"
    else:
        message = f"The hypervisor waits for ever for its CPUs: {awaited} did not come."
        remedy = "Is the place's `hypervisor: cpus` this build's BOARD_NCPUS, and does the firmware start those CPUs?"
    return BoardError(message, remedy, phase=Phase.HYPERVISOR, awaited=awaited, tail=spawn.tail())


def await_root_linux(spawn: TapSpawn, settings: RootLinuxSettings, deadline: Deadline) -> None:
    """Wait for the prompt of root-linux's shell on the console.

    Kernel messages can hide a prompt that was printed once: a console that has been quiet gets a newline.
    Raises BoardError with Phase.ROOT_LINUX where root-linux did not come up. Where it did, and answers each newline,
    the hypervisor has done its part: LabError for a console that asks for a login, UsageError for a shell whose prompt
    is not the place's.
    """
    awaited = f"root-linux's prompt {settings.prompt!r}"
    prompt = re.compile(settings.prompt.encode("utf-8"))
    heard_at = deadline.elapsed
    asked, asked_at = b"", spawn.received  # the last line, and how much had come, when a newline was typed last
    answers = 0  # newlines in a row that brought the same last line again
    while not deadline.expired:
        received = spawn.received
        if spawn.await_first({_Sign.RESET: RESET}, deadline.capped(PROMPT_STANDS_S)) is not None:
            raise _reset(Phase.ROOT_LINUX, awaited, spawn)
        if spawn.received != received:
            heard_at = deadline.elapsed
        elif prompt.search(last := _last_line(spawn.pending)):
            return
        elif deadline.elapsed - heard_at >= PROMPT_HIDDEN_S:
            answers = answers + 1 if last.strip() and last == asked and spawn.received != asked_at else 0
            if answers >= ANSWERS and _LOGIN.search(last):
                break
            asked, asked_at = last, spawn.received
            spawn.type(b"\r")
            heard_at = deadline.elapsed
    raise _no_shell(spawn, settings, awaited, answers=answers >= ANSWERS)


def _no_shell(spawn: TapSpawn, settings: RootLinuxSettings, awaited: str, *, answers: bool) -> HvrigError:
    """Why there is no shell. answers: whether newlines bring the same line again and again."""
    last = _last_line(spawn.pending)
    said = harmless(last.decode("utf-8", "replace"), keep_newlines=False)[-80:]
    if _LOGIN.search(last):
        getty = _GETTY.search(_CONTROL.sub(b"", spawn.pending))
        unit = f" (systemctl edit serial-getty@{getty[1].decode('ascii')})" if getty else ""
        return LabError(
            f"root-linux asks for a login on its console: {said!r}.",
            f"Give root an automatic login on the hypervisor's UART{unit}.",
        )
    if answers and not _RESCUE.search(last):
        return UsageError(
            f"root-linux answers on its console with {said!r}, which is not the place's prompt {settings.prompt!r}.",
            "Set `root_linux: prompt` of the place to a pattern of its shell's.",
        )
    message = "root-linux gave no shell on its console."
    remedy = "The last console lines show how far it came; is the place's `root_linux: prompt` its shell's?"
    if _RESCUE.search(last):
        message = f"root-linux came up in its rescue shell: {said!r}."
        remedy = "The lines before it say what it missed: its root file system, and the device that has it."
    return BoardError(message, remedy, phase=Phase.ROOT_LINUX, awaited=awaited, tail=spawn.tail())


def console_alive(tap: ConsoleTap, deadline: Deadline) -> bool:
    """Whether root-linux's shell on the console answers: True once it has printed a new marker.

    Open a tap for it: what came before does not matter, and may be more than a tap holds. Raises LabError when the
    console is gone.
    """
    spawn = TapSpawn(tap)
    markers: dict[str, re.Pattern[bytes]] = {}
    while not deadline.expired:
        marker = new_marker()
        markers[marker] = re.compile(marker.encode("ascii"))
        spawn.type(LINE_KILL)
        # Two halves, so that the echo of the typing does not match.
        for piece in pieces(f'echo "{marker[:-8]}""{marker[-8:]}"', PIECE):
            spawn.type(piece)
            spawn.await_more(deadline.capped(PIECE_ECHO_S))
        spawn.type(b"\r")
        if spawn.await_first(markers, deadline.capped(PROBE_S)) is not None:
            return True
    return False


def _last_line(data: bytes) -> bytes:
    """What stands in the console's last line, without terminal control."""
    return re.split(rb"[\r\n]", _CONTROL.sub(b"", data))[-1]


def _reset(phase: Phase, awaited: str, spawn: TapSpawn) -> BoardError:
    return BoardError(
        "The board reset itself: its start-up text came again.",
        "The lines before the start-up text in uart.log may say why; is a watchdog running?",
        phase=phase,
        awaited=awaited,
        tail=spawn.tail(),
    )
