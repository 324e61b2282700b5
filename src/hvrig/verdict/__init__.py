"""Evidence -> Verdict: the one place where an outcome is decided."""
