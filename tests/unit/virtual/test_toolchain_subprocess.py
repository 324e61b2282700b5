from __future__ import annotations

import sys
from pathlib import Path

import pytest

from hvrig.model.errors import LabError, UsageError
from hvrig.virtual.toolchain_subprocess import run


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_stdin_goes_in_and_stdout_comes_back(tmp_path: Path) -> None:
    code = "import os, sys; print(os.getcwd(), sys.stdin.read())"
    assert run(python(code), 10, "x", cwd=tmp_path, stdin=b"text") == f"{tmp_path} text\n".encode()


def test_a_missing_tool_names_its_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="compiling: dtc is not installed") as caught:
        run(["dtc", "-q"], 10, "compiling")
    assert "device-tree-compiler" in caught.value.remedy


def test_a_failure_tells_status_and_last_words() -> None:
    code = "import sys; sys.stderr.write('\\n'.join(f'line {n}' for n in range(40)) + '\\x1b[31m'); sys.exit(7)"
    with pytest.raises(LabError, match="status 7") as caught:
        run(python(code), 10, "compiling", remedy="look")
    assert "line 39?[31m" in caught.value.message
    assert "line 20" not in caught.value.message
    assert caught.value.remedy == "look"


def test_a_tool_that_does_not_end_is_killed() -> None:
    with pytest.raises(LabError, match=r"did not end within 0\.2 s"):
        run(python("import signal; signal.pause()"), 0.2, "waiting")
