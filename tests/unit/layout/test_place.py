from __future__ import annotations

from pathlib import Path

from hvrig.layout.place import place_map
from hvrig.model.memory import Range
from hvrig.model.memory_map import Use
from hvrig.model.place import HypervisorSettings, Image, Place, SshSettings, UBootSettings


def place(hypervisor: HypervisorSettings) -> Place:
    return Place(
        name="desk",
        images={
            "kernel": Image(path=Path("Image"), address=0x9400000),
            "zone0_dtb": Image(path=Path("zone0.dtb"), address=0x10000000),
        },
        uboot=UBootSettings(boot="bootm 0x500000"),
        ssh=SshSettings(key=Path("key"), host_key="ssh-ed25519 AAAA"),
        hypervisor=hypervisor,
    )


def test_the_hypervisor_and_the_images_of_known_size() -> None:
    known = place_map(place(HypervisorSettings(start=0x500000, end=0x4AE6000)), {"kernel": 0x1000})
    assert known.hypervisor is not None
    assert (known.hypervisor.range, known.hypervisor.source) == (Range(0x500000, 0x4AE6000), "place desk")
    assert [(r.name, r.range) for r in known.of(Use.IMAGE)] == [("image kernel", Range(0x9400000, 0x9401000))]


def test_a_place_that_does_not_know_its_hypervisor() -> None:
    assert place_map(place(HypervisorSettings()), {}).regions == ()
