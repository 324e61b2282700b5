"""A server that says one line and then waits for its end; what the racks do with it is in test_rack_process.py."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from hvrig.model.deadline import Deadline
from hvrig.virtual.labgrid_process import LabBoard, LabEndpoints, VirtualLab
from hvrig.virtual.server_process import ServerProcess


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ServerProcess[dict[str, Any]]:
    module = "import json, os, sys\nprint(json.dumps({'pid': os.getpid()}), flush=True)\nsys.stdin.read()\n"
    (tmp_path / "played_server.py").write_text(module)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return ServerProcess(
        "played_server", [], what="the server", endpoints=lambda ready: ready, log=tmp_path / "log", stop_s=10
    )


def test_a_server_is_gone_when_the_with_is_left(server: ServerProcess[dict[str, Any]]) -> None:
    with server:
        pid = server.start(Deadline(20))["pid"]
        os.kill(pid, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_server_whose_line_is_not_understood_is_stopped(server: ServerProcess[dict[str, Any]]) -> None:
    pids: list[int] = []

    def endpoints(ready: dict[str, Any]) -> dict[str, Any]:
        pids.append(ready["pid"])
        raise KeyError("port")

    server._endpoints = endpoints
    with pytest.raises(KeyError, match="port"):
        server.start(Deadline(20))
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)


def test_a_labs_endpoints_are_those_of_its_line(tmp_path: Path) -> None:
    lab = VirtualLab(uboot=tmp_path, tftp=tmp_path, places=["x1"], log=tmp_path / "log")
    board = {"place": "x1", "outlet_port": 1, "ssh_port": 2, "pid": 3}
    ready = {"coordinator": "127.0.0.1:4", "boards": [board], "pid": 5}
    assert lab._endpoints(ready) == LabEndpoints("127.0.0.1:4", (LabBoard("x1", 1, 2, 3),), 5)
