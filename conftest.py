"""Top-level pytest settings. The fixtures and options for boards come from the installed plugin `hvrig`."""
