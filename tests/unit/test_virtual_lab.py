"""The environment that is written for a standing lab is one that hvrig takes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from hvrig.lab.places import load_place, place_names, with_rack
from hvrig.model.errors import UsageError
from hvrig.virtual.labgrid_process import LabBoard, LabEndpoints
from hvrig.virtual_lab import environment_text, standing_lab

PLACES = Path(__file__).parents[2] / "lab/places.yaml"
LAB = LabEndpoints("127.0.0.1:4000", (LabBoard("a-1", 1, 2, 3), LabBoard("a-2", 4, 5, 6)), 7)


def test_every_board_is_a_place_with_the_settings_of_the_one_it_is_like(tmp_path: Path) -> None:
    place = with_rack(load_place(PLACES, "virtual-lab"), Path("/images"))
    file = tmp_path / "places.yaml"
    file.write_text(environment_text(place, LAB))
    assert place_names(file) == ("a-1", "a-2", "any")
    expected = replace(place, rack=None)
    assert load_place(file, "a-2") == replace(expected, name="a-2")
    assert load_place(file, "any").lab.tags == {"board": "virtual"}
    tree = yaml.safe_load(file.read_text())
    assert tree["options"]["coordinator_address"] == "127.0.0.1:4000"
    assert tree["targets"]["a-1"]["resources"] == [{"RemotePlace": {"name": "a-1"}}]


def test_a_place_without_a_lab_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(UsageError, match="no virtual board in a lab"),
        standing_lab(PLACES, "virtual", boards=1, environment=tmp_path / "x.yaml", log=tmp_path / "log"),
    ):
        pass
