"""What a host refuses in a chat row that can be read all the same: other names and places."""

from __future__ import annotations

from typing import Any

from ftwizard.data.checks.found import Found
from ftwizard.data.format_names import Format
from ftwizard.data.targets import Target

_FIX = "convert it: ftwizard convert"


def of_value(value: Any, format: Format, target: Target) -> Found | None:
    """Return what in a row's own JSON is not as the target takes it; None where all is.

    Readers take chat rows in many spellings and make one of them; a host takes one only.
    """
    if not target.hosted or format != "openai-chat" or format not in target.formats:
        return None
    what = _other_spelling(value)
    return Found("needs_conversion", f"{what}; {target.words} does not", _FIX) if what else None


def _other_spelling(value: Any) -> str | None:
    if not isinstance(value, dict):
        return "the row is a list of messages, which training here takes"
    if "messages" not in value:
        return "its messages have another name than messages, which training here takes"
    if value.get("system"):
        return "the system prompt stands beside the messages, where training here takes it"
    if isinstance(value.get("tools"), str) and value["tools"]:
        return "tools is a text that holds JSON, which training here takes"
    return None
