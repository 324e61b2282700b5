"""One fault's report, from its first words to its last line."""

from __future__ import annotations

import re
from functools import lru_cache

from hvrig.model.finding import Finding, Origin
from hvrig.watch.catalogue import Field, FieldType, Kind
from hvrig.watch.harmless import EXCERPT_BYTES, harmless

# A line of a one-line kind may be so long, a report of several lines so long altogether, before it is cut.
_LINE_BYTES = 4096
_REPORT_BYTES = 4 * _LINE_BYTES
_MESSAGE_CHARACTERS = 200

# memtester's progress on the same UART: a backspace and the next of `-\|/`, between any two bytes of a report.
_SPIN = re.compile(rb"\x08+[-\\|/]?")
_PREFIX = re.compile(
    r"\A(?:\[[^\]\n]{1,20}\]){1,2} ?"
    r"(?:(?:ERROR|WARN|INFO|DEBUG|TRACE) {1,2}CPU\d{1,3} \S{1,40} )?"
    r"(?:\([^)\n]{1,100}\) )?"
)

_compiled = lru_cache(maxsize=256)(re.compile)


class Report:
    """Collects a report's lines; `finding` says what they came to, however many survived.

    offset: of its first byte in the raw stream. t: when its words came. cpu: of its log line's prefix.
    """

    def __init__(self, kind: Kind, *, offset: int, t: float, cpu: int | None, words: int) -> None:
        self.kind = kind
        self.offset = offset
        self.t = t
        self.cpu = cpu
        self.words_seen = {words}
        self.lines = 0
        self.alarmed = False
        self._room = _LINE_BYTES if kind.max_lines == 1 else _REPORT_BYTES
        self._text = b""

    @property
    def room(self) -> int:
        """Bytes that may still come before the report is cut; at least 1 while it is open."""
        return self._room

    def take(self, piece: bytes) -> bool:
        """Take the next bytes, at most `room`, up to and with a newline. Returns whether the report is complete."""
        self._room -= len(piece)
        kept = _SPIN.sub(b"", piece)
        self._text += kept[: EXCERPT_BYTES - len(self._text)]
        if not piece.endswith(b"\n"):
            return self._room <= 0
        self.lines += 1
        ended = self.kind.end is not None and _compiled(self.kind.end).search(kept) is not None
        return ended or self.lines >= self.kind.max_lines or self._room <= 0

    def finding(self) -> Finding:
        """What the report said, and what it should have said and did not."""
        fields: dict[str, int | bool | str] = {}
        missing: list[str] = []
        if self.kind.line_is_message:
            fields["message"] = _PREFIX.sub("", harmless(self._text)).split("\n", 1)[0].strip()[:_MESSAGE_CHARACTERS]
        for name, field in self.kind.fields.items():
            value = _value(field, self._text)
            if value is not None:
                fields[name] = value
            elif field.required:
                missing.append(name)
        return Finding(
            kind=self.kind.name,
            origin=self.kind.origin,
            offset=self.offset,
            t=self.t,
            zone=self._zone(),
            cpu=self.cpu if self.cpu is not None else self._number(self.kind.cpu),
            fields=fields,
            missing=tuple(missing),
            excerpt=harmless(self._text),
        )

    def _zone(self) -> int | None:
        number = self._number(self.kind.zone)
        if number is None and self.kind.origin is Origin.HYPERVISOR and b"root zone has" in self._text:
            return 0
        return number

    def _number(self, pattern: bytes | None) -> int | None:
        match = _compiled(pattern).search(self._text) if pattern is not None else None
        return int(match[1]) if match else None


def _value(field: Field, text: bytes) -> int | bool | str | None:
    match = _compiled(field.pattern).search(text)
    if match is None:
        return None
    match field.type:
        case FieldType.INTEGER:
            return int(match[1], 16 if match[1].startswith(b"0x") else 10)
        case FieldType.BOOLEAN:
            return bool(match[1] == b"true")
        case FieldType.TEXT:
            return harmless(match[1]).strip()[:_MESSAGE_CHARACTERS]
