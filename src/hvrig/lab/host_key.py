"""The board's public host key, written where the place reads it."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from hvrig.lab.places import load_place, setting_span
from hvrig.model.errors import LabError, UsageError

_KEY_KINDS = ("ssh-", "ecdsa-", "sk-")


def write_host_key(places: Path, place: str, setting: str, line: str, board: str = "") -> Path:
    """Put `line` (`ssh-ed25519 AAAA...`) in the stead of the key that `place` of the file `places` has; the file.

    board: the place's board that has shown it, which may have a key of its own there.
    setting: the place's `ssh.host_key`, its path complete: the file that it names gets the key; where it is the key
    itself, the places file does, and the rest of that stays as it is. Raises LabError when a file cannot be
    written, UsageError when the places file cannot be changed safely.
    """
    if " " not in setting.strip():
        target = Path(setting)
        try:
            old = target.read_text(encoding="utf-8") if target.exists() else ""
        except (OSError, UnicodeDecodeError) as error:
            raise _unwritten(target, error) from error
        _replace(target, _with_key(old, line))
        return target
    _write_into_places(places, place, line, board)
    return places


def _with_key(old: str, line: str) -> str:
    """The text of a key file with its first key replaced; comments and other keys stay."""
    lines = old.splitlines()
    at = next((n for n, text in enumerate(lines) if text.lstrip().startswith(_KEY_KINDS)), len(lines))
    return "\n".join([*lines[:at], line, *lines[at + 1 :]]) + "\n"


def _write_into_places(places: Path, place: str, line: str, board: str) -> None:
    span = setting_span(places, place, ("ssh", "host_key"), board)
    try:
        with places.open(encoding="utf-8", newline="") as file:
            raw = file.read()
        ending = "\r\n" if "\r\n" in raw else "\n"
        text = places.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _unwritten(places, error) from error
    by_hand = UsageError(
        f"The host key of place {place} cannot be changed in {places} without risk to the rest of it.",
        f"Write it there yourself, under ssh.host_key: {line}",
    )
    if span is None:
        raise by_hand
    changed = text[: span[0]] + line + text[span[1] :]
    trial = places.with_name(f".{places.name}.new")
    try:
        with trial.open("w", encoding="utf-8", newline=ending) as file:
            file.write(changed)
        # An anchor, or a style of YAML that was not thought of: believe only what reads back.
        if load_place(trial, place).on_board(board).ssh.host_key != line:
            raise by_hand
        trial.chmod(places.stat().st_mode)
        trial.replace(places.resolve())
    except UsageError as error:
        raise by_hand from error
    except OSError as error:
        raise _unwritten(places, error) from error
    finally:
        trial.unlink(missing_ok=True)


def _replace(target: Path, text: str) -> None:
    real = target.resolve()
    fresh = real.with_name(f".{real.name}.new")
    try:
        real.parent.mkdir(parents=True, exist_ok=True)
        fresh.write_text(text, encoding="utf-8")
        if real.exists():
            fresh.chmod(real.stat().st_mode)
        os.replace(fresh, real)  # noqa: PTH105 - complete or not at all
    except OSError as error:
        with suppress(OSError):
            fresh.unlink()
        raise _unwritten(target, error) from error


def _unwritten(path: Path, error: Exception) -> LabError:
    why = error.strerror if isinstance(error, OSError) else str(error)
    return LabError(f"The host key cannot be written into {path}: {why}.", "Make it writable for this user.")
