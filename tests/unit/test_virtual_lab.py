"""The environment that is written for a standing lab is one that hvrig takes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from hvrig.lab.places import load_place, place_names, with_rack
from hvrig.model.errors import LabError, UsageError
from hvrig.virtual.labgrid_process import LabBoard, LabEndpoints
from hvrig.virtual_lab import HEAD, EnvironmentFile, environment_text, standing_lab

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


def test_the_environment_is_the_labs_own_and_gone_after_it(tmp_path: Path) -> None:
    path = tmp_path / "lab.yaml"
    with EnvironmentFile(path) as file:
        file.write("longer than what comes next")
        file.write("short")
        assert path.read_text() == "short"
    assert not path.exists()


def test_a_file_of_somebodys_own_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("targets: {}\n")
    with pytest.raises(UsageError, match=r"mine\.yaml is there, and no virtual lab has written it"):
        EnvironmentFile(path).__enter__()
    assert path.read_text() == "targets: {}\n"


def test_two_labs_do_not_share_a_file(tmp_path: Path) -> None:
    path = tmp_path / "lab.yaml"
    with EnvironmentFile(path) as file:
        file.write("first")
        with pytest.raises(UsageError, match="a virtual lab that runs"):
            EnvironmentFile(path).__enter__()
        assert path.read_text() == "first"


def test_a_killed_labs_file_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "lab.yaml"
    path.write_text(f"{HEAD}\noptions: {{}}\n")
    with EnvironmentFile(path) as file:
        file.write("mine")
        assert path.read_text() == "mine"
    assert not path.exists()


def test_what_was_put_in_the_stead_of_the_labs_file_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "lab.yaml"
    with EnvironmentFile(path):
        (tmp_path / "edited").write_text("mine")
        (tmp_path / "edited").replace(path)
    assert path.read_text() == "mine"


def test_a_lab_is_refused_before_anything_is_built_for_it(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("mine")
    with (
        pytest.raises(UsageError, match="left alone"),
        standing_lab(PLACES, "virtual-lab", boards=1, environment=path, log=tmp_path / "log"),
    ):
        pass
    assert [each.name for each in tmp_path.iterdir()] == ["mine.yaml"]


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="cannot be written"):
        EnvironmentFile(tmp_path / "none" / "lab.yaml").__enter__()
