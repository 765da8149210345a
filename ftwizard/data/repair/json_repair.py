"""Lenient JSON parsing of lines that can be read in only one way."""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

from ftwizard.data.example import RowProblem
from ftwizard.data.io import strict_json
from ftwizard.data.repair.change import RowChange, shorten

_STRING = r'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_TEXT_OR_COMMA = re.compile(rf"{_STRING}|,(?=\s*[}}\]])", re.DOTALL)
_TEXT = re.compile(_STRING, re.DOTALL)
_SEPARATOR = re.compile(r"\s*(,?)\s*")
_CONTROL = re.compile(r"[\x00-\x1f]")
_JSON_NODES = (ast.Dict, ast.List, ast.Constant, ast.UnaryOp, ast.USub, ast.Load)
"""Python syntax that stands for JSON."""
_MAX_PYTHON_CHARACTERS = 1_000_000
"""Characters; Python's parser needs about a hundred bytes for each."""


class RepairedLine(NamedTuple):
    """The values of a line, and the changes needed to read them."""

    values: list[Any]
    """One value, or several if the line held several objects."""
    changes: list[RowChange]


class _Refused(ValueError):
    """The text can be read in more than one way."""


def parse(data: bytes) -> RepairedLine:
    """Return the values of a row's JSON, and the changes needed to read them.

    Fixed are duplicate keys with equal values, NaN as null, unescaped control characters, extra
    commas, several objects on a line, and Python literals. Raises RowProblem, as
    ``strict_json.decode`` does, if anything would have to be guessed.
    """
    try:
        return RepairedLine([strict_json.decode(data)], [])
    except RowProblem as problem:
        if problem.code in ("encoding", "nesting", "lone_surrogate"):
            raise
        text = data.decode()  # invalid UTF-8 was raised above
        lenient = _LenientParser()
        repaired = _attempt(lenient.parse, text, lenient.changes) or _attempt(
            _parse_python, text, [RowChange("invalid_json", "", "a Python literal", "JSON")]
        )
        if repaired is None:
            raise
        return repaired


def encode(value: Any, *, ascii: bool = False) -> str:
    """Return ``value`` as JSON on one line; raise ValueError if JSON cannot represent it."""
    return json.dumps(value, ensure_ascii=ascii, allow_nan=False)


def _attempt(
    parse: Callable[[str], list[Any]], text: str, changes: list[RowChange]
) -> RepairedLine | None:
    """Parse leniently; return None if that fails or needs no ``changes``."""
    try:
        values = parse(text)
        for value in values:
            strict_json.decode(encode(value))
    except (ValueError, RecursionError, MemoryError, RowProblem):
        return None
    return RepairedLine(values, list(dict.fromkeys(changes))) if changes else None


class _LenientParser:
    """Reads JSON with a few deviations, and records these."""

    def __init__(self) -> None:
        self.changes: list[RowChange] = []

    def parse(self, text: str) -> list[Any]:
        """Return each JSON document in the text; raise ValueError if it is invalid."""
        if text.startswith("\ufeff"):
            self._note("invalid_json", "a byte-order mark (U+FEFF)", "")
        text = _TEXT_OR_COMMA.sub(self._handle_comma, text.lstrip("\ufeff"))
        decoder = json.JSONDecoder(
            object_pairs_hook=self._build_object, parse_constant=self._handle_constant, strict=False
        )
        documents, index = [], 0
        while (index := self._skip_separator(text, index)) < len(text):
            value, index = decoder.raw_decode(text, index)
            documents.append(value)
        for match in _TEXT.finditer(text):
            if raw := _CONTROL.search(match[0]):
                self._note("invalid_json", f"unescaped U+{ord(raw[0]):04X}", "escaped")
        if len(documents) > 1:
            if not all(isinstance(value, dict) for value in documents):
                raise _Refused
            self._note("extra_data", f"{len(documents)} objects on one line", "one object per line")
        return documents

    def _skip_separator(self, text: str, index: int) -> int:
        """Return the position of the next document, after a comma left over from a list."""
        match = _SEPARATOR.match(text, index)
        assert match is not None  # it also matches the empty string
        if match[1]:
            self._note("extra_data", "an extra comma", "")
        return match.end()

    def _handle_comma(self, match: re.Match[str]) -> str:
        if match[0] != ",":
            return match[0]
        before = match.start() - 1
        while before >= 0 and match.string[before].isspace():
            before -= 1
        if before < 0 or match.string[before] in "[{,:":
            raise _Refused  # a value is missing
        self._note("invalid_json", "a trailing comma", "")
        return ""

    def _handle_constant(self, name: str) -> None:
        if name != "NaN":
            raise _Refused  # the number is lost
        self._note("invalid_json", "NaN", "null")

    def _build_object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key, value in pairs:
            if key in result:
                if not _are_equal(result[key], value):
                    raise _Refused
                self._note("duplicate_key", f"duplicate key “{shorten(key)}”", "one key")
            result[key] = value
        return result

    def _note(self, code: str, was: str, now: str) -> None:
        self.changes.append(RowChange(code, "", was, now))


def _parse_python(text: str) -> list[Any]:
    """Return the value of the Python literal that ``repr`` or ``str`` makes of a row."""
    text = text.strip()
    if text[:1] != "{" or len(text) > _MAX_PYTHON_CHARACTERS:
        raise _Refused
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # invalid escapes
            body = ast.parse(text, mode="eval").body
    except (SyntaxError, Warning) as error:
        raise _Refused from error
    if body.end_col_offset != len(text.encode()):
        raise _Refused  # a comment follows
    for node in ast.walk(body):
        if not isinstance(node, _JSON_NODES):
            raise _Refused
        if isinstance(node, ast.Constant) and not isinstance(node.value, str | int | float | None):
            raise _Refused
        if isinstance(node, ast.Dict):
            keys = [key.value for key in node.keys if isinstance(key, ast.Constant)]
            if len({key for key in keys if isinstance(key, str)}) != len(node.keys):
                raise _Refused
    return [ast.literal_eval(body)]


def _are_equal(a: Any, b: Any) -> bool:
    return json.dumps(a, sort_keys=True) == json.dumps(b, sort_keys=True)
