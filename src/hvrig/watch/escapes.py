"""Terminal escape sequences, taken out of the stream without losing where each byte was."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import deque
from dataclasses import dataclass, field
from itertools import accumulate

# Control sequences of ECMA-48, clause 5.4, with bounded parameters, and character set selection. What is no such
# sequence loses its ESC only: its text may be a fault's that cut into it. `[` ends no sequence in use, but begins every
# log line of hvisor's.
_SEQUENCE = re.compile(rb"\x1b(?:\[[0-?]{0,32}[ -/]{0,4}[@-Z\\-~]|[()][0-9AB])?")
_UNFINISHED = re.compile(rb"\x1b(?:\[[0-?]{0,32}[ -/]{0,4}|[()])?")
_LONGEST = 2 + 32 + 4


@dataclass
class _Stretch:
    """Clean text from `position` on came from the raw bytes at `offset` on; `raw` only if they differ."""

    position: int
    offset: int
    raw: bytes
    # Where sequences stood in the clean text, ascending, and how many raw bytes they and those before them had.
    _gaps: tuple[list[int], list[int]] | None = field(default=None, repr=False)

    def removed_before(self, index: int) -> int:
        """How many raw bytes were taken out before the clean byte at `index`."""
        if self._gaps is None:
            pieces, sequences = _SEQUENCE.split(self.raw)[:-1], _SEQUENCE.findall(self.raw)
            self._gaps = list(accumulate(map(len, pieces))), list(accumulate(map(len, sequences)))
        places, totals = self._gaps
        number = bisect_right(places, index)
        return totals[number - 1] if number else 0


class EscapeRemover:
    """Removes escape sequences from a stream that comes in any pieces.

    A position counts bytes of the clean stream, an offset bytes of the raw one, both from its beginning.
    """

    def __init__(self) -> None:
        self._position = 0
        self._offset = 0
        self._held = b""
        self._stretches: deque[_Stretch] = deque()

    def clean(self, data: bytes) -> bytes:
        """`data` without escape sequences; an unfinished one at its end is held back, at most 38 bytes."""
        if self._held:
            data, self._held = self._held + data, b""
        clean = data
        if b"\x1b" in data:
            last = data.rfind(b"\x1b", -_LONGEST)
            if last >= 0 and _UNFINISHED.fullmatch(data, last):
                data, self._held = data[:last], data[last:]
            clean = _SEQUENCE.sub(b"", data)
        if clean:
            self._stretches.append(_Stretch(self._position, self._offset, b"" if len(clean) == len(data) else data))
            self._position += len(clean)
        self._offset += len(data)
        return clean

    def offset_of(self, position: int) -> int:
        """The raw offset of the byte at `position`, which must not have been forgotten."""
        stretch = next(each for each in reversed(self._stretches) if each.position <= position)
        index = position - stretch.position
        return stretch.offset + index + stretch.removed_before(index)

    def forget_before(self, position: int) -> None:
        """Let go of what is needed for positions before `position` only."""
        while len(self._stretches) > 1 and self._stretches[1].position <= position:
            self._stretches.popleft()
