"""Top-level pytest settings. The fixtures and options for boards come from the installed plugin `hvrig`."""

from hypothesis import settings

# A machine that is busy with virtual boards stops a test for longer than hypothesis's 200 ms: that is no failure.
# A profile that is named on the command line counts more.
settings.register_profile("hvrig", deadline=None)
settings.load_profile("hvrig")
