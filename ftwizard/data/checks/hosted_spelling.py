"""Spellings of chat rows that ftwizard reads and a hosted provider rejects."""

from __future__ import annotations

from typing import Any

from ftwizard.data.findings import RowFinding
from ftwizard.data.format_names import Format
from ftwizard.data.platforms import Target

_FIX = "convert it: ftwizard convert"


def check_spelling(value: Any, format: Format, target: Target) -> RowFinding | None:
    """Return a finding if the target rejects the spelling of a row's JSON, else None.

    Readers accept many spellings of chat rows; a hosted provider accepts one.
    """
    if not target.hosted or format != "openai-chat" or format not in target.formats:
        return None
    reason = _find_other_spelling(value)
    if reason is None:
        return None
    return RowFinding("needs_conversion", f"{reason}; {target.words} rejects this", _FIX)


def _find_other_spelling(value: Any) -> str | None:
    if not isinstance(value, dict):
        return "the row is a list of messages, not an object"
    if "messages" not in value:
        return "the list of messages is not named messages"
    if value.get("system"):
        return "the system prompt is next to the messages, not in them"
    if isinstance(value.get("tools"), str) and value["tools"]:
        return "tools is JSON text, not a list"
    return None
