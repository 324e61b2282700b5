"""Runs the external tools that build the virtual board's images."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from hvrig.model.errors import LabError, UsageError

_STDERR_LINES = 12

# Which Debian package holds a tool that a minimal installation may lack.
_PACKAGES = {
    "aarch64-linux-gnu-gcc": "gcc-aarch64-linux-gnu",
    "aarch64-linux-gnu-objcopy": "binutils-aarch64-linux-gnu",
    "dtc": "device-tree-compiler",
    "mkimage": "u-boot-tools",
    "qemu-system-aarch64": "qemu-system-arm",
    "apt-get": "apt",
    "apt-cache": "apt",
    "dpkg-deb": "dpkg",
}


def run(
    argv: Sequence[str],
    deadline_s: float,
    what: str,
    *,
    cwd: Path | None = None,
    stdin: bytes = b"",
    remedy: str = "",
) -> bytes:
    """Run one tool to its end and return its stdout.

    deadline_s: seconds after which it is killed. what: the step's name, for errors, such as `compiling`.
    remedy: what a person can do if the tool fails. The tool sees the C locale and a fixed SOURCE_DATE_EPOCH.
    Raises UsageError when the tool is not installed, LabError with its last words when it fails or takes too long.
    """
    tool = argv[0]
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "SOURCE_DATE_EPOCH": "0"}
    try:
        done = subprocess.run(
            argv, cwd=cwd, input=stdin, capture_output=True, timeout=deadline_s, env=environment, check=False
        )
    except FileNotFoundError:
        package = _PACKAGES.get(tool, tool)
        raise UsageError(
            f"{what}: {tool} is not installed", f"install the Debian package {package}, or run ./scripts/setup"
        ) from None
    except subprocess.TimeoutExpired as expired:
        raise LabError(
            f"{what}: {tool} did not end within {deadline_s:g} s{_last_words(expired.stderr)}",
            remedy or "look whether the machine is overloaded or the network is down, and run it again",
        ) from None
    if done.returncode != 0:
        raise LabError(
            f"{what}: {tool} ended with status {done.returncode}{_last_words(done.stderr)}",
            remedy or f"run it by hand: {' '.join(argv)}",
        )
    return done.stdout


def _last_words(stderr: bytes | None) -> str:
    lines = (stderr or b"").decode(errors="replace").splitlines()[-_STDERR_LINES:]
    return "".join(f"\n  | {''.join(c if c.isprintable() else '?' for c in line)}" for line in lines)
