"""Messages with ``role`` and ``content``, as OpenAI writes them."""

from __future__ import annotations

from typing import Any

from ftwizard.data.conversation import RowProblem
from ftwizard.data.example import ROLES, Message
from ftwizard.data.formats.fields import kind_of
from ftwizard.data.quoted import quoted

_INSTEAD = ("tool_calls", "function_call", "refusal", "audio")
"""What an answer may consist of without content."""


def turns(listed: Any, where: str = "messages", name: str = "message") -> list[Message]:
    """Return the messages of a list, each with a role that is known and content that is text,
    parts or (an answer that only calls tools) None. What else a message has stays on it.

    ``where`` is what a problem calls the list, ``name`` what it calls one message. Messages that
    are right already are returned as they are. Raises RowProblem.
    """
    if not isinstance(listed, list):
        raise RowProblem(
            "messages_type", f"{where} is {kind_of(listed)}, not a list", "list the turns"
        )
    if not listed:
        raise RowProblem("messages_empty", f"{where} is an empty list", "list the turns")
    for value in listed:
        if type(value) is not dict or type(value.get("content")) is not str:
            break
        if value.get("role") not in ROLES:
            break
    else:
        return listed
    return [_message(value, f"{name} {number}") for number, value in enumerate(listed, 1)]


def role_of(value: Message, key: str, known: tuple[str, ...], where: str) -> str:
    """Return the role that stands in a message as ``key``; raise RowProblem."""
    if key not in value:
        raise RowProblem("missing_role", f"{where} has no {key}", f"one of {', '.join(known)}")
    role = value[key]
    if not isinstance(role, str):
        raise RowProblem(
            "role_type", f"{key} of {where} is {kind_of(role)}", f"one of {', '.join(known)}"
        )
    if role not in known:
        raise RowProblem(
            "unknown_role",
            f"{where} has the role “{quoted(role, 30)}”",
            f"one of {', '.join(known)}",
        )
    return role


def as_message(value: Any, where: str) -> Message:
    """Return ``value`` if it is an object; raise RowProblem."""
    if not isinstance(value, dict):
        raise RowProblem(
            "message_type",
            f"{where} is {kind_of(value)}, not an object",
            "give it role and content",
        )
    return value


def _message(value: Any, where: str) -> Message:
    message = as_message(value, where)
    role = role_of(message, "role", ROLES, where)
    content = message.get("content")
    if isinstance(content, str):
        return message
    if isinstance(content, list):
        parts = [_part(part, where) for part in content]
        if not parts:
            raise RowProblem("content_parts", f"{where} has no parts", "write content as text")
        return {**message, "content": parts}
    if content is not None:
        raise RowProblem(
            "content_type", f"{where} has content that is {kind_of(content)}", "write it as text"
        )
    if role == "assistant" and any(message.get(key) for key in _INSTEAD):
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
        "content_parts",
        f"{where} has a part that is no text and names no other type",
        'write it as {"type": "text", "text": "…"}',
    )
