"""Boundaries of JSON values within longer text."""

from __future__ import annotations

import re

import msgspec

_WINDOW = 1 << 16
BLANKS = re.compile(rb"[ \t\r\n]*+")
STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_decode = msgspec.json.Decoder(msgspec.Raw).decode
_TRAILING = re.compile(r"trailing characters \(byte (\d+)\)")
_BYTE = re.compile(r"\(byte (\d+)\)")
_NEAR = 16
"""Bytes before the end of the data in which an error may only mean that more data follows."""
TOKEN = re.compile(STRING + rb'|["{}\[\]]', re.DOTALL)
_SCALAR = re.compile(rb"[^,\]}\r\n]*+")
_CLOSING = {b"{": b"}", b"[": b"]"}


def _measure_offset() -> int:
    """Return how far past the first trailing character the decoder reports its position."""
    try:
        _decode(b"[] ,")
    except msgspec.DecodeError as error:
        if match := _TRAILING.search(str(error)):
            return int(match[1]) - 3
    return 0


_OFFSET = _measure_offset()


class Malformed(Exception):
    """The text at this position is not a JSON value."""


class Truncated(Malformed):
    """The text is the beginning of a JSON value and ends before it does."""


def find_value_end(data: bytes, start: int, *, final: bool) -> int | None:
    """Return the end of the JSON value that begins at ``start`` in ``data``.

    Returns None if ``data`` ends first and more is to come (``final`` is False). Raises Malformed
    if there is no valid value, and its subclass Truncated if the value is truncated. The contents of
    strings are not checked.
    """
    window = _WINDOW
    while True:
        stop = min(start + window, len(data))
        window *= 16
        try:
            # The decoder reports the position of the first unexpected byte after a value.
            _decode(memoryview(data)[start:stop])
        except RecursionError:
            raise Malformed from None
        except msgspec.DecodeError as error:
            reason = str(error)
            if match := _TRAILING.search(reason):
                return _strip_blanks(data, start + int(match[1]) - _OFFSET)
            if stop < len(data):
                continue
            position = _BYTE.search(reason)
            if not final and (position is None or start + int(position[1]) >= stop - _NEAR):
                return None
            raise (Malformed if position else Truncated) from None
        # More digits of a number could follow.
        if data[start : start + 1] in b'{["tfn' or (final and stop == len(data)):
            return _strip_blanks(data, stop)
        if stop == len(data):
            return None


def is_value(value: bytes) -> bool:
    """Return whether ``value`` is one JSON value; the contents of strings are not checked."""
    try:
        _decode(value)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def find_balanced_end(data: bytes, start: int, limit: int) -> int | None:
    """Return the end of the invalid JSON at ``start``, judged by its brackets and quotes.

    Returns None if these do not balance before ``limit``.
    """
    if data[start : start + 1] not in b'{["':
        end = _SCALAR.match(data, start, limit).end()  # type: ignore[union-attr]  # matches always
        return _strip_blanks(data, max(end, start + 1))
    open_: list[bytes] = []
    for token in TOKEN.finditer(data, start, limit):
        text = token[0]
        if text in _CLOSING:
            open_.append(_CLOSING[text])
        elif text == b'"' or (text in (b"}", b"]") and (not open_ or open_.pop() != text)):
            return None
        if not open_:
            return token.end()
    return None


def _strip_blanks(data: bytes, end: int) -> int:
    while data[end - 1] in b" \t\r\n":
        end -= 1
    return end
