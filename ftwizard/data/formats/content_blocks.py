"""Content blocks of cloud formats (text, images, calls, results), converted to messages."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from ftwizard.data.example import Message, RowProblem
from ftwizard.data.formats.fields import describe_type

Block = tuple[Literal["part", "call", "result"], dict[str, Any]]
"""A content part, a tool call in OpenAI's form, or a whole tool message."""


def to_messages(role: str, blocks: Iterable[Block], more: Message) -> list[Message]:
    """Return the messages of one turn: its own, and the tool messages before or after it.

    ``more`` holds the other fields of the turn; they stay on its own message.
    """
    result: list[Message] = []
    parts: list[dict[str, Any]] = []
    calls: list[dict[str, Any]] = []

    def close() -> None:
        if parts or calls:
            message = {**more, "role": role, "content": to_content(parts)}
            if calls:
                message["tool_calls"] = list(calls)
            result.append(message)
        parts.clear()
        calls.clear()

    for kind, value in blocks:
        if kind == "result":
            close()
            result.append(value)
        else:
            (parts if kind == "part" else calls).append(value)
    close()
    return result


def to_content(parts: list[dict[str, Any]]) -> str | list[dict[str, Any]] | None:
    """Return parts as the content of a message: a single text as text, no parts as None."""
    if not parts:
        return None
    if len(parts) == 1 and parts[0].keys() == {"type", "text"} and parts[0]["type"] == "text":
        return str(parts[0]["text"])
    return list(parts)


def to_text_part(value: Any, where: str, more: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return a text part; raise RowProblem if the value is not text."""
    if not isinstance(value, str):
        raise RowProblem(
            "content_type.text",
            f"{where} has a text that is {describe_type(value)}",
            "write it as text",
        )
    return {**(more or {}), "type": "text", "text": value}


def require_blocks(value: Any, name: str, where: str) -> list[dict[str, Any]]:
    """Return a turn's list of non-empty blocks; raise RowProblem."""
    if value is None:
        raise RowProblem("missing_content", f"{where} has no {name}", f"add its {name}")
    if not isinstance(value, list):
        raise RowProblem(
            "content_type.list",
            f"{name} of {where} is {describe_type(value)}, not a list",
            "write a list of parts",
        )
    if not value or not all(isinstance(block, dict) and block for block in value):
        raise RowProblem(
            "content_parts.empty_part", f"{where} has an empty part", "remove or fill the part"
        )
    return value


def to_tool_call(name: Any, arguments: Any, id: Any, where: str) -> dict[str, Any]:
    """Return a tool call in OpenAI's form, with unchanged arguments; raise RowProblem."""
    if not isinstance(name, str):
        raise RowProblem("tool_call", f"{where}: a tool call has no function name", "add its name")
    prefix: dict[str, Any] = {} if id is None else {"id": id}
    return {**prefix, "type": "function", "function": {"name": name, "arguments": arguments}}


def to_tool_message(content: str | list[dict[str, Any]], call_id: Any, more: Message) -> Message:
    """Return a tool message with the result, the id of the call and any other fields."""
    message: Message = {**more, "role": "tool", "content": content}
    return message if call_id is None else {**message, "tool_call_id": call_id}


def to_unknown_part(block: dict[str, Any]) -> dict[str, Any]:
    """Return a block of unknown kind as a part with its first key as the type."""
    kind = block.get("type")
    return {**block, "type": kind if isinstance(kind, str) else str(next(iter(block)))}


def to_tool_schema(name: Any, schema: dict[str, Any], parameters: Any) -> dict[str, Any]:
    """Return a tool schema in OpenAI's form; ``schema`` holds its other fields."""
    described = {"name": name, **schema}
    if parameters is not None:
        described["parameters"] = parameters
    return {"type": "function", "function": described}
