"""The watch: bytes of a UART in, findings out. Pure: no clock, no I/O."""

from hvrig.watch.watch import Watch

__all__ = ["Watch"]
