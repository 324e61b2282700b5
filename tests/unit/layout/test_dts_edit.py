from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvrig.layout.dts_edit import Edited, put_reservation
from hvrig.layout.dts_source import Node, read_dts
from hvrig.layout.reservation import Reservation
from hvrig.model.errors import UsageError
from hvrig.model.memory import Range

WANTED = Reservation(Range(0x500000, 0x4B00000))
REG = "<0x0 0x500000 0x0 0x4600000>"


def put(text: str, *, in_tree: bool = True, reservation: Reservation = WANTED) -> Edited:
    return put_reservation(text, "a.dts", reservation, in_tree=in_tree)


def tree(inside: str) -> str:
    return f"/dts-v1/;\n/ {{\n\treserved-memory {{\n\t\tranges;\n{inside}\t}};\n}};\n"


def test_a_wrong_reservation_is_changed_and_nothing_else() -> None:
    text = tree(
        "\t\thv: hvisor@480000 { /* ours */\n\t\t\tno-map;\n\t\t\treg = <0x0 0x480000 0 0x400000>; // 4M\n\t\t};\n"
    )
    edited = put(text)
    assert edited.text == text.replace("hvisor@480000", "hvisor@500000").replace("<0x0 0x480000 0 0x400000>", REG)
    assert edited.replaced == "hvisor@480000"


def test_a_name_of_ones_own_stays_and_no_map_is_added() -> None:
    text = tree("\t\thypervisor-mem {\n\t\t\treg = <A B C D>;\n\t\t};\n")
    assert put(text).text == text.replace("reg = <A B C D>;", f"no-map;\n\t\t\treg = {REG};")
    one_line = tree("\t\thv@1 { reg = <1>, <2>; };\n")
    assert "\t\thv@500000 { no-map; reg = " + REG + "; };\n" in put(one_line).text


def test_it_is_added_to_what_is_there_already_in_its_style() -> None:
    text = "/ {\r\n  reserved-memory {\r\n    #size-cells = <2>;\r\n    ramoops@1 { };\r\n  };\r\n};\r\n"
    assert put(text).text == text.replace(
        "    ramoops@1 { };\r\n",
        "    ramoops@1 { };\r\n\r\n    hvisor@500000 {\r\n      no-map;\r\n      reg = " + REG + ";\r\n    };\r\n",
    )


def test_it_takes_the_cells_that_are_there() -> None:
    text = tree("\t\t#address-cells = <1>;\n\t\t#size-cells = <0x1>;\n")
    assert "reg = <0x500000 0x4600000>;" in put(text).text


def test_one_that_is_opened_again_is_found() -> None:
    text = "/ { rm: reserved-memory { }; };\n&rm {\n\thvisor@1 { reg = <1>; };\n};\n"
    assert "\thvisor@500000 { no-map; reg = " + REG in put(text).text


def test_a_tree_without_any_gets_one_that_linux_takes() -> None:
    text = '/dts-v1/;\n\n/ {\n    model = "x";\n};\n'
    assert put(text, in_tree=False).text == (
        '/dts-v1/;\n\n/ {\n    model = "x";\n\n'
        "    reserved-memory {\n        #address-cells = <2>;\n        #size-cells = <2>;\n        ranges;\n\n"
        f"        hvisor@500000 {{\n            no-map;\n            reg = {REG};\n        }};\n    }};\n}};\n"
    )
    assert put("/ { };", in_tree=False).text.startswith("/ {  reserved-memory { #address-cells = <2>;")


def test_what_an_included_file_has_is_opened_again() -> None:
    text = '#include "soc.dtsi"\n/ { };'
    edited = put(text)
    assert edited.text.startswith(text + "\n\n/ {\n\treserved-memory {\n\t\thvisor@500000 {")
    assert "#address-cells" not in edited.text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (tree("\t\thvisor@1 { reg = <1>; };\n\t\thv@2 { reg = <2>; };\n"), "a.dts:6: there are 2 reservations"),
        (tree("#if X\n\t\thvisor@1 { reg = <1>; };\n#endif\n"), "under an #if"),
        (tree("\t\thvisor { size = <1>; };\n"), "has no reg"),
        (tree("\t\thvisor@1 { reg = <1>; reusable; };\n"), "has reusable"),
        (tree('\t\thvisor@1 { reg = <1>; compatible = "shared-dma-pool"; };\n'), "has compatible"),
        (tree("\t\thvisor@1 { reg = <1>; a { }; };\n"), "has nodes in it"),
        ("#if X\n/ { };\n#endif\n", "no root node"),
        ("&soc { };", "no root node"),
        ("/ { ", "not closed"),
    ],
)
def test_what_would_be_guessing_is_refused(text: str, said: str) -> None:
    with pytest.raises(UsageError) as refused:
        put(text, in_tree=False)
    assert said in refused.value.message


# Random sources, written with all that may stand between two tokens.
space = st.sampled_from([" ", "\n", "\t", "\r\n", " /* { hvisor@1 } */ ", " // ;\n"])
value = st.sampled_from(["<0x1 0x2>", '"a { b; }"', "[12]", "<&{/x}>", '"x", <(1 + 2)>'])
prop = st.one_of(st.just("ranges;"), st.builds("p{0} = {1};".format, st.integers(0, 9), value))
reservation_name = st.sampled_from(["hvisor@480000", "hypervisor", "hv@1", "hvisor-mem@2"])


@st.composite
def node(draw: st.DrawFn, name: str, inside: st.SearchStrategy[str], depth: int = 2) -> str:
    parts = draw(st.lists(inside, max_size=3))
    if depth:
        parts += [draw(node(f"n{i}", inside, depth - 1)) for i in range(draw(st.integers(0, 2)))]
    body = "".join(draw(space) + part for part in parts)
    return f"{name}{draw(space)}{{{body}{draw(space)}}};"


@st.composite
def source(draw: st.DrawFn) -> str:
    parts = draw(st.lists(prop, max_size=3))
    mine = draw(st.sampled_from(["", "reserved"]))
    if mine:
        inside = draw(st.lists(node("ramoops@1", prop, 0), max_size=2))
        if draw(st.booleans()):
            name = draw(reservation_name)
            inside.append(
                f"{name}{draw(space)}{{{draw(space)}reg{draw(space)}={draw(space)}{draw(value)}{draw(space)};}};"
            )
        parts.append("reserved-memory {" + draw(space) + draw(space).join(inside) + draw(space) + "};")
    parts += [draw(node(f"dev@{i}", prop)) for i in range(draw(st.integers(0, 3)))]
    body = "".join(draw(space) + part for part in draw(st.permutations(parts)))
    return f"/dts-v1/;{draw(space)}/ {{{body}{draw(space)}}};{draw(space)}"


def flat(text: str, nodes: list[Node] | tuple[Node, ...], path: str = "") -> dict[str, list[str]]:
    """Every node but the hypervisor's with the text of its properties; one that is opened again is one."""
    found: dict[str, list[str]] = {}
    for one in nodes:
        at = path if one.name == "/" else f"{path}/{one.name}"
        if not one.name.startswith("h"):
            found.setdefault(at, []).extend(text[p.start : p.end] for p in one.properties)
            for inner, said in flat(text, one.children, at).items():
                found.setdefault(inner, []).extend(said)
    return found


@given(source(), st.booleans())
def test_the_rest_is_left_as_it_is_byte_for_byte(text: str, in_tree: bool) -> None:
    edited = put(text, in_tree=in_tree)
    before, after = flat(text, read_dts(text, "a")), flat(edited.text, read_dts(edited.text, "a"))
    assert {path: after[path] for path in before} == before
    assert set(after) - set(before) <= {"/reserved-memory"}
    kept = [
        (node, parent) for parent in _reserved(edited.text) for node in parent.children if node.name.startswith("h")
    ]
    assert len(kept) == 1
    reg = kept[0][0].property("reg")
    assert reg is not None
    assert reg.value is not None
    assert edited.text[slice(*reg.value)] == REG
    assert kept[0][0].property("no-map") is not None
    # Nothing was taken away but the name and the value that were changed.
    head = next((i for i, (a, b) in enumerate(zip(text, edited.text, strict=False)) if a != b), len(text))
    tail = next(
        (i for i, (a, b) in enumerate(zip(text[::-1], edited.text[::-1], strict=False)) if a != b), len(text) - head
    )
    taken = text[head : len(text) - min(tail, len(text) - head)]
    assert not taken or edited.replaced
    # A second time there is nothing to change.
    assert put(edited.text, in_tree=True).text == edited.text


def _reserved(text: str) -> list[Node]:
    return [child for root in read_dts(text, "a") for child in root.children if child.name == "reserved-memory"]
