import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts/no-verdict"


@pytest.mark.parametrize(("made", "said"), [("run/verdict.json", False), ("run/uart.log", True), ("", True)])
def test_a_job_without_a_verdict_says_so(tmp_path: Path, made: str, said: bool) -> None:
    folder = tmp_path / "artifacts"
    if made:
        (folder / made).parent.mkdir(parents=True)
        (folder / made).touch()
    summary = tmp_path / "summary"
    subprocess.run([str(SCRIPT), str(folder)], env={**os.environ, "GITHUB_STEP_SUMMARY": str(summary)}, check=True)
    assert summary.exists() == said
    assert not said or summary.read_text(encoding="utf-8").startswith("## ⚠️ infra: no verdict\n")
