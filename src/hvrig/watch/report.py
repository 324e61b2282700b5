"""One fault's report, from its first words to its last line."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from functools import lru_cache

from hvrig.model.finding import Confidence, Finding, Origin
from hvrig.model.harmless import harmless
from hvrig.watch.catalogue import SHOWN_AFTER, Field, FieldType, Kind
from hvrig.watch.likeness import Likeness, likeness
from hvrig.watch.torn import without_progress

# What remains of another log line's head, inside of a report.
_HEAD = re.compile(rb"(?:ERROR|WARN) {1,3}(?:CPU)?\d")
# In its first line, the report's own level stands within so many bytes.
_OWN_HEAD = 24
# So much of a report is kept as its excerpt.
_EXCERPT_BYTES = 4096
# A line of a one-line kind may be so long, a report of several lines so long altogether, before it is cut.
_LINE_BYTES = 4096
_REPORT_BYTES = 4 * _LINE_BYTES
_MESSAGE_CHARACTERS = 200
# Of a line that was cut, so much is kept to be tried together with the next one.
_FRAGMENT_BYTES = 256
# An end that comes before all is said may be the guest's: so many more lines are waited for.
_LINES_BEHIND = 4
# A report in the short form has so many more lines, with what comes between.
_SHORT_LINES = 4

# Here a slash can be the progress's or the text's own, or the progress has words: in a path or a message it stays.
_SPIN_IN_TEXT = re.compile(rb"\x08+(?:[-\\|]|(?![/st]))")
_PREFIX = re.compile(
    r"\A(?:\[[^\]\n]{1,20}\]){1,2} ?"
    r"(?:(?:ERROR|WARN|INFO|DEBUG|TRACE) {1,2}CPU\d{1,3} \S{1,40} )?"
    r"(?:\([^)\n]{1,100}\) )?"
)

_SHOWN_AFTER = re.compile(SHOWN_AFTER)

_compiled = lru_cache(maxsize=256)(re.compile)

_Value = int | bool | str


class Proof(enum.Enum):
    """What must follow a report's first words before it is believed.

    NONE: they stand in a log line. OPENER: only above them is something left of one: their own line must match the
    kind's `opener`, or fields follow. FIELDS: nothing is left of one, and somebody's notes have a fault's words, too.
    LATER_FIELDS: they were typed, or what stands before them is what a tool puts before lines of a file; it would stand
    before the lines that follow, too, so that the fields must each have a later line for themselves.
    NEVER: it is a structure in a log line that tells no fault, kept open for its lines.
    """

    NONE = "none"
    OPENER = "opener"
    FIELDS = "fields"
    LATER_FIELDS = "later fields"
    NEVER = "never"


@dataclass(frozen=True)
class Claim:
    """A line gives a report the field that it lacks. torn: only together with what stood before another report."""

    field: str
    torn: bool


class Report:
    """Collects a report's lines; `finding` says what they came to, however many survived.

    offset: of its first byte in the raw stream. t: when its words came. cpu: of its log line's prefix.
    whole: its words came in one piece. proof: what must come before it is believed at all. presumed: none of its words
    came yet, only a log line's head from where the kind is logged; words or a field must come.
    """

    def __init__(
        self,
        kind: Kind,
        *,
        offset: int,
        t: float,
        cpu: int | None,
        words: int,
        whole: bool = True,
        proof: Proof = Proof.NONE,
        presumed: bool = False,
    ) -> None:
        self.kind = kind
        self.offset = offset
        self.t = t
        self.cpu = cpu
        self.words_seen = {words}
        self.lines = 0
        self.announced = False
        self.alarmed = False
        self._proof = proof
        self.presumed = presumed
        self._room = _LINE_BYTES if kind.max_lines == 1 else _REPORT_BYTES
        self._lines_left = kind.max_lines
        self._text = b""
        self._taken: dict[str, _Value] = {}
        self._lacking = [name for name, field in kind.fields.items() if field.required]
        self._zone: int | None = None
        self._fragment = b""
        self._broken_off = b""  # the last fragment
        self._below: dict[str, bytes] = {}  # what a field looks like on the lines below its opener
        self._short = False
        self._spoiled = False
        self._doubtful: set[str] = set()
        self._structured = False
        self._disturbed = False  # another report of the kind began inside, and its words were lost
        self._hurried = False
        self._low = not whole
        # Fields whose line could as well have been another report's, and that report.
        self._shared: dict[str, Report] = {}
        self._mixed = False

    @property
    def room(self) -> int:
        """Bytes that may still come before the report is cut; at least 1 while it is open."""
        return self._room

    @property
    def proven(self) -> bool:
        """Whether it is believed."""
        proven = self._proof is Proof.NONE or len(self._taken) >= self.kind.proof
        return proven and not (self.presumed or self.mute)

    @property
    def doubted(self) -> bool:
        """Whether its first line may be one that somebody typed or a tool shows, and its fields have not come yet."""
        return not (self.presumed or self.mute) and not self.proven

    @property
    def rootless(self) -> bool:
        """Whether it has words without anything of a log line's head, and none of its fields yet."""
        return self._proof is Proof.FIELDS and not (self.presumed or self._taken)

    def quotes(self, text: bytes) -> bool:
        """Whether words that follow `text` in their line are this report's message."""
        quotes = self.kind.quotes
        if quotes is None or "message" not in self._lacking:
            return False
        return _compiled(quotes).search(text) is not None or ("message" in self._below and text == b"        ")

    @property
    def mute(self) -> bool:
        """Whether it is of a log line that tells no fault."""
        return self._proof is Proof.NEVER

    @property
    def complete(self) -> bool:
        """Whether all that it must say has been said."""
        return not self._lacking

    @property
    def fresh(self) -> bool:
        """Whether its first line may not be over yet: a guest's lines stand in it."""
        return not self._taken and not self._short

    @property
    def has_begun(self) -> bool:
        """Whether one of its fields has come."""
        return bool(self._taken)

    @property
    def hurried(self) -> bool:
        """Whether something came that follows its end."""
        return self._hurried

    def claim(self, line: bytes) -> Claim | None:
        """The field that this report still lacks and `line`, alone or after a line's torn beginning, gives it."""
        if self.lines and b":" not in line and not (self._below or self._fragment):
            return None  # what a report's later lines say stands behind a colon
        line = without_progress(line)
        if _SHOWN_AFTER.match(line):
            return None
        for name in self._lacking:
            if self._structured and self._begins_short(line):
                continue
            if self._match(name, line) or any(
                _compiled(opener).search(line) for opener, _ in self.kind.fields[name].below
            ):
                return Claim(name, torn=False)
            if self._match_torn(name, line):
                return Claim(name, torn=True)
        return None

    def expects(self, name: str) -> bool:
        """Whether `name` is the next field in the order in which they are printed."""
        return bool(self._lacking) and self._lacking[0] == name

    def awaits(self, text: bytes) -> bool:
        """Whether `text` is the rest of the kind's first words, whose beginning stood before another report."""
        broken = self._broken_off
        cuts = _cuts(self.kind.words[0].literal) if broken else ()
        return any(broken.endswith(begun) and text.startswith(rest) for begun, rest in cuts)

    def broke_off_in(self, words: bytes) -> bool:
        """Whether another report broke in where these second words had begun: whole ones are not this report's."""
        begun = _begun(self.kind.words[0].literal, words)
        return self._broken_off.endswith(begun.ends) or begun.cut_off.search(self._text) is not None

    def ends_with(self, line: bytes) -> bool:
        """Whether `line` is the last of a report of this kind."""
        return self.kind.end is not None and _compiled(self.kind.end).search(without_progress(line)) is not None

    def begin_structure(self) -> None:
        """Its structure begins here: the lines before are none of its own, and it has no short form."""
        self._structured = True
        for name, other in self._shared.items():
            other._shared.pop(name, None)
            other._mixed = False
        self._shared.clear()
        self._mixed = False

    def share(self, name: str, other: Report) -> None:
        """Say that the line with `name`, taken by this report, could as well be `other`'s."""
        self._shared[name] = other
        other._shared[name] = self
        # Two reports that began one after the other before any of their lines: whose lines follow cannot be told.
        if (not other._taken and other.lines <= 1) or self._mixed or other._mixed:
            self._mixed = other._mixed = True

    def passed_over(self) -> None:
        """Say that an older report of the kind took a line that this one has, while it was open: they are woven."""
        if self._shared:
            self._mixed = True
            for other in self._shared.values():
                other._mixed = True

    @property
    def _behind_a_hole(self) -> set[str]:
        """The fields that came although one before them did not: whose lines they are, the order does not say."""
        order = [name for name, field in self.kind.fields.items() if field.required]
        return set(self._taken) & set(order[order.index(self._lacking[0]) :]) if self._lacking else set()

    @property
    def _has_hole(self) -> bool:
        return bool(self._behind_a_hole)

    def hurry(self, lines: int) -> None:
        """Something came that follows a report's end: so many more lines, at most, are waited for."""
        self._hurried = True
        self.limit(lines)

    def confirm(self) -> None:
        """It is what it was presumed to be."""
        if self.presumed:
            self.presumed = False
            self._lines_left = self.kind.max_lines - self.lines

    def limit(self, lines: int) -> None:
        """Wait for so many more lines at most."""
        self._lines_left = min(self._lines_left, lines)

    def cut(self, piece: bytes, by: Kind) -> bool:
        """Take a line's beginning that a report of kind `by` broke off. Returns whether the report is complete."""
        done = self.take(piece)
        self._low = self._low or (by is self.kind and self.lines > 0)
        self._fragment = self._broken_off = without_progress(piece)[-_FRAGMENT_BYTES:]
        return done

    def take(self, piece: bytes) -> bool:
        """Take the next bytes, at most `room`, up to and with a newline. Returns whether the report is complete."""
        lacking, doubted = len(self._lacking), self.doubted
        self._room -= len(piece)
        kept = without_progress(piece)
        self._text += kept[: _EXCERPT_BYTES - len(self._text)]
        if self._is_proved_by(kept):
            self._proof = Proof.NONE
        self._read(kept, _SPIN_IN_TEXT.sub(b"", piece) if b"\x08" in piece else kept)
        # Another CPU has written in between: whose lines these are is not certain.
        own = _OWN_HEAD if self._text == kept[:_EXCERPT_BYTES] else 0
        if self.kind.max_lines > 1 and (_HEAD.search(kept, own) or kept.count(b"hvisor::") > 1):
            self._low = True
        short = self._begins_short(kept)
        if short and not self.lines:
            self.confirm()
        self._short = self._short or short
        if not piece.endswith(b"\n"):
            return self._room <= 0
        if doubted and self.proven:
            self._lines_left = self.kind.max_lines - self.lines
        self.lines += 1
        self._lines_left -= 1
        if short:
            self.hurry(_SHORT_LINES)
        elif self._hurried and len(self._lacking) < lacking:
            self._lines_left = max(self._lines_left, _LINES_BEHIND)  # the end that came was another's
        ended = self.complete and (self._short or self.ends_with(piece))
        if self._taken and not self.complete and self.ends_with(piece):
            self.hurry(_LINES_BEHIND)
        return ended or self._lines_left <= 0 or self._room <= 0

    def _is_proved_by(self, line: bytes) -> bool:
        """Whether a line proves the report as it must be proved."""
        proved_by, opener = self.kind.proved_by, self.kind.opener
        if self._proof is Proof.OPENER and opener is not None and not self.lines and _compiled(opener).search(line):
            return True
        if self._proof in (Proof.LATER_FIELDS, Proof.NEVER) or proved_by is None:
            return False
        return _compiled(proved_by).search(line) is not None

    def _begins_short(self, line: bytes) -> bool:
        return self.kind.short is not None and _compiled(self.kind.short).search(line) is not None

    def _read(self, line: bytes, text: bytes) -> None:
        if self._structured and self._begins_short(line):
            return  # another's, whose words were lost
        if _SHOWN_AFTER.match(line):
            return  # a file's
        if self.kind.target is not None and line.count(b"hvisor::" + self.kind.target) > (not self.lines):
            self._disturbed = True
        for name in tuple(self._lacking):
            self._read_field(name, line, text)
        if self._lacking:
            said_otherwise = {name for name, value in self._taken.items() if self._contradicts(name, value, line)}
            self._spoiled = self._spoiled or bool(said_otherwise)
            self._doubtful |= said_otherwise & self._behind_a_hole
        for name, field in self.kind.fields.items():
            if not field.required and name not in self._taken:
                self._read_field(name, line, text)
        read_zone = self._zone is None and not (self.kind.zone_in_head and self._taken)
        if read_zone and self.kind.zone is not None and (match := _compiled(self.kind.zone).search(line)):
            self._zone = int(match[1]) if match[1] is not None else 0
        if self.cpu is None and self.kind.cpu is not None and (match := _compiled(self.kind.cpu).search(line)):
            self.cpu = int(match[1])
        self._below = {
            name: pattern
            for name in self._lacking
            for opener, pattern in self.kind.fields[name].below
            if _compiled(opener).search(line)
        } or self._below
        self._fragment = b""

    def _contradicts(self, name: str, value: _Value, line: bytes) -> bool:
        """Whether a line says something else of a field: then it is of a report whose beginning was lost."""
        field = self.kind.fields[name]
        found = _compiled(field.pattern).search(line) if field.required else None
        whole_line = found is not None and not line[: found.start()].strip()
        return found is not None and whole_line and _value(field, found) != value

    def _match(self, name: str, line: bytes) -> re.Match[bytes] | None:
        found = None
        if not self._short or self._begins_short(line):
            found = _compiled(self.kind.fields[name].pattern).search(line)
        if found is None and name in self._below:
            found = _compiled(self._below[name]).search(line)
        return found

    def _match_torn(self, name: str, line: bytes) -> re.Match[bytes] | None:
        """The same in a line whose beginning stood before another report."""
        found = self._match(name, self._fragment + line) if self._fragment else None
        return found if found is not None and found.start() < len(self._fragment) else None

    def _read_field(self, name: str, line: bytes, text: bytes) -> None:
        field = self.kind.fields[name]
        if field.type is FieldType.TEXT:
            line = text
        match = self._match(name, line)
        if match is None:
            match = self._match_torn(name, line)
            self._low = self._low or match is not None
        if match is None or b"\x08" in match[0] or self._spoiled:
            return
        in_place = not self.lines or not line[: match.start()].strip()  # in the first line, or alone in one
        if self.presumed and not in_place:
            return
        if self._proof is Proof.LATER_FIELDS and self.doubted and (not self.lines or not in_place):
            return
        self._taken[name] = _value(field, match)
        if self._disturbed:
            self._doubtful.add(name)
        if field.required:
            self._lacking.remove(name)
            if in_place:
                self.confirm()

    def finding(self) -> Finding:
        """What the report said, and what it should have said and did not."""
        contested = {
            name: other for name, other in self._shared.items() if other._taken.get(name) != self._taken.get(name)
        }
        unsure = {
            name
            for name, other in contested.items()
            if self._mixed or self._has_hole or (self.offset < other.offset and other._has_hole)
        }
        unsure |= self._doubtful
        fields: dict[str, _Value] = {}
        excerpt = _text_of(self._text)
        if self.kind.line_is_message:
            fields["message"] = _PREFIX.sub("", excerpt).split("\n", 1)[0].strip()[:_MESSAGE_CHARACTERS]
        fields |= {name: self._taken[name] for name in self.kind.fields if name in self._taken and name not in unsure}
        missing = tuple(name for name, field in self.kind.fields.items() if field.required and name not in fields)
        # A call trace of which nothing came: another report took its lines.
        bare = self.kind.end is not None and self.kind.origin is Origin.KERNEL and self.lines <= 1
        torn = any(
            _is_torn(self.kind.fields[name], value) for name, value in fields.items() if name in self.kind.fields
        )
        low = missing or bare or torn or self._low or self._mixed or contested
        return Finding(
            kind=self.kind.name,
            origin=self.kind.origin,
            offset=self.offset,
            t=self.t,
            zone=self._zone,
            cpu=self.cpu,
            fields=fields,
            missing=missing,
            excerpt=excerpt,
            confidence=Confidence.LOW if low else Confidence.HIGH,
            severity=self.kind.severity,
        )


@dataclass(frozen=True)
class _Begun:
    """A kind's first words with the beginning of second ones: as the end of a text, and where a log line cuts them."""

    ends: tuple[bytes, ...]
    cut_off: re.Pattern[bytes]


@lru_cache
def _cuts(words: bytes) -> tuple[tuple[bytes, bytes], ...]:
    """Words cut in two at each byte."""
    return tuple((words[:cut], words[cut:]) for cut in range(1, len(words)))


@lru_cache
def _begun(first: bytes, second: bytes) -> _Begun:
    first = first.strip() + b" "
    ends = tuple(first + begun for begun, _ in _cuts(second))
    beginnings = b"|".join(re.escape(begun) for begun, _ in _cuts(second))
    return _Begun(ends, re.compile(re.escape(first) + b"(?:" + beginnings + rb")\["))


def _is_torn(field: Field, value: _Value) -> bool:
    """Whether a text does not look like one that came whole."""
    if not isinstance(value, str):
        return False
    strange = field.whole is not None and re.fullmatch(field.whole, value) is None
    return strange or likeness(value, field.known) is Likeness.TORN


def _value(field: Field, match: re.Match[bytes]) -> _Value:
    raw = match[match.lastindex or 0]
    match field.type:
        case FieldType.INTEGER:
            return int(raw, 16 if raw.startswith(b"0x") else 10)
        case FieldType.BOOLEAN:
            return raw == b"true"
        case FieldType.TEXT:
            return _text_of(raw).strip()[:_MESSAGE_CHARACTERS]


def _text_of(raw: bytes) -> str:
    return harmless(raw.decode("utf-8", "replace"))
