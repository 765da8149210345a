"""Chat rows: OpenAI's ``messages``, with an optional top-level ``system`` and ``tools``."""

from __future__ import annotations

from typing import Any

import msgspec

from ftwizard.data.conversation import (
    ROLES,
    Conversation,
    Message,
    RowProblem,
    as_object,
    keys_of,
)
from ftwizard.text import visible


def conversation(row: Any) -> Conversation:
    """Turn a chat row (``messages``, optional ``system`` and ``tools``) into a conversation.

    Raises RowProblem.
    """
    fields = as_object(row)
    if "messages" not in fields:
        raise RowProblem("missing_messages", f"no messages ({keys_of(fields)})", "use chat rows")
    if not isinstance(fields["messages"], list) or not fields["messages"]:
        raise RowProblem("messages_type", "messages is no filled list", "list the turns")
    return complete(turns(fields["messages"], "message"), fields)


def turns(listed: list[Any], name: str) -> list[Message]:
    """Return each message of a list as templates take it; ``name`` is what problems call one."""
    return [_message(value, f"{name} {number}") for number, value in enumerate(listed, 1)]


def complete(messages: list[Message], row: Message) -> Conversation:
    """Return the conversation of a row's messages, with its ``system`` and ``tools``.

    Raises RowProblem where there is no answer to learn from.
    """
    messages = _with_system(messages, row.get("system"))
    answers = [m for m in messages if m["role"] == "assistant"]
    if not answers:
        raise RowProblem("no_assistant", "no assistant message to learn from", "add the answer")
    if all(not m["content"].strip() and not m.get("tool_calls") for m in answers):
        raise RowProblem(
            "empty_assistant", "every answer is empty", "write the answer or delete it"
        )
    return Conversation(messages=messages, tools=_tools(row.get("tools")))


def _message(value: Any, where: str) -> Message:
    if not isinstance(value, dict):
        raise RowProblem("message_type", f"{where} is no object", "give it role and content")
    role = value.get("role")
    if role not in ROLES:
        shown = visible(str(role), 30)
        raise RowProblem(
            "unknown_role" if isinstance(role, str) else "role_type",
            f"{where} has the role “{shown}”",
            f"one of {', '.join(ROLES[:4])}, tool",
        )
    message: Message = {"role": role, "content": _content(value, role, where)}
    for key in ("tool_call_id", "name"):
        if value.get(key) is not None:
            message[key] = value[key]
    if value.get("tool_calls"):
        message["tool_calls"] = _tool_calls(value["tool_calls"], where)
    if "weight" in value:
        if value["weight"] not in (0, 1) or isinstance(value["weight"], bool):
            raise RowProblem("weight", f"{where} has a weight other than 0 or 1", "0 or 1")
        message["weight"] = value["weight"]
    return message


def _content(value: Message, role: str, where: str) -> str:
    content = value.get("content")
    if isinstance(content, str):
        return content
    if content is None and role == "assistant" and value.get("tool_calls"):
        return ""
    if isinstance(content, list):
        texts = [p.get("text") if isinstance(p, dict) else None for p in content]
        if texts and all(isinstance(t, str) for t in texts):
            return "".join(str(t) for t in texts)
        raise RowProblem("content_parts", f"{where} has parts that are no text", "text parts only")
    kind = "no content" if content is None else f"content of type {type(content).__name__}"
    raise RowProblem("content_type", f"{where} has {kind}", "content is text")


def _tool_calls(calls: Any, where: str) -> list[dict[str, Any]]:
    """Return tool calls with arguments as objects: OpenAI writes them as JSON text, which a chat
    template would quote once more."""
    if not isinstance(calls, list):
        raise RowProblem("tool_call", f"{where}: tool_calls is no list", "list the calls")
    found = []
    for call in calls:
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise RowProblem(
                "tool_call", f"{where}: a tool call names no function", "function: {name, …}"
            )
        arguments = function.get("arguments", {})
        if isinstance(arguments, str):
            try:
                arguments = msgspec.json.decode(arguments or "{}")
            except (msgspec.DecodeError, RecursionError):
                arguments = None
        if not isinstance(arguments, dict):
            raise RowProblem(
                "tool_call", f"{where}: the arguments of a call are no JSON object", "{…}"
            )
        found.append({**call, "function": {**function, "arguments": arguments}})
    return found


def _with_system(messages: list[Message], system: Any) -> list[Message]:
    if system is None or system == "":
        return messages
    if not isinstance(system, str):
        raise RowProblem("system_type", "system is no text", "write it as text")
    if messages[0]["role"] in ("system", "developer"):
        if messages[0]["content"] == system:
            return messages
        raise RowProblem("system_position", "system stands twice, differently", "keep one")
    return [{"role": "system", "content": system}, *messages]


def _tools(value: Any) -> list[dict[str, Any]] | None:
    if value in (None, "", []):
        return None
    if isinstance(value, str):
        try:
            value = msgspec.json.decode(value)
        except msgspec.DecodeError:
            raise RowProblem("tools", "tools is no JSON", "list their schemas") from None
    if not isinstance(value, list) or not all(isinstance(t, dict) for t in value):
        raise RowProblem("tools", "tools is no list of objects", "list their schemas")
    return value
