"""Markers: words that hvrig sends through the board's console to prove that the watch hears it (decision 4)."""

from __future__ import annotations

import re
import secrets

# Printed by root-linux, so that it takes the same way through the UART as a fault would.
MARKER = re.compile(rb"hvrig-mark-([0-9a-f]{16})")


def new_marker() -> str:
    """A marker that was never used before: `hvrig-mark-` and 16 hexadecimal digits."""
    return f"hvrig-mark-{secrets.token_hex(8)}"
