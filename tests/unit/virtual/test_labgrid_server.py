"""The lab in a box, as far as it is text; tests/virtual/test_lab.py starts it."""

from __future__ import annotations

from pathlib import Path

from labgrid.remote.config import ResourceConfig

from hvrig.virtual.labgrid_server import exporter_yaml
from hvrig.virtual.rack_process import RackEndpoints


def test_labgrids_exporter_reads_one_group_a_board(tmp_path: Path) -> None:
    rack = RackEndpoints(outlet_port=4001, uart_port=4002, ssh_port=4003, pid=1)
    file = tmp_path / "exporter.yaml"
    file.write_text(
        exporter_yaml({"board-1": (rack, Path("/dev/shm/x/tty-board-1")), "board-2": (rack, Path("/dev/y"))})
    )
    groups = ResourceConfig(str(file)).data
    assert list(groups) == ["board-1", "board-2"]
    assert groups["board-1"]["RawSerialPort"] == {"port": "/dev/shm/x/tty-board-1", "speed": 1500000}
    assert groups["board-1"]["NetworkPowerPort"]["host"] == "http://127.0.0.1:4001/outlet/{index}"
    assert groups["board-1"]["NetworkService"] == {"address": "127.0.0.1", "port": 4003, "username": "root"}
