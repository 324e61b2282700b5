"""Text from the board, made fit to be shown to a person or a CI service (decision 9).

What the board sends is untrusted: a console can carry terminal control, text that reads backwards, or the
commands that CI services take from a job's output. The raw bytes stay in `uart.log`; this is for every other way.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

# ECMA-48, 5.4: CSI, parameter bytes, intermediate bytes, one final byte. Colours and cursor moves say nothing to a
# reader, so a complete sequence goes away; anything else that begins with ESC stays visible.
_CSI = re.compile(r"(?:\x1b\[|\x9b)[0-?]{0,64}[ -/]{0,8}[@-~]")
_LINE_END = re.compile(r"\r*\n|\r+")
_BACKSPACES = re.compile(r"\x08+")  # memtester's progress: thousands of them
# GitHub takes a line that starts with `::`, after any white space; a wrapped line may start at any white space.
_COLON_COMMAND = re.compile(r"(?<!\S)::++")
# GitHub's older `##[name]`, Azure's `##vso[`, TeamCity's `##teamcity[`: anywhere in a line.
_HASH_COMMAND = re.compile(r"(?<!#)##++(?=\w{0,32}\[)")
# Control, format (bidirectional overrides, zero width), surrogates, private use, unassigned, line and paragraph
# separators: shown by number. What is left is also legal in XML 1.0.
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def harmless(text: str, *, keep_newlines: bool = True) -> str:
    r"""Show `text` without letting it act.

    Complete CSI sequences are dropped and a run of backspaces becomes one space; other invisible characters are
    shown as `\x07` or `\u202e`. All line ends become `\n`, or a space where `keep_newlines` is false (tabs too).
    CI commands (`::name::`, `##[name]`) get a space in their mark. A second pass changes nothing.
    """
    # A look for a few letters is a tenth of a search: floods of findings go through here.
    plain = _CSI.sub("", text) if "\x1b" in text or "\x9b" in text else text
    plain = _BACKSPACES.sub(" ", plain) if "\x08" in plain else plain
    plain = _LINE_END.sub("\n", plain) if "\r" in plain else plain
    if not keep_newlines:
        plain = plain.replace("\n", " ").replace("\t", " ")
    letters = plain.replace("\n", "").replace("\t", "")
    if not (letters.isascii() and letters.isprintable()):
        plain = "".join(map(_visible, plain))
    plain = _COLON_COMMAND.sub(_spread, plain) if "::" in plain else plain
    return _HASH_COMMAND.sub(_spread, plain) if "##" in plain else plain


def harmless_tree(value: object) -> object:
    """`value` with every string in it, keys too, made harmless."""
    if isinstance(value, str):
        return harmless(value)
    if isinstance(value, list):
        return [harmless_tree(item) for item in value]
    if isinstance(value, Mapping):
        return {harmless(str(key)): harmless_tree(item) for key, item in value.items()}
    return value


def workflow_command(level: str, properties: Mapping[str, str], text: str) -> str:
    """A command of GitHub's workflows, `::error file=a.c,line=3::text`, whose parts cannot act but as such.

    level: `error`, `warning` or `notice`.
    """
    listed = ",".join(
        f"{name}={_percent(harmless(value, keep_newlines=False), ':,')}" for name, value in properties.items()
    )
    return f"::{level} {listed}::{_percent(harmless(text), '')}"


def _percent(text: str, also: str) -> str:
    """GitHub's percent escapes for a command's text; `also` for characters that end a property's value."""
    return "".join(f"%{ord(c):02X}" if c in "%\r\n" or c in also else c for c in text)


def _visible(character: str) -> str:
    if character in "\n\t" or unicodedata.category(character) not in _INVISIBLE:
        return character
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


def _spread(found: re.Match[str]) -> str:
    return " ".join(found[0])


def last_lines(data: bytes, count: int = 10, width: int = 200) -> str:
    """The last `count` lines of console bytes that are not blank, harmless, each cut to its last `width` characters."""
    lines = (line.rstrip() for line in harmless(data.decode("utf-8", "replace")).split("\n"))
    return "\n".join([line[-width:] for line in lines if line][-count:])
