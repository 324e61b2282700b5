"""Load a place from a labgrid environment, and report every mistake in it at once.

hvrig's settings stand under `targets.NAME.options.hvrig`. `like: OTHER` takes over what that other place has
and this one does not say; under `boards: NAME:` stands what is otherwise on board NAME. `${rack}` in a path is the
folder of the virtual board's images, known once the images are built; other paths are taken from the file's own folder.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from string import Template
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from hvrig.model.errors import UsageError
from hvrig.model.place import GIVEN, Place

RACK_FOLDER = "${rack}"

# What a board cannot have for itself: it says which boards there are, or is no board's.
_NOT_A_BOARDS = ("like", "lab", "rack", "boards")

_PLACE = TypeAdapter(Place)

# What to write instead, by pydantic's error type (https://docs.pydantic.dev/latest/errors/validation_errors/).
_REMEDIES = {
    "missing": "is missing: add it",
    "string_type": "must be text: put it in quotes",
    "int_parsing": "must be a whole number, decimal or 0x...",
    "float_parsing": "must be a number",
    "unexpected_keyword_argument": "is not a setting of hvrig: remove it, or look for a typing error",
    "extra_forbidden": "is not a setting of hvrig: remove it, or look for a typing error",
}


class _Loader(yaml.SafeLoader):
    """YAML as labgrid reads it: `!template` strings with LG_* variables and BASE."""


def _construct_template(loader: yaml.SafeLoader, node: yaml.Node) -> str:
    assert isinstance(node, yaml.ScalarNode)
    known = {name: value for name, value in os.environ.items() if name.startswith("LG_")}
    known["BASE"] = str(Path(loader.name).resolve().parent)
    return Template(str(loader.construct_scalar(node))).safe_substitute(known)


_Loader.add_constructor("!template", _construct_template)


@dataclass(frozen=True)
class _Mistake:
    field: str
    line: int | None
    text: str


class _Document:
    """A parsed file: its data, and the line of each key."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open(encoding="utf-8") as stream:
                loader = _Loader(stream)
                loader.name = str(path)
                try:
                    self._root = loader.get_single_node()
                    data = loader.construct_document(self._root) if self._root else None
                finally:
                    loader.dispose()
        except OSError as error:
            raise UsageError(
                f"The places file {path} cannot be read: {error.strerror}.",
                "Give a labgrid environment with --places, or run from the checkout, where lab/places.yaml is.",
            ) from error
        except UnicodeDecodeError as error:
            raise UsageError(f"{path} is not UTF-8 text: {error.reason}.", "Save it as UTF-8.") from error
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            where = f"{path}:{mark.line + 1}" if mark else str(path)
            raise UsageError(
                f"{where}: not YAML: {getattr(error, 'problem', None) or error}.", "Mend the line that is named."
            ) from error
        targets = data.get("targets") if isinstance(data, dict) else None
        if not isinstance(targets, dict):
            raise UsageError(
                f"{path} has no targets.", "A labgrid environment has a mapping `targets:` with one entry a place."
            )
        self.targets: Mapping[str, Any] = targets

    def get(self, keys: Sequence[str | int]) -> object:
        """The scalar at `keys`, or None."""
        node = self._node(keys)
        return node.value if isinstance(node, yaml.ScalarNode) else None

    def reaches(self, keys: Sequence[str | int]) -> bool:
        """True where every one of `keys` exists."""
        return self._node(keys) is not None

    def _node(self, keys: Sequence[str | int]) -> yaml.Node | None:
        node = self._root
        for key in keys:
            found = _child(node, key)
            if found is None:
                return None
            node = found[1]
        return node

    def span(self, keys: Sequence[str | int]) -> tuple[int, int] | None:
        """Where the scalar at `keys` stands in the text, in characters, with its quotes; None where there is none."""
        node = self._node(keys)
        return (node.start_mark.index, node.end_mark.index) if isinstance(node, yaml.ScalarNode) else None

    def line(self, keys: Sequence[str | int]) -> int | None:
        """The line of the deepest of `keys` that exists, counted from 1."""
        node, line = self._root, None
        for key in keys:
            found = _child(node, key)
            if found is None:
                break
            line, node = found
        return line


def _child(node: yaml.Node | None, key: str | int) -> tuple[int, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            if name.value == str(key):
                return name.start_mark.line + 1, value
    if isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
        return node.value[key].start_mark.line + 1, node.value[key]
    return None


def place_names(path: Path) -> tuple[str, ...]:
    """The names of the places in a file, in its order.

    Raises UsageError when the file cannot be read or is no labgrid environment.
    """
    return tuple(str(name) for name in _Document(path).targets)


def load_place(path: Path, name: str) -> Place:
    """The place `name` of the labgrid environment `path`, checked.

    Raises UsageError that lists every mistake with file, line, place, field and what would be right.
    """
    document = _Document(path)
    if name not in document.targets:
        raise UsageError(
            f"{path} has no place {name!r}.",
            f"Choose one with --place or HVRIG_PLACE: {', '.join(map(str, document.targets))}.",
        )
    mistakes: list[_Mistake] = []
    settings = _settings(document, name, mistakes, ())
    boards = settings.pop("boards", None) or {}
    place: Place | None = None
    if not mistakes:
        place = _validated(document, name, settings, mistakes, ())
    if place is not None:
        place = replace(place, boards=_boards(document, name, settings, boards, mistakes))
    mistakes += _resource_mistakes(document, name)
    if mistakes or place is None:
        listed = "\n".join(
            f"  {path}:{m.line or '?'}: place {name}: {m.field}: {m.text}"
            for m in sorted(mistakes, key=lambda m: m.line or 0)
        )
        count = f"{len(mistakes)} mistakes" if len(mistakes) != 1 else "1 mistake"
        raise UsageError(f"Place {name} cannot be used, {count}:\n{listed}", "docs/places.md lists every setting.")
    return _from_folder(place, path.resolve().parent)


def _validated(
    document: _Document, name: str, settings: Mapping[str, Any], mistakes: list[_Mistake], at: tuple[str, ...]
) -> Place | None:
    try:
        return _PLACE.validate_python({"name": name, **settings})
    except ValidationError as error:
        mistakes += [_mistake(document, name, detail, at) for detail in error.errors(include_url=False)]
        return None


def _boards(
    document: _Document, name: str, settings: Mapping[str, Any], boards: object, mistakes: list[_Mistake]
) -> dict[str, Place]:
    """The place as it is on each board under `boards`, whose settings are laid over the place's own."""
    if not isinstance(boards, dict):
        line = _line_of(document, name, ("boards",))
        mistakes.append(_Mistake("options.hvrig.boards", line, "must have the boards' settings by their names"))
        return {}
    found: dict[str, Place] = {}
    for board, given in boards.items():
        own = {} if given is None else given
        at = ("boards", str(board))
        foreign = [key for key in _NOT_A_BOARDS if isinstance(own, dict) and key in own]
        if foreign or not isinstance(own, dict):
            text = f"cannot have {' or '.join(foreign)}: that is the place's" if foreign else "must have settings"
            line = _line_of(document, name, (*at, *foreign[:1]))
            mistakes.append(_Mistake(".".join(["options.hvrig", *at]), line, text))
            continue
        place = _validated(document, name, _overlay(settings, own), mistakes, at)
        if place is not None:
            found[str(board)] = place
    return found


def on_every_board(place: Place, change: Callable[[Place], Place]) -> Place:
    """The place with `change` made to it, and to what it is on each of its boards; a UsageError says on which."""
    changed = change(place)
    boards: dict[str, Place] = {}
    for name, board in place.boards.items():
        try:
            boards[name] = change(board)
        except UsageError as error:
            raise UsageError(f"Board {name}: {error.message}", error.remedy) from error
    return replace(changed, boards=boards)


def with_rack(place: Place, folder: Path) -> Place:
    """The same place with `${rack}` in its paths replaced by the folder of the virtual board's images."""
    return _map_paths(place, lambda text: text.replace(RACK_FOLDER, str(folder)))


def settings_of(place: Place) -> dict[str, Any]:
    """What stands under `options.hvrig` for a place, complete, without its rack: plain values, for another file."""
    dumped = _PLACE.dump_python(place, mode="json", exclude={"name", "rack", "boards"})
    settings = {key: _without_none(value) for key, value in dumped.items()}
    boards = {name: settings_of(board) for name, board in place.boards.items()}
    for board in boards.values():
        del board["lab"]
    return {**settings, "boards": boards} if boards else settings


def _without_none(value: Any) -> Any:
    """Settings that are not given stand nowhere; only where null means something of its own is it kept."""
    if isinstance(value, dict):
        return {k: _without_none(v) for k, v in value.items() if v is not None or k == "test_mask"}
    return value


def _settings(document: _Document, name: str, mistakes: list[_Mistake], seen: tuple[str, ...]) -> dict[str, Any]:
    """What stands under `options.hvrig` of a place, laid over what the place that it is like has."""
    keys = ("targets", name, "options", "hvrig")
    target = document.targets.get(name)
    options = target.get("options") if isinstance(target, dict) else None
    own = options.get("hvrig") if isinstance(options, dict) else None
    if not isinstance(own, dict):
        mistakes.append(_Mistake("options.hvrig", document.line(keys), "is missing: hvrig's settings stand there"))
        return {}
    own = dict(own)
    like = own.pop("like", None)
    if like is None:
        return own
    if like not in document.targets or like in (*seen, name):
        mistakes.append(
            _Mistake(
                "options.hvrig.like",
                document.line((*keys, "like")),
                f"{like!r} is not another place of this file: choose one of "
                + ", ".join(str(t) for t in document.targets if t != name),
            )
        )
        return own
    return _overlay(_settings(document, like, mistakes, (*seen, name)), own)


def _overlay(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = _overlay(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _mistake(document: _Document, name: str, detail: ErrorDetails, at: Sequence[str]) -> _Mistake:
    """at: where the settings stand that pydantic was given, below `options.hvrig`."""
    loc = [*at, *(part for part in detail["loc"] if part != "name")]
    text = _REMEDIES.get(detail["type"])
    if text is None:
        text = detail["msg"].removeprefix("Value error, ")
    if not isinstance(detail["input"], dict) and detail["type"] != "missing":
        text += f" (it is {detail['input']!r})"
    return _Mistake(".".join(["options.hvrig", *map(str, loc)]), _line_of(document, name, loc), text)


def _line_of(document: _Document, name: str, loc: Sequence[str | int]) -> int | None:
    """The line where a setting stands: in the place itself, else in the one that it is like."""
    return document.line(_keys_of(document, name, loc))


def _keys_of(document: _Document, name: str, loc: Sequence[str | int]) -> tuple[str | int, ...]:
    """The keys under which a setting stands: in the place itself, else in the one that it is like."""
    keys = ("targets", name, "options", "hvrig")
    seen: set[str] = set()
    while name not in seen:
        seen.add(name)
        here = ("targets", name, "options", "hvrig")
        if document.reaches((*here, *loc)):
            return (*here, *loc)
        name = str(document.get((*here, "like")))
    return (*keys, *loc)


def setting_span(path: Path, name: str, loc: Sequence[str], board: str = "") -> tuple[int, int] | None:
    """Where the value of a setting of place `name` stands in the file, as characters of its text, quotes included.

    Among the board's own settings, else in the place itself, else in the one that it is like; None where it stands in
    none. Raises UsageError.
    """
    document = _Document(path)
    own = document.span(_keys_of(document, name, ("boards", board, *loc))) if board else None
    return own or document.span(_keys_of(document, name, loc))


def _resource_mistakes(document: _Document, name: str) -> list[_Mistake]:
    """What labgrid's own resources must hold for hvrig; their details are labgrid's to check."""
    target = document.targets[name]
    resources = target.get("resources") if isinstance(target, dict) else None
    classes = set(_class_names(resources))
    line = document.line(("targets", name, "resources"))
    if "RemotePlace" in classes:  # the coordinator brings the rest
        return []
    wanted = {
        "a serial port (NetworkSerialPort, RawSerialPort or USBSerialPort)": any("SerialPort" in c for c in classes),
        "a NetworkService (root-linux's address for SSH)": "NetworkService" in classes,
    }
    return [_Mistake("resources", line, f"lacks {what}: add it") for what, there in wanted.items() if not there]


def _class_names(resources: object) -> list[str]:
    """labgrid takes `{Class: args}` and `[{Class: args}, {cls: Class, ...}]`."""
    if isinstance(resources, dict):
        return [str(key) for key in resources]
    names: list[str] = []
    for item in resources if isinstance(resources, list) else []:
        if isinstance(item, dict):
            names += [str(item["cls"])] if "cls" in item else [str(key) for key in item]
    return names


def _from_folder(place: Place, folder: Path) -> Place:
    def resolve(text: str) -> str:
        if text.startswith(RACK_FOLDER) or text == GIVEN:
            return text
        return str(folder / Path(text).expanduser())

    return _map_paths(place, resolve)


def _map_paths(place: Place, change: Any) -> Place:
    host_key = place.ssh.host_key
    # `ssh-ed25519 AAAA...` is the key itself; anything without a blank is a file that holds it.
    if " " not in host_key.strip():
        host_key = change(host_key)

    def changed(path: Path | None) -> Path | None:
        return None if path is None else Path(change(str(path)))

    built = place.hypervisor
    return replace(
        place,
        boards={name: _map_paths(board, change) for name, board in place.boards.items()},
        hypervisor=replace(
            built, elf=changed(built.elf), board_rs=changed(built.board_rs), consts_rs=changed(built.consts_rs)
        ),
        images={n: replace(i, path=Path(change(str(i.path)))) for n, i in place.images.items()},
        ssh=replace(place.ssh, key=Path(change(str(place.ssh.key))), host_key=host_key),
        tftp=replace(place.tftp, folder=Path(change(str(place.tftp.folder)))) if place.tftp else None,
    )
