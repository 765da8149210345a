"""Lenient JSON parsing of lines that can be read in only one way."""

from __future__ import annotations

import ast
import json
import re
import warnings
from typing import Any, NamedTuple

from ftwizard.data.example import RowProblem
from ftwizard.data.io import strict_json
from ftwizard.data.repair.change import RowChange, shorten

_STRING = r'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_TEXT_OR_COMMA = re.compile(rf"{_STRING}|,(?=\s*[}}\]])", re.DOTALL)
_TEXT = re.compile(_STRING, re.DOTALL)
_SEPARATOR = re.compile(r"\s*(,?)\s*")
_CONTROL = re.compile(r"[\x00-\x1f]")
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
        repaired = _attempt(_LenientParser(), text) or _attempt(_PythonParser(), text)
        if repaired is None:
            raise
        return repaired


def encode(value: Any, *, ascii: bool = False) -> str:
    """Return ``value`` as JSON on one line; raise ValueError if JSON cannot represent it."""
    return json.dumps(value, ensure_ascii=ascii, allow_nan=False)


def _attempt(parser: _LenientParser | _PythonParser, text: str) -> RepairedLine | None:
    try:
        values = parser.parse(text)
        for value in values:
            strict_json.decode(encode(value))
    except (ValueError, RecursionError, MemoryError, RowProblem):
        return None
    return RepairedLine(values, list(dict.fromkeys(parser.changes))) if parser.changes else None


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


class _PythonParser:
    """Reads the Python literal that ``repr`` or ``str`` makes of a row."""

    def __init__(self) -> None:
        self.changes: list[RowChange] = []

    def parse(self, text: str) -> list[Any]:
        """Return the one value in the text; raise ValueError if it is invalid."""
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
        value = _from_literal(body)
        self.changes.append(RowChange("invalid_json", "", "a Python literal", "JSON"))
        return [value]


def _from_literal(node: ast.expr) -> Any:
    if isinstance(node, ast.Constant) and (
        node.value is None or isinstance(node.value, str | int | float)
    ):
        return node.value
    if isinstance(node, ast.List):
        return [_from_literal(element) for element in node.elts]
    if isinstance(node, ast.Dict):
        return _from_dict(node)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = _from_literal(node.operand)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return -value
    raise _Refused


def _from_dict(node: ast.Dict) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key_node, value_node in zip(node.keys, node.values, strict=True):
        key = _from_literal(key_node) if key_node is not None else None
        if not isinstance(key, str) or key in result:
            raise _Refused
        result[key] = _from_literal(value_node)
    return result


def _are_equal(a: Any, b: Any) -> bool:
    return json.dumps(a, sort_keys=True) == json.dumps(b, sort_keys=True)
