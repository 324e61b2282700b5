"""Device tree sources: compiled by dtc, after the C preprocessor where they include or define.

Runs `dtc` twice on the same text: for the blob, and for where each node stands in the sources (`-T -T`: dtc manual).
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hvrig.model.errors import UsageError

_DEADLINE_S = 20.0
# Property names begin with # as well: only what the preprocessor alone understands counts.
_DIRECTIVE = re.compile(rb"^[ \t]*#[ \t]*(?:include|define|undef|if|ifdef|ifndef)\b", re.MULTILINE)
_MEMRESERVE = re.compile(rb"^[ \t]*(?=/memreserve/)", re.MULTILINE)
_CPP = ("cpp", "-nostdinc", "-undef", "-x", "assembler-with-cpp")
_DTC = ("dtc", "-q", "-I", "dts")
_PACKAGES = {"cpp": "cpp", "dtc": "device-tree-compiler"}
# `Error: zone0.dts:5.3-4 syntax error` of dtc, `zone0.dts:2:10: fatal error: ...` of cpp
_ERROR = re.compile(r"^(?:Error: )?(?P<file>[^\n]*?):(?P<line>\d+)[.:](?P<rest>[^\n]*)$", re.MULTILINE)
_COLUMNS = re.compile(r"^[\d.:-]*\s*(?:(?:fatal )?error: )?")
_SHOWN = 200


@dataclass(frozen=True)
class CompiledTree:
    """lines: where each node begins in the sources, as `file:line`, by the node's path; `/memreserve/`: the first."""

    blob: bytes
    lines: Mapping[str, str]


def compile_device_tree(source: bytes, path: Path, includes: Sequence[Path] = ()) -> CompiledTree:
    """The tree of `source`, which `path` holds: messages name it, and its folder is searched first, `includes` then.

    Raises UsageError, naming file and line, where it cannot be compiled or a tool is missing.
    """
    folders = [str(folder) for folder in (path.parent, *includes)]
    name = str(path)
    if _DIRECTIVE.search(source):
        searched = [argument for folder in folders for argument in ("-I", folder)]
        text = _run([*_CPP, *searched, "-"], source, name)
        text = text.replace(b'"<stdin>"', b'"%s"' % _quoted(name))
    else:
        text = b'# 1 "%s"\n' % _quoted(name) + source
    searched = [argument for folder in folders for argument in ("-i", folder)]
    blob = _run([*_DTC, "-O", "dtb", *searched, "-"], text, name)
    annotated = _run([*_DTC, "-O", "dts", "-T", "-T", *searched, "-"], text, name)
    lines = node_lines(annotated.decode("utf-8", "replace"))
    reserved = _MEMRESERVE.search(source)
    if reserved is not None:  # dtc does not say where these stand
        before = source.count(b"\n", 0, reserved.start())
        lines["/memreserve/"] = f"{name}:{before + 1}"
    return CompiledTree(blob, lines)


def node_lines(annotated: str) -> dict[str, str]:
    """Where each node begins, from what `dtc -O dts -T -T` prints: a line a node, with its source in a comment."""
    lines: dict[str, str] = {}
    path: list[str] = []
    for line in annotated.splitlines():
        head = line.lstrip("\t")
        if head.startswith("};"):
            if path:
                path.pop()
            continue
        opened = _opened(head)
        if opened is None:
            continue
        name, where = opened
        path.append(name)
        if where:
            lines["/" + "/".join(path[1:])] = where
    return lines


def _opened(head: str) -> tuple[str, str] | None:
    """Name and `file:line` of the node that a line opens, None where it opens none."""
    brace, found, comment = head.partition(" {")
    if not found or '"' in brace or "=" in brace or (comment and not comment.startswith(" /* ")):
        return None
    name = brace.rpartition(" ")[2]
    where = re.match(r" /\* (.+?):(\d+)(?::\d+-\d+:\d+)?(?:, | \*/)", comment)
    return name, f"{where[1]}:{where[2]}" if where else ""


def _quoted(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape").replace(b"\\", b"\\\\").replace(b'"', b'\\"').replace(b"\n", b"?")


def _run(argv: list[str], text: bytes, name: str) -> bytes:
    tool = argv[0]
    try:
        done = subprocess.run(argv, input=text, capture_output=True, timeout=_DEADLINE_S, check=False)
    except OSError as error:
        raise UsageError(
            f"{name}: {tool}, which device tree sources need, cannot be run: {error.strerror}.",
            f"Install the Debian package {_PACKAGES[tool]}, or give the compiled tree (--dtb).",
        ) from error
    except subprocess.TimeoutExpired as error:
        raise UsageError(
            f"{name}: {tool} did not end within {_DEADLINE_S:g} s.", "Look at what the file includes."
        ) from error
    if done.returncode != 0:
        raise _failure(tool, done.stderr.decode("utf-8", "replace"), name)
    return done.stdout


def _failure(tool: str, said: str, name: str) -> UsageError:
    found = _ERROR.search(said.replace("<stdin>", name))
    remedy = "Mend the file, or give the compiled tree (--dtb); --include names folders of included files."
    if found is None:
        words = " ".join(said.split())[:_SHOWN] or "no reason given"
        return UsageError(f"{name}: {tool} cannot take it: {words}.", remedy)
    why = _COLUMNS.sub("", found["rest"])[:_SHOWN]
    file = found["file"]
    where = f"{name}:{found['line']}" if file == name else f"{name}: {file or 'no file'}:{found['line']}"
    return UsageError(f"{where}: {tool} says: {why}.", remedy)
