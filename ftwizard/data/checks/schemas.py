"""What tools declare: names, and JSON Schemas that the arguments of calls are held against."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from ftwizard.data.checks.found import Found
from ftwizard.data.quoted import quoted

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}\Z")
_REMEMBERED = 2048
# Not used on what strangers write: a regular expression can take for ever, a format can ask the
# network, an identifier changes what references mean.
_LEFT_OUT = frozenset({"pattern", "format", "$id", "id", "$schema"})
_BY_NAME = ("properties", "definitions", "$defs")
_FORM = "write it as {type: function, function: {name, description, parameters}}"
_MOST_REFERENCES = 20
"""A score of references that double at each step are a million steps; more are not followed."""
_NEWER = ("prefixItems", "$dynamicRef", "unevaluatedProperties", "dependentRequired")


class Parameters(NamedTuple):
    """A schema that was found valid."""

    encoded: bytes


def of_tools(tools: Any, *, strict: bool) -> tuple[tuple[Found, ...], dict[str, Parameters | None]]:
    """Return what is wrong with a row's tools, and the schema of each by its name.

    A schema is None where there is none or none that is valid. ``strict``: each stands in
    ``{"type": "function", "function": …}``, not by itself.
    """
    if not tools:
        return (), {}
    try:
        return _of_tools(msgspec.json.encode(tools), strict)
    except (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError):
        return (), {}  # numbers too large or nested too deeply to be looked at


def mismatch(arguments: dict[str, Any], parameters: Parameters) -> str | None:
    """Say in what the arguments of a call are not as declared; None if they are."""
    validator = _validator(parameters.encoded)
    if validator is None:
        return None
    try:
        error = next(validator.iter_errors(arguments), None)
    except _beyond():
        return None
    return None if error is None else _words(error)


@functools.lru_cache(_REMEMBERED)
def _of_tools(
    encoded: bytes, strict: bool
) -> tuple[tuple[Found, ...], dict[str, Parameters | None]]:
    tools = msgspec.json.decode(encoded)
    found: list[Found] = []
    names: dict[str, Parameters | None] = {}
    for number, tool in enumerate(tools if isinstance(tools, list) else [tools], 1):
        function = _function(tool)
        name = function.get("name")
        if not isinstance(name, str) or not name:
            found.append(Found("tool_schema", f"tool {number} has no name", _FORM))
            continue
        if strict and (function is tool or tool.get("type") != "function"):
            found.append(Found("tool_schema", f"tool {number} is not marked as a function", _FORM))
        wrong = _invalid(function.get("parameters"))
        found.extend(_of_function(name, function, wrong, again=name in names))
        names[name] = None if wrong else _parameters(function.get("parameters"))
    return tuple(found), names


def _function(tool: Any) -> dict[str, Any]:
    inner = tool.get("function", tool) if isinstance(tool, dict) else None
    return inner if isinstance(inner, dict) else {}


def _of_function(
    name: str, function: dict[str, Any], wrong: str | None, *, again: bool
) -> Iterator[Found]:
    shown = quoted(name, 40)
    if again:
        yield Found("tool_schema", f"two tools are named {shown}", "give each a name of its own")
    if not _NAME.match(name):
        yield Found(
            "tool_schema",
            f"the tool's name {shown} has other than letters, digits, _ and -, or more than 64",
            "rename it here and in the calls",
        )
    description = function.get("description")
    if description is not None and not isinstance(description, str):
        yield Found("tool_schema", f"the description of {shown} is no text", "describe it in words")
    elif not description:
        yield Found(
            "tool_description",
            f"the tool {shown} has no description",
            "say what it does: the model chooses by it",
        )
    if wrong:
        yield Found(
            "tool_schema",
            f"the parameters of {shown} are no JSON Schema: {wrong}",
            "correct them: type object, properties, required",
        )


def _invalid(parameters: Any) -> str | None:
    if parameters is None:
        return None
    if not isinstance(parameters, dict):
        return "they are no object"
    if parameters.get("type", "object") != "object":
        return f"their type is {quoted(str(parameters['type']), 30)}, not object"
    from jsonschema.exceptions import SchemaError

    try:
        _kind(parameters).check_schema(parameters)
    except SchemaError as error:
        where = ".".join(quoted(str(step), 30) for step in error.absolute_path)
        return f"{where or 'as a whole'} is not as JSON Schema has it ({error.validator})"
    except _beyond():
        return None
    return None


def _parameters(parameters: Any) -> Parameters | None:
    if not isinstance(parameters, dict):
        return None
    return Parameters(msgspec.json.encode(_harmless(parameters)))


def _harmless(schema: Any) -> Any:
    """Return a schema without what must not be evaluated."""
    if isinstance(schema, list):
        return [_harmless(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    patterns = "patternProperties" in schema
    kept: dict[str, Any] = {}
    for key, value in schema.items():
        if key in _BY_NAME and isinstance(value, dict):
            kept[key] = {name: _harmless(item) for name, item in value.items()}
        elif key in ("enum", "const", "default", "examples"):
            kept[key] = value
        elif key not in _LEFT_OUT and not (patterns and "Properties" in key):
            kept[key] = _harmless(value)
    return kept


@functools.lru_cache(_REMEMBERED)
def _validator(encoded: bytes) -> Any:
    from referencing import Registry

    if encoded.count(b'"$ref"') > _MOST_REFERENCES:
        return None
    schema = msgspec.json.decode(encoded)
    # The registry is empty, so that no reference is ever fetched.
    return _kind(schema)(schema, registry=Registry())


def _kind(schema: Any) -> Any:
    """Return the validator class: Draft 7, five times as fast to check by, unless the schema has
    what only the draft of 2020 knows."""
    from jsonschema import Draft7Validator, Draft202012Validator

    newer = isinstance(schema, dict) and any(key in repr(schema) for key in _NEWER)
    return Draft202012Validator if newer else Draft7Validator


def _beyond() -> tuple[type[Exception], ...]:
    """Return what the library raises where it can say nothing: a reference into nowhere, a circle
    of them, a number out of range. Such a schema may be right."""
    from referencing.exceptions import Unresolvable

    arithmetic = (RecursionError, TypeError, ValueError, ArithmeticError, LookupError)
    return (Unresolvable, AttributeError, *arithmetic)


def _words(error: Any) -> str:
    """Say what a validator found without a word of the value, which may be anything."""
    where = ".".join(quoted(str(step), 30) for step in error.absolute_path)
    what = f"“{where}”" if where else "they"
    keyword, wanted = error.validator, error.validator_value
    if keyword is None:
        return f"{what} {'is' if where else 'are'} not allowed"
    if keyword == "required":
        missing = [name for name in wanted if name not in error.instance]
        names = ", ".join(quoted(str(name), 30) for name in missing[:3])
        return f"{f'{what} lacks' if where else 'they lack'} {names}"
    if keyword == "type":
        types = wanted if isinstance(wanted, list) else [wanted]
        return f"{what} {'is' if where else 'are'} not of the type {' or '.join(map(str, types))}"
    if keyword == "enum":
        return f"{what} is none of the {len(wanted)} values that are allowed"
    if keyword == "additionalProperties":
        known = error.schema.get("properties", {})
        more = [key for key in error.instance if key not in known]
        return f"{quoted(', '.join(map(str, more[:3])), 60)} is not declared"
    return f"{what} {'breaks' if where else 'break'} the rule “{keyword}”"
