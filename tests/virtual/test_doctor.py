"""`hvrig doctor` on the virtual board: all in order, and what can be broken without a boot."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any

import pytest

from .conftest import Checks, VirtualBench, by_status, run_doctor

pytestmark = pytest.mark.virtual_board


def examine(bench: VirtualBench, *arguments: str, **changes: Mapping[str, Any]) -> tuple[int, Checks]:
    """The exit status, and the checks by name."""
    return run_doctor(
        bench.folder, "--places", str(bench.places("virtual", **changes)), "--place", "virtual", *arguments
    )


def test_a_place_in_order_and_its_host_key_learned(bench: VirtualBench) -> None:
    key = bench.folder / "host_key.pub"
    status, checks = examine(bench, "--learn-host-key", ssh={"host_key": str(key)})
    assert (status, by_status(checks, "fail")) == (0, []), checks
    assert by_status(checks, "skipped") == ["access", "latency"]
    assert all("not applicable" in checks[name]["found"] for name in ("access", "latency"))
    assert checks["autoboot"]["found"].startswith("stopped 3 times of 3")
    assert f"written into {key}" in checks["ssh"]["found"]
    assert key.read_text(encoding="utf-8").split()[:2] == bench.images.host_key_pub.read_text().split()[:2]
    assert (bench.folder / "artifacts/latest/uart.log").stat().st_size > 10_000
    assert not bench.status()["on"]


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
