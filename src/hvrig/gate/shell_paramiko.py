"""The edge to root-linux: `hvrig.model.protocols.Shell` over paramiko.

paramiko runs a thread for each connection; each command here has one more, which reads its output. Nothing that
the caller does waits for the board without a deadline.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import logging
import queue
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import paramiko
from paramiko.pkey import UnknownKeyType

from hvrig.model.bench import SshEndpoint
from hvrig.model.deadline import Deadline
from hvrig.model.errors import LabError, UsageError
from hvrig.model.place import SshSettings
from hvrig.model.protocols import CommandResult, EndSink, OutputSink

# A board that is booting refuses connections at once: look again as often as this.
_RETRY_PAUSE_S = 0.2

# QEMU's user network accepts connections before anyone listens in the guest; only the banner says that sshd is there.
_CONNECT_S = 3.0
_BANNER_S = 2.0

# From the banner to the end of authentication: key exchange takes a second on a slow board.
_HANDSHAKE_S = 15.0

_BLOCK = 1 << 16

_T = TypeVar("_T")

# paramiko logs tracebacks at level ERROR; without a handler Python would print them in the middle of the report.
_LOG_CHANNEL = "hvrig.ssh"
logging.getLogger(_LOG_CHANNEL).addHandler(logging.NullHandler())

# Every sshd of the last ten years has one, and it is what docs/places.md asks for.
_LEARNED_KIND = "ssh-ed25519"

_RSA_SIGNATURES = ("rsa-sha2-512", "rsa-sha2-256")


@dataclass(frozen=True)
class HostKey:
    """A public host key: its type and its bytes, as in known_hosts."""

    kind: str
    blob: bytes

    @property
    def line(self) -> str:
        """As in a `.pub` file, without a comment."""
        return f"{self.kind} {base64.b64encode(self.blob).decode()}"

    def __str__(self) -> str:
        digest = base64.b64encode(hashlib.sha256(self.blob).digest()).decode().rstrip("=")
        return f"{self.kind} SHA256:{digest}"


class _NotYetError(Exception):
    """The board does not answer as an SSH server yet."""


def connect(endpoint: SshEndpoint, settings: SshSettings, deadline: Deadline) -> ParamikoShell:
    """Log in on root-linux, trying again until the deadline while the board is still booting.

    Raises UsageError if the place's key or host key cannot be used; LabError at once if the board shows another
    host key or refuses the key, and at the deadline if it never answered.
    """
    pinned = pinned_host_key(settings.host_key)
    key = private_key(settings.key)
    return ParamikoShell(
        _until_it_answers(lambda: _log_in(endpoint, settings, pinned, key, deadline), endpoint, deadline), endpoint
    )


def shown_host_key(endpoint: SshEndpoint, deadline: Deadline) -> HostKey:
    """The host key that whoever answers at `endpoint` shows, without logging in. Raises LabError at the deadline."""

    def ask() -> HostKey:
        transport = _connected(endpoint, _LEARNED_KIND, deadline)
        try:
            key = transport.get_remote_server_key()
            return HostKey(key.get_name(), key.asbytes())
        finally:
            transport.close()

    return _until_it_answers(ask, endpoint, deadline)


def _until_it_answers(ask: Callable[[], _T], endpoint: SshEndpoint, deadline: Deadline) -> _T:
    """What `ask` returns, asked again while the board is still booting."""
    pause = threading.Event()
    while True:
        try:
            return ask()
        except _NotYetError as error:
            last = str(error)
        if deadline.expired:
            raise LabError(
                f"no SSH to {endpoint} within {deadline.seconds:g} s: {last}",
                "look at the console log: has root-linux started, with its network and its SSH server? "
                "Is the address in the place's NetworkService right?",
            )
        pause.wait(min(_RETRY_PAUSE_S, deadline.remaining))


class ParamikoShell:
    """An authenticated connection to root-linux; commands run side by side, each on a channel of its own.

    Made by `connect`; use it in a `with`, or `close` it.
    """

    def __init__(self, transport: paramiko.Transport, endpoint: SshEndpoint) -> None:
        self._transport = transport
        self._endpoint = endpoint

    def __enter__(self) -> ParamikoShell:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def run(self, command: str, deadline: Deadline) -> CommandResult:
        """Run `command` and wait for its end. Raises LabError if the connection is lost or the deadline expires."""
        stdout, stderr = bytearray(), bytearray()
        ended: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        running = _Command(self._transport, command, stdout.extend, stderr.extend, ended.put, deadline)
        try:
            status = ended.get(timeout=deadline.remaining)
        except queue.Empty:
            running.abandon()
            raise LabError(
                f"{command!r} did not end on {self._endpoint} within {deadline.seconds:g} s",
                "look at the console log: does root-linux still run?",
            ) from None
        if status is None:
            raise self._lost(command)
        return CommandResult(status, bytes(stdout), bytes(stderr))

    def start(self, command: str, output: OutputSink, end: EndSink, deadline: Deadline) -> _Command:
        """Start `command` without waiting for the board.

        `output` gets stdout and stderr together, then `end` the exit status, both from a thread of their own.
        `end` gets None if the connection was lost, if the board gave no status, or if the channel could not be
        opened before `deadline`. Raises LabError if the connection is known to be lost.
        """
        if not self._transport.is_active():
            raise self._lost(command)
        return _Command(self._transport, command, output, None, end, deadline)

    def close(self) -> None:
        """Drop the connection at once; commands that still run end with None."""
        self._transport.close()

    def _lost(self, command: str) -> LabError:
        return LabError(
            f"the SSH connection to {self._endpoint} was lost: {command!r} has no result",
            "look at the console log: does root-linux still run?",
        )


class _Command:
    """A command on a channel of its own, read by a thread of its own (two, if stderr is wanted apart).

    After `abandon` neither sink is called again, but for a call that is under way.
    """

    def __init__(
        self,
        transport: paramiko.Transport,
        command: str,
        output: OutputSink,
        errors: OutputSink | None,
        end: EndSink,
        deadline: Deadline,
    ) -> None:
        self._transport = transport
        self._command = command
        self._output = output
        self._errors = errors
        self._end = end
        self._deadline = deadline
        self._lock = threading.Lock()
        self._channel: paramiko.Channel | None = None
        self._abandoned = False
        threading.Thread(target=self._converse, name="ssh command", daemon=True).start()

    def abandon(self) -> None:
        """Close the channel at once. Never blocks: the closing message is sent by a thread of its own."""
        with self._lock:
            self._abandoned = True
            channel = self._channel
        if channel is not None:
            threading.Thread(target=_close, args=(channel,), name="ssh close", daemon=True).start()

    def _converse(self) -> None:
        status: int | None = None
        try:
            status = self._execute()
        except (paramiko.SSHException, EOFError, OSError):
            status = None
        finally:
            if not self._abandoned:
                self._end(status)

    def _execute(self) -> int | None:
        channel = self._transport.open_session(timeout=max(0.001, self._deadline.remaining))
        with self._lock:
            self._channel = channel
            abandoned = self._abandoned
        if abandoned:
            channel.close()
            return None
        channel.set_combine_stderr(self._errors is None)
        channel.exec_command(self._command)
        reader = None
        if self._errors is not None:
            reader = threading.Thread(
                target=self._read, args=(channel.recv_stderr, self._errors), name="ssh stderr", daemon=True
            )
            reader.start()
        self._read(channel.recv, self._output)
        if reader is not None:
            reader.join()
        status = channel.recv_exit_status()
        channel.close()
        return status if status >= 0 else None

    def _read(self, receive: Callable[[int], bytes], sink: OutputSink) -> None:
        while data := receive(_BLOCK):
            if self._abandoned:
                return
            sink(data)


def _close(channel: paramiko.Channel) -> None:
    try:
        channel.close()
    except (paramiko.SSHException, EOFError, OSError):
        return  # the connection is gone, and the channel with it


def _log_in(
    endpoint: SshEndpoint, settings: SshSettings, pinned: HostKey, key: paramiko.PKey, deadline: Deadline
) -> paramiko.Transport:
    transport = _connected(endpoint, pinned.kind, deadline)
    try:
        _require_host_key(transport, pinned, endpoint)
        _authenticate(transport, settings, key, endpoint, deadline)
        transport.set_keepalive(max(1, round(settings.keepalive_s)))
    except BaseException as error:
        transport.close()
        if isinstance(error, (paramiko.SSHException, EOFError, OSError)):
            raise _NotYetError(str(error) or type(error).__name__) from None
        raise
    return transport


def _connected(endpoint: SshEndpoint, kind: str, deadline: Deadline) -> paramiko.Transport:
    """A connection whose keys are agreed; `kind`: the host key that is asked for first. Raises _NotYetError."""
    try:
        sock = socket.create_connection(
            (endpoint.host, endpoint.port), timeout=max(0.001, min(_CONNECT_S, deadline.remaining))
        )
    except OSError as error:
        raise _NotYetError(str(error)) from None
    transport: paramiko.Transport | None = None
    try:
        transport = paramiko.Transport(sock)
        _shake_hands(transport, kind, deadline)
    except BaseException as error:
        if transport is not None:
            transport.close()
        sock.close()
        if isinstance(error, (paramiko.SSHException, EOFError, OSError)):
            raise _NotYetError(str(error) or type(error).__name__) from None
        raise
    return transport


def _shake_hands(transport: paramiko.Transport, kind: str, deadline: Deadline) -> None:
    transport.set_log_channel(_LOG_CHANNEL)
    transport.banner_timeout = min(_BANNER_S, max(0.001, deadline.remaining))
    transport.handshake_timeout = _HANDSHAKE_S
    options = transport.get_security_options()
    wanted = _RSA_SIGNATURES if kind == "ssh-rsa" else (kind,)
    options.key_types = sorted(options.key_types, key=lambda offered: offered not in wanted)
    agreed = threading.Event()
    transport.start_client(event=agreed)
    if not agreed.wait(min(_HANDSHAKE_S, deadline.remaining)):
        banner = transport.remote_version
        raise _NotYetError("no SSH key exchange in time" if banner else "it accepts connections, but sends no banner")
    if not transport.is_active():
        raise transport.get_exception() or EOFError("the connection was closed during the SSH key exchange")


def _require_host_key(transport: paramiko.Transport, pinned: HostKey, endpoint: SshEndpoint) -> None:
    shown = transport.get_remote_server_key()
    got = HostKey(shown.get_name(), shown.asbytes())
    if got != pinned:
        raise LabError(
            f"{endpoint} shows the host key {got}, but the place pins {pinned}",
            "if the board got a new system, put its key (/etc/ssh/ssh_host_*_key.pub on the board) into the place's "
            "ssh.host_key, or run hvrig doctor --learn-host-key; if not, another machine answers at this address",
        )


def _authenticate(
    transport: paramiko.Transport,
    settings: SshSettings,
    key: paramiko.PKey,
    endpoint: SshEndpoint,
    deadline: Deadline,
) -> None:
    answered = threading.Event()
    transport.auth_publickey(endpoint.user, key, event=answered)
    if not answered.wait(min(_HANDSHAKE_S, deadline.remaining)):
        raise _NotYetError("no answer to the SSH authentication in time")
    if transport.is_authenticated():
        return
    error = transport.get_exception()
    # paramiko keeps no exception for a plain refusal, and EOFError or the like if the connection ended.
    if error is None or isinstance(error, paramiko.AuthenticationException):
        raise LabError(
            f"{endpoint} refuses the user {endpoint.user!r} with the key {settings.key} "
            f"({HostKey(key.get_name(), key.asbytes())})",
            f"append {settings.key}.pub to ~/.ssh/authorized_keys of {endpoint.user!r} on the board, "
            "or give the right key in the place's ssh.key",
        )
    raise error


def private_key(path: Path) -> paramiko.PKey:
    """The key of the file. Raises UsageError where it holds none that can be used without asking."""
    try:
        return paramiko.PKey.from_path(path)
    except (OSError, ValueError, TypeError, paramiko.SSHException, UnknownKeyType) as error:
        reason = "it has a passphrase" if isinstance(error, TypeError) else error
        raise UsageError(
            f"ssh.key: {path} cannot be used: {reason}",
            "give the file of a private key without passphrase, such as `ssh-keygen -t ed25519 -N ''` makes",
        ) from None


def pinned_host_key(text: str) -> HostKey:
    """The key in `ssh-ed25519 AAAA... comment`, or in the first such line of the file that `text` names.

    Raises UsageError where there is none.
    """
    found = _read_host_key(text)
    if found is None and "\n" not in text:
        try:
            lines = Path(text.strip()).expanduser().read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError as error:
            raise UsageError(
                f"ssh.host_key: {text!r} is neither a public key nor a file that can be read ({error.strerror})",
                "give the board's /etc/ssh/ssh_host_ed25519_key.pub, or its text: 'ssh-ed25519 AAAA...'",
            ) from None
        found = next((key for key in map(_read_host_key, lines) if key is not None), None)
    if found is None:
        raise UsageError(
            f"ssh.host_key: {text!r} holds no public key",
            "give the board's /etc/ssh/ssh_host_ed25519_key.pub, or its text: 'ssh-ed25519 AAAA...'",
        )
    return found


def _read_host_key(line: str) -> HostKey | None:
    words = line.split()
    if len(words) < 2 or not words[0].startswith(("ssh-", "ecdsa-", "sk-")):
        return None
    try:
        blob = base64.b64decode(words[1], validate=True)
    except (binascii.Error, ValueError):
        return None
    return HostKey(words[0], blob)
