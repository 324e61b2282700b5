from __future__ import annotations

import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import paramiko
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from paramiko.common import (
    AUTH_FAILED,
    AUTH_SUCCESSFUL,
    OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED,
    OPEN_SUCCEEDED,
    cMSG_CHANNEL_SUCCESS,
)

from hvrig.gate.shell_paramiko import ParamikoShell, connect, pinned_host_key, shown_host_key
from hvrig.model.bench import SshEndpoint
from hvrig.model.deadline import Deadline
from hvrig.model.errors import LabError, UsageError
from hvrig.model.place import SshSettings

# What a command does on the server's side of its channel.
Behaviour = Callable[["Server", paramiko.Channel], None]


def new_key(path: Path, passphrase: bytes = b"") -> paramiko.PKey:
    encryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    made = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, encryption)
    path.write_bytes(made)
    return paramiko.PKey.from_path(path, passphrase or None)  # type: ignore[arg-type]


def public(key: paramiko.PKey) -> str:
    return f"{key.get_name()} {key.get_base64()}"


class Session(paramiko.ServerInterface):
    def __init__(self, server: Server) -> None:
        self.server = server

    def get_allowed_auths(self, username: str) -> str:
        return "publickey" if username == "root" else ""

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        good = username == "root" and key == self.server.authorized
        return AUTH_SUCCESSFUL if good else AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:
        good = kind == "session" and chanid >= 0
        return OPEN_SUCCEEDED if good else OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        behaviour = self.server.commands[command.decode()]

        def behave() -> None:
            self.server.replied.acquire()
            behaviour(self.server, channel)

        threading.Thread(target=behave, daemon=True).start()
        return True


@dataclass
class Server:
    """An SSH server on loopback, in this process. `silent_first`: connections that get no banner."""

    host_key: paramiko.PKey
    authorized: paramiko.PKey
    silent_first: int = 0
    commands: dict[str, Behaviour] = field(default_factory=dict)
    transports: list[paramiko.Transport] = field(default_factory=list)
    sockets: list[socket.socket] = field(default_factory=list)
    accepted: int = 0
    replied: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def __post_init__(self) -> None:
        self.listen(0)

    def listen(self, port: int) -> None:
        self.listener = socket.create_server(("127.0.0.1", port))
        self.port: int = self.listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                self.accepted += 1
                self.sockets.append(client)
                if self.accepted <= self.silent_first:
                    continue
                transport = paramiko.Transport(client)
                transport.set_log_channel("hvrig.ssh")
                transport.add_server_key(self.host_key)
                self.transports.append(transport)
                self._watch_replies(transport)
                transport.start_server(event=threading.Event(), server=Session(self))

    def _watch_replies(self, transport: Any) -> None:
        """Let a command speak only after its request was answered, as real servers do; paramiko's leaves that open."""
        send = transport._send_user_message

        def sending(message: paramiko.Message) -> None:
            send(message)
            if message.asbytes()[:1] == cMSG_CHANNEL_SUCCESS:
                self.replied.release()

        transport._send_user_message = sending

    def stop_listening(self) -> None:
        with suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)  # close alone would let a waiting accept take one more
        self.listener.close()

    def cut(self) -> None:
        for transport in self.transports:
            transport.close()

    def close(self) -> None:
        self.stop_listening()
        self.cut()
        for client in self.sockets:
            client.close()


@pytest.fixture
def client_key(tmp_path: Path) -> paramiko.PKey:
    return new_key(tmp_path / "id_ed25519")


@pytest.fixture
def server(tmp_path: Path, client_key: paramiko.PKey) -> Iterator[Server]:
    made = Server(new_key(tmp_path / "host"), client_key)
    yield made
    made.close()


@pytest.fixture
def settings(tmp_path: Path, server: Server) -> SshSettings:
    return SshSettings(key=tmp_path / "id_ed25519", host_key=public(server.host_key) + " root@board")


def endpoint(server: Server, user: str = "root") -> SshEndpoint:
    return SshEndpoint("127.0.0.1", server.port, user)


@pytest.fixture
def shell(server: Server, settings: SshSettings) -> Iterator[ParamikoShell]:
    with connect(endpoint(server), settings, Deadline(10)) as made:
        yield made


class Heard:
    """What the sinks of a started command were given."""

    def __init__(self) -> None:
        self.blocks: queue.Queue[bytes] = queue.Queue()
        self.ends: queue.Queue[int | None] = queue.Queue()

    def start(self, shell: ParamikoShell, command: str) -> None:
        self.command = shell.start(command, self.blocks.put, self.ends.put, Deadline(10))

    def output(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            data += self.blocks.get(timeout=10)
        return data


def ends(status: int, out: bytes = b"", err: bytes = b"") -> Behaviour:
    def behaviour(server: Server, channel: paramiko.Channel) -> None:
        assert server.accepted
        channel.sendall(out)
        channel.sendall_stderr(err)
        channel.send_exit_status(status)
        channel.close()

    return behaviour


def hangs(server: Server, channel: paramiko.Channel) -> None:
    assert server.accepted
    channel.sendall(b"trying mlock ...")


def test_run_gives_status_and_both_streams_apart_byte_for_byte(server: Server, shell: ParamikoShell) -> None:
    every_byte = bytes(range(256)) * 20_000
    server.commands["dd"] = ends(3, every_byte, b"\x00\xffwarning\n")
    result = shell.run("dd", Deadline(20))
    assert (result.status, result.stderr) == (3, b"\x00\xffwarning\n")
    assert result.stdout == every_byte


def test_a_flood_on_stderr_does_not_block_stdout(server: Server, shell: ParamikoShell) -> None:
    def floods_stderr_first(server: Server, channel: paramiko.Channel) -> None:
        channel.sendall_stderr(b"e" * (4 << 20))
        ends(0, b"out")(server, channel)

    server.commands["noisy"] = floods_stderr_first
    result = shell.run("noisy", Deadline(20))
    assert (len(result.stderr), result.stdout) == (4 << 20, b"out")


def test_run_ends_with_its_deadline(server: Server, shell: ParamikoShell) -> None:
    server.commands["hang"] = hangs
    with pytest.raises(LabError, match=r"'hang' did not end on root@127.0.0.1:\d+ within 0.2 s"):
        shell.run("hang", Deadline(0.2))
    server.commands["true"] = ends(0)
    assert shell.run("true", Deadline(10)).status == 0


def test_start_streams_output_as_it_comes_then_the_status(server: Server, shell: ParamikoShell) -> None:
    go_on = threading.Event()

    def memtester(server: Server, channel: paramiko.Channel) -> None:
        channel.sendall(b"locked.\n")
        go_on.wait(10)
        ends(4, err=b"FAILURE: a\n")(server, channel)

    server.commands["memtester"] = memtester
    heard = Heard()
    heard.start(shell, "memtester")
    assert heard.output(8) == b"locked.\n"
    assert heard.ends.empty()
    go_on.set()
    assert heard.output(11) == b"FAILURE: a\n"
    assert heard.ends.get(timeout=10) == 4


def test_a_lost_connection_ends_commands_with_none(server: Server, shell: ParamikoShell) -> None:
    server.commands["hang"] = hangs
    heard = Heard()
    heard.start(shell, "hang")
    heard.output(16)
    server.cut()
    assert heard.ends.get(timeout=10) is None
    with pytest.raises(LabError, match="was lost"):
        shell.run("hang", Deadline(5))


def test_abandon_does_not_wait_for_a_server_that_is_stuck(server: Server, shell: ParamikoShell) -> None:
    server.commands["hang"] = hangs
    heard = Heard()
    heard.start(shell, "hang")
    heard.output(16)
    # The server stops reading, as a hung board does, and key exchange is under way: paramiko's close blocks for long.
    transport = shell._transport
    transport.clear_to_send.clear()
    began = time.monotonic()
    heard.command.abandon()
    assert time.monotonic() - began < 0.1
    shell.close()
    assert time.monotonic() - began < 2
    assert heard.ends.empty()


def test_abandon_closes_the_channel_on_the_board(server: Server, shell: ParamikoShell) -> None:
    closed = threading.Event()

    def waits_for_close(server: Server, channel: paramiko.Channel) -> None:
        hangs(server, channel)
        channel.recv(1)
        closed.set()

    server.commands["memtester"] = waits_for_close
    heard = Heard()
    heard.start(shell, "memtester")
    heard.output(16)
    heard.command.abandon()
    assert closed.wait(10)
    assert heard.ends.empty()


def test_a_wrong_host_key_ends_at_once_and_names_both_keys(
    server: Server, settings: SshSettings, tmp_path: Path
) -> None:
    other = new_key(tmp_path / "other")
    wrong = SshSettings(key=settings.key, host_key=public(other))
    with pytest.raises(LabError) as caught:
        connect(endpoint(server), wrong, Deadline(60))
    assert f"ssh-ed25519 {server.host_key.fingerprint}, but the place pins ssh-ed25519 {other.fingerprint}" in str(
        caught.value
    )
    assert "ssh.host_key" in caught.value.remedy
    assert server.accepted == 1


def test_a_refused_key_ends_at_once_and_names_key_and_user(
    server: Server, settings: SshSettings, tmp_path: Path
) -> None:
    new_key(tmp_path / "stranger")
    wrong = SshSettings(key=tmp_path / "stranger", host_key=settings.host_key)
    with pytest.raises(LabError) as caught:
        connect(endpoint(server), wrong, Deadline(60))
    assert "refuses the user 'root'" in caught.value.message
    assert str(tmp_path / "stranger") in caught.value.message
    assert "authorized_keys" in caught.value.remedy
    with pytest.raises(LabError, match="refuses the user 'guest'"):
        connect(endpoint(server, "guest"), settings, Deadline(60))
    assert server.accepted == 2


def test_the_host_key_may_stand_in_a_file(server: Server, settings: SshSettings, tmp_path: Path) -> None:
    (tmp_path / "host.pub").write_text(f"# the board\n{public(server.host_key)} root@board\n")
    pinned = SshSettings(key=settings.key, host_key=str(tmp_path / "host.pub"))
    connect(endpoint(server), pinned, Deadline(10)).close()


@pytest.mark.parametrize("text", ["/nowhere/host.pub", "ssh-ed25519 not*base64", "AAAA"])
def test_a_host_key_that_is_none_is_a_usage_error(server: Server, settings: SshSettings, text: str) -> None:
    with pytest.raises(UsageError, match=r"ssh\.host_key"):
        connect(endpoint(server), SshSettings(key=settings.key, host_key=text), Deadline(10))


def test_a_private_key_that_cannot_be_used_is_a_usage_error(
    server: Server, settings: SshSettings, tmp_path: Path
) -> None:
    (tmp_path / "garbage").write_text("garbage")
    new_key(tmp_path / "locked", b"secret")
    for name, said in [("missing", "No such file"), ("garbage", "cannot be used"), ("locked", "passphrase")]:
        with pytest.raises(UsageError, match=said):
            connect(endpoint(server), SshSettings(key=tmp_path / name, host_key=settings.host_key), Deadline(10))


def test_a_server_that_accepts_but_sends_no_banner_is_tried_again(
    server: Server, settings: SshSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hvrig.gate.shell_paramiko._BANNER_S", 0.5)
    server.silent_first = 2
    server.commands["true"] = ends(0)
    with connect(endpoint(server), settings, Deadline(20)) as shell:
        assert shell.run("true", Deadline(10)).status == 0
    assert server.accepted == 3


def test_without_a_banner_the_deadline_ends_it(
    server: Server, settings: SshSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hvrig.gate.shell_paramiko._BANNER_S", 0.1)
    server.silent_first = 1000
    began = time.monotonic()
    with pytest.raises(LabError, match=r"no SSH to .* within 0\.5 s: .*banner"):
        connect(endpoint(server), settings, Deadline(0.5))
    assert time.monotonic() - began < 2


def test_a_board_that_does_not_listen_is_named_at_the_deadline(server: Server, settings: SshSettings) -> None:
    server.stop_listening()
    with pytest.raises(LabError, match=r"no SSH to root@.* within 0\.3 s: .*refused"):
        connect(endpoint(server), settings, Deadline(0.3))


def test_a_board_that_is_still_booting_is_awaited(
    server: Server, settings: SshSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.stop_listening()
    refusals: list[OSError] = []
    create_connection = socket.create_connection

    def boots_after_two_refusals(address: tuple[str, int], timeout: float) -> socket.socket:
        try:
            return create_connection(address, timeout)
        except OSError as error:
            refusals.append(error)
            if len(refusals) == 2:
                server.listen(server.port)
            raise

    monkeypatch.setattr(socket, "create_connection", boots_after_two_refusals)
    connect(endpoint(server), settings, Deadline(20)).close()
    assert len(refusals) == 2


def test_the_host_key_that_is_shown_is_learned_without_a_login(server: Server, tmp_path: Path) -> None:
    server.silent_first = 1
    shown = shown_host_key(endpoint(server, user="nobody"), Deadline(20))
    assert shown.line == public(server.host_key)
    (tmp_path / "learned.pub").write_text(shown.line + "\n")
    assert pinned_host_key(str(tmp_path / "learned.pub")) == shown


def test_no_host_key_is_learned_where_nobody_answers(server: Server) -> None:
    server.close()
    with pytest.raises(LabError, match=r"no SSH to root@127.0.0.1:\d+ within 0.3 s"):
        shown_host_key(endpoint(server), Deadline(0.3))
