"""Turns that consist of blocks (text, pictures, calls, results), as clouds write them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from ftwizard.data.conversation import RowProblem
from ftwizard.data.example import Message
from ftwizard.data.formats.fields import kind_of

Block = tuple[Literal["part", "call", "result"], dict[str, Any]]
"""A part of content, a tool call as OpenAI writes it, or the whole message of a tool."""


def messages(role: str, blocks: Iterable[Block], more: Message) -> list[Message]:
    """Return the messages of one turn: its own, and before or after it those of tools.

    ``more`` is what else the turn has; it stays on its own message.
    """
    found: list[Message] = []
    parts: list[dict[str, Any]] = []
    calls: list[dict[str, Any]] = []

    def close() -> None:
        if parts or calls:
            message = {**more, "role": role, "content": content(parts)}
            if calls:
                message["tool_calls"] = list(calls)
            found.append(message)
        parts.clear()
        calls.clear()

    for kind, value in blocks:
        if kind == "result":
            close()
            found.append(value)
        else:
            (parts if kind == "part" else calls).append(value)
    close()
    return found


def content(parts: list[dict[str, Any]]) -> str | list[dict[str, Any]] | None:
    """Return parts as the content of a message: a lone text as text, no part as None."""
    if not parts:
        return None
    if len(parts) == 1 and parts[0].keys() == {"type", "text"} and parts[0]["type"] == "text":
        return str(parts[0]["text"])
    return list(parts)


def text_part(value: Any, where: str, more: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return a part of text; raise RowProblem for what is no text."""
    if not isinstance(value, str):
        raise RowProblem(
            "content_type", f"{where} has a text that is {kind_of(value)}", "write it as text"
        )
    return {**(more or {}), "type": "text", "text": value}


def listed(value: Any, name: str, where: str) -> list[dict[str, Any]]:
    """Return a turn's list of blocks, each an object; raise RowProblem."""
    if value is None:
        raise RowProblem("missing_content", f"{where} has no {name}", f"list its {name}")
    if not isinstance(value, list):
        raise RowProblem(
            "content_type",
            f"{where} has {name} that is {kind_of(value)}, not a list",
            "list its parts",
        )
    if not value or not all(isinstance(block, dict) and block for block in value):
        raise RowProblem("content_parts", f"{where} has a part that is empty", "list its parts")
    return value


def call(name: Any, arguments: Any, id: Any, where: str) -> dict[str, Any]:
    """Return a tool call as OpenAI writes it, its arguments as they are; raise RowProblem."""
    if not isinstance(name, str):
        raise RowProblem("tool_call", f"{where}: a tool call names no function", "add its name")
    found: dict[str, Any] = {} if id is None else {"id": id}
    return {**found, "type": "function", "function": {"name": name, "arguments": arguments}}


def result(content: str | list[dict[str, Any]], call_id: Any, more: Message) -> Message:
    """Return the message of a tool: what came back, for which call, and what else is said of it."""
    found: Message = {**more, "role": "tool", "content": content}
    return found if call_id is None else {**found, "tool_call_id": call_id}


def unknown(block: dict[str, Any]) -> dict[str, Any]:
    """Return a block of another kind as a part: its first key is its type."""
    kind = block.get("type")
    return {**block, "type": kind if isinstance(kind, str) else str(next(iter(block)))}


def function(name: Any, schema: dict[str, Any], parameters: Any) -> dict[str, Any]:
    """Return the schema of a tool as OpenAI wraps it; ``schema`` is what else describes it."""
    described = {"name": name, **schema}
    if parameters is not None:
        described["parameters"] = parameters
    return {"type": "function", "function": described}
