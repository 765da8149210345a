"""Strict YAML 1.2 to typed settings; errors give the line and the closest valid key."""

from __future__ import annotations

import io
import itertools
import re
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from ftwizard import user_paths
from ftwizard.errors import FtwizardError
from ftwizard.text import find_similar, make_visible

MAX_BYTES = 1_000_000
"""Size of a file of settings; a plan has a few kB."""
MAX_DEPTH = 32
MAX_VALUES = 300_000
"""Values in a file, after its aliases are replaced: a few can stand for billions."""
_T = TypeVar("_T", bound=msgspec.Struct)
_TYPE_NAMES = {
    "`int`": "a whole number", "`float`": "a number", "`str`": "text", "`bool`": "true or false",
    "`array`": "a list", "`object`": "a group of settings", "`null`": "null",
}  # fmt: skip


class SettingsError(FtwizardError):
    """The text does not contain valid settings.

    ``setting``: the dotted name of the setting that is wrong, if it is one; then the message is this
    name and ``problem``.
    """

    def __init__(self, problem: str, hint: str = "", *, setting: str = "") -> None:
        super().__init__(f"{setting} {problem}".lstrip(), hint)
        self.problem = problem
        self.setting = setting


def read_text(path: Path) -> str:
    """Return the text of a file. Raises SettingsError, but FileNotFoundError where there is none."""
    name = make_visible(str(path))
    try:
        return user_paths.read_bytes(path, MAX_BYTES).decode("utf-8-sig")
    except FileNotFoundError:
        raise
    except FtwizardError as error:
        raise SettingsError(error.message, error.hint) from None
    except UnicodeDecodeError as error:
        problem, hint = f"is not UTF-8 (byte {error.start})", "Save it as a UTF-8 text file."
    except OSError as error:
        problem, hint = f"could not be read: {error.strerror}", "Check its permissions: ls -l"
    except ValueError:
        problem, hint = "is not a valid file name", ""
    raise SettingsError(f"{name} {problem}.", hint)


def loads(
    text: str,
    kind: type[_T],
    name: str,
    prepare: Callable[[dict[str, Any]], None] = lambda tree: None,
) -> _T:
    """Parse ``text`` into ``kind``; errors refer to the text as ``name``.

    In YAML 1.2, ``no`` is a string and ``1e-4`` a number. Duplicate and unknown keys are errors.
    ``prepare`` may change what was parsed, before its keys are checked. Raises SettingsError.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.composer import MaxDepthExceededError
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    yaml = YAML(typ="rt", pure=True)
    yaml.version, yaml.max_depth = (1, 2), MAX_DEPTH
    try:
        tree = yaml.load(text)
    except MaxDepthExceededError as error:
        where = f"{name}, line {error.problem_mark.line + 1}"
        raise SettingsError(
            f"{where}: nested over {MAX_DEPTH} levels.", "Fix the YAML there."
        ) from None
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{name}, line {mark.line + 1}" if mark else name
        problem = make_visible(str(error.problem or error.context).splitlines()[0], 200)
        raise SettingsError(f"{where}: {problem}.", "Fix the YAML there.") from None
    except (YAMLError, ValueError, RecursionError) as error:
        raise SettingsError(f"{name} is not valid YAML: {make_visible(str(error), 200)}.") from None
    if not isinstance(tree, dict):
        wanted = ", ".join(f.name for f in msgspec.structs.fields(kind) if f.required)
        raise SettingsError(f"{name} contains no settings.", f"Required: {wanted}.")
    prepare(tree)
    return convert_settings(tree, kind, name)


def load_value(text: str, name: str) -> Any:
    """Parse one value as in a settings file: ``1e-4``, ``true``, ``[a, b]``; None if it is empty.

    Raises SettingsError, which refers to the value as ``name``.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    yaml = YAML(typ="rt", pure=True)
    yaml.version, yaml.max_depth = (1, 2), MAX_DEPTH
    try:
        return _to_plain(yaml.load(text))
    except (YAMLError, ValueError, OverflowError, RecursionError):
        raise SettingsError(f"{name}: {make_visible(text, 60)} is not valid YAML.") from None


def convert_settings(tree: dict[str, Any], kind: type[_T], name: str) -> _T:
    """Convert settings parsed from any file format to ``kind``; raise SettingsError."""
    try:
        _reject_unknown(tree, kind, "", name)
        return msgspec.convert(_to_plain(tree), kind)
    except RecursionError:
        raise SettingsError(f"{name} could not be read: it is nested too deeply.") from None
    except OverflowError:
        problem = f"{name} could not be read: its aliases (*name) repeat too much."
        raise SettingsError(problem, "Write the values out.") from None
    except msgspec.ValidationError as error:
        message, _, at = str(error).partition(" - at ")
        keys = _split_path(at)
        where = f"{name}{_format_line(tree, keys)}: {'.'.join(keys)}: " if keys else f"{name}: "
        allowed = _find_allowed(kind, keys)
        value = _get_value(tree, keys)
        hint = f"One of: {', '.join(allowed)}." if allowed else "Fix the value there."
        if allowed and isinstance(value, str) and (near := find_similar(value, allowed)):
            hint = f"Did you mean {near}? {hint}"
        raise SettingsError(f"{where}{_rephrase(message, value)}.", hint) from None


def locate(text: str, setting: str, name: str) -> str:
    """Return where a setting of valid text is: ``plan.yaml, line 12: ``; without a line if nowhere."""
    from ruamel.yaml import YAML

    return f"{name}{_format_line(YAML(typ='rt', pure=True).load(text), setting.split('.'))}: "


def dumps(value: msgspec.Struct | dict[str, Any]) -> str:
    """Return YAML from which ``loads`` restores the same value."""
    from ruamel.yaml import YAML

    yaml = YAML(typ="rt", pure=True)
    yaml.default_flow_style = False
    yaml.width = 100
    out = io.StringIO()
    yaml.dump(msgspec.to_builtins(value), out)
    return out.getvalue()


def _reject_unknown(tree: Any, kind: Any, at: str, name: str) -> None:
    field_types = {f.name: f.type for f in msgspec.structs.fields(kind)}
    for key, value in tree.items():
        if key not in field_types:
            near = find_similar(str(key), field_types)
            hint = f"Did you mean {at}{near}?" if near else f"Valid keys: {', '.join(field_types)}."
            raise SettingsError(
                f"{name}{_format_line(tree, [key])}: {make_visible(f'{at}{key}', 100)} is not a setting.",
                hint,
            )
        field_type = field_types[key]
        if (
            isinstance(field_type, type)
            and issubclass(field_type, msgspec.Struct)
            and isinstance(value, dict)
        ):
            _reject_unknown(value, field_type, f"{at}{key}.", name)


def _to_plain(value: Any, counter: Iterator[int] | None = None) -> Any:
    """Convert the round-trip types of ruamel.yaml to plain ones.

    Raises OverflowError for over ``MAX_VALUES``.
    """
    counter = itertools.count() if counter is None else counter
    if next(counter) > MAX_VALUES:
        raise OverflowError
    if isinstance(value, dict):
        return {str(key): _to_plain(item, counter) for key, item in value.items()}
    if isinstance(value, list):
        return [_to_plain(item, counter) for item in value]
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return value


def _split_path(at: str) -> list[str]:
    """Split a path: ``$.data.files[0]`` → ``["data", "files", "0"]``."""
    return re.findall(r"[A-Za-z_][A-Za-z0-9_]*|\d+", at.strip("`").removeprefix("$"))


def _format_line(tree: Any, keys: list[str]) -> str:
    line = None
    for key in keys:
        index = int(key) if isinstance(tree, list) else key
        try:
            line = tree.lc.data[index][0] + 1
            tree = tree[index]
        except (KeyError, TypeError, AttributeError, IndexError):
            break
    return f", line {line}" if line else ""


def _get_value(tree: Any, keys: list[str]) -> Any:
    for key in keys:
        try:
            tree = tree[int(key) if isinstance(tree, list) else key]
        except (KeyError, TypeError, IndexError):
            return None
    return tree


def _find_allowed(kind: Any, keys: list[str]) -> tuple[str, ...]:
    """Return the valid values of the setting at ``keys``, if it is an enumeration."""
    for key in keys:
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            kind = typing.get_type_hints(kind).get(key)
    literals = re.findall(r"Literal\[([^\]]*)\]", str(kind))
    return tuple(word.strip().strip("'") for word in ",".join(literals).split(",") if word.strip())


def _rephrase(message: str, value: Any) -> str:
    """Rephrase an error message of msgspec about ``value``."""
    if isinstance(value, str | float):
        shown = f"“{value}”" if isinstance(value, str) else f"{value:g}"
        message = re.sub("got `(str|float)`$", lambda _: f"got {shown}", message)
    if missing := re.search(r"missing required field `(\w+)`", message):
        return f"{missing[1]} is missing"
    message = message.replace(" | null`", "`")
    for code, words in _TYPE_NAMES.items():
        message = message.replace(code, words)
    message = message.replace("Invalid enum value", "invalid value")
    return make_visible(message[:1].lower() + message[1:], 200)
