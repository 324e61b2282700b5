"""Markdown read back, as a browser would get it."""

from __future__ import annotations

from html.parser import HTMLParser

from hypothesis import strategies as st
from markdown_it import MarkdownIt

# Markdown's and HTML's own letters and words, so that hypothesis finds combinations.
_LETTERS = "`|<>&*_~[]()!#$\\@:/.-+=1\"'w a\n\t\x1b"
_WORDS = (
    "::",
    "www.",
    "https://x.y",
    "```",
    "&lt;",
    "<b>",
    "</details>",
    "##[",
    "\n\n",
    "    ",
    "\n```\n",
    "\n- ",
    "\n|-|\n",
)
NASTY = st.lists(st.sampled_from([*_LETTERS, *_WORDS]) | st.characters(), max_size=30).map("".join)


class Page(HTMLParser):
    """The elements of a page, and the text in it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def page(markdown: str) -> Page:
    return Page(MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(markdown))


def no_command(markdown: str) -> bool:
    """GitHub's runner takes a line that begins with `::`, and `##[` anywhere."""
    return "##[" not in markdown and not any(line.strip().startswith("::") for line in markdown.splitlines())
