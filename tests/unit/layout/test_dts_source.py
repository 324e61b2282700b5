from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvrig.layout.dts_source import Node, read_dts
from hvrig.model.errors import UsageError

SOURCE = """\
/dts-v1/;
#include <dt-bindings/x.h>
/include/ "other.dtsi"
/memreserve/ 0x1000 0x1000;
/* a comment with { and } and ; */
/ {
	#address-cells = <2>;  // } not here
	model = "a \\"board\\" { x; }";
	odd:outer: bus@1 { lone; a-b,c#d = [12 34], "x"; /delete-property/ gone; };
#ifdef DEBUG
	debug { };
#endif
	last { reg = <(1 + 2) &{/bus@1} &outer>; ref = &{/bus@1}; };
};
&outer { more = <1>; };
&{/last} { };
"""


def names(nodes: list[Node] | tuple[Node, ...]) -> list[str]:
    return [node.name for node in nodes]


def test_nodes_and_properties_stand_where_they_stand() -> None:
    root, again, path = read_dts(SOURCE, "a.dts")
    assert (root.name, again.name, path.name) == ("/", "&outer", "&{/last}")
    assert names(root.children) == ["bus@1", "debug", "last"]
    bus, debug, last = root.children
    assert bus.labels == ("odd", "outer")
    assert SOURCE[slice(*bus.name_at)] == "bus@1"
    assert SOURCE[bus.start : bus.end].startswith("odd:outer: bus@1 {")
    assert SOURCE[bus.start : bus.end].endswith("gone; };")
    assert [one.name for one in bus.properties] == ["lone", "a-b,c#d"]
    assert debug.conditional
    assert not last.conditional
    cells = root.property("#address-cells")
    assert cells is not None
    assert cells.value is not None
    assert SOURCE[slice(*cells.value)] == "<2>"
    lone = bus.property("lone")
    assert lone is not None
    assert lone.value is None
    assert bus.property("missing") is None


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("/ {\n a = <1>\n};\n", 3, "semicolon is missing"),
        ("/ {\n};\n};\n", 3, "closes nothing"),
        ("/ {\n a {\n };\n", 1, "not closed"),
        ("{ };", 1, "no node's name"),
        ("/ { } /x/;", 1, "semicolon is missing"),
        ('/ {\n a = "never ends;\n};', 2, "cannot be read"),
        ("/ {\n};\n/memreserve/ 1", 3, "within a statement"),
        ("/ {\n = <1>;\n};", 2, "neither a node nor a property"),
        ("/ { a #define x\n};", 1, "must begin its line"),
        ("#ifdef A\n/ {\n#else\n/ {\n#endif\n};", 2, "not closed"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_line(text: str, line: int, said: str) -> None:
    with pytest.raises(UsageError) as refused:
        read_dts(text, "a.dts")
    assert refused.value.message.startswith(f"a.dts:{line}: ")
    assert said in refused.value.message


def test_nodes_deep_as_a_well_are_refused() -> None:
    with pytest.raises(UsageError, match="too deeply"):
        read_dts("a { " * 5000 + "};" * 5000, "a.dts")


@given(st.text(alphabet="/{};ab#<>\"'&*= \n:@\\", max_size=60))
def test_garbage_is_refused_or_read_and_nothing_else(text: str) -> None:
    with contextlib.suppress(UsageError):
        for node in read_dts(text, "a.dts"):
            assert text[node.opened] == "{"
            assert text[node.closed] == "}"
            assert text[slice(*node.name_at)] == node.name
