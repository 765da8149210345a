"""One row's JSON, by the book: what lenient readers take in silence is a problem with a name."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import msgspec

from ftwizard.data.conversation import RowProblem
from ftwizard.data.quoted import quoted

_COLON = re.compile(rb'"[ \t\r\n]+:')
_NAMES = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"[ \t\r\n]*+(:?)', re.DOTALL)
_SURROGATE = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])"
    r"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F][0-9a-fA-F]{2}"
)
_NO_NUMBER = re.compile(r"[:\[,]\s*-?(NaN|Infinity)\b")
_NUMBER = re.compile(r'"([^"\\]{0,100})"\s*:\s*(-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)')
_PYTHON = re.compile(r"[{\[,:]\s*(?:'|None\b|True\b|False\b)")
_MARK = "\ufeff"


def decode(data: bytes | str) -> Any:
    """Return the value of one JSON document; raise RowProblem with what is wrong with it.

    Also of an object that names a key twice: readers differ in which one counts. Bytes that are
    not UTF-8 may come as they are or, in a ``str``, as surrogate escapes.
    """
    if isinstance(data, str):
        data = _bytes(data)
    try:
        value = msgspec.json.decode(data)
    except RecursionError:
        raise _nesting() from None
    except UnicodeDecodeError:
        raise bad_byte(data) or _why(data, "") from None
    except msgspec.DecodeError as error:
        raise bad_byte(data) or _why(data, str(error)) from None
    refuse_repeated(data, value)
    return value


def problem(data: bytes) -> RowProblem | None:
    """Return what ``decode`` would raise."""
    try:
        decode(data)
    except RowProblem as found:
        return found
    return None


def bad_byte(data: bytes) -> RowProblem | None:
    """Return the problem of bytes that are not UTF-8, as its strictest reading has it."""
    try:
        data.decode()
    except UnicodeDecodeError as error:
        return RowProblem(
            "encoding",
            f"the byte 0x{data[error.start]:02X} in it is not UTF-8",
            "convert the file, for example: iconv -f WINDOWS-1252 -t UTF-8 OLD > NEW",
        )
    return None


def refuse_repeated(data: bytes, value: Any) -> None:
    """Raise RowProblem if an object in ``data``, which means ``value``, names a key twice."""
    # Every key ends in a quote and a colon, and text in strings only adds to them: rows with as
    # many as keys, which nearly all are, have no key twice.
    keys = _keys(value)
    colons = data.count(b'":')
    if b" :" in data or b"\t" in data or b"\n" in data or b"\r" in data:
        colons += len(_COLON.findall(data))
    if colons > keys and b'\\\\"' not in data:
        colons -= data.count(b'\\":')  # within strings: JSON in JSON has many
    if colons > keys and sum(map(len, _NAMES.findall(data))) > keys:
        try:
            json.loads(data.decode(), object_pairs_hook=_once)
        except RecursionError:
            raise _nesting() from None


def _bytes(text: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise _lone_surrogate() from None


def _keys(value: Any) -> int:
    """Count the keys of all objects in a value."""
    if type(value) is not dict and type(value) is not list:
        return 0
    count, stack = 0, [value]
    for one in stack:  # it grows
        if type(one) is dict:
            count += len(one)
            for item in one.values():
                if type(item) is dict or type(item) is list:
                    stack.append(item)
        else:
            for item in one:
                if type(item) is dict or type(item) is list:
                    stack.append(item)
    return count


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise RowProblem(
                "duplicate_key",
                f"an object has the key “{quoted(key, 40)}” twice",
                "keep one: readers differ in which of them counts",
            )
        found[key] = value
    return found


def _why(data: bytes, error: str) -> RowProblem:
    """Return what is wrong with text that a reader refused with an ``error``."""
    text, reason = data.decode(), error.replace("JSON is malformed: ", "")
    if "\x00" in text:
        return RowProblem(
            "invalid_json",
            f"{text.count(chr(0)):,} NUL bytes stand in it",
            "the disk was full, or the machine went down, while it was written: write it again",
        )
    if text.startswith(_MARK):
        return RowProblem(
            "invalid_json",
            "a byte-order mark stands before it",
            "files were joined that each had one: take its 3 bytes out",
        )
    if text.lstrip()[:1] not in "{[":
        shown = quoted(text.strip(), 40)
        return RowProblem("invalid_json", f"“{shown}” is not JSON", "one JSON object a line")
    if found := _NO_NUMBER.search(text):
        return RowProblem(
            "invalid_json", f"{found[1]} is no number of JSON", "write null, or leave it out"
        )
    if _SURROGATE.search(text):
        return _lone_surrogate()
    if _PYTHON.search(text) and ("malformed" in error or "keys" in error or "invalid" in error):
        return RowProblem(
            "invalid_json",
            "it is Python, not JSON",
            "write it with json.dumps, not with str or repr",
        )
    if "truncated" in reason:
        return RowProblem(
            "invalid_json", "the JSON breaks off", "the row was cut; restore or delete it"
        )
    if "trailing characters" in reason:
        return _extra(text)
    if "out of range" in reason:
        return _too_large(text)
    return RowProblem("invalid_json", f"not JSON: {quoted(reason, 120)}", "correct the JSON")


def _extra(text: str) -> RowProblem:
    if text.rstrip().endswith(","):
        return RowProblem("extra_data", "a comma follows the object", "take the comma out")
    if "\r" in text.strip():
        return RowProblem(
            "extra_data",
            "more follows the object after a carriage return",
            "end lines with a line feed: tr '\\r' '\\n' < OLD > NEW",
        )
    return RowProblem("extra_data", "more follows the object on its line", "one JSON object a line")


def _too_large(text: str) -> RowProblem:
    for name, number in _NUMBER.findall(text):
        if float(number) in (math.inf, -math.inf):
            return RowProblem(
                "weight" if name == "weight" else "number_range",
                f"{quoted(name, 40)} is {quoted(number, 20)}, which is more than a number can be",
                "0 or 1" if name == "weight" else "correct the number, or write it as text",
            )
    return RowProblem("number_range", "a number is more than one can be", "write it as text")


def _nesting() -> RowProblem:
    return RowProblem("nesting", "nested too deeply", "flatten it")


def _lone_surrogate() -> RowProblem:
    return RowProblem(
        "lone_surrogate",
        "half of a \\ud… pair stands alone: a character was cut in two",
        "restore the character or take its half out",
    )
