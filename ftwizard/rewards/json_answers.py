"""JSON in answers: read strictly or out of a code fence, and checked against a JSON Schema."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator
from typing import Any

import regex

MAX_MATCH_S = 1.0
"""For a pattern on one text; a pattern that backtracks without end must not stop an evaluation."""
MAX_STARTS = 50
"""Braces and brackets at which JSON is looked for in other text."""
_FENCE = re.compile(r"```[ \t]*\w*[ \t]*\n(.*?)(?:```|\Z)", re.DOTALL)
_UNSUPPORTED = ("patternProperties", "unevaluatedProperties", "unevaluatedItems", "$dynamicRef")
"""Keywords that no answer format needs, and whose patterns could not be limited in time."""


def read_json(text: str, *, lenient: bool = False) -> Any:
    """Return the JSON value of an answer; raise ValueError if it is not JSON.

    Strict by default: the whole answer must be JSON, as a program would read it. ``lenient`` also
    accepts JSON in a code fence, and an object or array between other words.
    """
    try:
        return _decode(text)
    except ValueError:
        if not lenient:
            raise
    for candidate in _find_candidates(text):
        try:
            return _decode(candidate)
        except ValueError:
            continue
    raise ValueError("no JSON")


def list_values(text: str) -> list[Any]:
    """Return the JSON objects and arrays in a text: all of it, those in fences, or between words."""
    try:
        return [_decode(text)]
    except ValueError:
        values = []
        for candidate in _find_candidates(_FENCE.sub(r"\1", text)):
            try:
                values.append(_decode(candidate))
            except ValueError:
                continue
        return values


def _decode(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_reject_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _reject_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _find_candidates(text: str) -> Iterator[str]:
    """Yield parts of a text that may be JSON: code fences, then what begins with a brace."""
    for match in _FENCE.finditer(text):
        yield match[1].strip()
    decoder = json.JSONDecoder()
    end = 0
    starts = [match.start() for match in re.finditer(r"[{\[]", text)]
    for start in starts[:MAX_STARTS]:
        if start < end:
            continue
        try:
            _, end = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            continue
        yield text[start:end]


def is_equal(left: Any, right: Any) -> bool:
    """Return whether two JSON values are equal; unlike in Python, ``true`` is not 1."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(is_equal(left[k], right[k]) for k in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(is_equal, left, right))
    return bool(left == right)


def share_of_fields(value: Any, expected: Any) -> float:
    """Return the share of fields that are right, 0–1; of other values than objects, 0 or 1.

    Extra fields count as wrong. Nested values are one field each.
    """
    if not isinstance(value, dict) or not isinstance(expected, dict):
        return float(is_equal(value, expected))
    names = expected.keys() | value.keys()
    right = sum(
        name in value and name in expected and is_equal(value[name], expected[name])
        for name in names
    )
    return right / len(names) if names else 1.0


def is_valid(value: Any, schema: dict[str, Any]) -> bool:
    """Return whether a JSON value is valid for a schema (draft 2020-12).

    Raises TimeoutError for a pattern that takes too long.
    """
    return bool(_get_validator(json.dumps(schema)).is_valid(value))


def check_schema(schema: Any) -> None:
    """Raise RowProblem if a schema is invalid, or if it uses what is not supported."""
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError

    from ftwizard.data.example import RowProblem  # ejected scripts have a copy of this module

    if not isinstance(schema, dict):
        raise RowProblem("schema", "its schema is not a JSON object", "write a JSON Schema")
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        where = "/".join(map(str, error.path)) or "its top level"
        message = f"its schema is invalid at {where}: {error.message[:120]}"
        raise RowProblem("schema", message, "correct the schema") from None
    except RecursionError:
        raise RowProblem("schema", "its schema is nested too deeply", "simplify it") from None
    for keyword, value in _walk(schema):
        if keyword in _UNSUPPORTED:
            message = f"its schema uses {keyword}, which is not supported"
            raise RowProblem("schema", message, "leave it out")
        if keyword == "$ref" and isinstance(value, str) and not value.startswith("#"):
            message = "its schema refers to another document, which is not fetched"
            raise RowProblem("schema", message, "put the part into $defs")
    try:
        is_valid({}, schema)
    except TimeoutError:
        return
    except Exception:  # noqa: BLE001 (of referencing, or of endless recursion)
        message = "its schema has a reference that cannot be resolved"
        raise RowProblem("schema", message, "correct its $ref") from None


def _walk(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield all keys of a JSON value with their values."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key, inner
            yield from _walk(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _walk(inner)


@functools.lru_cache(256)
def _get_validator(schema: str) -> Any:
    """Return a validator that fetches nothing and whose patterns are limited in time."""
    from jsonschema import Draft202012Validator, ValidationError
    from jsonschema.validators import extend
    from referencing.jsonschema import EMPTY_REGISTRY

    def match_pattern(
        validator: Any, pattern: str, instance: Any, schema: Any
    ) -> Iterator[ValidationError]:
        if isinstance(instance, str) and not regex.search(pattern, instance, timeout=MAX_MATCH_S):
            yield ValidationError("pattern")

    kind = extend(Draft202012Validator, {"pattern": match_pattern})  # type: ignore[no-untyped-call]
    return kind(json.loads(schema), registry=EMPTY_REGISTRY)
