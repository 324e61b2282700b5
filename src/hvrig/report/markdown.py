"""Text as GitHub-flavoured Markdown that shows it and does nothing else (decision 9). Pure.

Markdown: CommonMark 0.31 and the tables of GitHub's own specification. What GitHub adds when it shows a page (links for
`@name`, `#12`, addresses of web pages; mathematics between `$`) is kept off, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from hvrig.model.harmless import harmless

# Longer text is cut: a summary has a limit, and the whole text is in verdict.json.
TEXT_LIMIT = 2_000
BLOCK_LINES = 40
BLOCK_WIDTH = 300

# A bar would end a table's cell, even in a code span; `<` and `&` begin HTML.
_REPLACED = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "|": "&#124;"} | {c: "\\" + c for c in "\\`*_[]~$#"}
# What would begin a list, or underline the line before as a heading.
_OPENING = re.compile(r"\A(?:[-+=]|\d+(?=[.)](?:\s|\Z)))")
# Words that GitHub makes links of. It does not look into code spans.
_LINKED = re.compile(r"@|://|\bwww\.|#\d|\bGH-\d", re.IGNORECASE)
# A word without the punctuation around it, which stays outside of the code span.
_CORE = re.compile(r"(?P<before>[(\[{'\"]*)(?P<core>.*?)(?P<after>[)\]}'\".,;:!?]*)")
_TICKS = re.compile(r"`+")


def as_text(text: str) -> str:
    """One line of text; words that would become links are code spans."""
    return _escaped(_line(text))


def as_code(text: str) -> str:
    """One line as a code span; as text where it has a bar, which a table would not take even there."""
    line = _line(text)
    if not line or "|" in line:
        return _escaped(line)
    return _span(line)


def as_block(text: str, language: str = "") -> Iterator[str]:
    """The last BLOCK_LINES lines as a fenced block, nothing where there is no text. language: ours, not the board's."""
    lines = harmless(text).strip("\n").split("\n")[-BLOCK_LINES:]
    lines = [_cut(line.replace("\t", "    "), BLOCK_WIDTH) for line in lines]
    if not any(line.strip() for line in lines):
        return
    fence = "`" * max(3, 1 + _longest_run("\n".join(lines)))
    yield fence + language
    yield from lines
    yield fence


def as_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """A table of cells that are Markdown already, by `as_text` or `as_code`; nothing where there are no rows.

    A column whose head ends with a colon is aligned to the right.
    """
    written = [_row(row) for row in rows]
    if written:
        yield _row([name.removesuffix(":") for name in head])
        yield _row(["---:" if name.endswith(":") else "---" for name in head])
        yield from written


def as_details(title: str, lines: Iterable[str]) -> Iterator[str]:
    """Lines of Markdown behind a title that opens them; nothing where there are none. title: ours."""
    inside = list(lines)
    if inside:
        yield f"<details><summary>{title}</summary>"
        yield ""
        yield from inside
        yield ""
        yield "</details>"


def _line(text: str) -> str:
    return _cut(harmless(text, keep_newlines=False).strip(), TEXT_LIMIT)


def _escaped(line: str) -> str:
    return _OPENING.sub(_hold, " ".join(map(_word, line.split(" "))))


def _word(word: str) -> str:
    parts = _CORE.fullmatch(word)
    if parts is None or not parts["core"] or "|" in word or not _LINKED.search(word):
        return _escape(word)
    return _escape(parts["before"]) + _span(parts["core"]) + _escape(parts["after"])


def _escape(text: str) -> str:
    return "".join(_REPLACED.get(character, character) for character in text)


def _hold(found: re.Match[str]) -> str:
    """`-` as `\\-`; `12`, which a dot follows, as `12\\`."""
    return f"{found[0]}\\" if found[0].isdigit() else f"\\{found[0]}"


def _span(line: str) -> str:
    ticks = "`" * (1 + _longest_run(line))
    pad = " " if line.startswith("`") or line.endswith("`") or (line[0] == line[-1] == " ") else ""
    return f"{ticks}{pad}{line}{pad}{ticks}"


def _longest_run(text: str) -> int:
    return max(map(len, _TICKS.findall(text)), default=0)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[:limit] + " ..."
