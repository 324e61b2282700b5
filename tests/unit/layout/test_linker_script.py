from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvrig.layout.linker_script import LinkedStart, read_linked_start
from hvrig.model.errors import UsageError

SCRIPT = """ENTRY(arch_entry)
BASE_ADDRESS = 0x40400000;
CPU_NUM = 4;

SECTIONS
{
    . = BASE_ADDRESS;
    skernel = .;
    .text : { *(.text.entry) }
    . = ALIGN(4K);
    __core_end = .;
}
__hv_end = __core_end + HV_EXTENDED_SIZE;
"""


def test_the_start_and_its_line() -> None:
    assert read_linked_start(SCRIPT, "linker.ld") == LinkedStart(0x40400000, "linker.ld:7")


@pytest.mark.parametrize(
    ("text", "start", "line"),
    [
        (". = 0x80200000; skernel = .;", 0x80200000, 1),
        ("/* BASE = 0x1;\n*/ BASE = 0x500000;\n. = BASE; skernel = .;", 0x500000, 3),
        ("A = 1M;\nB = (A << 2) + 0x10 * 4 - 010;\n. = B; skernel = .;", 0x400000 + 64 - 8, 3),
        ("A = ALIGN(4K); . = 64K | 1; skernel = . & ~0x1;", None, None),
        ("A = ALIGN(4K); . = 64K; skernel = . + 4;", 0x10004, 1),
        ("_skernel = 3; . = 5; skernel = .; skernel = 7;", 5, 1),
        ("SECTIONS { . = 2097152; skernel = .; }", 2 << 20, 1),
    ],
)
def test_expressions(text: str, start: int | None, line: int | None) -> None:
    if start is None:
        with pytest.raises(UsageError, match=r"^l\.ld:1: this expression cannot be computed"):
            read_linked_start(text, "l.ld")
    else:
        assert read_linked_start(text, "l.ld") == LinkedStart(start, f"l.ld:{line}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "l.ld: no line of it sets skernel"),
        ("SECTIONS { . = 1; }", "l.ld: no line of it sets skernel"),
        ("\n. = BASE;\nskernel = .;", "l.ld:2: this expression cannot be computed: 'BASE'"),
        (". = 1 / 0; skernel = .;", "l.ld:1: "),
        (". = 1 << 64; skernel = .;", "l.ld:1: "),
        (". = 0 - 1; skernel = .;", "l.ld:1: "),
        (". = 0x1ffffffffffffffff; skernel = .;", "l.ld:1: "),
        (". = 09; skernel = .;", "l.ld:1: "),
        (". = (1; skernel = .;", "l.ld:1: "),
        (". = 1 1; skernel = .;", "l.ld:1: "),
        (". = " + "(" * 400 + "1; skernel = .;", "l.ld:1: "),
    ],
)
def test_what_is_not_understood_is_said_with_its_line(text: str, said: str) -> None:
    with pytest.raises(UsageError) as refused:
        read_linked_start(text, "l.ld")
    assert refused.value.message.startswith(said)


@given(st.text(alphabet="skernl=.;+-*/%()<>|&{} 0x1KM\n", max_size=80))
def test_anything_is_read_or_refused(text: str) -> None:
    said = "l.ld"
    try:
        assert 0 <= read_linked_start(text, "l.ld").address < 1 << 64
    except UsageError as error:
        said = error.message
    assert said.startswith("l.ld")


@given(st.integers(0, (1 << 64) - 1), st.integers(0, 20))
def test_addresses_come_out_as_they_are_written(address: int, lines: int) -> None:
    text = "\n" * lines + f"B = {address:#x};\n. = B;\nskernel = .;"
    assert read_linked_start(text, "l.ld") == LinkedStart(address, f"l.ld:{lines + 2}")
