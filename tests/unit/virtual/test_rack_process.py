"""Starting and stopping the rack; what stands for QEMU is never switched on here."""

import os
import socket
from pathlib import Path

import pytest

from hvrig.model.deadline import Deadline
from hvrig.model.errors import LabError
from hvrig.virtual.rack_process import Rack


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    program = tmp_path / "qemu-system-aarch64"
    program.write_text("#!/bin/false\n")
    program.chmod(0o755)
    (tmp_path / "u-boot.bin").touch()
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return tmp_path


def rack_in(folder: Path, *, uboot: str = "u-boot.bin", outlet_port: int = 0, uart_port: int = 0) -> Rack:
    return Rack(
        uboot=folder / uboot, tftp=folder, outlet_port=outlet_port, uart_port=uart_port, log=folder / "rack.log"
    )


def test_a_started_rack_takes_connections_and_a_stopped_one_is_gone(folder: Path) -> None:
    with rack_in(folder) as rack:
        ends = rack.start(Deadline(20))
        assert len({ends.outlet_port, ends.uart_port, ends.ssh_port}) == 3
        for port in (ends.outlet_port, ends.uart_port):
            socket.create_connection(("127.0.0.1", port)).close()
        rack.stop()
        with pytest.raises(ProcessLookupError):
            os.kill(ends.pid, 0)
        rack.stop()


def test_a_port_can_be_chosen_and_had_again_at_once(folder: Path) -> None:
    with rack_in(folder) as rack:
        first = rack.start(Deadline(20))
    with rack_in(folder, outlet_port=first.outlet_port, uart_port=first.uart_port) as rack:
        second = rack.start(Deadline(20))
    assert (second.outlet_port, second.uart_port) == (first.outlet_port, first.uart_port)


def test_several_racks_stand_side_by_side(folder: Path) -> None:
    with rack_in(folder) as one, rack_in(folder) as two:
        ends = [one.start(Deadline(20)), two.start(Deadline(20))]
        assert len({port for end in ends for port in (end.outlet_port, end.uart_port, end.ssh_port)}) == 6
        one.stop()
        socket.create_connection(("127.0.0.1", ends[1].uart_port)).close()


def test_a_rack_that_cannot_start_raises_its_own_last_words(folder: Path) -> None:
    (folder / "rack.log").write_text("of a run long ago\n")
    with rack_in(folder, uboot="nowhere.bin") as rack, pytest.raises(LabError) as caught:
        rack.start(Deadline(20))
    assert "nowhere.bin is not there" in caught.value.message
    assert "long ago" not in caught.value.message
    assert "rack.log" in caught.value.remedy


@pytest.mark.parametrize("which", ["outlet_port", "uart_port"])
def test_a_taken_port_is_named(folder: Path, which: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with rack_in(folder, **{which: port}) as rack, pytest.raises(LabError, match=f"port {port} cannot be had"):
            rack.start(Deadline(20))


def test_without_qemu_the_package_to_install_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(folder / "empty"))
    with rack_in(folder) as rack, pytest.raises(LabError, match="qemu-system-arm"):
        rack.start(Deadline(20))


def test_the_deadline_holds_and_leaves_nothing_behind(folder: Path) -> None:
    with rack_in(folder) as rack:
        with pytest.raises(LabError, match="was not ready within 0 s"):
            rack.start(Deadline(0))
        assert rack.start(Deadline(20)).pid > 0, "a failed start can be repeated"


def test_a_log_that_cannot_be_written_is_the_labs_fault(folder: Path) -> None:
    rack = Rack(uboot=folder / "u-boot.bin", tftp=folder, log=folder / "no" / "rack.log")
    with pytest.raises(LabError, match="cannot be started"):
        rack.start(Deadline(20))
