"""Rows as they may be shown: secrets replaced by words, long texts clipped."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from ftwizard.data import secrets
from ftwizard.data.conversation import RowProblem
from ftwizard.data.example import Example
from ftwizard.data.records import Record

MOST_CHARACTERS = 20_000
"""Of one text of a row."""
_MARGIN = 20_000
"""What is looked at for secrets beyond that: none is shown by its first half."""
_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})|\\/")


def example(meaning: Example) -> dict[str, Any]:
    """Return what a row means without its secrets, every text in it cut to ``MOST_CHARACTERS``."""
    found: dict[str, Any] = _cut(secrets.redact_value(msgspec.to_builtins(meaning)))
    return found


def raw(record: Record, value: Any) -> str:
    """Return a row's text without its secrets, also those that only show once it is decoded."""
    if not isinstance(value, RowProblem):
        redacted = secrets.redact_value(value)
        if redacted != value or not isinstance(record.value, bytes):
            return _short(msgspec.json.encode(redacted).decode())
    if not isinstance(record.value, bytes):
        return ""
    text = record.value[: MOST_CHARACTERS + _MARGIN].decode(errors="backslashreplace")
    plain = _ESCAPE.sub(lambda match: chr(int(match[1], 16)) if match[1] else "/", text)
    plain = plain.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    redacted = secrets.redact(plain)
    return _short(redacted if redacted != plain else secrets.redact(text))


def _cut(value: Any) -> Any:
    if isinstance(value, str):
        return _short(value)
    if isinstance(value, dict):
        return {key: _cut(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_cut(item) for item in value]
    return value


def _short(text: str) -> str:
    return text if len(text) <= MOST_CHARACTERS else text[:MOST_CHARACTERS] + "…"
