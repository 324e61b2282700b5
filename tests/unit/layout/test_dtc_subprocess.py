"""dtc and cpp themselves, on small files: what comes out of them is what hvrig reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from hvrig.layout.device_tree import read_device_tree
from hvrig.layout.dtc_subprocess import compile_device_tree, node_lines
from hvrig.model.errors import UsageError
from hvrig.model.memory import Range
from hvrig.model.memory_map import Use

DATA = Path(__file__).parents[2] / "data" / "layout"

TREE = """/dts-v1/;
#include "soc.dtsi"
/ {
	memory@200000 {
		device_type = "memory";
		reg = <0x0 BASE 0x0 0x8000000>;
	};
};
&held {
	hvisor@500000 { no-map; reg = <0x0 0x500000 0x0 0x4600000>; };
};
"""
SOC = """#define BASE 0x200000
/ {
	#address-cells = <2>;
	#size-cells = <2>;
	held: reserved-memory {
		#address-cells = <2>;
		#size-cells = <2>;
		ranges;
	};
};
"""


def test_a_tree_without_directives() -> None:
    path = DATA / "zone0.dts"
    compiled = compile_device_tree(path.read_bytes(), path)
    assert compiled.blob == (DATA / "zone0.dtb").read_bytes()
    assert compiled.lines["/memory@200000"] == f"{path}:10"
    assert compiled.lines["/reserved-memory/hvisor@480000"] == f"{path}:29"


@pytest.mark.parametrize("folder", ["soc folder", 'quoted "folder"', "."])
def test_a_tree_that_includes_and_defines(tmp_path: Path, folder: str) -> None:
    path, soc = tmp_path / "zone0 of board.dts", tmp_path / folder / "soc.dtsi"
    soc.parent.mkdir(exist_ok=True)
    soc.write_text(SOC)
    compiled = compile_device_tree(TREE.encode(), path, [soc.parent])
    tree = read_device_tree(compiled.blob, str(path), lines=compiled.lines).map
    (memory,), (held,) = tree.of(Use.TREE_MEMORY), tree.of(Use.RESERVED)
    assert (memory.range, memory.source) == (Range(0x200000, 0x8200000), f"{path}:4 /memory@200000")
    assert (held.range, held.source) == (Range(0x500000, 0x4B00000), f"{path}:10 /reserved-memory/hvisor@500000")
    assert Path(compiled.lines["/reserved-memory"].rpartition(":")[0]).resolve() == soc.resolve()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("/dts-v1/;\n/ {\n\tx\n};\n", "zone0.dts:4: dtc says: syntax error"),
        ('/dts-v1/;\n\n#include "missing.h"\n/ { };\n', "zone0.dts:3: cpp says: missing.h: No such file"),
        ("/dts-v1/;\n/ { a = <&nowhere>; };\n", "zone0.dts"),
        ("", "zone0.dts"),
        ("\0\xff", "zone0.dts"),
        ('/dts-v1/;\n/include/ "missing.dtsi"\n/ { };\n', "zone0.dts: dtc cannot take it: FATAL ERROR: Couldn't open"),
        ("/dts-v1/;\n#ifdef X\n/ { };\n", "zone0.dts:2: cpp says: unterminated #ifdef"),
    ],
)
def test_what_cannot_be_compiled_is_refused_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UsageError) as refused:
        compile_device_tree(text.encode("latin-1"), tmp_path / "zone0.dts")
    assert refused.value.message.startswith(str(tmp_path / said))


def test_an_error_in_what_is_included_names_both_files(tmp_path: Path) -> None:
    (tmp_path / "soc.dtsi").write_text("/ {\n\tx\n};\n")
    with pytest.raises(UsageError) as refused:
        compile_device_tree(b'/dts-v1/;\n#include "soc.dtsi"\n', tmp_path / "zone0.dts")
    path = tmp_path / "zone0.dts"
    assert refused.value.message == f"{path}: {tmp_path / 'soc.dtsi'}:3: dtc says: syntax error."


def test_a_missing_tool_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError) as refused:
        compile_device_tree(b"/dts-v1/; / { };", tmp_path / "zone0.dts")
    assert "dtc, which device tree sources need, cannot be run" in refused.value.message
    assert "device-tree-compiler" in refused.value.remedy


def test_text_that_looks_like_nodes_opens_none() -> None:
    annotated = """/dts-v1/;

/ { /* a.dts:1:3-9:3 */
	bootargs = "x {"; /* a.dts:2:2-2:9 */
	odd = "};", "y { /* b.dts:7:1-8:1 */"; /* a.dts:3:2-3:9 */
	label: node@1 { /* a.dts:4:9-6:4, b.dts:1:1-2:2 */
		reg = <0x01>; /* a.dts:5:3-5:8 */
	}; /* a.dts:4:9-6:4 */
	empty { /* a.dts:7:2-7:9 */
	}; /* a.dts:7:2-7:9 */
}; /* a.dts:1:3-9:3 */
"""
    assert node_lines(annotated) == {"/": "a.dts:1", "/node@1": "a.dts:4", "/empty": "a.dts:7"}
