"""What the Markdown shows is what was given, and nothing in it acts: it is read back as a browser would."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.report.page import NASTY, no_command, page

from hvrig.model.harmless import harmless
from hvrig.report.markdown import BLOCK_LINES, TEXT_LIMIT, as_block, as_code, as_details, as_table, as_text


def shown(text: str) -> str:
    return harmless(text, keep_newlines=False).strip()


@given(NASTY)
def test_text_is_shown_as_it_is(raw: str) -> None:
    written = as_text(raw)
    read = page(f"x {written}")
    assert " ".join(read.text.split()) == " ".join(f"x {shown(raw)}".split())
    assert set(read.tags) <= {"p", "code"}
    assert no_command(written)
    assert not {"<", ">", "|", "\n"} & set(written.replace("`", "")) or "`" in written


@given(NASTY)
def test_text_alone_is_one_paragraph(raw: str) -> None:
    assert set(page(as_text(raw)).tags) <= {"p", "code"}


@given(NASTY)
def test_code_is_shown_as_it_is(raw: str) -> None:
    read = page(f"x {as_code(raw)}.")
    assert " ".join(read.text.split()) == " ".join(f"x {shown(raw)}.".split())
    assert set(read.tags) <= {"p", "code"}


@given(st.lists(st.tuples(NASTY, NASTY), min_size=1, max_size=4))
def test_a_table_keeps_its_cells(rows: list[tuple[str, str]]) -> None:
    read = page("\n".join(as_table(("one", "two:"), [(as_text(a), as_code(b)) for a, b in rows])))
    assert read.tags.count("td") == 2 * len(rows)
    assert set(read.tags) <= {"table", "thead", "tbody", "tr", "th", "td", "code"}


@given(NASTY | st.text("`~ \n", max_size=30))
def test_a_block_ends_where_it_should(raw: str) -> None:
    block = list(as_block(raw))
    read = page("\n".join([*block, "", "after"]))
    assert set(read.tags) <= {"pre", "code", "p"}
    assert read.tags.count("p") == 1, "nothing of it is outside"
    assert read.text.endswith("after\n")
    assert no_command("\n".join(block))


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("hvisor@500000 { no-map; reg = <0x0>; };", "`hvisor@500000` { no-map; reg = &lt;0x0&gt;; };"),
        ("ask @somebody at https://a.example/x now", "ask `@somebody` at `https://a.example/x` now"),
        ("see #221 or www.example.org", "see `#221` or `www.example.org`"),
        ("instead of hvisor@1, (a@b).", "instead of `hvisor@1`, (`a@b`)."),
        ("a|b @|", "a&#124;b @&#124;"),
        ("- a list", "\\- a list"),
        ("12. of it", "12\\. of it"),
        ("65.9 MiB", "65.9 MiB"),
        ("$x$ and <script>", "\\$x\\$ and &lt;script&gt;"),
        ("\x1b[31mred\x1b[m\n::error::x", "red : :error::x"),
    ],
)
def test_how_text_is_written(text: str, written: str) -> None:
    assert as_text(text) == written


def test_how_code_is_written() -> None:
    assert as_code("0x10") == "`0x10`"
    assert as_code("a`b``") == "``` a`b`` ```"
    assert as_code("a|b") == "a&#124;b"
    assert as_code("") == ""


def test_a_block_is_the_last_lines() -> None:
    block = list(as_block("\n".join(f"line {n}" for n in range(100)) + "\n"))
    assert block[0] == "```"
    assert block[1] == f"line {100 - BLOCK_LINES}"
    assert block[-2:] == ["line 99", "```"]
    assert list(as_block("a\n````\nb", "text"))[::4] == ["`````text", "`````"]
    assert list(as_block(" \n\x1b[m\n")) == []


def test_long_text_is_cut() -> None:
    assert len(as_text("x" * 10_000)) == TEXT_LIMIT + 4


def test_nothing_is_no_table_and_no_details() -> None:
    assert list(as_table(("a",), [])) == []
    assert list(as_details("a", [])) == []
    assert "details" in page("\n".join(as_details("a", ["b"]))).tags
