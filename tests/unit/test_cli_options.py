from __future__ import annotations

import errno
import io
from pathlib import Path

import pytest

from hvrig.cli_options import output_may_end


class Gone(io.StringIO):
    """A terminal, or a pipe, that is gone: `file` stands for its descriptor."""

    def __init__(self, file: Path, number: int) -> None:
        super().__init__()
        self._file = file.open("w")
        self._number = number

    def fileno(self) -> int:
        return self._file.fileno()

    def flush(self) -> None:
        raise OSError(self._number, "gone")


@pytest.mark.parametrize("number", [errno.EPIPE, errno.EIO])
def test_a_reader_or_a_terminal_that_goes_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(f"sys.{name}", Gone(tmp_path / name, number))
    with output_may_end():
        pass


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", Gone(tmp_path / "stdout", errno.ENOSPC))
    with pytest.raises(OSError, match="gone"), output_may_end():
        pass
