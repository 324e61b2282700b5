"""The packages that are installed, by their own metadata (edge: importlib.metadata)."""

from __future__ import annotations

import platform
from importlib import metadata
from pathlib import Path

from packaging.utils import canonicalize_name

from hvrig.doctor.host import Packages

# src/hvrig/doctor/host_metadata.py in the checkout
_LOCK = Path(__file__).parents[3] / "requirements.lock"


def installed_packages(lock: Path = _LOCK) -> Packages:
    """This Python, what hvrig requires, what is installed, and the lock file of the checkout."""
    own = metadata.metadata("hvrig")
    installed = {
        str(canonicalize_name(name)): distribution.version
        for distribution in metadata.distributions()
        if (name := distribution.metadata["Name"])
    }
    return Packages(
        python=platform.python_version(),
        wanted=own["Requires-Python"] or "",
        requires=tuple(metadata.requires("hvrig") or ()),
        installed=installed,
        lock=lock.read_text(encoding="utf-8") if lock.is_file() else None,
    )
