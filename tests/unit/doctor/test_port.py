from __future__ import annotations

import os
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from hvrig.doctor.port import (
    Access,
    Adapter,
    Holder,
    check_access,
    check_latency,
    check_readers,
    clients_of,
    parse_connections,
)
from hvrig.doctor.port_proc import access_to, adapter_of, device_holders
from hvrig.doctor.result import Status
from hvrig.model.bench import SerialEndpoint

LOCAL = SerialEndpoint("local", 1500000, device="/dev/ttyUSB0")
REMOTE = SerialEndpoint("rfc2217", 1500000, host="127.0.0.1", port=4001)
GOOD = Access("/dev/ttyUSB0", True, True, "root", "dialout", 0o660, "ann", True, True)

# As Linux 6.18 prints it: a listening socket, both ends of a connection to port 0x0FA1, one end of another.
TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:0FA1 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 24 1 0 100 0 0 10 0
  51: 0100007F:C8CE 0100007F:0FA1 01 00000000:00000000 00:00000000 00000000     0        0 925 2 0 20 0 0 10 -1
  89: 0100007F:0FA1 0100007F:C8CE 01 00000000:00000000 00:00000000 00000000     0        0 926 1 0 20 0 0 10 -1
  90: 0100007F:0FA1 0A00000A:C8CE 01 00000000:00000000 00:00000000 00000000     0        0 927 1 0 20 0 0 10 -1
  91: 0100007F:0FA1 0100007F:C8CF 06 00000000:00000000 03:00000150 00000000     0        0 0 3 0
"""


def test_a_device_that_may_be_opened() -> None:
    assert check_access(GOOD).found == "ann may open /dev/ttyUSB0 (root:dialout 0660)"


@pytest.mark.parametrize(
    ("facts", "remedy"),
    [
        (Access("/dev/ttyUSB0", False, others=("/dev/serial/by-id/usb-FTDI",)), "by-id/usb-FTDI"),
        (replace(GOOD, is_device=False), "Mend the port"),
        (replace(GOOD, may_open=False, member=False), "adduser ann dialout"),
        (replace(GOOD, may_open=False), "Log out and in"),
        (replace(GOOD, may_open=False, member=False, mode=0o600), "udev rule"),
    ],
)
def test_a_device_that_may_not(facts: Access, remedy: str) -> None:
    result = check_access(facts)
    assert result.status is Status.FAIL
    assert remedy in result.remedy


def test_clients_of_a_tcp_port() -> None:
    here, elsewhere = clients_of(parse_connections(TCP), [ip_address("127.0.0.1")], 4001)
    assert [(c.local_port, c.inode) for c in here] == [(0xC8CE, 925)]
    assert elsewhere == ("10.0.0.10",)
    assert clients_of(parse_connections(TCP), [ip_address("127.0.0.1")], 4002) == ((), ())


def test_an_address_of_ipv6_that_means_one_of_ipv4() -> None:
    line = "   0: 0000000000000000FFFF00000100007F:0FA1 0000000000000000FFFF00000100007F:C8CE 01 0:0 00:0 0 0 0 7 1\n"
    (found,) = parse_connections(line)
    assert (found.local, found.inode) == (ip_address("127.0.0.1"), 7)


def test_somebody_else_who_reads_is_named() -> None:
    result = check_readers(LOCAL, [Holder(812, "picocom /dev/ttyUSB0")], (), 0)
    assert result.status is Status.FAIL
    assert result.found == "process 812 (picocom /dev/ttyUSB0) has /dev/ttyUSB0 open"
    assert "somebody on 10.0.0.10" in check_readers(REMOTE, (), ["10.0.0.10"], 0).found
    assert check_readers(LOCAL, (), (), 3).status is Status.OK


def test_latency() -> None:
    assert check_latency(LOCAL, Adapter("ftdi_sio", 1, "ttyUSB0")).status is Status.OK
    slow = check_latency(LOCAL, Adapter("ftdi_sio", 16, "ttyUSB0"))
    assert slow.status is Status.WARN
    assert "ttyUSB0/latency_timer" in slow.remedy
    assert "not applicable" in check_latency(REMOTE, None).found
    assert "no latency timer" in check_latency(LOCAL, Adapter("cp210x", None)).found


def test_processes_that_have_a_device_open(tmp_path: Path) -> None:
    for pid, target in ((12, "/dev/ttyUSB9"), (13, "/dev/null")):
        (tmp_path / str(pid) / "fd").mkdir(parents=True)
        (tmp_path / str(pid) / "fd" / "3").symlink_to(target)
        (tmp_path / str(pid) / "cmdline").write_bytes(b"minicom\0-D\0x\0")
    assert device_holders("/dev/ttyUSB9", tmp_path) == ((Holder(12, "minicom -D x"),), 0)


def test_an_adapters_timer_is_read(tmp_path: Path) -> None:
    device = tmp_path / "bus/usb-serial/devices/ttyUSB0"
    device.mkdir(parents=True)
    (device / "latency_timer").write_text("16\n")
    (tmp_path / "ftdi_sio").mkdir()
    (device / "driver").symlink_to(tmp_path / "ftdi_sio")
    assert adapter_of("/dev/ttyUSB0", tmp_path) == Adapter("ftdi_sio", 16, "ttyUSB0")
    assert adapter_of("/dev/pts/0", tmp_path).driver == ""


def test_a_node_is_looked_at(tmp_path: Path) -> None:
    assert not access_to(str(tmp_path / "none"), tmp_path).exists
    assert access_to(os.devnull, tmp_path).is_device
