"""Where a JSON value ends, within text that goes on."""

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
"""Bytes before the end of what is there, where an error may be due to that end alone."""
TOKEN = re.compile(STRING + rb'|["{}\[\]]', re.DOTALL)
_SCALAR = re.compile(rb"[^,\]}\r\n]*+")
_CLOSING = {b"{": b"}", b"[": b"]"}


def _offset() -> int:
    """Return how far behind the first trailing character the place is that the decoder names."""
    try:
        _decode(b"[] ,")
    except msgspec.DecodeError as error:
        if found := _TRAILING.search(str(error)):
            return int(found[1]) - 3
    return 0


_OFFSET = _offset()


class Malformed(Exception):
    """What stands here is no JSON value."""


class Cut(Malformed):
    """It is the beginning of one, and nothing follows."""


def sound_end(data: bytes, start: int, *, final: bool) -> int | None:
    """Return where the JSON value ends that begins at ``start`` in ``data``.

    None where ``data`` ends first and there is more to come (not ``final``); raises Malformed
    where there is no such value, and of it Cut where there is its beginning. Bytes within strings, escapes among them, are not looked at.
    """
    window = _WINDOW
    while True:
        stop = min(start + window, len(data))
        window *= 16
        try:
            # A decoder names the place of what it did not expect after a value.
            _decode(memoryview(data)[start:stop])
        except RecursionError:
            raise Malformed from None
        except msgspec.DecodeError as error:
            reason = str(error)
            if found := _TRAILING.search(reason):
                return _without_blanks(data, start + int(found[1]) - _OFFSET)
            if stop < len(data):
                continue
            place = _BYTE.search(reason)
            if not final and (place is None or start + int(place[1]) >= stop - _NEAR):
                return None
            raise (Malformed if place else Cut) from None
        # A number could go on.
        if data[start : start + 1] in b'{["tfn' or (final and stop == len(data)):
            return _without_blanks(data, stop)
        if stop == len(data):
            return None


def is_sound(value: bytes) -> bool:
    """Say whether ``value`` is one JSON value, strings not looked at."""
    try:
        _decode(value)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def balanced_end(data: bytes, start: int, limit: int) -> int | None:
    """Return where the value at ``start``, which is no JSON, ends by its brackets and quotes;
    None where these tell no end before ``limit``."""
    if data[start : start + 1] not in b'{["':
        end = _SCALAR.match(data, start, limit).end()  # type: ignore[union-attr]  # matches always
        return _without_blanks(data, max(end, start + 1))
    open_: list[bytes] = []
    for token in TOKEN.finditer(data, start, limit):
        found = token[0]
        if found in _CLOSING:
            open_.append(_CLOSING[found])
        elif found == b'"' or (found in (b"}", b"]") and (not open_ or open_.pop() != found)):
            return None
        if not open_:
            return token.end()
    return None


def _without_blanks(data: bytes, end: int) -> int:
    while data[end - 1] in b" \t\r\n":
        end -= 1
    return end
