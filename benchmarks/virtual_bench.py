"""A rack and a places file for a benchmark: the same virtual board for hvrig and for what it is compared with."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from hvrig.model.deadline import Deadline
from hvrig.virtual.images import ImageSet, default_cache, ensure_images
from hvrig.virtual.rack_process import Rack, RackEndpoints

REPOSITORY = Path(__file__).parents[1]


@dataclass(frozen=True)
class Bench:
    """A rack that is up, its images, and a places file in which its ports stand."""

    endpoints: RackEndpoints
    images: ImageSet
    places: Path


@contextmanager
def virtual_bench(folder: Path, uart_times: Path | None = None) -> Iterator[Bench]:
    """A rack on ports of its own; `places` names them for every virtual place."""
    images = ensure_images(default_cache(), print)
    for reserved in (None, 4 << 20):
        images.zone0_dtb(reserved)
    with Rack(uboot=images.uboot, tftp=images.tftp, log=folder / "rack.log", uart_times=uart_times) as rack:
        endpoints = rack.start(Deadline(15))
        yield Bench(endpoints, images, _places(folder, endpoints, images))


def _places(folder: Path, endpoints: RackEndpoints, images: ImageSet) -> Path:
    tree = yaml.safe_load((REPOSITORY / "lab/places.yaml").read_text(encoding="utf-8"))
    for target in tree["targets"].values():
        if target["options"]["hvrig"].pop("rack", None) is None:
            continue  # a real board
        target["resources"] = [
            {
                "NetworkPowerPort": {
                    "model": "rest",
                    "host": f"http://127.0.0.1:{endpoints.outlet_port}/outlet/{{index}}",
                    "index": "1",
                }
            },
            {"NetworkSerialPort": {"host": "127.0.0.1", "port": endpoints.uart_port, "protocol": "raw"}},
            {"NetworkService": {"address": "127.0.0.1", "port": endpoints.ssh_port, "username": "root"}},
        ]
    path = folder / "places.yaml"
    path.write_text(yaml.safe_dump(tree).replace("${rack}", str(images.folder)), encoding="utf-8")
    return path


def report(name: str, result: dict[str, object]) -> None:
    """Print a result and the machine it was measured on, as one JSON object."""
    machine = f"{platform.machine()}, Python {platform.python_version()}"
    print(json.dumps({"benchmark": name, "machine": machine, **result}, indent=2))
