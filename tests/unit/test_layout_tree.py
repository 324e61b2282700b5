"""`hvrig layout check --hvisor-tree` on a made-up tree of 18 boards: clean as it is, and each rule broken in it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hvrig.cli import cli
from hvrig.model.errors import UsageError

Edit = Callable[[Path], None]


def check(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["layout", "check", *arguments])


def findings(done: Result) -> list[tuple[str, int, list[str]]]:
    """Board, rule and wrong ranges of each finding of JSON output."""
    return [
        (board["board"], finding["number"], [f"{part['start']}-{part['end']}" for part in finding["wrong"]])
        for board in json.loads(done.stdout)["boards"]
        for finding in board["findings"]
    ]


def replace(file: str, old: str, new: str, *, regex: bool = False) -> Edit:
    """An edit of one file below a board's folder; it must change something."""

    def edit(board: Path) -> None:
        path = board / file
        text = path.read_text()
        changed = re.sub(old, new, text, count=1) if regex else text.replace(old, new, 1)
        assert changed != text
        path.write_text(changed)

    return edit


def test_the_whole_tree_is_clean_and_never_a_pass(hvisor_tree: Path) -> None:
    done = check("--hvisor-tree", str(hvisor_tree), "--format", "json")
    assert done.exit_code == 4
    said = json.loads(done.stdout)
    assert len(said["boards"]) == 18
    assert findings(done) == []
    assert said["unreadable"] == []
    for board in said["boards"]:
        assert board["hypervisor"]["name"] == "hypervisor, at least", board["board"]
        missing = {one["number"] for one in board["unchecked"]}
        assert missing == ({3, 5, 6} if board["board"].startswith("x86_64/") else {1, 2, 3, 5, 6}), board["board"]
    assert check("--hvisor-tree", str(hvisor_tree), "--allow-incomplete").exit_code == 0


@pytest.mark.parametrize(
    ("board", "start"),
    [
        ("aarch64/alder", "0x500000"),
        ("riscv64/yew", "0x80200000"),
        ("loongarch64/ash", "0x100010000"),
        ("loongarch64/beech", "0x1f0000000"),
        ("x86_64/poplar", "0x200000"),
    ],
)
def test_each_architectures_hypervisor_is_where_the_linker_script_puts_it(
    hvisor_tree: Path, board: str, start: str
) -> None:
    done = check("--hvisor-tree", str(hvisor_tree), "--board", board, "--format", "json")
    (report,) = json.loads(done.stdout)["boards"]
    hypervisor = report["hypervisor"]
    assert hypervisor["start"] == start
    assert int(hypervisor["end"], 0) - int(start, 0) == (8 << 19) + (64 << 20)
    assert hypervisor["line"] == 7
    assert report["checked"] == (
        ["zone-maps-hypervisor", "image-overlap", "zones-overlap", "physical-memory-list", "region-conflict"]
        if board.startswith("x86_64")
        else [
            "hypervisor-unreserved",
            "wrong-reservation",
            "zone-maps-hypervisor",
            "unmapped-memory",
            "image-overlap",
            "zones-overlap",
            "physical-memory-list",
            "region-conflict",
        ]
    )


BIRCH = "aarch64/birch"
# What board.rs keeps from zone 0 behind the earliest end of the hypervisor, and the device tree then does not.
GAP = (4, "0x44800000-0x44c00000")
TWICE = [(6, "0x80000000-0x90000000")] * 2  # zone 1 has two alternative configurations
HELD = "hvisor@40400000"
NODE = r"\t\thvisor@40400000 \{.*?\};\n"


@pytest.mark.parametrize(
    ("edits", "expected"),
    [
        # Rule 1, each way in which a reservation can be missing.
        ([replace("image/dts/zone0.dts", r"(?s)" + NODE, "", regex=True)], [(1, "0x40400000-0x44800000"), GAP]),
        (
            [replace("image/dts/zone0.dts", r"(?s)(" + NODE + ")", r"/* \1 */", regex=True)],
            [(1, "0x40400000-0x44800000"), GAP],
        ),
        (
            [replace("image/dts/zone0.dts", f"{HELD} {{", f'{HELD} {{ status = "disabled";')],
            [(1, "0x40400000-0x44800000"), GAP],
        ),
        (
            [replace("image/dts/zone0.dts", "\t\tranges;\n\n\t\thvisor", "\n\t\thvisor")],
            [(1, "0x40400000-0x44800000"), (2, "0x40400000-0x44800000"), GAP, *TWICE],
        ),
        (
            [
                replace(
                    "image/dts/zone0.dts",
                    f"{HELD} {{",
                    f"parts {{ #address-cells = <2>; #size-cells = <2>; ranges; {HELD} {{",
                ),
                replace("image/dts/zone0.dts", "\n\t\tnonroot", "};\n\t\tnonroot"),
            ],
            [(1, "0x40400000-0x44800000"), GAP],
        ),
        # Rules 1 and 2: too small, elsewhere, and made of parts that leave a gap.
        (
            [replace("image/dts/zone0.dts", "0x0 0x4800000>", "0x0 0x400000>")],
            [(1, "0x40800000-0x44800000"), (2, "0x40800000-0x44800000"), GAP],
        ),
        (
            [
                replace(
                    "image/dts/zone0.dts", "reg = <0x0 0x40400000 0x0 0x4800000>", "reg = <0 0x50000000 0 0x4800000>"
                )
            ],
            [(1, "0x40400000-0x44800000"), (2, "0x40400000-0x44800000"), GAP],
        ),
        (
            [
                replace(
                    "image/dts/zone0.dts",
                    "0x0 0x4800000>;",
                    "0x0 0x400000>, <0x0 0x40900000 0x0 0x4000000>, <0 0 0 0>;",
                )
            ],
            [(1, "0x40800000-0x40900000"), (2, "0x40800000-0x40900000"), (4, "0x44900000-0x44c00000")],
        ),
        ([replace("image/dts/zone0.dts", "no-map;", "reusable;")], [(1, "0x40400000-0x44800000"), (2, None), GAP]),
        # Overlapping reservations, and /memreserve/, are as good as one.
        (
            [
                replace(
                    "image/dts/zone0.dts",
                    "0x0 0x4800000>;",
                    "0x0 0x400000>; }; more@40600000 { reg = <0x0 0x40600000 0x0 0x4600000>;",
                )
            ],
            [],
        ),
        (
            [
                replace("image/dts/zone0.dts", r"(?s)" + NODE, "", regex=True),
                replace("image/dts/zone0.dts", "/dts-v1/;", "/dts-v1/;\n/memreserve/ 0x40400000 0x4800000;"),
            ],
            [],
        ),
        # Rule 3: an entry that was a comment; numbers as sums.
        ([replace("board.rs", "    // HvConfig", "    HvConfig")], [(3, "0x40400000-0x40401000")]),
        (
            [
                replace("board.rs", "size: 0x7b40_0000 }", "size: 0x100 }"),
                replace("board.rs", "0x44c0_0000", "0x447f_f000"),
            ],
            [
                (1, "0x447ff000-0x447ff100"),
                (2, "0x44c00000-0x44c00100"),  # where the zone sees it
                (3, "0x447ff000-0x447ff100"),
                (4, "0x44c00100-0x80000000,0x90000000-0xc0000000"),
            ],
        ),
        # Rule 4: a second bank that no region has.
        (
            [replace("image/dts/zone0.dts", "reg = <0x0 0x40000000 0x0 0x80000000>", "reg = <0 0x40000000 1 0>")],
            [(4, "0xc0000000-0x140000000")],
        ),
        # Rule 5: the device tree over the hypervisor, and over nothing else.
        (
            [replace("board.rs", "DTB_ADDR: u64 = 0x4f00_0000", "DTB_ADDR: u64 = 0x4040_0000 + 0x1000")],
            [(5, None)],
        ),
        ([replace("board.rs", "KERNEL_ADDR: u64 = 0x6000_0000", "KERNEL_ADDR: u64 = 0x4f00_0000 + 8")], [(5, None)]),
        # Rule 6: zone 1 where it is not reserved, and over the hypervisor.
        (
            [
                replace(
                    "image/dts/zone0.dts", "reg = <0x0 0x80000000 0x0 0x10000000>", "reg = <0 0x80000000 0 0xff00000>"
                )
            ],
            [(6, "0x8ff00000-0x90000000"), (6, "0x8ff00000-0x90000000")],
        ),
        (
            [replace("configs/zone1-linux.json", '"0x80000000",', '"0x44700000",')],
            [(6, "0x44700000-0x44800000"), (6, None)],
        ),
        # Rule 7.
        (
            [
                replace(
                    "board.rs",
                    "(0x4000_0000, 0xc000_0000, MemoryType::Normal)",
                    "(0x4010_0000, 0xc000_0000, M::Normal)",
                )
            ],
            [(7, "0x40100000-0xc0000000"), (7, "0x40000000-0x40100000")],
        ),
        (
            [
                replace(
                    "board.rs",
                    "(0xc000_0000, 0xd000_0000, MemoryType::Device)",
                    "(0x3000_0000, 0x4000_0000, M::Device)",
                )
            ],
            [(7, "0x30000000-0x40000000")],
        ),
        # Rule 8.
        (
            [
                replace("board.rs", "physical_start: 0xf_f000_0000", "physical_start: 0x5000_0000"),
                replace("board.rs", "virtual_start: 0xf_f000_0000", "virtual_start: 0x5000_0000"),
            ],
            [(8, "0x50000000-0x50001000")],
        ),
        (
            [replace("board.rs", "size: 4 * 1024", "size: (0x100_0000 + 4096) as usize")],
            [(8, "0xff1000000-0xff1001000")],
        ),
    ],
)
def test_each_rule_broken(hvisor_tree: Path, edits: list[Edit], expected: list[tuple[int, str | None]]) -> None:
    for edit in edits:
        edit(hvisor_tree / "platform" / BIRCH)
    done = check("--hvisor-tree", str(hvisor_tree), "--board", BIRCH, "--format", "json")
    assert done.exit_code == (1 if expected else 4), done.output
    found = findings(done)
    said = [(rule, ",".join(wrong)) for _, rule, wrong in found]
    assert [rule for rule, _ in said] == [rule for rule, _ in expected], said
    assert [wrong for (_, wrong), (_, right) in zip(said, expected, strict=True) if right] == [
        right for _, right in expected if right
    ]


def test_another_zones_tree_gives_more_than_its_configuration(hvisor_tree: Path) -> None:
    """Each alternative is looked at with the tree that it names: of two, only one is wrong."""
    birch = hvisor_tree / "platform" / BIRCH
    replace("configs/zone1-linux.json", '"0x10000000"', '"0xf000000"')(birch)
    done = check("--hvisor-tree", str(hvisor_tree), "--board", BIRCH, "--format", "json")
    (found,) = json.loads(done.stdout)["boards"][0]["findings"]
    assert (found["number"], found["zone"]) == (4, 1)
    assert found["wrong"] == [{"start": "0x8f000000", "end": "0x90000000"}]
    assert [stretch["file"].rpartition("/")[2] for stretch in found["stretches"]] == [
        "zone1-linux.dts",
        "zone1-linux.json",
    ]
    assert found["mend"]["file"].endswith("zone1-linux.dts"), "zone 0 has these addresses, too"


def test_one_cell_addresses(hvisor_tree: Path) -> None:
    replace("image/dts/zone0.dts", "0x4800000>", "0x400000>")(hvisor_tree / "platform" / "aarch64" / "maple")
    done = check("--hvisor-tree", str(hvisor_tree), "--board", "maple")
    assert done.exit_code == 1
    assert "hvisor@40400000 { no-map; reg = <0x40400000 0x4800000>; };" in done.stdout


def test_a_finding_in_an_included_tree_has_its_own_line(hvisor_tree: Path) -> None:
    oak = hvisor_tree / "platform" / "aarch64" / "oak"
    replace("image/dts/zone0.dts", "0x4800000>", "0x400000>")(oak)
    done = check("--hvisor-tree", str(hvisor_tree), "--board", "oak", "--format", "json")
    lines = (oak / "image" / "dts" / "zone0.dts").read_text().splitlines()
    (report,) = json.loads(done.stdout)["boards"]
    for finding in report["findings"]:
        for stretch in finding["stretches"]:
            if stretch["node"]:
                assert stretch["node"].rpartition("/")[2] in lines[stretch["line"] - 1]


def test_a_board_that_cannot_be_read_does_not_cost_the_others(hvisor_tree: Path) -> None:
    (hvisor_tree / "platform" / "riscv64" / "yew" / "board.rs").write_text("pub const {")
    replace("image/dts/zone0.dts", "0x4800000>", "0x400000>")(hvisor_tree / "platform" / BIRCH)
    done = check("--hvisor-tree", str(hvisor_tree))
    assert done.exit_code == 2
    assert "riscv64/yew/board.rs:1: this cannot be read as Rust" in done.stderr
    assert "18 boards: 1 with findings, 16 without, but not wholly checked, 1 not readable" in done.stdout
    said = json.loads(check("--hvisor-tree", str(hvisor_tree), "--format", "json").stdout)
    assert [one["board"] for one in said["unreadable"]] == ["riscv64/yew"]


def test_two_trees_of_zone_0_are_two_reports_and_no_finding_twice(hvisor_tree: Path) -> None:
    birch = hvisor_tree / "platform" / BIRCH
    replace("board.rs", "    // HvConfig", "    HvConfig")(birch)
    tree = (birch / "image" / "dts" / "zone0.dts").read_text()
    (birch / "image" / "dts" / "zone0-npu.dts").write_text(tree.replace("0x4800000>", "0x400000>", 1))
    done = check("--hvisor-tree", str(hvisor_tree), "--board", "birch", "--format", "json")
    assert [(board, rule) for board, rule, _ in findings(done)] == [
        (f"{BIRCH} (zone0.dts)", 3),
        (f"{BIRCH} (zone0-npu.dts)", 1),
        (f"{BIRCH} (zone0-npu.dts)", 2),
        (f"{BIRCH} (zone0-npu.dts)", 4),
    ]


def test_what_is_given_takes_the_place_of_what_is_found(hvisor_tree: Path, make_elf: Callable[..., bytes]) -> None:
    elf = hvisor_tree / "hvisor"
    start = 0x40400000
    elf.write_bytes(make_elf({"skernel": start, "__core_end": start + 0x500000}, linked=start))
    done = check("--hvisor-tree", str(hvisor_tree), "--board", "birch", "--elf", str(elf), "--format", "json")
    assert findings(done)[0] == (BIRCH, 1, ["0x44c00000-0x44d00000"])
    (report,) = json.loads(done.stdout)["boards"]
    assert report["hypervisor"]["end"] == "0x44d00000"
    assert not any("or later" in one["why"] for one in report["unchecked"])


@pytest.mark.parametrize("kind", ["dtb", "dts"])
def test_a_tree_that_is_given_is_the_only_one(hvisor_tree: Path, kind: str) -> None:
    dts = hvisor_tree / "platform" / BIRCH / "image" / "dts"
    (dts / "zone0-npu.dts").write_text((dts / "zone0.dts").read_text())
    given = Path(__file__).parents[1] / "data" / "layout" / f"zone0.{kind}"
    done = check("--hvisor-tree", str(hvisor_tree), "--board", "birch", f"--{kind}", str(given), "--format", "json")
    (report,) = json.loads(done.stdout)["boards"]
    assert report["board"] == BIRCH
    named = {stretch["file"] for finding in report["findings"] for stretch in finding["stretches"] if stretch["node"]}
    assert str(given) in named
    assert not any(name.startswith(str(dts / "zone0")) for name in named)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--board", "birch"], "chooses from hvisor's sources"),
        (["--hvisor-tree", "{tree}", "--board", "nix"], "there is no such board"),
        (["--hvisor-tree", "{tree}/src"], "no platform/ARCH/BOARD/board.rs"),
        (["--hvisor-tree", "{tree}", "--elf", "x"], "--elf and --hvisor-tree: of which board is it?"),
        (["--hvisor-tree", "{tree}", "--range", "0-0x1000"], "--range and --hvisor-tree"),
        (["--hvisor-tree", "{tree}", "--svg", "x.svg"], "--svg draws one memory map"),
    ],
)
def test_usage(hvisor_tree: Path, arguments: list[str], said: str) -> None:
    done = check(*(argument.format(tree=hvisor_tree) for argument in arguments))
    assert isinstance(done.exception, UsageError)
    assert said in done.exception.message


def test_annotations_for_github(hvisor_tree: Path) -> None:
    birch = hvisor_tree / "platform" / BIRCH
    replace("image/dts/zone0.dts", "0x4800000>", "0x400000>")(birch)
    script = hvisor_tree / "platform" / "riscv64" / "yew" / "linker.ld"
    script.write_text("SECTIONS {\n . = BASE; skernel = .; }")
    done = check("--hvisor-tree", str(hvisor_tree), "--format", "github")
    errors = [line for line in done.stdout.splitlines() if line.startswith("::error")]
    assert len(errors) == 4
    tree = birch / "image" / "dts" / "zone0.dts"
    assert errors[0].startswith(f"::error file={tree},line=8,title=aarch64/birch%3A rule 1%2C hypervisor-unreserved::")
    assert errors[3].startswith(f"::error file={script},line=2,title=riscv64/yew%3A cannot be read::")


def test_json_is_the_verdicts_form(hvisor_tree: Path) -> None:
    replace("image/dts/zone0.dts", "0x4800000>", "0x400000>")(hvisor_tree / "platform" / BIRCH)
    said: dict[str, Any] = json.loads(
        check("--hvisor-tree", str(hvisor_tree), "--board", "birch", "--format", "json").stdout
    )
    assert said["schema"] == "hvrig-layout-check/1"
    assert said["exit_status"] == 1
    first = said["boards"][0]["findings"][0]
    assert first["rule"] == "hypervisor-unreserved"
    assert first["mend"]["text"] == "hvisor@40400000 { no-map; reg = <0x0 0x40400000 0x0 0x4800000>; };"


FILES = (
    "src/consts.rs",
    *(
        f"platform/aarch64/oak/{name}"
        for name in ("board.rs", "linker.ld", "image/dts/zone0.dts", "image/dts/made-up.h")
    ),
    "platform/aarch64/oak/configs/zone1-linux.json",
)


@given(file=st.sampled_from(FILES), at=st.floats(0, 1), cut=st.integers(0, 40), put=st.binary(max_size=12))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_file_is_an_error_or_another_layout(
    hvisor_tree: Path, file: str, at: float, cut: int, put: bytes
) -> None:
    path = hvisor_tree / file
    whole = path.read_bytes()
    start = int(at * len(whole))
    path.write_bytes(whole[:start] + put + whole[start + cut :])
    try:
        done = check("--hvisor-tree", str(hvisor_tree), "--board", "oak")
    finally:
        path.write_bytes(whole)
    assert isinstance(done.exception, SystemExit), done.exception
    assert done.exit_code in (1, 2, 4)
    assert done.exit_code != 2 or "platform/aarch64/oak/" in done.stderr or "consts.rs" in done.stderr
