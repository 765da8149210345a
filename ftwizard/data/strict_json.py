"""One row's JSON, by the book: what lenient readers take in silence is a problem with a name."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import msgspec

from ftwizard.data.conversation import RowProblem
from ftwizard.text import visible

_BYTE = re.compile("[\udc80-\udcff]")
_BETWEEN = re.compile(r"[\s,]*")
_KEY = re.compile(r'"\s*:')
_SURROGATE = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])"
    r"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F][0-9a-fA-F]{2}"
)
_NO_NUMBER = re.compile(r"[:\[,]\s*-?(NaN|Infinity)\b")
_PYTHON = re.compile(r"[{\[,:]\s*(?:'|None\b|True\b|False\b)")


def decode(text: str) -> Any:
    """Return the value of one JSON document; raise RowProblem with what is wrong with it.

    Also of an object that names a key twice: readers differ in which one counts.
    """
    refuse_bytes(text)
    try:
        value = msgspec.json.decode(text)
    except RecursionError:
        raise RowProblem("nesting", "nested too deeply", "flatten it") from None
    except msgspec.DecodeError as error:
        raise _why(text, str(error).replace("JSON is malformed: ", "")) from None
    refuse_repeated(text, value)
    return value


def refuse_bytes(text: str) -> None:
    """Raise RowProblem if ``text`` holds a surrogate escape, which stands for a byte."""
    if not text.isascii() and (found := _BYTE.search(text)):
        raise RowProblem(
            "encoding",
            f"the byte 0x{ord(found[0]) - 0xDC00:02X} in it is not UTF-8",
            "convert the file, for example: iconv -f WINDOWS-1252 -t UTF-8 OLD > NEW",
        )


def refuse_repeated(text: str, value: Any) -> None:
    """Raise RowProblem if an object in ``text``, which means ``value``, names a key twice."""
    # Cheap for nearly every row: text in strings only adds to what looks like keys.
    if len(_KEY.findall(text)) <= _keys(value):
        return
    try:
        json.loads(text, object_pairs_hook=_once)
    except (RecursionError, json.JSONDecodeError):
        return


def elements(text: str) -> Iterator[Any]:
    """Yield each value of a JSON array, in place of one that names a key twice its RowProblem."""
    decoder, place = json.JSONDecoder(), text.index("[") + 1
    while (found := _BETWEEN.match(text, place)) and text[found.end()] != "]":
        place = found.end()
        value, end = decoder.raw_decode(text, place)
        try:
            refuse_repeated(text[place:end], value)
            yield value
        except RowProblem as problem:
            yield problem
        place = end


def _keys(value: Any) -> int:
    count, stack = 0, [value]
    while stack:
        one = stack.pop()
        if isinstance(one, dict):
            count += len(one)
            stack.extend(one.values())
        elif isinstance(one, list):
            stack.extend(one)
    return count


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise RowProblem(
                "duplicate_key",
                f"an object has the key “{visible(key, 40)}” twice",
                "keep one: readers differ in which of them counts",
            )
        found[key] = value
    return found


def _why(text: str, reason: str) -> RowProblem:
    if text.lstrip()[:1] not in "{[":
        shown = visible(text.strip(), 40)
        return RowProblem("invalid_json", f"“{shown}” is not JSON", "one JSON object a line")
    if found := _NO_NUMBER.search(text):
        return RowProblem(
            "invalid_json", f"{found[1]} is no number of JSON", "write null, or leave it out"
        )
    if _SURROGATE.search(text):
        return RowProblem(
            "lone_surrogate",
            "half of a \\ud… pair stands alone: a character was cut in two",
            "restore the character or take its half out",
        )
    if _PYTHON.search(text) and ("malformed" in reason or "keys" in reason or "invalid" in reason):
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
        return RowProblem(
            "extra_data", "more follows the object on its line", "one JSON object a line"
        )
    return RowProblem("invalid_json", f"not JSON: {visible(reason, 120)}", "correct the JSON")
