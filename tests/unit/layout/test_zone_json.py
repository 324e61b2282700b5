from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvrig.layout.zone_json import is_zone_config, lines_of, read_zone_config
from hvrig.model.errors import UsageError
from hvrig.model.memory import Range
from hvrig.model.memory_map import Use

ZONE1 = """{
    "name": "linux2",
    "zone_id": 1,
    "memory_regions": [
        {
            "type": "ram",
            "physical_start": "0x5000_0000",
            "virtual_start":  "0x50000000",
            "size": "0x25000000"
        },
\t    { "type": "io", "physical_start": 4096, "virtual_start": "0", "size": "512" },
        { "type": "virtio", "physical_start": "0xff9d0000", "virtual_start": "0xff9d0000", "size": "0x1000" },
        { "type": "reserved", "physical_start": "0x0", "virtual_start": "0x0", "size": "0x1000" }
    ],
    "kernel_filepath": "./Image",
    "dtb_filepath": "./zone1-linux.dtb",
    "kernel_load_paddr": "0x50400000",
    "dtb_load_paddr":   "0x50000000",
    "arch_config": { "gic_version": "v3", "gicd_base": "0xfe600000", "gicd_size": "0x10000",
        "gits_base": "0x0", "gits_size": "0x0" }
}
"""
VIRTIO = '{"zones": [{"id": 1, "memory_region": [{"zone0_ipa": "0x5", "zonex_ipa": "0x5", "size": "0x2"}]}]}'


def test_regions_loads_and_controllers_with_their_lines() -> None:
    config = read_zone_config(ZONE1, "zone1.json")
    assert config.zone == 1
    assert [(r.use, r.range, r.guest_start, r.source) for r in config.regions] == [
        (Use.ZONE_RAM, Range(0x50000000, 0x75000000), None, "zone1.json:5 /memory_regions/0"),
        (Use.ZONE_DEVICE, Range(4096, 4608), 0, "zone1.json:11 /memory_regions/1"),
        (Use.ZONE_VIRTIO, Range(0xFF9D0000, 0xFF9D1000), None, "zone1.json:12 /memory_regions/2"),
        (Use.ZONE_OTHER, Range(0, 0x1000), None, "zone1.json:13 /memory_regions/3"),
    ]
    assert [(load.name, load.address, load.source) for load in config.loads] == [
        ("kernel of zone 1", 0x50400000, "zone1.json:17 /kernel_load_paddr"),
        ("dtb of zone 1", 0x50000000, "zone1.json:18 /dtb_load_paddr"),
    ]
    (gicd,) = config.controllers
    assert gicd.stretch.range == Range(0xFE600000, 0xFE610000)
    assert gicd.stretch.source == "zone1.json:19 /arch_config/gicd_base"


def test_a_zone_without_device_tree_loads_none() -> None:
    text = ZONE1.replace('"./zone1-linux.dtb"', '""')
    assert [load.name for load in read_zone_config(text, "z").loads] == ["kernel of zone 1"]


def test_a_virtio_backends_configuration_is_no_zones() -> None:
    assert is_zone_config(ZONE1)
    assert not is_zone_config(VIRTIO)
    assert is_zone_config("{")
    assert not is_zone_config("[1]")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"zone_id": 1,', '"zone_id": 1', "z:4: not JSON: Expecting ',' delimiter"),
        ('"zone_id": 1,', '"zone_id": "one",', "z:3 /zone_id: 'one' is not a number"),
        ('"zone_id": 1,', '"zone_id": true,', "z:3 /zone_id: True is not a number"),
        ('"zone_id": 1,', "", "z:1 /zone_id: missing"),
        ('"size": "0x25000000"', '"size": "0xffffffffffffffff"', "z:5 /memory_regions/0: a region that ends beyond"),
        ('"size": "0x25000000"', '"size": "0x1ffffffffffffffff"', "z:9 /memory_regions/0/size: '0x1ffffffffffffffff'"),
        ('"size": "0x25000000"', '"size": "-1"', "z:9 /memory_regions/0/size: '-1' is not a number"),
        ('"size": "0x25000000"', '"size": 1.5', "z:9 /memory_regions/0/size: 1.5 is not a number"),
        ('"size": "0x25000000"', '"size": "0x_"', "z:9 /memory_regions/0/size: '0x_' is not a number"),
        ('"type": "io"', '"type": 7', "z:11 /memory_regions/1/type: not the name of a type"),
        ("memory_regions", "memory", "z:1 /memory_regions: not a list of regions"),
        ('"0xfe600000"', '"x"', "z:19 /arch_config/gicd_base: 'x' is not a number"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(old: str, new: str, said: str) -> None:
    with pytest.raises(UsageError) as refused:
        read_zone_config(ZONE1.replace(old, new, 1), "z")
    assert refused.value.message.startswith(said)


@pytest.mark.parametrize("text", ["", "[]", "3", "null", "[" * 100_000, '{"zone_id": ' + "9" * 5000 + "}"])
def test_what_is_no_zones_configuration_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"^z"):
        read_zone_config(text, "z")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)


@given(VALUES, st.sampled_from([None, 1]))
def test_each_value_has_its_line(value: Any, indent: int | None) -> None:
    text = json.dumps(value, indent=indent)
    lines = lines_of(text)

    def paths(part: Any, at: tuple[str | int, ...]) -> list[tuple[str | int, ...]]:
        inner = part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ()
        return [at, *(path for key, below in inner for path in paths(below, (*at, key)))]

    assert set(lines) == set(paths(value, ()))
    if indent is None:
        assert set(lines.values()) == {1}
    else:
        in_order = [lines[path] for path in paths(value, ())]
        assert in_order == sorted(in_order)
        assert len(set(in_order)) == len(in_order)


@given(st.dictionaries(st.sampled_from(["zone_id", "memory_regions", "arch_config", "kernel_load_paddr"]), VALUES))
def test_any_json_is_read_or_refused(value: dict[str, Any]) -> None:
    said = "zone.json"
    try:
        read_zone_config(json.dumps(value), "zone.json")
    except UsageError as error:
        said = error.message
    assert said.startswith("zone.json")
