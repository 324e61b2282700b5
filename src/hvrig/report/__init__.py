"""One verdict as files and text: the artifact store, JSON, JUnit, the timeline, and what a terminal shows."""
