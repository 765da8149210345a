"""YAML 1.2 into typed settings: what does not fit is named with its line and the nearest right."""

from __future__ import annotations

import difflib
import io
import re
import typing
from typing import Any, TypeVar

import msgspec

from ftwizard.errors import FtwizardError
from ftwizard.text import visible

_T = TypeVar("_T", bound=msgspec.Struct)
_WORDS = {
    "`int`": "a whole number", "`float`": "a number", "`str`": "text", "`bool`": "true or false",
    "`array`": "a list", "`object`": "a group of settings", "`null`": "nothing",
}  # fmt: skip


class SettingsError(FtwizardError):
    """The text does not hold the settings that it should."""


def loads(text: str, kind: type[_T], name: str) -> _T:
    """Turn ``text`` into ``kind``; ``name`` is what errors call the text.

    YAML 1.2: ``no`` is a word, ``1e-4`` a number; a key given twice is an error, as is a key that
    ``kind`` does not have. Raises SettingsError.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    yaml = YAML(typ="rt", pure=True)
    yaml.version = (1, 2)
    try:
        tree = yaml.load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{name}, line {mark.line + 1}" if mark else name
        problem = visible(str(error.problem or error.context).splitlines()[0], 200)
        raise SettingsError(f"{where}: {problem}.", "Correct the YAML there.") from None
    except (YAMLError, ValueError, RecursionError) as error:
        raise SettingsError(f"{name} is not YAML: {visible(str(error), 200)}.") from None
    if not isinstance(tree, dict):
        wanted = ", ".join(f.name for f in msgspec.structs.fields(kind) if f.required)
        raise SettingsError(f"{name} holds no settings.", f"It needs at least: {wanted}.")
    return fitted(tree, kind, name)


def fitted(tree: dict[str, Any], kind: type[_T], name: str) -> _T:
    """Turn the settings in ``tree``, of any file format, into ``kind``; raises SettingsError."""
    _refuse_unknown(tree, kind, "", name)
    try:
        return msgspec.convert(_plain(tree), kind)
    except msgspec.ValidationError as error:
        message, _, at = str(error).partition(" - at ")
        keys = _keys(at)
        where = f"{name}{_line(tree, keys)}: {'.'.join(keys)}: " if keys else f"{name}: "
        allowed = _allowed(kind, keys)
        hint = f"One of: {', '.join(allowed)}." if allowed else "Correct it there."
        raise SettingsError(where + _in_words(message) + ".", hint) from None


def dumps(value: msgspec.Struct | dict[str, Any]) -> str:
    """Return YAML that ``loads`` reads back as the same value."""
    from ruamel.yaml import YAML

    yaml = YAML(typ="rt", pure=True)
    yaml.default_flow_style = False
    yaml.width = 100
    out = io.StringIO()
    yaml.dump(msgspec.to_builtins(value), out)
    return out.getvalue()


def _refuse_unknown(tree: Any, kind: Any, at: str, name: str) -> None:
    known = {f.name: f.type for f in msgspec.structs.fields(kind)}
    for key, value in tree.items():
        if key not in known:
            near = difflib.get_close_matches(str(key), known, 1)
            guess = f"Did you mean {at}{near[0]}?" if near else f"Known here: {', '.join(known)}."
            raise SettingsError(
                f"{name}{_line(tree, [key])}: {visible(f'{at}{key}', 100)} is not a setting.", guess
            )
        part = known[key]
        if isinstance(part, type) and issubclass(part, msgspec.Struct) and isinstance(value, dict):
            _refuse_unknown(value, part, f"{at}{key}.", name)


def _plain(value: Any) -> Any:
    """Turn ruamel's round-trip values into plain ones."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return value


def _keys(at: str) -> list[str]:
    """``$.data.files[0]`` → ``["data", "files", "0"]``."""
    return re.findall(r"[A-Za-z_][A-Za-z0-9_]*|\d+", at.strip("`").removeprefix("$"))


def _line(tree: Any, keys: list[str]) -> str:
    line = None
    for key in keys:
        place = int(key) if isinstance(tree, list) else key
        try:
            line = tree.lc.data[place][0] + 1
            tree = tree[place]
        except (KeyError, TypeError, AttributeError, IndexError):
            break
    return f", line {line}" if line else ""


def _allowed(kind: Any, keys: list[str]) -> tuple[str, ...]:
    """Return the words that the setting at ``keys`` may be, if it is one of a few."""
    for key in keys:
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            kind = typing.get_type_hints(kind).get(key)
    found = re.findall(r"Literal\[([^\]]*)\]", str(kind))
    return tuple(word.strip().strip("'") for word in ",".join(found).split(",") if word.strip())


def _in_words(message: str) -> str:
    """Say msgspec's message as a person would."""
    if missing := re.search(r"missing required field `(\w+)`", message):
        return f"{missing[1]} is missing"
    message = message.replace(" | null`", "`")
    for code, words in _WORDS.items():
        message = message.replace(code, words)
    message = message.replace("Invalid enum value", "it cannot be")
    return visible(message[:1].lower() + message[1:], 200)
