import unicodedata
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvrig.model.harmless import harmless

# Alphabet of what a hostile board would use, so that hypothesis finds combinations and not only lone characters.
NASTY = st.text(
    st.sampled_from("\x1b\x9b[]m;01:# \t\r\n\x08\x07\x00\x7f\u202e\u2028\ufeff\ud800\uffffabz\u00a0") | st.characters(),
    max_size=60,
)


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("\x1b[33m[WARN  1] (hvisor::zone:42) text\x1b[m\r\n", "[WARN  1] (hvisor::zone:42) text\n"),
        ("  setting  12\x08\x08\x08\x08\x08\x08testing   3", "  setting  12 testing   3"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("\x1b\x1b[31m[31mx", "\\x1b[31mx"),
        ("\x9b2Jx", "x"),
        ("a\x85b\x9bc", "a\\x85b"),
        ("safe\u202etxt.exe", "safe\\u202etxt.exe"),
        ("a\u2028b", "a\\u2028b"),
        ("a\rb\r\r\nc", "a\nb\nc"),
        ("\ud800", "\\ud800"),
        ("\ufffd bytes", "\ufffd bytes"),
        ("::error file=a::b", ": :error file=a::b"),
        ("x\n \t::stop-commands::y", "x\n \t: :stop-commands::y"),
        ("x :::debug::", "x : : :debug::"),
        ("a ##[error]b", "a # #[error]b"),
        ("##vso[task.complete]", "# #vso[task.complete]"),
        ("#\x1b[m#[group]", "# #[group]"),
        ("core::panicking::panic", "core::panicking::panic"),
        ("root@linaro-alip:/#", "root@linaro-alip:/#"),
    ],
)
def test_what_is_shown(raw: str, shown: str) -> None:
    assert harmless(raw) == shown


def test_one_line() -> None:
    assert harmless("a\r\nb\tc\n::d", keep_newlines=False) == "a b c : :d"


@given(NASTY, st.booleans())
def test_nothing_acts(raw: str, keep_newlines: bool) -> None:
    shown = harmless(raw, keep_newlines=keep_newlines)
    lines = shown.splitlines()
    assert keep_newlines or len(lines) <= 1
    assert "\r" not in shown
    for line in lines:
        assert all(c == "\t" or unicodedata.category(c)[0] != "C" for c in line)
        assert not line.strip().startswith("::")
        assert "##[" not in line
    assert harmless(shown, keep_newlines=keep_newlines) == shown


@given(NASTY)
def test_legal_in_xml(raw: str) -> None:
    element = ET.Element("a")
    element.text = harmless(raw)
    assert ET.fromstring(ET.tostring(element)).text == (element.text or None)
