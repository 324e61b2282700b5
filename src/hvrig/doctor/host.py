"""The machine that hvrig runs on: its Python and packages, the disk for the evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from hvrig.doctor.result import Fault, Result, fail, ok, warn
from hvrig.model.place import DeadlineSettings, GateSettings
from hvrig.model.size import format_size, parse_size

_NAMED = 5  # packages that are named in one line

# A UART sends ten bits a byte, 8N1.
_BITS = 10

# What is always written beside the UART's log, and room to make the folder at all.
_OTHER_EVIDENCE = 16 << 20


@dataclass(frozen=True)
class Packages:
    """python: its version. wanted: `Requires-Python`. requires: hvrig's own requirements. installed: versions by name,
    canonical. lock: the text of requirements.lock, None where hvrig does not run from its checkout.
    """

    python: str
    wanted: str
    requires: Sequence[str]
    installed: Mapping[str, str]
    lock: str | None


def check_packages(facts: Packages) -> Result:
    """Whether all that hvrig needs is installed, and in the versions that it is tested with."""
    if not SpecifierSet(facts.wanted).contains(facts.python, prereleases=True):
        return fail(f"Python {facts.python}; hvrig needs {facts.wanted}", "Run ./scripts/setup with a newer python3.")
    broken = [said for text in facts.requires if (said := _unmet(Requirement(text), facts.installed))]
    if broken:
        return fail(
            f"Python {facts.python}; {_listed(broken)}", "Run ./scripts/setup, and use what is in .venv/bin afterwards."
        )
    if facts.lock is None:
        return ok(f"Python {facts.python}; all requirements are met (no requirements.lock here to compare with)")
    pins = locked_versions(facts.lock)
    other = [
        f"{name} is {facts.installed.get(name, 'missing')} instead of {version}"
        for name, version in pins.items()
        if facts.installed.get(name) != version
    ]
    if other:
        return warn(
            f"Python {facts.python}; {_listed(other)}",
            "Run ./scripts/setup: hvrig is tested with the versions in requirements.lock.",
        )
    return ok(f"Python {facts.python}; {len(pins)} packages as in requirements.lock")


def locked_versions(lock: str) -> dict[str, str]:
    """The versions that a lock file of pip's pins for this machine, by canonical name."""
    pins: dict[str, str] = {}
    for line in lock.splitlines():
        text = line.rstrip("\\ ")
        if not text or text[0] in "# -":
            continue
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate():
            pins[canonicalize_name(requirement.name)] = str(requirement.specifier).removeprefix("==")
    return pins


def _unmet(requirement: Requirement, installed: Mapping[str, str]) -> str:
    if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
        return ""
    version = installed.get(canonicalize_name(requirement.name))
    if version is None:
        return f"{requirement.name} is not installed"
    if not requirement.specifier.contains(version, prereleases=True):
        return f"{requirement.name} is {version}, and {requirement.specifier} is needed"
    return ""


def _listed(items: Sequence[str]) -> str:
    more = f" and {len(items) - _NAMED} more" if len(items) > _NAMED else ""
    return "; ".join(items[:_NAMED]) + more


def check_disk(folder: str, free: int, speed: int, gate: GateSettings, deadlines: DeadlineSettings) -> Result:
    """Whether a run's evidence has room.

    The most that it can be: a UART that sends at full speed for as long as the whole ladder may take. free: bytes.
    speed: baud.
    """
    seconds = sum(map(parse_size, gate.ladder)) * gate.loops / deadlines.rung_bytes_per_s
    seconds += deadlines.uboot_s + deadlines.hypervisor_s + deadlines.root_linux_s + deadlines.ssh_s
    most = round(seconds * speed / _BITS) + _OTHER_EVIDENCE
    found = f"{format_size(free)} free in {folder}"
    remedy = f"Remove old runs from {folder}, or choose another folder with --artifacts."
    if free < _OTHER_EVIDENCE:
        return fail(f"{found}: no room for evidence", remedy, Fault.LAB)
    if free < most:
        return warn(f"{found}; a UART that never stops would write up to {format_size(most)} in a run", remedy)
    return ok(f"{found}; a run writes at most {format_size(most)}")
