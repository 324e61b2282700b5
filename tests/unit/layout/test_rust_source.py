from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvrig.layout.rust_source import Constants, RustSource
from hvrig.model.errors import UsageError


def value_of(expression: str, *others: str) -> int | None:
    source = RustSource(f"const X: u64 = {expression};\n{''.join(others)}".encode(), "board.rs")
    return Constants((source,)).integer("X")


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("0x4_f000_0000", 0x4F0000000),
        ("1_024", 1024),
        ("0b1010_u64", 10),
        ("0o17usize", 15),
        ("0xeu64", 14),
        ("0x1e8", 0x1E8),
        ("(1 << 0) | (1 << 3)", 9),
        ("(1 << 2) - 1", 3),
        ("0x3fbffffff - 0x100000000 + 1", 0x2FC000000),
        ("64 * 1024 * 1024 // 64 MiB\n", 64 << 20),
        ("2 /* twice */ * (/* three */ 3)", 6),
        ("7 / 2 + 7 % 2", 4),
        ("0xff & 0x0f ^ 0x01", 14),
        ("(0x1_0000_0001u64 as u32) as u64", 1),
        ("u32::MAX as u64 + 1", 1 << 32),
        ("usize::MAX", (1 << 64) - 1),
        ("1 << 63", 1 << 63),
        ("SIZE", 0x1000),
        ("crate::consts::SIZE * 2", 0x2000),
        ("self::SIZE", 0x1000),
    ],
)
def test_constant_expressions(expression: str, value: int) -> None:
    assert value_of(expression, "pub const SIZE: usize = 0x1000;") == value


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("3 - 4", "fits 64 bits"),
        ("u64::MAX + 1", "fits 64 bits"),
        ("1 / 0", "without a result"),
        ("1 << 64", "without a result"),
        ("compute(3)", "can be computed here"),
        ("1.5", "can be computed here"),
        ("MISSING", "none of the given files defines"),
        ("X", "refers to itself"),
        ("(" * 500 + "1" + ")" * 500, "too deeply nested"),
        ("__core_end as *mut u8", "not an integer's"),
        ("1 < 2", "not arithmetic"),
    ],
)
def test_what_cannot_be_computed_is_said_with_its_line(expression: str, why: str) -> None:
    with pytest.raises(UsageError, match=why) as refused:
        value_of("\n" + expression)
    assert refused.value.message.startswith(("board.rs:2: ", "board.rs:1: "))


def test_constants_come_from_the_first_source_that_has_them() -> None:
    board = RustSource(b"pub const CPUS: usize = 8; pub const N: usize = crate::consts::SIZE;", "board.rs")
    consts = RustSource(b"pub const CPUS: usize = 4; pub const SIZE: usize = CPUS * 2;", "consts.rs")
    constants = Constants((board, consts))
    assert constants.integer("CPUS") == 8
    assert constants.integer("N") == 8, "a constant's own file comes first for the names in it"
    assert constants.integer("OTHER") is None


def test_a_constant_that_cfg_chooses_is_not_guessed() -> None:
    text = "#[cfg(a)]\npub const N: usize = 1;\n#[cfg(not(a))]\npub const N: usize = {};\n"
    with pytest.raises(UsageError, match=r"consts\.rs:2: N has several values"):
        Constants((RustSource(text.format(2).encode(), "consts.rs"),)).integer("N")
    assert Constants((RustSource(text.format(1).encode(), "consts.rs"),)).integer("N") == 1


@pytest.mark.parametrize("text", ["const X: u64 = ;", "fn main() {", "\0\0\0", "const A: u64 = 1;\n]]"])
def test_what_is_not_rust_is_refused_with_its_line(text: str) -> None:
    with pytest.raises(UsageError, match=r"^board\.rs:[12]: this cannot be read as Rust"):
        RustSource(text.encode(), "board.rs")


_NUMBERS = st.recursive(
    st.integers(0, 1 << 20).map(lambda n: (f"{n:#x}", n)),
    lambda inner: st.tuples(inner, st.sampled_from("+*|"), inner).map(
        lambda t: (
            f"({t[0][0]} {t[1]} {t[2][0]})",
            {"+": t[0][1] + t[2][1], "*": t[0][1] * t[2][1], "|": t[0][1] | t[2][1]}[t[1]],
        )
    ),
    max_leaves=8,
)


@given(_NUMBERS)
def test_arithmetic_agrees_with_pythons(case: tuple[str, int]) -> None:
    expression, value = case
    if value < 1 << 64:
        assert value_of(expression) == value
    else:
        with pytest.raises(UsageError, match="fits 64 bits"):
            value_of(expression)


@given(st.one_of(st.binary(max_size=300), st.text(alphabet="const X:u64=();{}[]&<>0x19_,#/*\n", max_size=300)))
def test_garbage_is_read_or_refused(data: bytes | str) -> None:
    text = data.encode() if isinstance(data, str) else data
    refused = None
    try:
        Constants((RustSource(text, "board.rs"),)).integer("X")
    except UsageError as error:
        refused = error.message
    assert refused is None or refused.startswith("board.rs:")
