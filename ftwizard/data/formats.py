"""What a row means: every format becomes one conversation, or a problem with its cause."""

from __future__ import annotations

from typing import Any

import msgspec

from ftwizard.text import visible

ROLES = ("system", "developer", "user", "assistant", "tool", "function")
Message = dict[str, Any]


class RowProblem(Exception):
    """A row cannot be used: a stable code, the cause, and what to do."""

    def __init__(self, code: str, message: str, fix: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.fix = fix


class Conversation(msgspec.Struct, frozen=True, kw_only=True):
    """Messages in order, as chat templates take them, and the tools they may call."""

    messages: list[Message]
    """Each with ``role``, ``content`` (text) and where present ``tool_calls``,
    ``tool_call_id``, ``name``, ``weight``."""
    tools: list[dict[str, Any]] | None = None

    @property
    def prompt(self) -> list[Message]:
        """Return the messages before the last answer."""
        return self.messages[: self._last_answer()]

    @property
    def answer(self) -> str:
        """Return the text of the last answer."""
        return str(self.messages[self._last_answer()]["content"])

    def _last_answer(self) -> int:
        roles = [m["role"] for m in self.messages]
        return len(roles) - 1 - roles[::-1].index("assistant")


def conversation(row: Any) -> Conversation:
    """Turn a chat row (``messages``, optional ``system`` and ``tools``) into a conversation.

    Raises RowProblem.
    """
    if not isinstance(row, dict):
        raise RowProblem("not_an_object", "not a JSON object", "one object a line")
    if "messages" not in row:
        keys = ", ".join(visible(str(k), 20) for k in list(row)[:5]) or "none"
        raise RowProblem("no_messages", f"no messages (its keys: {keys})", "use chat rows")
    listed = row["messages"]
    if not isinstance(listed, list) or not listed:
        raise RowProblem("no_messages", "messages is no filled list", "list the turns")
    messages = [_message(m, number) for number, m in enumerate(listed, 1)]
    messages = _with_system(messages, row.get("system"))
    if not any(m["role"] == "assistant" for m in messages):
        raise RowProblem("no_answer", "no assistant message to learn from", "add the answer")
    if all(not m["content"].strip() and not m.get("tool_calls")
           for m in messages if m["role"] == "assistant"):  # fmt: skip
        raise RowProblem("empty_answer", "every answer is empty", "write the answer or delete it")
    return Conversation(messages=messages, tools=_tools(row.get("tools")))


def _message(value: Any, number: int) -> Message:
    where = f"message {number}"
    if not isinstance(value, dict):
        raise RowProblem("bad_message", f"{where} is no object", "give it role and content")
    role = value.get("role")
    if role not in ROLES:
        shown = visible(str(role), 30)
        raise RowProblem(
            "unknown_role",
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
            raise RowProblem("bad_weight", f"{where} has a weight other than 0 or 1", "0 or 1")
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
        raise RowProblem("not_text", f"{where} has parts that are no text", "text parts only")
    kind = "no content" if content is None else f"content of type {type(content).__name__}"
    raise RowProblem("bad_content", f"{where} has {kind}", "content is text")


def _tool_calls(calls: Any, where: str) -> list[dict[str, Any]]:
    """Return tool calls with arguments as objects: OpenAI writes them as JSON text, which a chat
    template would quote once more."""
    if not isinstance(calls, list):
        raise RowProblem("bad_tool_call", f"{where}: tool_calls is no list", "list the calls")
    found = []
    for call in calls:
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise RowProblem(
                "bad_tool_call", f"{where}: a tool call names no function", "function: {name, …}"
            )
        arguments = function.get("arguments", {})
        if isinstance(arguments, str):
            try:
                arguments = msgspec.json.decode(arguments or "{}")
            except (msgspec.DecodeError, RecursionError):
                arguments = None
        if not isinstance(arguments, dict):
            raise RowProblem(
                "bad_tool_call", f"{where}: the arguments of a call are no JSON object", "{…}"
            )
        found.append({**call, "function": {**function, "arguments": arguments}})
    return found


def _with_system(messages: list[Message], system: Any) -> list[Message]:
    if system is None or system == "":
        return messages
    if not isinstance(system, str):
        raise RowProblem("bad_system", "system is no text", "write it as text")
    if messages[0]["role"] in ("system", "developer"):
        if messages[0]["content"] == system:
            return messages
        raise RowProblem("two_systems", "system stands twice, differently", "keep one")
    return [{"role": "system", "content": system}, *messages]


def _tools(value: Any) -> list[dict[str, Any]] | None:
    if value in (None, "", []):
        return None
    if isinstance(value, str):
        try:
            value = msgspec.json.decode(value)
        except msgspec.DecodeError:
            raise RowProblem("bad_tools", "tools is no JSON", "list their schemas") from None
    if not isinstance(value, list) or not all(isinstance(t, dict) for t in value):
        raise RowProblem("bad_tools", "tools is no list of objects", "list their schemas")
    return value
