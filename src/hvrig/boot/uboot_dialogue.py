"""The dialogue with a U-Boot on a board: stop it, type to it, load and prove images, let it boot."""

from __future__ import annotations

import enum
import hashlib
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import NoReturn

from hvrig.boot.console_pexpect import Seen, TapSpawn
from hvrig.boot.uboot import (
    BAD_WORDS,
    BANNER,
    KERNEL_STARTED,
    RESET,
    SHORTEST_LINE,
    BadWord,
    Echo,
    UBootResult,
    as_text,
    ask_status,
    crc_command,
    crc_of,
    end_of,
    judge_echo,
    load_trouble,
    looks_like_wrong_baud,
    marked,
    pieces,
    prompt_pattern,
    stands_last,
    transferred,
)
from hvrig.model.deadline import Deadline
from hvrig.model.errors import BoardError, LabError, UsageError
from hvrig.model.evidence import BootedFile
from hvrig.model.harmless import harmless
from hvrig.model.phase import Phase
from hvrig.model.place import Image, UBootSettings

CTRL_C = b"\x03"
SYNC_S = 5.0  # for one attempt to be understood, before the interrupt is sent again


@dataclass(frozen=True)
class Pace:
    """How long a console may take, in seconds.

    echo_s: an echo that takes longer is lost; a UART takes microseconds, a lab's network some milliseconds.
    quiet_s: silence after which a prompt stands: what was sent before it has been answered.
    garbled_s: a prompt that stands so long without the end of the command means that the end was garbled.
    """

    echo_s: float = 1.0
    quiet_s: float = 0.2
    garbled_s: float = 2.0


class _Sign(enum.Enum):
    """What a wait of the dialogue can come to."""

    PROMPT = "prompt"
    END = "end of the command"
    LINE = "line end"
    RESET = "reset"
    KERNEL = "kernel started"


@dataclass(frozen=True)
class _LocalFile:
    size: int
    crc32: int
    sha256: str


class UBoot:
    """A U-Boot at the other end of `spawn`, valid inside `with` and until `boot`.

    Every method raises BoardError when the board does not do what is awaited before the deadline, when it resets
    itself or gives up; LabError when the console is gone; RuntimeError after the end.
    """

    def __init__(self, spawn: TapSpawn, settings: UBootSettings, pace: Pace = Pace()) -> None:
        self._spawn = spawn
        self._settings = settings
        self._pace = pace
        self._prompt = prompt_pattern(settings.prompt)
        self._phase = Phase.UBOOT
        self._commands = 0
        self._prompt_seen = False
        self._prompt_stands = False
        self._over = False

    def __enter__(self) -> UBoot:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over = True

    def interrupt(self, deadline: Deadline, first_byte: Deadline | None = None) -> None:
        """Stop autoboot and get into step with U-Boot's shell; to be called right after power-on.

        The interrupt is sent again and again until a prompt stands, then a command's marker proves that it is one.
        BoardError with Phase.POWER when no byte came at all (until `first_byte`, where given).
        """
        self._require_valid()
        starts = 0
        while True:
            starts += self._flood(deadline, first_byte or deadline, starts)
            try:
                if self._in_step(deadline.capped(SYNC_S)):
                    return
            except BoardError:
                if deadline.expired:
                    raise
            if deadline.expired:
                self._no_prompt(starts)
            # The prompt was text of something else, noise fell into the answer, or the board has reset itself:
            # back to the interrupt at once, since the moment in which autoboot can be stopped may still come.

    def run(self, command: str, deadline: Deadline) -> UBootResult:
        """Run `command` and wait for its end; a status other than 0 is no error here.

        Raises UsageError when the command does not fit into U-Boot's line.
        """
        self._require_valid()
        result = self._attempt(command, deadline)
        if result is None:
            self._give_up(f"the end of {command!r}")
        return result

    def load(self, name: str, image: Image, deadline: Deadline) -> BootedFile:
        """Load `image` and prove on the board that it is the local file: its size, then its CRC-32.

        Raises LabError, naming the file and both values, when it is not.
        """
        self._require_valid()
        self._phase = Phase.LOAD
        local = _read_local(name, image.path)
        command = self._settings.load.replace("{address}", f"{image.address:#x}").replace("{file}", image.remote_name)
        size: int | None = None
        while size is None:  # where noise fell into the one line that says it, the load is repeated
            size = transferred(self._run_load(name, image, command, deadline))
            if size is None and deadline.expired:
                self._give_up(f"the size of {name} after {command!r}")
        if size != local.size:
            raise LabError(
                f"{name}: the board loaded {size} bytes of {image.remote_name}, the local file {image.path} has "
                f"{local.size}.",
                "The copy that is served is another build, or was cut: copy the local file to the server again.",
            )
        crc: int | None = None
        while crc is None:
            result = self.run(crc_command(image.address, size), deadline)
            if result.status != 0:
                raise LabError(
                    f"{name}: U-Boot cannot compute a CRC-32: {_excerpt(result.output)}",
                    "hvrig boots only what it has proven: use a U-Boot with the crc32 command (CONFIG_CMD_CRC32).",
                )
            crc = crc_of(result.output, image.address, size)
            if crc is None and deadline.expired:
                self._give_up(f"the CRC-32 of {name}")
        if crc != local.crc32:
            raise LabError(
                f"{name}: {image.remote_name} has CRC-32 {crc:08x} in the board's memory at {image.address:#x}, the "
                f"local file {image.path} has {local.crc32:08x}; both have {size} bytes.",
                "Compare the served copy with the local file (cksum); if they are the same, the transfer or the "
                "board's memory is at fault, or the address is not plain RAM.",
            )
        return BootedFile(name, str(image.path), image.address, size, crc, local.sha256)

    def boot(self, deadline: Deadline) -> None:
        """Type the boot command; the console is the hypervisor's from then on, and this object raises."""
        self._require_valid()
        self._enter(self._settings.boot, deadline)
        self._over = True

    def _run_load(self, name: str, image: Image, command: str, deadline: Deadline) -> str:
        try:
            result = self.run(command, deadline)
        except BoardError as error:
            trouble = load_trouble(as_text(self._spawn.pending)) if deadline.expired else None
            if trouble is None:
                raise
            raise LabError(f"{name}: {image.remote_name} {trouble.meaning}.", trouble.remedy) from error
        if result.status != 0:
            trouble = load_trouble(result.output)
            if trouble is None:
                raise LabError(
                    f"{name}: {command!r} failed with status {result.status}: {_excerpt(result.output)}",
                    "Try that command at U-Boot's prompt; see uart.log for all that it printed.",
                )
            raise LabError(f"{name}: {image.remote_name} {trouble.meaning}.", trouble.remedy)
        return result.output

    def _flood(self, deadline: Deadline, first_byte: Deadline, starts: int) -> int:
        """Send the interrupt until a prompt comes; how often U-Boot has started meanwhile."""
        signs = {_Sign.PROMPT: self._prompt, _Sign.KERNEL: KERNEL_STARTED, _Sign.RESET: BANNER}
        here = 0
        while True:
            self._spawn.type(self._settings.interrupt.encode("ascii"))
            seen = self._spawn.await_first(signs, deadline.capped(self._settings.interrupt_interval_s))
            if seen is not None and seen.key is _Sign.PROMPT:
                self._prompt_seen = True
                return here
            if seen is not None and seen.key is _Sign.RESET:
                here += 1
            if seen is not None and seen.key is _Sign.KERNEL:
                raise self._error(
                    "U-Boot was not stopped: it has started a kernel by itself.",
                    "Is the interrupt what this U-Boot waits for, and is power switched before it is sent? "
                    "A longer bootdelay helps.",
                    "U-Boot's prompt",
                )
            if not self._spawn.received and (first_byte.expired or deadline.expired):
                raise BoardError(
                    "Not one byte came on the UART since power-on.",
                    "Is the board powered, is its outlet the one that was switched, are RX, TX and GND of the UART "
                    "connected?",
                    phase=Phase.POWER,
                    awaited="the first byte on the UART",
                )
            if deadline.expired:
                self._no_prompt(starts + here)

    def _no_prompt(self, starts: int) -> NoReturn:
        awaited = f"U-Boot's prompt {self._settings.prompt!r}"
        if looks_like_wrong_baud(self._spawn.last_bytes):
            raise self._error(
                "What comes on the UART is no text.", "Set the UART's speed: the x3300's is 1500000 baud.", awaited
            )
        if self._prompt_seen and starts <= 1:
            raise self._error(
                f"U-Boot's prompt {self._settings.prompt!r} came, but no command was answered.",
                "Does the line from the host to the board (TX) work, and has this U-Boot the hush shell "
                "(CONFIG_HUSH_PARSER)?",
                awaited,
            )
        if starts > 1:
            raise self._error(
                f"U-Boot has started {starts} times without giving a prompt: the board resets itself.",
                "Is the power supply strong enough? Look for the reason in the lines before each start.",
                awaited,
            )
        raise self._error(
            f"{self._spawn.received} bytes came, but no prompt {self._settings.prompt!r}.",
            "Is this the board's U-Boot, is its prompt the place's, and does the line from the host to the board (TX) "
            "work?",
            awaited,
        )

    def _in_step(self, deadline: Deadline) -> bool:
        """One try to get a command's marker, through a line cleared of what was sent to stop autoboot."""
        token = self._new_token()
        if not (self._fresh_prompt(deadline) and self._type(marked("echo", token), deadline)):
            return False
        self._spawn.type(b"\r")
        self._prompt_stands = (
            self._await({_Sign.END: end_of(token)}, deadline.capped(self._pace.echo_s)) is not None
            and self._await({_Sign.PROMPT: self._prompt}, deadline.capped(self._pace.echo_s)) is not None
        )
        return self._prompt_stands

    def _attempt(self, command: str, deadline: Deadline) -> UBootResult | None:
        """Run a command; None when its end did not come in time."""
        token = self._new_token()
        self._enter(marked(command, token), deadline)
        output = b""
        signs = {_Sign.END: end_of(token)}
        while True:
            seen = self._await(signs, deadline.capped(self._pace.garbled_s))
            if seen is not None:
                break
            if deadline.expired:
                return None
            if stands_last(self._prompt, self._spawn.pending) and not self._spawn.await_more(
                deadline.capped(self._pace.garbled_s)
            ):
                output += self._spawn.pending
                self._enter(ask_status(token), deadline)
        output += seen.before
        self._prompt_stands = self._await({_Sign.PROMPT: self._prompt}, deadline.capped(self._pace.echo_s)) is not None
        return UBootResult(int(seen.match[1]), as_text(output).strip("\n"))

    def _enter(self, line: str, deadline: Deadline) -> None:
        """Type `line` and end it, once all of it was echoed; whatever goes wrong before, it is typed again."""
        while True:
            if (self._prompt_stands or self._fresh_prompt(deadline)) and self._type(line, deadline):
                self._prompt_stands = False
                self._spawn.type(b"\r")
                if self._await({_Sign.LINE: re.compile(rb"\n")}, deadline.capped(self._pace.echo_s)) is not None:
                    return
            self._prompt_stands = False
            if deadline.expired:
                self._give_up(f"the echo of {line!r}")

    def _type(self, line: str, deadline: Deadline) -> bool:
        """Type `line` in pieces, each after the echo of the one before; False when an echo is not what was typed."""
        done = 0
        for piece in pieces(line, self._settings.piece):
            self._spawn.type(piece)
            within = deadline.capped(self._pace.echo_s)
            echo = judge_echo(piece, self._spawn.pending)
            while echo in (Echo.PARTIAL, Echo.LINE_FULL) and self._spawn.await_more(within):
                echo = judge_echo(piece, self._spawn.pending)
            if echo is Echo.LINE_FULL and done >= SHORTEST_LINE:
                self._fresh_prompt(deadline)
                raise UsageError(
                    f"U-Boot takes no more than {done} of the {len(line)} characters of {line!r}.",
                    "Split the command in two; hvrig adds about 50 characters to each.",
                )
            if echo is not Echo.WHOLE:
                return False
            self._spawn.consume()
            done += len(piece)
        return True

    def _fresh_prompt(self, deadline: Deadline) -> bool:
        """Clear what was typed, and wait until a prompt stands."""
        self._spawn.type(CTRL_C)
        if self._await({_Sign.PROMPT: self._prompt}, deadline.capped(self._pace.echo_s)) is None:
            return False
        return self._stands(deadline)

    def _stands(self, deadline: Deadline) -> bool:
        """Whether, once it is quiet, a prompt is the last thing that came."""
        while self._spawn.await_more(deadline.capped(self._pace.quiet_s)) and not deadline.expired:
            pass
        while self._await({_Sign.PROMPT: self._prompt}, Deadline(0)) is not None:
            pass
        return not self._spawn.pending

    def _await(self, signs: Mapping[_Sign, re.Pattern[bytes]], deadline: Deadline) -> Seen[_Sign | BadWord] | None:
        """The first of `signs`, or None; raises BoardError when U-Boot resets itself or gives up."""
        patterns: dict[_Sign | BadWord, re.Pattern[bytes]] = dict(signs.items())
        patterns[_Sign.RESET] = RESET
        patterns |= {word: word.pattern for word in BAD_WORDS}
        seen = self._spawn.await_first(patterns, deadline)
        if seen is None:
            return None
        awaited = " or ".join(sign.value for sign in signs)
        if isinstance(seen.key, BadWord):
            raise self._error(f"U-Boot cannot go on: {seen.key.meaning}.", seen.key.remedy, awaited)
        if seen.key is _Sign.RESET:
            raise self._error(
                "The board reset itself while U-Boot was spoken to: its start-up text came again.",
                "Is the power supply strong enough, is a watchdog running, does a load overwrite U-Boot? "
                "Look at the lines before the start-up text in uart.log.",
                awaited,
            )
        return seen

    def _give_up(self, awaited: str) -> NoReturn:
        raise self._error(
            f"U-Boot did not answer: {harmless(awaited, keep_newlines=False)} did not come in time.",
            "Is the board still powered and its UART connected, and is the deadline long enough? The last console "
            "lines show how far it came.",
            awaited,
        )

    def _error(self, message: str, remedy: str, awaited: str) -> BoardError:
        return BoardError(message, remedy, phase=self._phase, awaited=awaited, tail=self._spawn.tail())

    def _new_token(self) -> str:
        self._commands += 1
        return str(self._commands)

    def _require_valid(self) -> None:
        if self._over:
            raise RuntimeError("this U-Boot has booted, or its `with` has ended")


def _read_local(name: str, path: Path) -> _LocalFile:
    size, crc, sha256 = 0, 0, hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                size += len(block)
                crc = zlib.crc32(block, crc)
                sha256.update(block)
    except OSError as error:
        raise LabError(
            f"{name}: the local file {path} cannot be read: {error.strerror}.",
            "Build it, or correct its path in the place's images.",
        ) from error
    if not size:
        raise LabError(f"{name}: the local file {path} is empty.", "Build it again.")
    return _LocalFile(size, crc, sha256.hexdigest())


def _excerpt(output: str) -> str:
    """The end of what a command printed, for one line of a message."""
    return harmless(output, keep_newlines=False).strip()[-300:] or "it printed nothing"
