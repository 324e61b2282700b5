from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from hvrig.lab.places import load_place, on_every_board, place_names, settings_of, with_rack
from hvrig.model.errors import UsageError
from hvrig.model.memory import Range
from hvrig.model.place import Place, UBootSettings

REPOSITORY = Path(__file__).parents[3]
PLACES = REPOSITORY / "lab" / "places.yaml"

BOARD = """\
targets:
  desk:
    resources:
      - RawSerialPort: {port: /dev/ttyUSB0, speed: 1500000}
      - NetworkService: {address: 192.168.255.2, username: root}
    drivers:
      - ManualPowerDriver: {}
    options:
      hvrig:
        images:
          hvisor: {path: images/hvisor.bin, address: 0x500000}
          zone0: {path: /srv/tftp/zone0.dtb, address: 0x10000000, remote: lab/zone0.dtb}
        uboot: {boot: bootm 0x500000 - 0x400000}
        ssh: {key: ~/.ssh/id_ed25519, host_key: ssh-ed25519 AAAAC3Nz}
  other:
    resources:
      - RawSerialPort: {port: /dev/ttyUSB1, speed: 1500000}
      - NetworkService: {address: 192.168.254.2, username: root}
    options:
      hvrig:
        like: desk
        gate: {ladder: [1G]}
        images:
          zone0: {path: other.dtb}
"""


Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str) -> Path:
        path = tmp_path / "places.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def refusal(path: Path, name: str) -> str:
    with pytest.raises(UsageError) as refused:
        load_place(path, name)
    return str(refused.value)


def test_the_repositorys_own_places_load() -> None:
    virtual = [name for name in place_names(PLACES) if name.startswith("virtual")]
    assert virtual == [
        "virtual",
        "virtual-under-reserved",
        "virtual-silent",
        "virtual-lab",
        "virtual-desk",
        "virtual-hvisor",
    ]
    ladders = {name: load_place(PLACES, name).gate.ladder for name in virtual}
    assert set(ladders.values()) == {("64M", "128M", "256M", "768M")}
    racks = [load_place(PLACES, name).rack for name in virtual]
    assert [rack.reserved_bytes if rack else 0 for rack in racks] == [None, 4 << 20, 6 << 20, None, None, None]
    assert [rack.labgrid for rack in racks if rack] == [False, False, False, True, False, False]
    assert [rack.uart for rack in racks if rack] == ["tcp"] * 4 + ["device", "tcp"]
    assert {rack.machine for rack in racks[:-1] if rack} == {"virtual"}
    own = racks[-1]
    assert own is not None
    assert (own.machine, own.reserved, own.memory) == ("hvisor-qemu-gicv3", "tree", "tree")
    assert load_place(PLACES, "virtual").hypervisor.range == Range(0x40400000, 0x449E6000)


def test_a_tftp_folder_is_taken_from_the_files_folder_and_a_given_image_is_left(write: Write, tmp_path: Path) -> None:
    text = BOARD.replace(
        "        ssh: {key",
        "        tftp: {folder: tftp, prefix: x3300/}\n        zones: {root_cpus: [0, 4]}\n        ssh: {key",
        1,
    ).replace("path: images/hvisor.bin", 'path: "${given}"')
    place = load_place(write(text), "desk")
    assert place.tftp is not None
    assert (place.tftp.folder, place.tftp.prefix) == (tmp_path / "tftp", "x3300/")
    assert str(place.images["hvisor"].path) == "${given}"
    assert place.zone0_cpus == {0, 4}
    assert load_place(write(BOARD), "desk").zone0_cpus == {0, 1}


@pytest.mark.parametrize(
    ("rack", "wrong"),
    [
        ("{reserved: tree}", "reserved: tree is for machine hvisor-qemu-gicv3"),
        ("{memory: board-rs}", "memory: board-rs is for machine hvisor-qemu-gicv3"),
        ("{machine: x3300}", "machine must be virtual or hvisor-qemu-gicv3"),
        ("{machine: hvisor-qemu-gicv3, labgrid: true}", "labgrid is not for machine hvisor-qemu-gicv3"),
        ('{bootargs: "a\\nb"}', "bootargs must be one line"),
        ("{uart: usb}", "uart must be tcp or device"),
        ("{labgrid: true, uart: device}", "uart: device is not for a lab"),
    ],
)
def test_what_a_rack_cannot_be_is_said(write: Write, rack: str, wrong: str) -> None:
    text = BOARD.replace("        ssh: {key", f"        rack: {rack}\n        ssh: {{key", 1)
    assert wrong in refusal(write(text), "desk")


@pytest.mark.parametrize(
    ("load", "from_storage"),
    [
        ("tftp {address} {file}", False),
        ("tftpboot {address} {file}", False),
        ("run fetch {address} {file}", False),
        ("fatload mmc 0:1 {address} {file}", True),
        ("load mmc 0:1 {address} {file}", True),
        ("ext4load usb 0 {address} {file}", True),
    ],
)
def test_a_tftp_folder_is_not_for_a_boards_own_storage(write: Write, load: str, from_storage: bool) -> None:
    text = BOARD.replace("{boot: bootm 0x500000 - 0x400000}", f'{{boot: bootm 0x500000, load: "{load}"}}')
    assert load_place(write(text), "desk").uboot.loads_from_storage is from_storage
    served = write(text.replace("        ssh: {key", "        tftp: {folder: tftp}\n        ssh: {key", 1))
    if from_storage:
        assert "keep one" in refusal(served, "desk")
    else:
        assert load_place(served, "desk").tftp is not None


def test_a_boards_defaults_are_the_x3300s(write: Write) -> None:
    place = load_place(write(BOARD), "desk")
    assert place.gate.ladder == ("1G", "2G", "4G", "12G")
    assert place.uboot.interrupt == "\x03"
    assert place.hypervisor.cpus == 8
    assert place.rack is None


def test_paths_are_taken_from_the_files_folder(write: Write, tmp_path: Path) -> None:
    place = load_place(write(BOARD), "desk")
    assert place.images["hvisor"].path == tmp_path / "images/hvisor.bin"
    assert place.images["hvisor"].remote_name == "hvisor.bin"
    assert place.images["zone0"].path == Path("/srv/tftp/zone0.dtb")
    assert place.images["zone0"].remote_name == "lab/zone0.dtb"
    assert place.ssh.key == Path("~/.ssh/id_ed25519").expanduser()
    assert place.ssh.host_key == "ssh-ed25519 AAAAC3Nz"


def test_like_takes_over_what_is_not_said(write: Write) -> None:
    place = load_place(write(BOARD), "other")
    assert place.name == "other"
    assert place.gate.ladder == ("1G",)
    assert place.images["zone0"].address == 0x10000000
    assert place.images["zone0"].path.name == "other.dtb"
    assert place.images["hvisor"].address == 0x500000


def test_the_racks_folder_is_filled_in_later(tmp_path: Path) -> None:
    place = with_rack(load_place(PLACES, "virtual"), tmp_path)
    assert place.images["kernel"].path == tmp_path / "tftp/Image"
    assert place.ssh.key == tmp_path / "ssh/id_ed25519"
    assert place.ssh.host_key == str(tmp_path / "ssh/host_key.pub")


def test_every_mistake_is_reported_at_once_with_line_field_and_remedy(write: Write) -> None:
    text = (
        BOARD.replace("address: 0x500000}", "address: many}")
        .replace("boot: bootm 0x500000 - 0x400000", "boot: '', piece: 99")
        .replace("ssh: {key: ~/.ssh/id_ed25519, ", "shh: 1\n        ssh: {")
        .replace("      - NetworkService: {address: 192.168.255.2, username: root}\n", "")
        .replace("        uboot:", "        gate: {ladder: [2G, 1G], test_mask: 6}\n        uboot:")
    )
    path = write(text)
    said = refusal(path, "desk")
    assert "6 mistakes" in said
    for part in (
        f"{path}:10: place desk: options.hvrig.images.hvisor.address: must be a whole number",
        f"{path}:12: place desk: options.hvrig.gate: ladder must grow",
        "test_mask needs bit 0",
        f"{path}:13: place desk: options.hvrig.uboot: boot is empty",
        "piece must be 1 to 16",
        f"{path}:14: place desk: options.hvrig.shh: is not a setting",
        f"{path}:15: place desk: options.hvrig.ssh.key: is missing",
        f"{path}:3: place desk: resources: lacks a NetworkService",
        "docs/places.md",
    ):
        assert part in said, said


def test_a_mistake_in_what_a_place_is_like_is_shown_where_it_stands(write: Write) -> None:
    path = write(BOARD.replace("address: 0x500000}", "address: many}"))
    assert f"{path}:11: place other: options.hvrig.images.hvisor.address" in refusal(path, "other")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no targets"),
        ("targets: []", "has no targets"),
        ("targets: {a: {options: ", "not YAML"),
        ("targets:\n  desk:\n", "options.hvrig: is missing"),
        ("targets: {desk: {options: {hvrig: {like: desk}}}}", "is not another place"),
        ("targets: {desk: {options: {hvrig: {like: b}}}, b: {options: {hvrig: {like: desk}}}}", "is not another place"),
        ("targets: {other: {}}", "has no place 'desk'"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(write: Write, text: str, said: str) -> None:
    assert said in refusal(write(text), "desk")


def test_a_missing_file_says_where_places_come_from(tmp_path: Path) -> None:
    said = refusal(tmp_path / "none.yaml", "desk")
    assert "none.yaml cannot be read" in said
    assert "--places" in said


def test_a_u_boot_command_must_be_one_line(write: Write) -> None:
    text = BOARD.replace("boot: bootm 0x500000 - 0x400000", 'boot: "a\\nb"')
    assert "one line of printable ASCII" in refusal(write(text), "desk")


def test_errors_that_a_kernel_always_prints_are_patterns(write: Write) -> None:
    def with_known(known: str) -> Path:
        return write(
            BOARD.replace(
                "        ssh: {key", f"        root_linux: {{known_errors: [{known}]}}\n        ssh: {{key", 1
            )
        )

    assert load_place(with_known("'rockchip-.*: failed', x"), "desk").root_linux.known_errors == (
        "rockchip-.*: failed",
        "x",
    )
    assert "known_errors: '(' is not a regular expression" in refusal(with_known("'('"), "desk")


def test_the_hypervisors_sources_are_found_as_images_are(write: Write, tmp_path: Path) -> None:
    built = 'hypervisor: {elf: hvisor, board_rs: "${rack}/board.rs"}'
    text = BOARD.replace("        uboot:", f"        {built}\n        uboot:", 1)
    place = with_rack(load_place(write(text), "desk"), Path("/cache/set"))
    assert place.hypervisor.elf == tmp_path / "hvisor"
    assert place.hypervisor.board_rs == Path("/cache/set/board.rs")
    assert place.hypervisor.consts_rs is None


ANY = """\
  any:
    resources: [RemotePlace: {name: +}]
    options:
      hvrig:
        like: desk
        lab: {tags: {board: x3300}}
        boards:
          x1:
          x2:
            ssh: {host_key: x2.pub}
            uboot: {setup: [setenv ipaddr 10.0.0.2]}
            images:
              zone0: {path: x2.dtb}
"""


def test_a_boards_own_settings_are_laid_over_the_places(write: Write, tmp_path: Path) -> None:
    place = load_place(write(BOARD + ANY), "any")
    assert set(place.boards) == {"x1", "x2"}
    assert place.on_board("x1") == replace(place, boards={})
    assert place.on_board("x9") is place
    board = place.on_board("x2")
    assert (board.name, board.lab, board.boards) == ("any", place.lab, {})
    assert board.ssh == replace(place.ssh, host_key=str(tmp_path / "x2.pub"))
    assert board.uboot == replace(place.uboot, setup=("setenv ipaddr 10.0.0.2",))
    assert board.images == {**place.images, "zone0": replace(place.images["zone0"], path=tmp_path / "x2.dtb")}


def test_boards_are_inherited_and_written_into_another_file(write: Write, tmp_path: Path) -> None:
    own = "like: any, boards: {x1: {gate: {loops: 2}}}"
    heir = f"  heir: {{resources: [RemotePlace: {{name: +}}], options: {{hvrig: {{{own}}}}}}}\n"
    place = load_place(write(BOARD + ANY + heir), "heir")
    assert [place.boards[name].gate.loops for name in ("x1", "x2")] == [2, 1]
    tree = {
        "targets": {"heir": {"resources": [{"RemotePlace": {"name": "+"}}], "options": {"hvrig": settings_of(place)}}}
    }
    copy = tmp_path / "copy.yaml"
    copy.write_text(yaml.safe_dump(tree))
    assert load_place(copy, "heir") == place


def test_what_is_wrong_on_a_board_is_reported_with_the_place(write: Write) -> None:
    text = ANY.replace("x2.pub", "x2.pub, hostkey: x").replace("setenv ipaddr 10.0.0.2", '"two\\nlines"')
    said = refusal(write(BOARD + text + "          x3: {lab: {tags: {}}}\n          x4: 7\n"), "any")
    assert "4 mistakes" in said
    assert "places.yaml:34: place any: options.hvrig.boards.x2.ssh.hostkey: is not a setting of hvrig" in said
    assert "places.yaml:35: place any: options.hvrig.boards.x2.uboot: commands must be one line" in said
    assert "options.hvrig.boards.x3: cannot have lab: that is the place's" in said
    assert "options.hvrig.boards.x4: must have settings" in said
    assert "boards: must have the boards' settings" in refusal(
        write(BOARD + ANY.split("boards:")[0] + "boards: [x1]\n"), "any"
    )


def test_a_change_is_made_on_every_board_and_a_mistake_says_on_which(write: Write) -> None:
    place = load_place(write(BOARD + ANY), "any")
    changed = on_every_board(place, lambda each: replace(each, gate=replace(each.gate, loops=3)))
    assert [each.gate.loops for each in (changed, *changed.boards.values())] == [3, 3, 3]

    def refuse(each: Place) -> Place:
        if each.uboot.setup:
            raise UsageError("No such file.", "Build it.")
        return each

    with pytest.raises(UsageError, match=r"Board x2: No such file"):
        on_every_board(place, refuse)


@pytest.mark.parametrize("keys", ["\u00a7", "\u20ac"])
def test_what_stops_autoboot_is_ascii(keys: str) -> None:
    with pytest.raises(ValueError, match="must be ASCII"):
        UBootSettings(boot="bootm", interrupt=keys)
