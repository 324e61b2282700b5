"""The watch: every byte of the UART goes through it, and faults, facts and milestones come out."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace

from hvrig.model.finding import Alarm, Confidence, Finding, Mark, Milestone, Origin, WatchEvent
from hvrig.model.harmless import harmless
from hvrig.watch import catalogue
from hvrig.watch.boot_order import BootOrder
from hvrig.watch.catalogue import BY_NAME, KINDS, MARKS, Kind, MarkWords
from hvrig.watch.escapes import EscapeRemover
from hvrig.watch.likeness import Likeness, likeness
from hvrig.watch.report import Claim, Proof, Report
from hvrig.watch.tally import Tally
from hvrig.watch.torn import REACH, TornWords, without_progress
from hvrig.watch.words import Hit, WordFinder, Words

# Larger blocks are taken in pieces, so that memory stays bounded and an offset is soon found.
_BLOCK = 4096
# How far back from its words a line's beginning and prefix are looked for: further than any `before` reaches, so that
# the beginning of this stretch is never taken for a line's.
_CONTEXT = 512
# Reports that are open at once; one more closes the oldest.
_OPEN_REPORTS = 8
# A kernel panic that comes within so many bytes after another kernel fault comes of it.
_KERNEL_PANIC_WITHIN = 16384

# After a line that follows a report's end, an unfinished report waits for so many more lines of its own.
_LINES_AFTER = 8
# So many lines at most, its first with them, has a report until its fields have come that prove it.
_LINES_OF_PROOF = 12
# The longest head of a log line up to its source.
_HEAD_BYTES = 64
# Between a log line's prefix and its second words stand so many bytes at most, where the first have lost some.
_BROKEN_WORDS = 120
# So far above words its log line's head may stand, with what was written between.
_HEAD_ABOVE = 160
# Words of a report that is not believed yet are said again where they stand so few bytes behind its beginning.
_SAID_AGAIN = 48
# So near behind a report that was closed too early, its own later lines begin no new one; and so near behind a
# complaint whose words did not come, words without a head may be its.
_AFTERMATH = 2048


class _Suspicious:
    """What a log line's prefix means by itself: its words may come torn."""


_SUSPICIOUS = _Suspicious()
_Meaning = Kind | MarkWords | _Suspicious


def _table() -> list[tuple[Words, _Meaning]]:
    kinds: list[tuple[Words, _Meaning]] = [(words, kind) for kind in KINDS for words in (*kind.words, *kind.late)]
    return [*kinds, *((mark.words, mark) for mark in MARKS), (catalogue.HYPERVISOR_COMPLAINS, _SUSPICIOUS)]


_TABLE = _table()
_LATE = frozenset(
    index for index, (words, meaning) in enumerate(_TABLE) if isinstance(meaning, Kind) and words in meaning.late
)
_OF_A_HEAD = (b"hvisor:", b"ERROR", b"WARN")
# So much of who logged a line tells who it was, where the rest was lost.
_TARGET_BYTES = 4
# What torn words are looked for as, of each kind its first: those begin its report.
_TEARABLE = [
    (index, words)
    for index, (words, meaning) in enumerate(_TABLE)
    if isinstance(meaning, Kind) and meaning.origin is Origin.HYPERVISOR and words in meaning.words
]
_TORN = TornWords(_TEARABLE)
# Of each second words, the words that stand before them in their line.
_EARLIER = {
    index: TornWords((number, each) for number, each in _TEARABLE if _TABLE[number][1] is meaning and number < index)
    for index, (words, meaning) in enumerate(_TABLE)
    if words.second
}
_FINDER = WordFinder([words for words, _ in _TABLE])
_BEFORE = [re.compile(rb"(?:" + words.before + rb")\Z") if words.before else None for words, _ in _TABLE]
# So much of a line is searched for what must stand before: more than any `before` matches. Most want no quotes there.
_BEFORE_BYTES = [32 if words.before.startswith(catalogue.HANDLE_ACCESS.before) else _CONTEXT for words, _ in _TABLE]
_UNLESS = [re.compile(rb"(?:" + words.unless + rb")\Z") if words.unless else None for words, _ in _TABLE]

# The two shapes of hvisor's log prefix at the levels of faults, up to the words: another line's prefix, cut off before,
# is not theirs. A fact's words may stand anywhere in its line, and so may the kernel's timestamp, the last of a line.
_STAMP = catalogue.STAMP
_COMPLAINT = (
    rb"\[(?:(?:ERROR|WARN) {1,3}(?P<cpu>\d{1,3})\]"
    rb"| {0,5}\d{1,7}\.\d{6}\] (?:ERROR|WARN) {1,2}CPU(?P<CPU>\d{1,3}) hvisor:)"
)
_FAULT_PREFIX = re.compile(
    _COMPLAINT + rb"(?: |\x08[-\\|/])*\((?:[A-Za-z_]\w{0,40}:{1,2}){1,8}\d{1,6}\)(?:\x08[-\\|/])* (?:\x08[-\\|/])*"
    rb"(?:(?:[Zz]one \d{1,3} )?unhandled mmio fault |[Zz]one \d{1,3} ?|panic occurred: )?\Z"
)
_FACT_PREFIX = re.compile(rb"\[INFO {1,3}(?P<cpu>\d{1,3})\]|" + _STAMP + rb" INFO {1,2}CPU(?P<CPU>\d{1,3})")
_COMPLAINS_PREFIX = re.compile(_COMPLAINT + rb" \Z")
# A log line's head at a level at which no fault is told: a structure behind it is that line's.
_CALM_HEAD = re.compile(
    rb"(?:\[(?:INFO|DEBUG|TRACE) {1,3}(?P<cpu>\d{1,3})\]|"
    + _STAMP
    + rb" (?:INFO|DEBUG|TRACE) {1,2}CPU(?P<CPU>\d{1,3}) hvisor:) \([A-Za-z_][\w:]{0,80}:\d{1,6}\) "
)
# A piece of a fault's head or words, behind a calm head: a structure may be the fault's.
_OF_A_FAULT = re.compile(rb"ERROR|WARN|panic|unhandled")
# So it goes on with a structure; no fault does.
_NAMED = re.compile(rb"\w(?: =|:) \Z")
_NAME_BYTES = 4
# By kind, what can be left of the words that stand before a structure of a fault.
_LEFT_OF_WORDS = {
    kind.name: tuple(kind.words[0].literal.strip()[cut:] + b" " for cut in range(len(kind.words[0].literal) - 2))
    for kind in KINDS
    if any(words.second for words in kind.words)
}
_HEAD_REMAINS = re.compile(catalogue.HEAD_REMAINS)
_SHOWN = re.compile(catalogue.SHOWN)
_SHOWN_LOG = re.compile(catalogue.SHOWN_LOG)
_SHOWN_KERNEL = re.compile(catalogue.SHOWN_KERNEL)
_LEVELLED = re.compile(catalogue.LEVEL)
_STAMPED = re.compile(_STAMP)
_TORN_STAMP = re.compile(catalogue.TORN_STAMP)
# A kernel's line, as far as it tells it from hvisor's own, which has its level there.
_STAMPED_LINE = re.compile(rb"\n" + _STAMP + rb" (?!(?:ERROR|WARN|INFO|DEBUG|TRACE) )[^ \n][^\n]{5}")
_STAMP_BYTES = 32
# The last of a line.
# A whole head of any level, with what it says.
_SAYS = re.compile(
    rb"(?:\[|\] )(?:INFO |DEBUG|TRACE|WARN |ERROR) {1,2}(?:CPU)?\d{1,3}(?:\] | hvisor: )\(hvisor[\w:]{0,80}\) \S"
)
# A piece of a head, however torn.
_HEAD_PIECE = re.compile(rb"ERROR|WARN|hvis|isor|::\w|" + catalogue.HEAD_REMAINS)
# Something is typed at a shell's prompt or at U-Boot's, or is a compiler's line.
_TOLD = re.compile(rb"\A(?:=> |[^\s#$]{0,80}[#$] |[\w./-]{1,100}\.\w{1,4}:\d{1,6}:\d{1,4}: )\S")
_LEVEL = re.compile(
    rb"(?:\[(?:ERROR|WARN) {1,3}(?P<cpu>\d{1,3})\]| (?:ERROR|WARN) {1,2}CPU(?P<CPU>\d{1,3}))"
    rb"(?!.*(?:ERROR|WARN) )"
)
_PREFIXES = {
    Origin.HYPERVISOR: _FAULT_PREFIX,
    Origin.FACT: _FACT_PREFIX,
}


@dataclass
class _Incident:
    """An access that the hypervisor could not handle; its error line and its panic follow."""

    offset: int
    cpu: int | None
    answered: bool
    panicked: bool = False


@dataclass
class _Suspect:
    """A log line of the hypervisor's without known words yet: begun at `lead`, read from `text` to before `read`.

    report: what it may be the head of, by the source that logged it.
    """

    lead: int
    text: int
    cpu: int | None
    read: int
    report: Report | None = None


@dataclass(frozen=True)
class _Head:
    """A log line's head: where it begins, and the CPU that it names.

    found: it stands directly before the words. whole: what stands between it and the words are words of the line.
    """

    lead: int
    cpu: int | None
    found: bool = False
    whole: bool = True


@dataclass(frozen=True)
class _CalmHead:
    """The head of a log line that tells no fault: where it begins in the line of the words, and the CPU it names."""

    start: int
    cpu: int | None


@dataclass(frozen=True)
class _Line:
    """What stands before words: the last of their line's `text`, and of what is `above`, within `_CONTEXT`."""

    text: bytes
    above: bytes


class Watch:
    """Turns the bytes of one UART into events. Pure; never raises, whatever the bytes; bounded memory.

    The same bytes give the same events however they are cut into blocks. An event's `t` is that of the block with
    the byte that decided it; a finding's `t` is that of its first words.

    - An `Alarm` comes with a fault's first words, its `Finding` with the same offset when the report is complete,
      cut off, or flushed. Every fault finding had an alarm. Repeats (same kind, CPU, zone and values; numbers in
      messages aside) give neither: they are counted, and the finding is given once more, with its `count` and the
      same offset, at `flush` or when the next boot begins.
    - What is found belongs to one boot: after a `flush` or with a new boot, the same fault is new again.
    - `hypervisor-layout` is one finding a boot, with what was printed until `hv_end`, or until Linux boots.
    """

    def __init__(self) -> None:
        self._escapes = EscapeRemover()
        # Clean text from position `_base` on; words are looked for from `_scan` on, the open report's next piece
        # begins at `_piece`.
        self._text = b""
        self._base = 0
        self._scan = 0
        self._piece = 0
        self._open: list[Report] = []
        self._order = BootOrder()
        self._tally = Tally()
        self._incidents: deque[_Incident] = deque(maxlen=16)
        self._suspect: _Suspect | None = None
        self._wordless = -_AFTERMATH - 1  # where the last complaint stood whose words did not come
        self._closed: deque[tuple[Report, int]] = deque(maxlen=_OPEN_REPORTS)  # the last, and where each was closed
        self._kernel_fault: int | None = None  # offset of the last one that was no panic
        self._spoken = 0  # where the last words of a fault's first line ended
        self._kernel_panicked = False
        self._stamped: bool | None = None  # whether this boot's kernel prints timestamps, if that is known
        self._levelled = False  # and before them its level, `<4>`
        self._entered = False  # the hypervisor's hello came
        self._looked = 0  # so far a first stamp was looked for, or need not be
        self._layout: Finding | None = None
        self._layout_told = False

    def expect_boot(self) -> None:
        """Power was cycled or a reboot was asked for: the next SPL, U-Boot and hello are in turn."""
        self._order.expect_boot()

    def feed(self, data: bytes, t: float) -> list[WatchEvent]:
        """Take the next bytes, which came at monotonic time `t`."""
        events: list[WatchEvent] = []
        for start in range(0, len(data), _BLOCK):
            self._take(data[start : start + _BLOCK], t, events)
        return events

    def flush(self, t: float) -> list[WatchEvent]:
        """End of recording, or of a chapter of it: open reports are closed with what they have, repeats counted."""
        events: list[WatchEvent] = []
        self._end_chapter(self._base + len(self._text), t, events)
        return events

    def _take(self, block: bytes, t: float, events: list[WatchEvent]) -> None:
        text = self._text = self._text + self._escapes.clean(block)
        base, end = self._base, self._base + len(self._text)
        scan = self._scan - base
        while hit := _FINDER.find(text, scan):
            scan = hit.end
            self._words(hit, t, events)
        self._scan = max(base + scan, end - _FINDER.max_width + 1)
        if self._suspect is not None:
            self._pursue(self._scan, t, events)
        if self._open:
            # Lines that torn words may still claim wait until those have been looked for.
            self._read_lines(end if self._suspect is None else self._scan, t, events)
        self._look_for_stamp(self._scan)
        keep = max(0, self._scan - _CONTEXT - _FINDER.max_width)
        if self._open:
            keep = min(keep, self._piece)
        if self._suspect is not None:
            keep = min(keep, self._suspect.lead)
        if keep > base:
            self._text, self._base = text[keep - base :], keep
            self._escapes.forget_before(keep)

    def _look_for_stamp(self, until: int) -> None:
        """Learn from a line's own timestamp that the kernel prints them: a quiet one does not say that it boots."""
        if self._stamped is None and self._entered and until > self._looked:
            first = max(0, self._looked - _STAMP_BYTES - self._base)
            self._stamped = True if _STAMPED_LINE.search(self._text, first, until - self._base) else None
        self._looked = max(self._looked, until)

    def _words(self, hit: Hit, t: float, events: list[WatchEvent]) -> None:
        start, end = self._base + hit.start, self._base + hit.end
        if self._suspect is not None:
            self._pursue(start, t, events)
        self._read_lines(end, t, events)
        line = self._line_before(hit.start)
        begin = self._begin_of(hit, line)
        if begin is None:
            return
        meaning = _TABLE[hit.index][1]
        stamped = _STAMPED.search(line.text, begin) is not None
        torn_stamp = not stamped and begin < len(line.text) and _TORN_STAMP.match(line.text, begin) is not None
        self._look_for_stamp(start)
        if isinstance(meaning, MarkWords):
            first = meaning.mark is Mark.LINUX_BOOTING and self._stamped is None
            levelled = first and _LEVELLED.match(line.text[:begin]) is not None
            if self._is_shown(line, begin) and not levelled:
                return
            said = line.text + self._text[hit.start : hit.end]
            self._mark(meaning, said, start, end, t, events)
            if first:
                self._stamped, self._levelled = stamped or torn_stamp, levelled
            if meaning.mark is Mark.HYPERVISOR_HELLO and not self._entered:
                self._entered, self._looked = True, max(self._looked, end + _STAMP_BYTES)
            return
        if isinstance(meaning, _Suspicious):
            self._suspect_head(line, begin, start, end, t, events)
        elif meaning.origin is Origin.KERNEL and self._stamped and not (stamped or torn_stamp):
            return
        elif hit.index in _LATE:
            self._late_words(hit, meaning, line, begin, t, events)
        else:
            torn = torn_stamp and meaning.origin is Origin.KERNEL
            self._first_words(hit, meaning, line, begin, t, events, torn=torn)
            self._spoken = end

    def _suspect_head(self, line: _Line, begin: int, start: int, end: int, t: float, events: list[WatchEvent]) -> None:
        prefix = _COMPLAINS_PREFIX.search(line.text, max(0, len(line.text) - _HEAD_BYTES))
        first = prefix.start() if prefix else begin
        if self._is_shown(line, first):
            return
        if self._suspect is not None:
            self._pursue(start, t, events, last=True)
        lead = start - (len(line.text) - first)
        self._suspect = _Suspect(lead, end, _cpu_of(prefix) if prefix else None, end)

    def _first_words(
        self, hit: Hit, kind: Kind, line: _Line, begin: int, t: float, events: list[WatchEvent], *, torn: bool
    ) -> None:
        """Words that begin a report, whose line begins at `begin` of `line`; or that belong to one that is open.

        torn: what stands before them did not come whole.
        """
        if self._said_again(hit, kind):
            return
        words = _TABLE[hit.index][0]
        calm = _calm_head(words, kind, line)
        if calm is not None:
            lead = self._base + hit.start - len(line.text) + calm.start
            self._begin_report(kind, hit.index, lead, calm.cpu, t, events, proof=Proof.NEVER)
            return
        if kind.name == catalogue.KERNEL_PANIC and line.text.endswith(b"---[ end ") and self._kernel_panicked:
            return
        head = self._head_of(hit, kind, line, begin)
        may_be_quoted = kind.origin is Origin.HYPERVISOR and not (words.bare or head.found or head.cpu is not None)
        if may_be_quoted and self._quoted(line.text[:begin]):
            return
        begun_above = head.lead < self._base + hit.start - len(line.text)
        headless = kind.origin is Origin.HYPERVISOR and not (words.alone or head.found or begun_above)
        told = headless and _is_told(line) and not _own_head_above(kind, line)
        kernel = kind.origin is Origin.KERNEL
        shown = self._is_shown(line, head.lead - (self._base + hit.start - len(line.text)), kernel=kernel)
        if shown or (told and kind.opener is not None):
            self._doubt(hit.index, kind, head, t, events)
            return
        awaits = self._awaits(hit, kind, line, head)
        proof = Proof.FIELDS if told else self._proof_of(hit, kind, line, head)
        if kind.origin is Origin.HYPERVISOR:
            self._leave_suspect(hit, kind, head, t, events)
        if awaits is not None:
            self._goes_on(awaits, hit.index, t, events)
        elif (
            not head.whole
            or self._are_of_another(hit, kind, line)
            or not self._belongs_to_open_report(words, hit.index, kind, head.cpu, t, events)
        ):
            whole = head.whole and not torn
            self._begin_report(kind, hit.index, head.lead, head.cpu, t, events, whole=whole, proof=proof)

    def _are_of_another(self, hit: Hit, kind: Kind, line: _Line) -> bool:
        """Whether second words come behind what is left of their first ones, and all open reports have theirs whole."""
        if not _TABLE[hit.index][0].second or kind.words[0].literal in line.text:
            return False
        open_ones = [report for report in self._open if report.kind is kind]
        left = line.text.endswith(_LEFT_OF_WORDS[kind.name])
        return left and bool(open_ones) and all(hit.index - 1 in report.words_seen for report in open_ones)

    def _said_again(self, hit: Hit, kind: Kind) -> bool:
        """Whether words have just begun a report that nobody believes yet: what follows can prove that one as well."""
        report = self._open[-1] if self._open else None
        if report is None or report.kind is not kind or not report.rootless or hit.index not in report.words_seen:
            return False
        start = self._base + hit.start
        said = self._escapes.offset_of(start) - report.offset
        if said > _SAID_AGAIN or self._suspect is not None:
            return False
        return _HEAD_REMAINS.search(self._text, hit.start - said, hit.start) is None

    def _doubt(self, index: int, kind: Kind, head: _Head, t: float, events: list[WatchEvent]) -> None:
        """Words that were typed or are shown: of a kind with lines to come, those lines may prove them a fault's."""
        begun = [report for report in self._open if report.kind is kind and report.doubted and not report.lines]
        if begun and not (head.found and self._escapes.offset_of(head.lead) > begun[-1].offset):
            begun[-1].words_seen.add(index)
        elif kind.opener is not None:
            report = self._begin_report(kind, index, head.lead, head.cpu, t, events, proof=Proof.LATER_FIELDS)
            report.limit(_LINES_OF_PROOF)

    def _quoted(self, text: bytes) -> bool:
        """Whether words without a head that follow `text` in their line are the message of an open report."""
        return any(each.quotes(text) for each in self._open if not each.doubted)

    def _head_of(self, hit: Hit, kind: Kind, line: _Line, begin: int) -> _Head:
        """The head of the log line that words belong to; where there is none, they begin at `begin` of their line."""
        words = _TABLE[hit.index][0]
        beginning = self._base + hit.start - len(line.text)
        if words.bare or kind.origin not in _PREFIXES:
            return _Head(beginning + begin, None)
        prefix = _PREFIXES[kind.origin].search(line.text, max(0, len(line.text) - 256))
        if prefix is not None:
            return _Head(beginning + min(begin, prefix.start()), _cpu_of(prefix), found=True)
        broken = self._broken_head(hit, kind, line) if kind.origin is Origin.HYPERVISOR else None
        return broken or _Head(beginning + begin, None)

    def _proof_of(self, hit: Hit, kind: Kind, line: _Line, head: _Head) -> Proof:
        """What must follow words for which no log line's head, nor what remains of one, speaks."""
        if kind.origin is not Origin.HYPERVISOR or _TABLE[hit.index][0].alone or head.found:
            return Proof.NONE
        proof = self._spoken_for(hit, line)
        return Proof.NONE if proof is Proof.OPENER and kind.opener is None else proof

    def _spoken_for(self, hit: Hit, line: _Line) -> Proof:
        """What must follow words, by what is left of a log line's head before them, in their line or above it."""
        if _HEAD_REMAINS.search(without_progress(line.text[-256:])):
            return Proof.NONE
        unspoken = self._base + hit.start - self._wordless <= _AFTERMATH or any(each.presumed for each in self._open)
        return Proof.OPENER if self._suspect is not None or unspoken or _has_head_above(line) else Proof.FIELDS

    def _awaits(self, hit: Hit, kind: Kind, line: _Line, head: _Head) -> Report | None:
        """The open report whose log line has come up to before these words."""
        if not head.found and _TABLE[hit.index][0].second:
            for report in self._open:
                waits = report.kind is kind and hit.index not in report.words_seen and not report.doubted
                if waits and report.awaits(line.text):
                    return report
        suspect = self._suspect
        report_of = suspect.report if suspect is not None and head.lead == suspect.lead else None
        return report_of if report_of in self._open and report_of.kind is kind else None

    def _broken_head(self, hit: Hit, kind: Kind, line: _Line) -> _Head | None:
        """The log line's head to which words belong that do not follow one directly: other output stands between."""
        words, suspect = _TABLE[hit.index][0], self._suspect
        if not words.second and (suspect is None or not self._is_suspects(hit, kind)):
            return None
        level = _LEVEL.search(line.text, max(0, len(line.text) - _BROKEN_WORDS))
        if level is not None and not (words.second and kind.words[0].literal in line.text[level.start() :]):
            lead = self._base + hit.start - (len(line.text) - level.start())
            if suspect is not None and suspect.lead <= lead < suspect.text:
                lead = suspect.lead
            return _Head(lead, _cpu_of(level), whole=not words.second)
        if suspect is not None and self._is_suspects(hit, kind):
            return _Head(suspect.lead, suspect.cpu, whole=not words.second)
        # Behind nothing in their line, they go on where the words before them were broken off.
        return self._head_above(hit, kind) if words.second and line.text.strip() else None

    def _head_above(self, hit: Hit, kind: Kind) -> _Head | None:
        """A log line's head above that no words have followed: of a CPU of which no report of the kind is open."""
        first = max(0, hit.start - _HEAD_ABOVE, self._spoken - self._base)
        levels = list(_LEVEL.finditer(self._text, first, hit.start))
        cpu = _cpu_of(levels[-1]) if levels else None
        same = [report for report in self._open if report.kind is kind]
        if cpu is None or not same or any(_may_be_same(report.cpu, cpu) for report in same):
            return None
        return _Head(self._base + levels[-1].start(), cpu, whole=False)

    def _late_words(self, hit: Hit, kind: Kind, line: _Line, begin: int, t: float, events: list[WatchEvent]) -> None:
        words, suspect = _TABLE[hit.index][0], self._suspect
        start = self._base + hit.start
        if self._is_shown(line, begin):
            return
        if suspect is not None and suspect.report is None:
            text = self._text[suspect.text - self._base : hit.start]
            if _logged_by(text) is kind and b"(hvisor::" not in text:
                suspect.report = self._begin_report(kind, -1, suspect.lead, suspect.cpu, t, events, presumed=True)
        if self._knows(hit.index, kind, start, t, events):
            return
        if _in_calm_structure(kind, line):
            self._begin_report(kind, hit.index, start, None, t, events, proof=Proof.NEVER).limit(_LINES_AFTER)
            return
        woven = any(each.proven for each in self._near(kind, start))
        headless = not (woven or words.alone) and self._spoken_for(hit, line) is Proof.FIELDS
        proof = Proof.FIELDS if headless else Proof.NONE
        lead = start - (len(line.text) - begin)
        self._begin_report(kind, hit.index, lead, None, t, events, whole=False, proof=proof)

    def _goes_on(self, report: Report, index: int, t: float, events: list[WatchEvent]) -> None:
        """Words number `index` belong to this open report."""
        report.words_seen.add(index)
        report.confirm()
        self._announce_proven(report, t, events)
        if _TABLE[index][0].second:
            report.begin_structure()

    def _knows(self, index: int, kind: Kind, start: int, t: float, events: list[WatchEvent]) -> bool:
        """Whether words from a report's inside belong to one that is open, or was closed just before them."""
        for report in self._near(kind, start):
            if index not in report.words_seen:
                self._goes_on(report, index, t, events)
                if _TABLE[index][0].last:
                    report.hurry(_LINES_AFTER)
                return True
        return False

    def _near(self, kind: Kind, start: int) -> list[Report]:
        """The reports of a kind that are open, or were closed just before position `start`; the newest first."""
        near = [each for each in reversed(self._open) if each.kind is kind]
        closed = (each for each, where in reversed(self._closed) if start - where <= _AFTERMATH)
        return near + [each for each in closed if each.kind is kind]

    def _pursue(self, until: int, t: float, events: list[WatchEvent], *, last: bool = False) -> None:
        """Look for torn words behind the suspicious prefix, line by line up to position `until`."""
        suspect = self._suspect
        while suspect is not None and self._suspect is suspect:
            newline = self._text.find(b"\n", suspect.read - self._base, until - self._base)
            end = newline + 1 + self._base if newline >= 0 else until
            reach = suspect.text + REACH
            if newline < 0 and until < reach and not last:
                return
            suspect.read = min(end, reach)
            text = self._text[suspect.text - self._base : suspect.read - self._base]
            torn = _TORN.find(text)
            if torn is not None or suspect.read == reach or newline < 0:
                self._suspect = None
                self._wordless = suspect.lead if torn is None else self._wordless
            if torn is not None:
                self._take_torn(torn, suspect, t, events)
            elif suspect.report is None and (kind := _logged_by(text)) is not None:
                suspect.report = self._begin_report(kind, -1, suspect.lead, suspect.cpu, t, events, presumed=True)
                suspect.report.limit(_LINES_AFTER)

    def _leave_suspect(self, hit: Hit, kind: Kind, head: _Head, t: float, events: list[WatchEvent]) -> None:
        """Words of the hypervisor's have come. Where they are not the suspect's, they broke into its words."""
        own = self._suspect is not None and self._is_suspects(hit, kind)
        suspect, self._suspect = self._suspect, None
        if suspect is None or own or suspect.report is not None or head.lead <= suspect.lead:
            return
        logged = _logged_by(self._text[suspect.text - self._base : head.lead - self._base])
        if logged is not None:
            self._begin_report(logged, -1, suspect.lead, suspect.cpu, t, events, presumed=True).limit(_LINES_AFTER)

    def _is_suspects(self, hit: Hit, kind: Kind) -> bool:
        """Whether words, whole, are of the log line that has had no words yet, or torn ones."""
        assert self._suspect is not None
        text = self._text[self._suspect.text - self._base : hit.end]
        if len(text) > REACH or any(each in text for each in _OF_A_HEAD):
            return False  # too far, or what remains of another log line's head stands between
        if self._suspect.report is not None and self._suspect.report.has_begun:
            return False  # its words were lost
        if kind.target is not None and text.count(kind.target.split(b"::")[-1]) > 1:
            return False
        return _logged_by(text) is kind or (hit.index in _EARLIER and _EARLIER[hit.index].find(text) is not None)

    def _take_torn(self, index: int, suspect: _Suspect, t: float, events: list[WatchEvent]) -> None:
        words, kind = _TABLE[index]
        assert isinstance(kind, Kind)
        presumed = suspect.report
        if presumed is not None and presumed in self._open:
            if presumed.kind is kind:
                self._goes_on(presumed, index, t, events)
                return
            if presumed.presumed:
                self._open.remove(presumed)
        self._spoken = suspect.read
        self._read_lines(suspect.read - 1, t, events)  # as if they had come byte by byte: their own line not yet
        if self._belongs_to_open_report(words, index, kind, suspect.cpu, t, events):
            return
        for report in self._open:
            if report.kind is kind and report.words_seen <= _LATE:
                report.words_seen.add(index)
                report.cpu = suspect.cpu
                return
        head = self._text[suspect.lead - self._base : suspect.read - self._base]
        report = self._begin_report(kind, index, suspect.lead, suspect.cpu, t, events, whole=False)
        self._piece = suspect.read
        report.words_seen |= {
            late
            for late in _LATE
            if (other := _TABLE[late])[1] is kind and isinstance(other[0], Words) and other[0].literal in head
        }
        if report.take(head) and report in self._open:
            self._close(report, t, events)

    @staticmethod
    def _begin_of(hit: Hit, line: _Line) -> int | None:
        """Where in the line what must stand before the words begins; None where it does not stand there."""
        before, unless = _BEFORE[hit.index], _UNLESS[hit.index]
        if unless is not None and unless.search(line.above):
            return None
        if before is None:
            return len(line.text)
        found = before.search(line.text, max(0, len(line.text) - _BEFORE_BYTES[hit.index]))
        return None if found is None else found.start()

    def _is_shown(self, line: _Line, begin: int, *, kernel: bool = False) -> bool:
        """Whether a tool shows what begins at `begin` of a line, from a file; the line's beginning must be known."""
        if not line.above or begin <= 0:
            return False
        before = line.text[:begin]
        if line.text[begin : begin + 1] == b"[" and (
            _SHOWN_LOG.match(before) or (not self._levelled and _LEVELLED.match(before))
        ):
            return True
        return _SHOWN.match(before) is not None or (kernel and _SHOWN_KERNEL.match(before) is not None)

    def _line_before(self, index: int) -> _Line:
        first = max(0, index - _CONTEXT)
        context = self._text[first:index]
        newline = context.rfind(b"\n")
        if newline >= 0:
            return _Line(context[newline + 1 :], context[: newline + 1])
        return _Line(context, b"")

    def _mark(self, mark: MarkWords, said: bytes, start: int, end: int, t: float, events: list[WatchEvent]) -> None:
        turn = self._order.see(mark.mark, mark.step)
        offset = self._escapes.offset_of(start)
        if turn.begins:
            self._end_chapter(start, t, events)
            self._stamped, self._levelled, self._entered = None, False, False
        if turn.reset_in is not None:
            events.append(Alarm(catalogue.UNEXPECTED_RESET, Origin.BOARD, offset, t))
            events.append(
                Finding(
                    kind=catalogue.UNEXPECTED_RESET,
                    origin=Origin.BOARD,
                    offset=offset,
                    t=t,
                    fields={"seen": mark.mark.value, "phase": turn.reset_in.value},
                    excerpt=harmless(
                        self._text[max(0, end - self._base - _CONTEXT) : end - self._base].decode("utf-8", "replace")
                    ),
                )
            )
        found = re.search(mark.text, said) if mark.text is not None else None
        events.append(Milestone(mark.mark, offset, t, found[1].decode("ascii") if found else ""))
        if mark.mark is Mark.LINUX_BOOTING:
            self._tell_layout(events)
        elif mark.mark is Mark.HYPERVISOR_HELLO and not self._layout_told and self._layout is None:
            self._begin_report(BY_NAME[catalogue.LAYOUT], -1, start, None, t, events)

    def _belongs_to_open_report(
        self, words: Words, index: int, kind: Kind, cpu: int | None, t: float, events: list[WatchEvent]
    ) -> bool:
        """Whether these words are part of a report that is open, or the line that follows one."""
        if words is catalogue.HANDLE_ACCESS:
            unanswered = [each for each in reversed(self._incidents) if not each.answered]
            same = [each for each in unanswered if each.cpu is not None and each.cpu == cpu]
            likely = same or [each for each in unanswered if _may_be_same(each.cpu, cpu)]
            for incident in likely:
                incident.answered = cpu is not None and (
                    bool(same) or len(likely) == 1
                )  # a guess takes no other's place
                for report in [each for each in self._open if each.offset == incident.offset]:
                    self._end_soon(report, t, events)
                return True
        for report in reversed(self._open):
            if kind is report.kind:
                again = index in report.words_seen
                follows = (
                    words.second and report.fresh and (cpu in (None, report.cpu) if report.lines == 0 else cpu is None)
                )
                of_presumed = words.second and cpu is None and report.presumed
                if again or not (follows or of_presumed or kind.origin is Origin.KERNEL):
                    continue
                if not (words.second and report.broke_off_in(words.literal)):
                    self._goes_on(report, index, t, events)
                    return True
            elif kind.name in report.kind.absorbs and (cpu is None or kind.origin is Origin.KERNEL):
                return True  # without a log line's prefix of its own it is the report's message
        return False

    def _end_soon(self, report: Report, t: float, events: list[WatchEvent]) -> None:
        """What follows a report has come: close it if it is complete, else wait for a few more lines of its own."""
        if report.complete or report.presumed:
            self._close(report, t, events)
        else:
            report.hurry(_LINES_AFTER)

    def _begin_report(
        self,
        kind: Kind,
        words: int,
        start: int,
        cpu: int | None,
        t: float,
        events: list[WatchEvent],
        *,
        whole: bool = True,
        proof: Proof = Proof.NONE,
        presumed: bool = False,
    ) -> Report:
        """Open a report. A presumed one tells nothing unless words or fields of its kind follow."""
        if self._open and self._piece < start:
            self._open[-1].cut(self._text[self._piece - self._base : start - self._base], kind)
        if kind.origin is Origin.HYPERVISOR and cpu is not None and proof is not Proof.LATER_FIELDS:
            # A CPU prints its reports one after the other: a new one means that the last is over.
            for before in [each for each in self._open if each.kind.origin is Origin.HYPERVISOR and each.cpu == cpu]:
                self._end_soon(before, t, events)
        if len(self._open) == _OPEN_REPORTS:
            self._close(next((each for each in self._open if not each.proven), self._open[0]), t, events)
        self._piece = max(self._piece, start)
        report = Report(
            kind,
            offset=self._escapes.offset_of(start),
            t=t,
            cpu=cpu,
            words=words,
            whole=whole and not presumed,
            proof=proof,
            presumed=presumed,
        )
        if words >= 0 and _TABLE[words][0].second:
            report.begin_structure()
        self._open.append(report)
        self._announce_proven(report, t, events)
        return report

    def _announce_proven(self, report: Report, t: float, events: list[WatchEvent]) -> None:
        """Let a fault be known as soon as it is believed: it counts from here on."""
        kind = report.kind
        if report.announced or not report.proven or kind.origin is Origin.FACT:
            return
        report.announced = True
        self._kernel_panicked = self._kernel_panicked or kind.name == catalogue.KERNEL_PANIC
        if kind.name in (catalogue.MMIO_FAULT, catalogue.MMIO_HANDLER_ERROR):
            answered = any(_TABLE[words][0] is catalogue.HANDLE_ACCESS for words in report.words_seen)
            self._incidents.append(_Incident(report.offset, report.cpu, answered))
        if kind.origin is Origin.KERNEL and kind.name not in (catalogue.KERNEL_PANIC, catalogue.OOM_KILL):
            self._kernel_fault = report.offset
        if self._tally.alarm(kind.name, report.cpu):
            report.alarmed = True
            events.append(Alarm(kind.name, kind.origin, report.offset, t))

    def _read_lines(self, until: int, t: float, events: list[WatchEvent]) -> None:
        """Hand the text before position `until` to the open reports, as far as it is whole lines or full."""
        while self._open:
            report = self._open[-1]
            full = self._piece + report.room
            first, last = self._piece - self._base, min(until, full) - self._base
            newline = self._text.find(b"\n", first, last)
            if newline >= 0:
                last = newline + 1
            elif full > until:
                return
            self._piece = self._base + last
            line = self._text[first:last]
            if newline >= 0 and len(self._open) > 1:
                report = self._owner(line)
            ended = report.take(line)
            self._announce_proven(report, t, events)
            if ended:
                self._close(report, t, events)

    def _owner(self, line: bytes) -> Report:
        """The open report that a whole line belongs to.

        A line that gives a field goes to the report that expects it next, the newest first: a report that broke into
        another one ends before it. Where two of a kind expect the same, both are told.
        """
        newest = self._open[-1]
        if newest.lines == 0:
            return newest
        claims: list[tuple[Report, Claim]] = []
        newest_first = self._open[::-1]
        for report in sorted(newest_first, key=lambda each: each.doubted):
            if not ((report.presumed or report.doubted) and claims) and (claim := report.claim(line)) is not None:
                claims.append((report, claim))
        claims.sort(key=lambda each: (each[1].torn, each[0].hurried, not each[0].expects(each[1].field)))
        if claims:
            owner, name = claims[0][0], claims[0][1].field
            for other, wanted in claims[1:]:
                if (
                    other.kind is owner.kind
                    and wanted.field == name
                    and not (other.hurried or other.mute or other.doubted)
                ):
                    owner.share(name, other)
                    break
            for other in self._open[self._open.index(owner) + 1 :]:
                if other.kind is owner.kind and not other.expects(name):
                    other.passed_over()
            return owner
        believed = [report for report in newest_first if not report.doubted] or newest_first
        ending = [report for report in believed if report.ends_with(line)]
        return next((report for report in ending if report.complete), ending[0] if ending else believed[0])

    def _close(self, report: Report, t: float, events: list[WatchEvent]) -> None:
        self._open.remove(report)
        if not report.proven:
            return
        self._closed.append((report, self._piece))
        finding = report.finding()
        if finding.kind == catalogue.LAYOUT:
            self._gather_layout(finding, events)
            return
        if finding.kind == catalogue.LOG_LEVEL:
            if not finding.missing:
                events.append(finding)
            return
        finding = replace(finding, tied_to=self._cause_of(finding))
        if not self._tally.add(finding):
            return
        self._announce_proven(report, t, events)
        if not report.alarmed:
            events.append(Alarm(finding.kind, finding.origin, finding.offset, t))
        events.append(finding)

    def _cause_of(self, finding: Finding) -> int | None:
        """The offset of the fault that this panic comes of."""
        if finding.kind == catalogue.HYPERVISOR_PANIC:
            message = str(finding.fields.get("message", "has some error"))
            if not _says_that_a_zone_failed(message):
                return None
            before = [each for each in reversed(self._incidents) if each.offset < finding.offset and not each.panicked]
            same = [each for each in before if each.cpu is not None and each.cpu == finding.cpu]
            likely = same or [each for each in before if _may_be_same(each.cpu, finding.cpu)]
            for incident in likely:
                incident.panicked = finding.cpu is not None and (bool(same) or len(likely) == 1)
                return incident.offset
        elif finding.kind == catalogue.KERNEL_PANIC and self._kernel_fault is not None:
            near = 0 < finding.offset - self._kernel_fault <= _KERNEL_PANIC_WITHIN
            return self._kernel_fault if near else None
        return None

    def _gather_layout(self, part: Finding, events: list[WatchEvent]) -> None:
        if self._layout_told:
            return
        known = self._layout if self._layout is not None else replace(part, fields={}, excerpt="")
        new = {name: value for name, value in part.fields.items() if name not in known.fields}
        if new:
            fields: Mapping[str, int | bool | str] = {**known.fields, **new}
            missing = tuple(name for name in BY_NAME[catalogue.LAYOUT].fields if name not in fields)
            confidence = Confidence.LOW if missing else Confidence.HIGH
            excerpt = known.excerpt + part.excerpt
            self._layout = replace(known, fields=fields, missing=missing, excerpt=excerpt, confidence=confidence)
            if "hv_end" in new:
                self._tell_layout(events)

    def _tell_layout(self, events: list[WatchEvent]) -> None:
        if self._layout is not None:
            events.append(self._layout)
            self._layout, self._layout_told = None, True

    def _end_chapter(self, until: int, t: float, events: list[WatchEvent]) -> None:
        """Close all that is open; what comes after position `until` is new."""
        if self._suspect is not None:
            self._pursue(until, t, events, last=True)
        self._read_lines(until, t, events)
        if self._open and self._piece < until:
            self._open[-1].take(self._text[self._piece - self._base : until - self._base])
        for report in tuple(self._open):
            self._close(report, t, events)
        self._tell_layout(events)
        self._layout_told = False
        events.extend(self._tally.close())
        self._incidents.clear()
        self._closed.clear()
        self._kernel_fault = None
        self._kernel_panicked = False


def _cpu_of(prefix: re.Match[bytes]) -> int | None:
    """The CPU that a log line's prefix names, in either shape; None where it names none."""
    groups = prefix.groupdict()
    number = groups.get("cpu") or groups.get("CPU")
    return int(number) if number else None


def _logged_by(text: bytes) -> Kind | None:
    """The kind whose source logged the line; `text` is what follows `(hvisor::` in its head, whole or cut."""
    return next((kind for kind in KINDS if kind.target and text.startswith(kind.target[:_TARGET_BYTES])), None)


def _says_that_a_zone_failed(message: str) -> bool:
    """Whether a panic's message is one that follows an access that failed, whole or torn."""
    if "has some error" in message or "mmio_handle_access" in message:
        return True
    return likeness(message, catalogue.ZONE_FAILED) is not Likeness.OTHER


def _may_be_same(one: int | None, other: int | None) -> bool:
    """Whether two CPU numbers, either of which may be unknown, can mean the same CPU."""
    return one is None or other is None or one == other


def _own_head_above(kind: Kind, line: _Line) -> bool:
    """Whether who logs a kind has begun a line just above, of which no words came: those behind a prompt are its."""
    if kind.target is None:
        return False
    at = line.above.rfind(b"(hvisor::" + kind.target, max(0, len(line.above) - _HEAD_ABOVE))
    return at >= 0 and not any(words.literal in line.above[at:] for words in kind.words)


def _is_told(line: _Line) -> bool:
    """Whether words are somebody's or a compiler's, and nothing says that a log line has begun between."""
    text = without_progress(line.text)
    return bool(line.above) and _TOLD.match(text) is not None and _HEAD_PIECE.search(text) is None


def _has_head_above(line: _Line) -> bool:
    """Whether what is left of a complaint's head stands just above a line; a whole one's own words have come."""
    heads = list(_HEAD_REMAINS.finditer(line.above, max(0, len(line.above) - _HEAD_ABOVE)))
    if not heads:
        return False
    start = line.above.rfind(b"\n", 0, heads[-1].start()) + 1
    before = line.above[start : heads[-1].start()]
    said = [each.end() for each in _SAYS.finditer(line.above, start)]
    return _SHOWN.match(before) is None and not (said and heads[-1].start() < said[-1])


def _calm_head(words: Words, kind: Kind, line: _Line) -> _CalmHead | None:
    """The head of the log line that tells no fault and that a structure's words belong to, or None.

    Where anything of a fault's head or first words stands between, they may be the fault's.
    """
    if not words.second or kind.origin is not Origin.HYPERVISOR:
        return None
    text = without_progress(line.text)
    if text.endswith(_LEFT_OF_WORDS[kind.name]) or kind.words[0].literal in text:
        return None
    heads = list(_CALM_HEAD.finditer(text)) if b"(" in text else []
    named = _NAMED.search(text, max(0, len(text) - _NAME_BYTES))
    if heads and not _OF_A_FAULT.search(text, heads[-1].end()) and (named or not _LEVEL.search(text)):
        return _CalmHead(len(line.text) - len(text[heads[-1].start() :]), _cpu_of(heads[-1]))
    above = list(_CALM_HEAD.finditer(line.above)) if named and not heads else []
    if not above or _OF_A_FAULT.search(line.above, above[-1].end()) or _OF_A_FAULT.search(text):
        return None
    return _CalmHead(0, _cpu_of(above[-1]))


def _in_calm_structure(kind: Kind, line: _Line) -> bool:
    """Whether a line is of a structure in a log line that tells no fault, whose words came torn."""
    above = without_progress(line.above)
    heads = list(_CALM_HEAD.finditer(above)) if kind.origin is Origin.HYPERVISOR else []
    if not heads:
        return False
    opened, _, since = above[heads[-1].end() :].partition(b"\n")
    structure = opened.rstrip().endswith(b"{") or any(b"= " + each.literal[:1] in opened for each in kind.words)
    return structure and not (kind.words[0].literal in opened or _LEVEL.search(opened) or b"hvisor" in since)
