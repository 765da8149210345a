"""Chat rows: ``messages`` with ``role`` and ``content`` in OpenAI's form, and the fields next to
them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ftwizard.data.example import ROLES, Example, Message, RowKind, RowProblem
from ftwizard.data.formats import llama_factory
from ftwizard.data.formats.fields import (
    add_system_prompt,
    describe_keys,
    describe_type,
    extra_fields,
    first_key,
    parse_tools,
    require_list,
    require_object,
    wrap_functions,
)
from ftwizard.data.formats.media import OTHER_PARTS, fill_placeholders, normalize_part
from ftwizard.data.mapping.column_map import ROLE_WORDS
from ftwizard.data.privacy.quote import quote

LISTS = ("messages", "conversations", "conversation")
"""Names of the list of messages."""
_MESSAGES_ALONE = {"messages"}
_CONTENT_SUBSTITUTES = {"tool_calls": object, "function_call": dict, "refusal": str, "audio": dict}
"""Fields that an answer may have instead of content, with their types; calls have checks of their own."""


def read_chat(row: Any) -> Example:
    """Read a chat row: ``messages`` (also under another name, or as the whole row), with optional
    ``system``, ``tools``, deprecated ``functions`` and image columns."""
    if isinstance(row, list) and row and isinstance(row[0], dict):  # xtuner
        row = {"messages": row}
    fields = require_object(row)
    if fields.keys() == _MESSAGES_ALONE and fields["messages"] is not None:  # most rows
        return Example(kind="chat", messages=parse_messages(fields["messages"]))
    name = first_key(fields, LISTS)
    if name is None:
        message = f"the row has no messages ({describe_keys(fields)})"
        raise RowProblem("missing_messages", message, "add them under messages")
    return to_chat_example(parse_messages(fields[name], name), fields, (name,))


def to_chat_example(
    messages: list[Message], fields: Message, own: Iterable[str], kind: RowKind = "chat"
) -> Example:
    """Return the example of a row with its messages and ``system`` prompt.

    Fields other than ``own``, ``system``, ``tools`` and media become extra. Raises RowProblem.
    """
    messages = add_system_prompt(messages, fields.get("system"))
    messages, taken = fill_placeholders(messages, fields)
    schemas = parse_tools(fields.get("tools"))
    if schemas is None and fields.get("functions") is not None:
        schemas = wrap_functions(parse_tools(fields["functions"]))
        taken |= {"functions"}
    extra = extra_fields(fields, {"system", "tools", *own, *taken})
    return Example(kind=kind, messages=messages, tools=schemas, extra=extra)


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
        fix = f"use one of {', '.join(roles)}"
        if key == "role":
            fix += (
                "; if another key has it: --columns messages=messages,role=KEY (without role=KEY if "
                "the speakers alternate)"
            )
        raise RowProblem("missing_role", f"{where} has no {key}", fix)
    role = value[key]
    if not isinstance(role, str):
        message = f"{key} of {where} is {describe_type(role)}"
        raise RowProblem("role_type", message, f"use one of {', '.join(roles)}")
    if role not in roles:
        message = f"{where} has the role “{quote(role, 30)}”"
        fix = f"use one of {', '.join(roles)}"
        if role.strip().lower() in ROLE_WORDS:
            fix += " (ftwizard check DATA --fix OUT does)"
        raise RowProblem("unknown_role", message, fix)
    return role


def has_substitute(message: Message) -> bool:
    """Return whether a message has a field that an answer may have instead of content."""
    return any(
        message.get(key) and isinstance(message[key], kind)
        for key, kind in _CONTENT_SUBSTITUTES.items()
    )


def require_message(value: Any, where: str) -> Message:
    """Return ``value`` if it is an object; raise RowProblem."""
    if not isinstance(value, dict):
        message = f"{where} is {describe_type(value)}, not an object"
        raise RowProblem("message_type", message, "write an object with role and content")
    return value


def _message(value: Any, where: str) -> Message:
    message = require_message(value, where)
    role = parse_role(message, "role", ROLES, where)
    content = message.get("content")
    if isinstance(content, str):
        return message
    if isinstance(content, list) and llama_factory.has_values(content):
        message = llama_factory.read_message(message, where)
        content = message["content"]
        if content is None or isinstance(content, str):
            return message
    if isinstance(content, list):
        parts = [_part(part, where) for part in content]
        if not parts:
            text = f"{where} has no parts"
            raise RowProblem("content_parts.empty", text, "write content as text")
        return {**message, "content": parts}
    if content is not None:
        problem = f"the content of {where} is {describe_type(content)}"
        raise RowProblem("content_type", problem, "write it as text")
    if role == "assistant" and has_substitute(message):
        return {**message, "content": None}
    raise RowProblem("missing_content", f"{where} has no content", "write it as text")


def _part(part: Any, where: str) -> dict[str, Any]:
    """Return a part of content with its ``type``; raise RowProblem."""
    if isinstance(part, dict):
        if isinstance(part.get("type"), str):
            if part["type"] != "text" or isinstance(part.get("text"), str):
                return normalize_part(part) if part["type"] in OTHER_PARTS else part
        elif part.get("type") is None and isinstance(part.get("text"), str):
            return {**part, "type": "text"}
    message = f"{where} has a part with neither a type nor a text"
    raise RowProblem("content_parts.no_type", message, 'write it as {"type": "text", "text": "…"}')
