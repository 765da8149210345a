"""Spellings of rows that readers accept and a target rejects, and what a conversion resolves."""

from __future__ import annotations

from typing import Any

from ftwizard.data.findings import RowFinding
from ftwizard.data.format_names import Format
from ftwizard.data.formats.media import OTHER_PARTS
from ftwizard.data.formats.tool_markup import has_markup, has_results
from ftwizard.data.platforms import Target

_RESOLVED_CODES = frozenset((
    "extra_columns", "extra_keys", "deprecated", "tool_arguments_form", "image_mixed",
))  # fmt: skip
_RESOLVED_CAUSES = frozenset((
    "tool_call_id.call", "tool_call_id.result", "tool_call.type", "tool_schema.type",
    "image_url.form", "tools_unsupported.declared", "alternation.merge", "content_type.refusal",
))  # fmt: skip


def check_spelling(value: Any, format: Format, target: Target) -> RowFinding | None:
    """Return a finding if the target rejects the spelling of a row, else None.

    Readers accept many spellings of a format, and local training reads rows by them; a hosted provider
    accepts one. ``value``: the JSON of a row that can be read in ``format``.
    """
    if not target.hosted or format not in target.formats or format != "openai-chat":
        return None
    reason = _find_in_chat(value)
    if reason is None:
        return None
    return RowFinding(
        "needs_conversion.spelling",
        f"{reason}; {target.words} rejects this",
        f"convert the file: ftwizard convert DATA --target {target.name} --out FILE",
    )


def is_resolved(finding: RowFinding) -> bool:
    """Tell whether ``ftwizard convert`` resolves a finding; it is none in a row to be converted."""
    return finding.code in _RESOLVED_CODES or finding.cause in _RESOLVED_CAUSES


def _find_in_chat(value: Any) -> str | None:
    """Return what OpenAI's chat format does not know in a row."""
    if not isinstance(value, dict):
        return "the row is a list of messages, not an object"
    if "messages" not in value:
        return "the list of messages is not named messages"
    if value.get("system"):
        return "the system prompt is next to the messages, not in them"
    if isinstance(value.get("tools"), str) and value["tools"]:
        return "tools is JSON text, not a list"
    messages = value["messages"]
    if has_results(messages) and has_markup(messages):
        return "tools are called in the text (<tool_call>), not by tool_calls"
    for number, message in enumerate(messages, 1):
        content = message.get("content")
        if isinstance(content, list) and not all(map(_is_openai_part, content)):
            return f"a part of message {number} is not text or image_url in OpenAI's form"
    return None


def _is_openai_part(part: Any) -> bool:
    kind = part.get("type")
    if kind == "text":
        return isinstance(part.get("text"), str)
    return kind is not None and kind not in OTHER_PARTS
