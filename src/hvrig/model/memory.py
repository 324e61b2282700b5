"""Physical memory as half-open ranges of addresses."""

from __future__ import annotations

from dataclasses import dataclass

PAGE_SIZE = 4096


@dataclass(frozen=True, order=True)
class Range:
    """Physical addresses `[start, end)`, in bytes."""

    start: int
    end: int

    def __post_init__(self) -> None:
        if not 0 <= self.start <= self.end:
            raise ValueError(f"{self.start:#x} - {self.end:#x} is not a range")

    @property
    def size(self) -> int:
        """Length in bytes."""
        return self.end - self.start

    def __contains__(self, address: int) -> bool:
        return self.start <= address < self.end

    def overlap(self, other: Range) -> Range | None:
        """The addresses that lie in both, or None."""
        start, end = max(self.start, other.start), min(self.end, other.end)
        return Range(start, end) if start < end else None

    def __str__(self) -> str:
        return f"{self.start:#x} - {self.end:#x}"
