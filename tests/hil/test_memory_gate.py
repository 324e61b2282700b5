"""The memory gate, as a test: it runs before every other test that needs the board."""

import pytest

from hvrig.model.evidence import Outcome, Verdict

pytestmark = [pytest.mark.hil, pytest.mark.memory_gate]


def test_memory_gate(gate_verdict: Verdict) -> None:
    assert gate_verdict.outcome is Outcome.PASS, f"{gate_verdict.summary}\n{gate_verdict.remedy}"
