"""The labgrid edge against a real HTTP outlet on loopback."""

from __future__ import annotations

import http.server
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from labgrid.driver.exception import ExecutionError
from labgrid.util.proxy import proxymanager
from labgrid.util.ssh import sshmanager

from hvrig.lab.labgrid_bench import LabgridBench, stable_name
from hvrig.model.bench import Acquisition, RackPorts, ResourceNames, SerialEndpoint, SshEndpoint
from hvrig.model.deadline import Deadline
from hvrig.model.errors import LabError, UsageError

ENVIRONMENT = """\
targets:
  desk:
    resources:
      - NetworkPowerPort: {model: rest, host: "http://127.0.0.1:0/outlet/{index}", index: "1"}
      - NetworkSerialPort: {host: 127.0.0.1, port: 0, protocol: raw}
      - NetworkService: {address: 127.0.0.1, port: 0, username: root}
    drivers:
      - NetworkPowerDriver: {}
  broken:
    resources:
      - NetworkPowerPort: {nonsense: 1}
"""

DESK = """\
targets:
  desk:
    resources:
      - RawSerialPort: {{port: /dev/null, speed: 1500000}}
      - NetworkService: {{address: 127.0.0.1, username: root}}
    drivers:
      - {power}
"""


class Outlet(http.server.ThreadingHTTPServer):
    """An outlet in labgrid's rest model. `mood`: works, dead-relay, mute, refuses."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.on = False
        self.mood = "works"
        self.released = threading.Event()

    def set(self, value: bool) -> None:
        if self.mood != "dead-relay":
            self.on = value


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Outlet

    def do_GET(self) -> None:
        self._answer(b"1" if self.server.on else b"0")

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.mood == "mute":
            self.server.released.wait(30)
        self.server.set(body == b"1")
        self._answer(b"")

    def _answer(self, body: bytes) -> None:
        self.send_response(500 if self.server.mood == "refuses" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def outlet() -> Iterator[Outlet]:
    server = Outlet()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.released.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def bench(outlet: Outlet, tmp_path: Path) -> Iterator[LabgridBench]:
    path = tmp_path / "places.yaml"
    path.write_text(ENVIRONMENT)
    with LabgridBench(path, "desk", RackPorts(outlet.server_address[1], 4002, 4003)) as bench:
        yield bench


def test_open_ports_are_filled_in_with_the_racks(bench: LabgridBench) -> None:
    assert bench.serial == SerialEndpoint("raw", 115200, host="127.0.0.1", port=4002)
    assert bench.ssh == SshEndpoint("127.0.0.1", 4003, "root")


def test_power_is_switched_and_read_back(bench: LabgridBench, outlet: Outlet) -> None:
    bench.power.on(Deadline(5))
    assert outlet.on
    bench.power.off(Deadline(5))
    assert not outlet.on


@pytest.mark.parametrize(
    ("mood", "said"),
    [("dead-relay", "says that it did not"), ("refuses", "500"), ("mute", "did not answer within 0")],
)
def test_an_outlet_that_does_not_work_is_the_labs_and_says_what_to_try(
    bench: LabgridBench, outlet: Outlet, mood: str, said: str
) -> None:
    outlet.mood = mood
    with pytest.raises(LabError) as failed:
        bench.power.on(Deadline(5 if mood == "refuses" else 0.2))
    assert said in failed.value.message
    assert failed.value.remedy


def test_a_command_switches_the_power(tmp_path: Path) -> None:
    switch = tmp_path / "switch"
    path = tmp_path / "places.yaml"
    path.write_text(DESK.format(power=f"ExternalPowerDriver: {{cmd_on: touch {switch}, cmd_off: rm {switch}}}"))
    with LabgridBench(path, "desk") as bench:
        bench.power.on(Deadline(5))
        assert switch.exists()
        bench.power.off(Deadline(5))
        assert not switch.exists()
        assert not bench.power.by_hand
        with pytest.raises(LabError, match="failed to switch power off"):
            bench.power.off(Deadline(5))


def test_a_person_is_asked_to_switch_the_power_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "places.yaml"
    path.write_text(DESK.format(power="ManualPowerDriver: {}"))
    asked: list[str] = []
    with LabgridBench(path, "desk", ask=asked.append) as bench:
        assert bench.power.by_hand
        bench.power.off(Deadline(5))
        bench.power.on(Deadline(5))
    assert asked == ["Switch the board of place desk OFF", "Switch the board of place desk ON"]


def test_an_adapters_own_name_outlives_the_kernels(tmp_path: Path) -> None:
    device = tmp_path / "ttyUSB0"
    device.touch()
    assert stable_name(str(device), tmp_path) == str(device)
    for folder in ("by-path", "by-id"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "other").symlink_to("../ttyUSB1")
        (tmp_path / folder / "usb-FTDI").symlink_to("../ttyUSB0")
        assert stable_name(str(device), tmp_path) == str(tmp_path / folder / "usb-FTDI")
    assert stable_name("", tmp_path) == ""


def test_a_local_port_that_was_lost_is_looked_for_under_its_stable_name(tmp_path: Path) -> None:
    path = tmp_path / "places.yaml"
    path.write_text(DESK.format(power="ManualPowerDriver: {}"))
    with LabgridBench(path, "desk") as bench:
        assert bench.serial == SerialEndpoint("local", 1500000, device="/dev/null")
        assert bench.serial_again() == bench.serial


SEVERAL = """\
targets:
  desk:
    resources:
      - RawSerialPort: {name: zone1, port: /dev/zero, speed: 115200}
      - NetworkSerialPort: {name: hypervisor, host: 192.0.2.2, port: 4002, protocol: raw}
      - NetworkService: {name: wired, address: 192.0.2.3, username: root}
      - NetworkService: {name: wireless, address: 192.0.2.4, username: root}
    drivers:
      - ManualPowerDriver: {}
"""


def test_a_resource_is_chosen_by_its_name_where_there_are_several(tmp_path: Path) -> None:
    path = tmp_path / "places.yaml"
    path.write_text(SEVERAL)
    with LabgridBench(path, "desk", names=lambda _: ResourceNames("hypervisor", "wireless")) as bench:
        assert bench.serial == SerialEndpoint("raw", 115200, host="192.0.2.2", port=4002)
        assert bench.ssh.host == "192.0.2.4"
    path.write_text(SEVERAL.replace("zone1", "default").replace("wired", "default"))
    with LabgridBench(path, "desk") as bench:
        assert bench.serial.device == "/dev/zero"
        assert bench.ssh.host == "192.0.2.3"


@pytest.mark.parametrize(
    ("uart", "service", "said", "remedy"),
    [
        (
            "",
            "wired",
            "more than one serial port: RawSerialPort zone1, NetworkSerialPort hypervisor.",
            "uart: {resource: NAME}",
        ),
        ("zone2", "wired", "no serial port 'zone2': RawSerialPort zone1, NetworkSerialPort hypervisor.", "uart"),
        ("zone1", "", "more than one NetworkService: NetworkService wired, NetworkService wireless.", "ssh: {resource"),
    ],
)
def test_which_of_several_resources_is_never_guessed(
    tmp_path: Path, uart: str, service: str, said: str, remedy: str
) -> None:
    path = tmp_path / "places.yaml"
    path.write_text(SEVERAL)
    with pytest.raises(UsageError) as refused, LabgridBench(path, "desk", names=lambda _: ResourceNames(uart, service)):
        pass
    assert said in refused.value.message
    assert remedy in refused.value.remedy


@pytest.mark.parametrize(
    ("drivers", "said", "remedy"),
    [
        ("NetworkPowerDriver: {}", "binding NetworkPowerDriver failed: no NetworkPowerPort resource found.", "add it"),
        ("SiSPMPowerDriver: {}", "binding SiSPMPowerDriver failed: no supplier matching", "add it"),
        ("DigitalOutputPowerDriver: {}", "no DigitalOutputProtocol driver found.", "another driver: add it"),
        ("ManualPowerDriver: {bindings: {port: x}}", "unexpected bindings", "Mend its resources and drivers"),
        ("SerialDriver: {}", "has no power driver", "NetworkPowerDriver"),
    ],
)
def test_a_driver_that_lacks_something_in_the_file_is_the_files_mistake(
    tmp_path: Path, drivers: str, said: str, remedy: str
) -> None:
    path = tmp_path / "places.yaml"
    path.write_text(DESK.format(power=drivers))
    with pytest.raises(UsageError) as refused, LabgridBench(path, "desk"):
        pass
    assert said in refused.value.message
    assert remedy in refused.value.remedy


def test_two_outlets_and_a_driver_that_names_neither(tmp_path: Path) -> None:
    path = tmp_path / "places.yaml"
    ports = "".join(
        f"      - NetworkPowerPort: {{name: {name}, model: rest, host: h, index: '1'}}\n" for name in ("a", "b")
    )
    path.write_text(DESK.format(power="NetworkPowerDriver: {}").replace("    drivers", f"{ports}    drivers"))
    with pytest.raises(UsageError, match="multiple resources matching NetworkPowerPort") as refused:
        LabgridBench(path, "desk").__enter__()
    assert "bindings" in refused.value.remedy


@pytest.mark.parametrize("wait_s", [0.0, 60.0])
def test_waiting_for_a_place_that_nobody_lends_out_is_said_to_have_no_effect(tmp_path: Path, wait_s: float) -> None:
    path = tmp_path / "places.yaml"
    path.write_text(DESK.format(power="ManualPowerDriver: {}"))
    told: list[str] = []
    with LabgridBench(path, "desk", acquisition=Acquisition(wait_s=wait_s), tell=told.append):
        pass
    assert told == (["--wait has no effect: no labgrid coordinator lends out place desk"] if wait_s else [])


class Entry:
    """A resource as the coordinator tells of it."""

    def __init__(self, port: int | None) -> None:
        self.avail = port is not None
        self.args = {"host": "lab", "port": port, "speed": 1500000}


def test_an_exported_port_that_moved_is_found_and_one_that_is_away_is_not(bench: LabgridBench) -> None:
    resource = bench._serial_resource
    resource._remote_entry = Entry(4002)
    assert bench.serial_again() == bench.serial
    resource._remote_entry = Entry(None)
    assert bench.serial_again() is None
    resource._remote_entry = Entry(5000)
    assert bench.serial_again() == SerialEndpoint("raw", 115200, host="lab", port=5000)


def test_what_an_exporter_isolates_is_reached_through_its_proxy(
    bench: LabgridBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str, int]] = []

    def forward(proxy: str, host: str, port: int) -> int:
        asked.append((proxy, host, port))
        return 40000 + len(asked)

    monkeypatch.setattr(sshmanager, "request_forward", forward)
    bench._serial_resource.extra = {"proxy_required": True, "proxy": "exporter"}
    bench._serial_resource._remote_entry = Entry(5000)
    assert bench.serial_again() == SerialEndpoint("raw", 115200, host="localhost", port=40001)
    assert asked == [("exporter", "lab", 5000)]


ELSEWHERE = """\
targets:
  desk:
    resources:
      - NetworkPowerPort: {{model: rest, host: "http://192.0.2.1:8000/outlet/{{index}}", index: "1"}}
      - NetworkSerialPort: {{host: {uart}, port: 4002, protocol: raw}}
      - NetworkService: {{address: {ssh}, port: 4003, username: root}}
    drivers:
      - NetworkPowerDriver: {{}}
"""


@pytest.fixture
def forwarded(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, str, int]]]:
    """LG_PROXY is `gate`, for hvrig and for labgrid's own drivers; what was asked to be forwarded through it."""
    asked: list[tuple[str, str, int]] = []

    def forward(proxy: str, host: str, port: int) -> int:
        asked.append((proxy, host, port))
        return port + 30000

    monkeypatch.setenv("LG_PROXY", "gate")
    proxymanager.force_proxy("gate")
    monkeypatch.setattr(sshmanager, "request_forward", forward)
    yield asked
    proxymanager.force_proxy("")


def test_the_users_own_proxy_is_taken_for_all_that_is_elsewhere(
    forwarded: list[tuple[str, str, int]], tmp_path: Path
) -> None:
    path = tmp_path / "places.yaml"
    path.write_text(ELSEWHERE.format(uart="192.0.2.2", ssh="192.0.2.3"))
    with LabgridBench(path, "desk") as bench:
        assert (bench.serial.host, bench.serial.port) == ("localhost", 34002)
        assert (bench.ssh.host, bench.ssh.port) == ("localhost", 34003)
    assert sorted(forwarded) == [("gate", f"192.0.2.{n}", port) for n, port in ((1, 8000), (2, 4002), (3, 4003))]


def test_a_loopback_address_of_the_file_is_this_machines(forwarded: list[tuple[str, str, int]], tmp_path: Path) -> None:
    path = tmp_path / "places.yaml"
    path.write_text(ELSEWHERE.format(uart="192.0.2.2", ssh="localhost"))
    with LabgridBench(path, "desk") as bench:
        assert (bench.ssh.host, bench.ssh.port) == ("localhost", 4003)
    path.write_text(ELSEWHERE.format(uart="127.0.0.1", ssh="192.0.2.3"))
    forwarded.clear()
    with LabgridBench(path, "desk") as bench:
        assert (bench.serial.host, bench.ssh.host) == ("127.0.0.1", "192.0.2.3")
    assert forwarded == []


@pytest.mark.usefixtures("forwarded")
def test_what_a_coordinator_has_on_its_own_loopback_is_reached_through_the_proxy(bench: LabgridBench) -> None:
    bench._direct = False
    bench._serial_resource._remote_entry = Entry(5000)
    bench._serial_resource._remote_entry.args["host"] = "127.0.0.1"
    assert bench.serial_again() == SerialEndpoint("raw", 115200, host="localhost", port=35000)


def test_a_board_at_this_machine_is_reached_without_the_users_proxy(
    forwarded: list[tuple[str, str, int]], outlet: Outlet, tmp_path: Path
) -> None:
    path = tmp_path / "places.yaml"
    path.write_text(ENVIRONMENT)
    with LabgridBench(path, "desk", RackPorts(outlet.server_address[1], 4002, 4003)) as bench:
        assert bench.serial == SerialEndpoint("raw", 115200, host="127.0.0.1", port=4002)
        assert bench.ssh == SshEndpoint("127.0.0.1", 4003, "root")
        bench.power.on(Deadline(5))
    assert outlet.on
    path.write_text(DESK.format(power="ManualPowerDriver: {}").replace("127.0.0.1", "192.168.255.2"))
    with LabgridBench(path, "desk") as bench:
        assert bench.ssh.host == "192.168.255.2"
    assert forwarded == []
    assert proxymanager.get_url("http://lab:80") == "http://localhost:30080"  # as before, for whoever comes next


def test_a_proxy_that_lets_nobody_in_is_the_labs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(proxy: str, _host: str, _port: int) -> int:
        raise ExecutionError(f"failed to connect to {proxy}")

    monkeypatch.setenv("LG_PROXY", "gate")
    monkeypatch.setattr(sshmanager, "request_forward", refuse)
    path = tmp_path / "places.yaml"
    path.write_text(ELSEWHERE.format(uart="192.0.2.2", ssh="192.0.2.3"))
    with (
        pytest.raises(LabError, match="through its proxy: failed to connect to gate"),
        LabgridBench(path, "desk"),
    ):
        pass


def test_no_outlet_at_all_is_the_labs(tmp_path: Path) -> None:
    path = tmp_path / "places.yaml"
    path.write_text(ENVIRONMENT)
    with LabgridBench(path, "desk", RackPorts(1, 2, 3)) as bench, pytest.raises(LabError, match="Connection"):
        bench.power.on(Deadline(5))


def test_what_labgrid_does_not_take_is_a_mistake_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "places.yaml"
    path.write_text(ENVIRONMENT)
    with pytest.raises(UsageError, match="broken"), LabgridBench(path, "broken"):
        pass


@pytest.mark.parametrize(
    ("model", "said", "remedy"),
    [
        ("shelly-typo", "labgrid has no power model 'shelly-typo'", "shelly_gen2"),
        ("tplink", "power model tplink needs the Python package kasa", "labgrid[kasa]"),
        ("raritan", "power model raritan needs the Python package pysnmp", "labgrid[snmp]"),
    ],
)
def test_a_power_model_that_is_not_there_is_named_with_what_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str, said: str, remedy: str
) -> None:
    for package in ("kasa", "pysnmp"):  # whether or not they are installed here
        monkeypatch.setitem(sys.modules, package, None)
        monkeypatch.setitem(sys.modules, f"{package}.iot", None)
    for module in ("labgrid.driver.power.tplink", "labgrid.driver.power.raritan", "labgrid.util.snmp"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    path = tmp_path / "places.yaml"
    path.write_text(ENVIRONMENT.replace("model: rest", f"model: {model}"))
    with pytest.raises(UsageError) as refused, LabgridBench(path, "desk", RackPorts(1, 2, 3)):
        pass
    assert said in refused.value.message
    assert remedy in refused.value.remedy
