"""`hvrig doctor` on the virtual board: all in order, and what can be broken without a boot."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from hvrig.virtual.images import ImageSet

from .conftest import REPOSITORY, Checks, VirtualBench, by_status, run_doctor

pytestmark = pytest.mark.virtual_board


def examine(bench: VirtualBench, *arguments: str, **changes: Mapping[str, Any]) -> tuple[int, Checks]:
    """The exit status, and the checks by name."""
    return run_doctor(
        bench.folder, "--places", str(bench.places("virtual", **changes)), "--place", "virtual", *arguments
    )


def desk(folder: Path, **changes: Mapping[str, Any]) -> tuple[str, ...]:
    """The place virtual-desk, whose UART is a serial device of this machine, changed group by group."""
    tree = yaml.safe_load((REPOSITORY / "lab/places.yaml").read_text(encoding="utf-8"))
    target = tree["targets"]["virtual-desk"]
    for group, values in changes.items():
        if group == "serial":
            next(r for r in target["resources"] if "RawSerialPort" in r)["RawSerialPort"].update(values)
        else:
            target["options"]["hvrig"].setdefault(group, {}).update(values)
    path = folder / "places.yaml"
    path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    return ("--places", str(path), "--place", "virtual-desk")


def test_a_place_in_order_and_its_host_key_learned(images: ImageSet, tmp_path: Path) -> None:
    key = tmp_path / "host_key.pub"
    status, checks = run_doctor(tmp_path, *desk(tmp_path, ssh={"host_key": str(key)}), "--learn-host-key")
    assert (status, by_status(checks, "fail")) == (0, []), checks
    assert by_status(checks, "skipped") == ["latency"]
    assert "is no USB adapter" in checks["latency"]["found"]
    assert checks["autoboot"]["found"].startswith("stopped 3 times of 3")
    assert f"written into {key}" in checks["ssh"]["found"]
    assert key.read_text(encoding="utf-8").split()[:2] == images.host_key_pub.read_text().split()[:2]
    assert (tmp_path / "artifacts/latest/uart.log").stat().st_size > 10_000
    assert not (tmp_path / "artifacts/latest/tty").is_symlink()
    assert "the board is off" in checks["end"]["found"]


def test_a_port_that_is_none(tmp_path: Path) -> None:
    status, checks = run_doctor(tmp_path, *desk(tmp_path, serial={"port": str(tmp_path / "ttyX3300")}))
    assert (status, by_status(checks, "fail")) == (3, ["access"])
    assert "is not there" in checks["access"]["found"]
    assert checks["power"]["found"] == "needs uart"


def test_somebody_else_who_reads_is_left_alone(bench: VirtualBench) -> None:
    with socket.create_connection(("127.0.0.1", bench.endpoints.uart_port)):
        status, checks = examine(bench)
    assert (status, by_status(checks, "fail")) == (3, ["readers"])
    assert "pytest" in checks["readers"]["found"]
    assert checks["power"]["found"] == "needs uart"
    assert bench.status()["uart_bytes"] == 0


def test_power_that_reaches_no_board(bench: VirtualBench) -> None:
    bench.break_it("relay-dead")
    status, checks = examine(bench, deadlines={"first_byte_s": 2.0})
    assert (status, by_status(checks, "fail")) == (3, ["power"])
    assert "not one byte" in checks["power"]["found"]
    assert checks["boot"]["found"] == "needs tftp"


def test_an_image_that_the_tftp_server_has_not(bench: VirtualBench) -> None:
    # Loaded under its own name and from the rack's folder, which has no such file.
    load = "tftp {address} no-such-{file}"
    status, checks = examine(bench, uboot={"load": load})
    assert (status, by_status(checks, "fail")) == (3, ["tftp"])
    assert "is not there" in checks["tftp"]["found"]
    assert checks["autoboot"]["status"] == "ok"
    assert not bench.status()["on"]
