"""Redacted previews of rows: secrets replaced, long texts truncated."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from ftwizard.data.example import Example, RowProblem
from ftwizard.data.io.records import Record
from ftwizard.data.privacy import detect

MAX_CHARACTERS = 20_000
"""Maximum length of each text in a preview."""
_MARGIN = 20_000
"""Extra characters searched for secrets, so that no truncated secret is shown."""
_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})|\\/")


def redact_example(meaning: Example) -> dict[str, Any]:
    """Return an example without secrets and with each text cut to ``MAX_CHARACTERS``."""
    preview: dict[str, Any] = _truncate_all(detect.redact_value(msgspec.to_builtins(meaning)))
    return preview


def redact_fields(row: dict[str, Any], limit: int) -> dict[str, Any]:
    """Return a row as decoded, without secrets and with each text cut to ``limit``."""
    preview: dict[str, Any] = _truncate_all(detect.redact_value(row), limit)
    return preview


def redact_raw(record: Record, value: Any) -> str:
    """Return a row's text without secrets, including those visible only after decoding."""
    if not isinstance(value, RowProblem):
        redacted = detect.redact_value(value)
        if redacted != value or not isinstance(record.value, bytes):
            return _truncate(msgspec.json.encode(redacted).decode())
    if not isinstance(record.value, bytes):
        return ""
    text = record.value[: MAX_CHARACTERS + _MARGIN].decode(errors="backslashreplace")
    plain = _ESCAPE.sub(lambda match: chr(int(match[1], 16)) if match[1] else "/", text)
    plain = plain.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    redacted = detect.redact_text(plain)
    return _truncate(redacted if redacted != plain else detect.redact_text(text))


def _truncate_all(value: Any, limit: int = MAX_CHARACTERS) -> Any:
    if isinstance(value, str):
        return _truncate(value, limit)
    if isinstance(value, dict):
        return {key: _truncate_all(item, limit) for key, item in value.items()}
    if isinstance(value, list):
        return [_truncate_all(item, limit) for item in value]
    return value


def _truncate(text: str, limit: int = MAX_CHARACTERS) -> str:
    return text if len(text) <= limit else text[:limit] + "…"
