"""One cause, one finding: repeats are counted."""

from __future__ import annotations

import re
from dataclasses import replace

from hvrig.model.finding import Finding

# Beyond so many different findings of a kind, further ones are counted with the kind's last.
_DIFFERENT = 32

# Numbers in a message change from one repeat to the next: `stuck for 22s`, `stuck for 45s`, addresses, times.
_NUMBER = re.compile(r"0x[0-9a-fA-F]+|\b[0-9a-fA-F]{8,}\b|[0-9]+")

_Signature = tuple[object, ...]


class Tally:
    """Remembers which alarms and findings have already been given out. Bounded."""

    def __init__(self) -> None:
        self._alarms: set[tuple[str, int | None]] = set()
        self._first: dict[str, dict[_Signature, Finding]] = {}

    def alarm(self, kind: str, cpu: int | None) -> bool:
        """Whether an alarm of this kind on this CPU is the first."""
        key = (kind, cpu)
        if key in self._alarms:
            return False
        self._alarms.add(key)
        return True

    def add(self, finding: Finding) -> bool:
        """Whether the finding is the first with its signature; if not, it is counted."""
        kept = self._first.setdefault(finding.kind, {})
        signature = _signature(finding)
        if signature not in kept and len(kept) < _DIFFERENT:
            kept[signature] = finding
            return True
        if signature not in kept:
            signature = next(reversed(kept))
        kept[signature] = replace(kept[signature], count=kept[signature].count + 1)
        return False

    def close(self) -> list[Finding]:
        """The findings that came more than once, with their counts, in their order; then all is forgotten."""
        repeated = [each for kept in self._first.values() for each in kept.values() if each.count > 1]
        self._alarms.clear()
        self._first.clear()
        return sorted(repeated, key=lambda each: each.offset)


def _signature(finding: Finding) -> _Signature:
    values = {**finding.fields}
    if isinstance(message := values.get("message"), str):
        values["message"] = _NUMBER.sub("#", message)
    return (finding.zone, finding.cpu, finding.tied_to, *sorted(values.items()))
