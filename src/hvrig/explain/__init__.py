"""From a fault's address and a memory map: what lies there, and what most likely happened. Pure."""

from hvrig.explain.address import explain

__all__ = ["explain"]
