"""Messages with ``role`` and ``content``, in OpenAI's form."""

from __future__ import annotations

from typing import Any

from ftwizard.data.example import ROLES, Message, RowProblem
from ftwizard.data.formats.fields import describe_type, require_list
from ftwizard.data.privacy.quote import quote

_CONTENT_SUBSTITUTES = ("tool_calls", "function_call", "refusal", "audio")
"""Fields that an answer may have instead of content."""


def parse_messages(listed: Any, where: str = "messages", name: str = "message") -> list[Message]:
    """Validate a list of messages: known roles, and content that is text, parts or (for an answer
    that only calls tools) None. Other fields of a message are kept.

    Problems call the list ``where`` and a message ``name``. Valid messages are returned unchanged.
    Raises RowProblem.
    """
    require_list(listed, where, "messages")
    for value in listed:
        if type(value) is not dict or type(value.get("content")) is not str:
            break
        if value.get("role") not in ROLES:
            break
    else:
        valid: list[Message] = listed
        return valid
    return [_message(value, f"{name} {number}") for number, value in enumerate(listed, 1)]


def parse_role(value: Message, key: str, roles: tuple[str, ...], where: str) -> str:
    """Return the role that a message has as ``key``; raise RowProblem."""
    if key not in value:
        raise RowProblem("missing_role", f"{where} has no {key}", f"use one of {', '.join(roles)}")
    role = value[key]
    if not isinstance(role, str):
        raise RowProblem(
            "role_type",
            f"{key} of {where} is {describe_type(role)}",
            f"use one of {', '.join(roles)}",
        )
    if role not in roles:
        raise RowProblem(
            "unknown_role",
            f"{where} has the role “{quote(role, 30)}”",
            f"use one of {', '.join(roles)}",
        )
    return role


def require_message(value: Any, where: str) -> Message:
    """Return ``value`` if it is an object; raise RowProblem."""
    if not isinstance(value, dict):
        raise RowProblem(
            "message_type",
            f"{where} is {describe_type(value)}, not an object",
            "write an object with role and content",
        )
    return value


def _message(value: Any, where: str) -> Message:
    message = require_message(value, where)
    role = parse_role(message, "role", ROLES, where)
    content = message.get("content")
    if isinstance(content, str):
        return message
    if isinstance(content, list):
        parts = [_part(part, where) for part in content]
        if not parts:
            raise RowProblem(
                "content_parts.empty", f"{where} has no parts", "write content as text"
            )
        return {**message, "content": parts}
    if content is not None:
        raise RowProblem(
            "content_type",
            f"the content of {where} is {describe_type(content)}",
            "write it as text",
        )
    if role == "assistant" and any(message.get(key) for key in _CONTENT_SUBSTITUTES):
        return {**message, "content": None}
    raise RowProblem("missing_content", f"{where} has no content", "write it as text")


def _part(part: Any, where: str) -> dict[str, Any]:
    """Return a part of content with its ``type``; raise RowProblem."""
    if isinstance(part, dict):
        if isinstance(part.get("type"), str):
            if part["type"] != "text" or isinstance(part.get("text"), str):
                return part
        elif part.get("type") is None and isinstance(part.get("text"), str):
            return {**part, "type": "text"}
    raise RowProblem(
        "content_parts.no_type",
        f"{where} has a part with neither a type nor a text",
        'write it as {"type": "text", "text": "…"}',
    )
