"""Hardware-in-the-loop memory gate for boards that run hvisor."""

from importlib.metadata import version

__version__ = version("hvrig")
