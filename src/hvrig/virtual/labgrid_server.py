"""A lab in a box: virtual boards behind a labgrid coordinator and exporter of their own, all on 127.0.0.1.

`python -m hvrig.virtual.labgrid_server` runs until its stdin ends, or SIGTERM or SIGINT comes, and leaves nothing
behind. Each board has a rack (`hvrig.virtual.rack_server`) whose UART is a pseudo-terminal, as a USB adapter's device
would be. labgrid's own exporter serves it with ser2net, next to the rack's outlet and the board's SSH address, to
labgrid's own coordinator. When all of it stands, one line of JSON is printed:

    {"coordinator": "127.0.0.1:PORT", "pid": PID,
     "boards": [{"place": NAME, "outlet_port": PORT, "ssh_port": PORT, "pid": PID}, ...]}

Every place has the tag board=TAG, so that any of them can be reserved.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import grpc
import yaml
from labgrid.remote.client import ClientSession, Error, start_session
from labgrid.remote.generated import labgrid_coordinator_pb2 as messages
from labgrid.util.proxy import proxymanager

from hvrig.model.deadline import Deadline
from hvrig.model.errors import HvrigError, LabError
from hvrig.virtual.rack_process import Rack, RackEndpoints

HOST = "127.0.0.1"
SPEED = 1_500_000  # the x3300's; a pseudo-terminal takes any
EXPORTER = "hvrig"
DEVICES = Path("/dev/shm")  # under /dev, as labgrid's exporter wants serial ports, and writable for everybody
FOLDER = "hvrig-lab-{user}-{pid}-"
READY_S = 60.0  # labgrid's programs take a second each to import, on an idle machine
LOOK_S = 0.05
STOP_S = 5.0


def exporter_yaml(boards: dict[str, tuple[RackEndpoints, Path]]) -> str:
    """labgrid's exporter configuration: one group a board, by the place's name. Each board: its rack, its device."""
    groups = {
        place: {
            "RawSerialPort": {"port": str(device), "speed": SPEED},
            "NetworkPowerPort": {
                "model": "rest",
                "host": f"http://{HOST}:{rack.outlet_port}/outlet/{{index}}",
                "index": "1",
            },
            "NetworkService": {"address": HOST, "port": rack.ssh_port, "username": "root"},
        }
        for place, (rack, device) in boards.items()
    }
    return yaml.safe_dump(groups)


class _Program:
    """One of labgrid's programs, in a process group of its own with what it starts (ser2net)."""

    def __init__(self, module: str, arguments: list[str], folder: Path) -> None:
        self.name = module.rpartition(".")[2]
        # Its words go to our stderr but for the first ones, which say where it listens. The kernel ends it with us.
        self.process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM", sys.executable, "-u", "-P", "-m", module, *arguments],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        self._stdout = self.process.stdout
        os.set_blocking(self._stdout.fileno(), False)
        self._said = b""

    def await_line(self, pattern: bytes, deadline: Deadline) -> re.Match[bytes]:
        """What matches in its output. Raises LabError when it ends, or the time is up, before."""
        while (found := re.search(pattern, self._said)) is None:
            ready, _, _ = select.select([self._stdout], [], [], deadline.remaining)
            block = os.read(self._stdout.fileno(), 65536) if ready else b""
            if not block:
                raise LabError(f"labgrid's {self.name} did not come up", "its own words stand before this line")
            self._pass_on(block)
            self._said += block
        return found

    def drain(self) -> None:
        """Take what it says, so that it never waits for us."""
        with contextlib.suppress(BlockingIOError):
            while block := os.read(self._stdout.fileno(), 65536):
                self._pass_on(block)

    def fileno(self) -> int:
        return self._stdout.fileno()

    def stop(self) -> None:
        """End it and all that it has started. Nothing of theirs is worth an orderly end: it lies in our folder."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(STOP_S)
        self._stdout.close()

    def _pass_on(self, block: bytes) -> None:
        sys.stderr.buffer.write(block)
        sys.stderr.buffer.flush()


class LabgridServer:
    """The lab, valid inside `with`. places: the boards' names. Raises LabError when it cannot be had."""

    def __init__(self, *, uboot: Path, tftp: Path, places: tuple[str, ...], tag: str, log: Path, port: int) -> None:
        self._uboot, self._tftp, self._places, self._tag, self._log = uboot, tftp, places, tag, log
        self._port = port
        self._stack = ExitStack()
        self._programs: list[_Program] = []

    def __enter__(self) -> LabgridServer:
        with ExitStack() as stack:
            deadline = Deadline(READY_S)
            folder = stack.enter_context(_folder())
            boards: dict[str, tuple[RackEndpoints, Path]] = {}
            for place in self._places:
                device = folder / f"tty-{place}"
                rack = Rack(uboot=self._uboot, tftp=self._tftp, uart_pty=device, log=self._log)
                stack.callback(rack.stop)
                boards[place] = rack.start(deadline), device
            coordinator = self._start(stack, "coordinator", ["-l", f"{HOST}:{self._port}"], folder)
            port = int(coordinator.await_line(rb"listening on \S+:([0-9]+)", deadline)[1])
            if port == 0:
                raise LabError(f"port {self._port} cannot be had for the coordinator", "choose another one, or 0")
            address = f"{HOST}:{port}"
            (folder / "exporter.yaml").write_text(exporter_yaml(boards), encoding="utf-8")
            exporter = self._start(
                stack, "exporter", ["-c", address, "-n", EXPORTER, "--hostname", HOST, "exporter.yaml"], folder
            )
            exporter.await_line(b"Exporter ready", deadline)
            self._make_places(address, deadline)
            self.endpoints = {
                "coordinator": address,
                "pid": os.getpid(),
                "boards": [
                    {"place": place, "outlet_port": rack.outlet_port, "ssh_port": rack.ssh_port, "pid": rack.pid}
                    for place, (rack, _) in boards.items()
                ],
            }
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def serve(self, stopping: int) -> None:
        """Until `stopping` or stdin can be read, or has ended. Raises LabError when one of the programs ends."""
        while True:
            for program in self._programs:
                if program.process.poll() is not None:
                    program.drain()
                    raise LabError(f"labgrid's {program.name} ended by itself", "its last words stand before this line")
            ready, _, _ = select.select([stopping, sys.stdin, *self._programs], [], [])
            for program in self._programs:
                if program in ready:
                    program.drain()
                    time.sleep(LOOK_S)  # a program that ends closes its output first
            if stopping in ready or (sys.stdin in ready and not os.read(sys.stdin.fileno(), 4096)):
                return

    def _start(self, stack: ExitStack, name: str, arguments: list[str], folder: Path) -> _Program:
        program = _Program(f"labgrid.remote.{name}", arguments, folder)
        stack.callback(program.stop)
        self._programs.append(program)
        return program

    def _make_places(self, address: str, deadline: Deadline) -> None:
        """What `labgrid-client create`, `add-match` and `set-tags` do, once the exporter's resources are known."""
        try:
            proxymanager.force_proxy("")  # the lab is this machine's, whatever LG_PROXY says of others
            session = start_session(address)
            try:
                session.loop.run_until_complete(self._configure(session, deadline))
            finally:
                session.loop.run_until_complete(session.stop())
                session.loop.run_until_complete(session.close())
        except (Error, grpc.RpcError) as error:
            raise LabError(f"the coordinator at {address} does not answer as it should: {error}", "") from error

    async def _configure(self, session: ClientSession, deadline: Deadline) -> None:
        while len(session.resources.get(EXPORTER, {})) < len(self._places):
            if deadline.expired:
                raise LabError("the exporter's resources did not come", "its words stand before this line")
            await session.sync_with_coordinator()
        for place in self._places:
            await session.stub.AddPlace(messages.AddPlaceRequest(name=place))
            pattern = f"{EXPORTER}/{place}/*"
            await session.stub.AddPlaceMatch(messages.AddPlaceMatchRequest(placename=place, pattern=pattern))
            await session.stub.SetPlaceTags(messages.SetPlaceTagsRequest(placename=place, tags={"board": self._tag}))


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    """A folder of our own for device nodes and labgrid's files; those of labs that were killed are cleared away."""
    user = os.getuid()
    for old in DEVICES.glob(FOLDER.format(user=user, pid="*") + "*"):
        pid = old.name.split("-")[3]
        if not (pid.isdecimal() and Path("/proc", pid).exists()):
            shutil.rmtree(old, ignore_errors=True)
    try:
        with tempfile.TemporaryDirectory(prefix=FOLDER.format(user=user, pid=os.getpid()), dir=DEVICES) as name:
            yield Path(name)
    except FileNotFoundError as error:
        raise LabError(
            f"no folder can be made in {DEVICES}: {error.strerror}",
            "labgrid's exporter needs device nodes under /dev: mount a tmpfs on /dev/shm",
        ) from error


def _check() -> None:
    if shutil.which("ser2net") is None and not Path("/usr/sbin/ser2net").is_file():
        raise LabError("ser2net is not installed", "install the Debian package ser2net, or run ./scripts/setup")


def _name(text: str) -> str:
    if not re.fullmatch("[a-z0-9][a-z0-9-]*", text):
        raise argparse.ArgumentTypeError("a place's name is made of small letters, digits and hyphens")
    return text


def main() -> int:
    """Run a lab. Exit status 0 when it was told to end, 2 for wrong arguments, 3 when the lab is not able to."""
    parser = argparse.ArgumentParser(prog="python -m hvrig.virtual.labgrid_server")
    parser.add_argument("--uboot", type=Path, required=True, help="U-Boot's image")
    parser.add_argument("--tftp", type=Path, required=True, help="folder that the boards' TFTP servers serve")
    parser.add_argument("--place", type=_name, action="append", required=True, help="a board, by its place's name")
    parser.add_argument("--tag", type=_name, default="virtual", help="value of the places' tag `board`")
    parser.add_argument("--port", type=int, default=0, help="the coordinator's port, 0 for any (default)")
    parser.add_argument("--log", type=Path, required=True, help="where the racks write what they say of themselves")
    given = parser.parse_args()
    stopping, stop = os.pipe()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os.write(stop, b"."))
    try:
        _check()
        with LabgridServer(
            uboot=given.uboot,
            tftp=given.tftp,
            places=tuple(given.place),
            tag=given.tag,
            log=given.log,
            port=given.port,
        ) as lab:
            sys.stdout.write(json.dumps(lab.endpoints) + "\n")
            sys.stdout.flush()
            lab.serve(stopping)
    except HvrigError as error:
        sys.stderr.write(f"lab: {error}\n")
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
