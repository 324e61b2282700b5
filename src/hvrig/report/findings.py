"""How the fields of a finding are written, in JSON and for a person.

Addresses and register contents become strings such as `"0x10016d300"`: JSON's readers (jq, browsers) hold numbers
as doubles and lose the low digits of a 64-bit one.
"""

from __future__ import annotations

from hvrig.model.finding import Finding

# What the report of a memory access says: it has places of its own, the other fields stay together.
ACCESS_FIELDS = ("address", "size", "is_write", "value")
# Of the numbers in a finding's fields these count something; all others are addresses or register contents.
_COUNTED_FIELDS = frozenset({"line", "col", "size", "pid"})


def shown_field(name: str, value: int | bool | str) -> int | bool | str:
    """`value` as it is shown: an address as `0x...`, a count as a number, text and truth as they are."""
    return value if isinstance(value, (bool, str)) or name in _COUNTED_FIELDS else f"{value:#x}"


def shown_access(finding: Finding) -> dict[str, int | bool | str | None]:
    """`address`, `size`, `is_write` and `value`, None where the report had none."""
    said = finding.fields
    return {name: shown_field(name, said[name]) if name in said else None for name in ACCESS_FIELDS}


def other_fields(finding: Finding) -> dict[str, int | bool | str]:
    """All the other fields."""
    return {name: shown_field(name, value) for name, value in finding.fields.items() if name not in ACCESS_FIELDS}


def finding_fields(finding: Finding) -> dict[str, object]:
    """All that a finding says and that does not depend on the run's times."""
    return {
        "kind": finding.kind,
        "origin": finding.origin.value,
        "severity": finding.severity.value,
        "confidence": finding.confidence.value,
        "zone": finding.zone,
        "cpu": finding.cpu,
        **shown_access(finding),
        "uart_offset": finding.offset,
        "count": finding.count,
        "tied_to": finding.tied_to,
        "fields": other_fields(finding),
        "missing": list(finding.missing),
        "excerpt": finding.excerpt,
    }
