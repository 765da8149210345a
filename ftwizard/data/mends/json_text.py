"""A line that is not JSON by the book, read where there is only one way to read it."""

from __future__ import annotations

import ast
import json
import re
import warnings
from typing import Any, NamedTuple

from ftwizard.data import strict_json
from ftwizard.data.conversation import RowProblem
from ftwizard.data.mends.change import Change, shown

_STRING = r'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_TEXT_OR_COMMA = re.compile(rf"{_STRING}|,(?=\s*[}}\]])", re.DOTALL)
_TEXT = re.compile(_STRING, re.DOTALL)
_BETWEEN = re.compile(r"\s*(,?)\s*")
_RAW = re.compile(r"[\x00-\x1f]")
_LONGEST_PYTHON = 1_000_000
"""Characters; Python's own parser takes some hundred bytes for each of them."""


class Mended(NamedTuple):
    """What a line holds."""

    values: list[Any]
    """One, or more where several objects stood on it."""
    changes: list[Change]


class _Refused(ValueError):
    """There is more than one way to read it."""


def read(data: bytes) -> Mended:
    """Return the values of a row's JSON and what had to be changed to read them.

    Mended are: a key that stands twice with the same value, NaN for nothing, control characters
    that are not escaped, commas too many, several objects on a line, and Python's notation of the
    same values. Raises RowProblem, as ``strict_json.decode`` does, where something would have to be
    guessed.
    """
    try:
        return Mended([strict_json.decode(data)], [])
    except RowProblem as problem:
        if problem.code in ("encoding", "nesting", "lone_surrogate"):
            raise
        text = data.decode()  # what is not UTF-8 was a problem above
        found = _attempt(_Lenient(), text) or _attempt(_Python(), text)
        if found is None:
            raise
        return found


def written(value: Any, *, ascii: bool = False) -> str:
    """Return ``value`` as JSON text on one line; raise ValueError for what JSON cannot say."""
    return json.dumps(value, ensure_ascii=ascii, allow_nan=False)


def _attempt(reading: _Lenient | _Python, text: str) -> Mended | None:
    try:
        values = reading.values(text)
        for value in values:
            strict_json.decode(written(value))
    except (ValueError, RecursionError, MemoryError, RowProblem):
        return None
    return Mended(values, list(dict.fromkeys(reading.changes))) if reading.changes else None


class _Lenient:
    """Reads JSON and a little more, and keeps account of the little more."""

    def __init__(self) -> None:
        self.changes: list[Change] = []

    def values(self, text: str) -> list[Any]:
        """Return each document of the text; raises ValueError where it is none."""
        if text.startswith("\ufeff"):
            self._note("invalid_json", "U+FEFF before the row", "")
        text = _TEXT_OR_COMMA.sub(self._comma, text.lstrip("\ufeff"))
        decoder = json.JSONDecoder(
            object_pairs_hook=self._object, parse_constant=self._constant, strict=False
        )
        found, place = [], 0
        while (place := self._after(text, place)) < len(text):
            value, place = decoder.raw_decode(text, place)
            found.append(value)
        for match in _TEXT.finditer(text):
            if raw := _RAW.search(match[0]):
                self._note("invalid_json", f"U+{ord(raw[0]):04X} in a text", "escaped")
        if len(found) > 1:
            if not all(isinstance(value, dict) for value in found):
                raise _Refused
            self._note("extra_data", f"{len(found)} objects on one line", "a line each")
        return found

    def _after(self, text: str, place: int) -> int:
        """Return the place of the next document; a comma may stand before it, as in a list that
        was cut into lines."""
        match = _BETWEEN.match(text, place)
        assert match is not None  # it matches nothing as well
        if match[1]:
            self._note("extra_data", "a comma beside the object", "")
        return match.end()

    def _comma(self, match: re.Match[str]) -> str:
        if match[0] != ",":
            return match[0]
        before = match.start() - 1
        while before >= 0 and match.string[before].isspace():
            before -= 1
        if before < 0 or match.string[before] in "[{,:":
            raise _Refused  # a value is missing, not a comma too many
        self._note("invalid_json", "a comma before a closing bracket", "")
        return ""

    def _constant(self, name: str) -> None:
        if name != "NaN":
            raise _Refused  # a number was lost
        self._note("invalid_json", "NaN", "null")

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                if not _same(found[key], value):
                    raise _Refused
                self._note("duplicate_key", f"“{shown(key)}” twice with the same value", "once")
            found[key] = value
        return found

    def _note(self, code: str, was: str, now: str) -> None:
        self.changes.append(Change(code, "", was, now))


class _Python:
    """Reads what ``repr`` or ``str`` makes of a row."""

    def __init__(self) -> None:
        self.changes: list[Change] = []

    def values(self, text: str) -> list[Any]:
        """Return the one value of the text; raises ValueError where it is none."""
        text = text.strip()
        if text[:1] != "{" or len(text) > _LONGEST_PYTHON:
            raise _Refused
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # of escapes that mean nothing
                body = ast.parse(text, mode="eval").body
        except (SyntaxError, Warning) as error:
            raise _Refused from error
        if body.end_col_offset != len(text.encode()):
            raise _Refused  # a comment follows
        value = _literal(body)
        self.changes.append(Change("invalid_json", "", "Python's notation", "JSON"))
        return [value]


def _literal(node: ast.expr) -> Any:
    if isinstance(node, ast.Constant) and (
        node.value is None or isinstance(node.value, str | int | float)
    ):
        return node.value
    if isinstance(node, ast.List):
        return [_literal(one) for one in node.elts]
    if isinstance(node, ast.Dict):
        return _dict(node)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = _literal(node.operand)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return -value
    raise _Refused


def _dict(node: ast.Dict) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key_node, value_node in zip(node.keys, node.values, strict=True):
        key = _literal(key_node) if key_node is not None else None
        if not isinstance(key, str) or key in found:
            raise _Refused
        found[key] = _literal(value_node)
    return found


def _same(one: Any, other: Any) -> bool:
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
