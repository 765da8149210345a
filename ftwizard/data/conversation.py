"""What training here takes of a row: a conversation of texts, or a problem with its cause.

Plain text and tokens are trained on as they are: they hold no conversation.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ftwizard.data.example import Example, Kind, Message
from ftwizard.data.row_tokens import learnt_of_tokens

__all__ = ["Conversation", "Message", "RowProblem", "conversation", "to_show"]

_SHOWN_TOKENS = 100

_KINDS: dict[Kind, str] = {
    "chat": "a conversation",
    "prompt": "a prompt without an answer",
    "preference": "a pair of answers, one preferred",
    "labelled": "an answer with a label, good or bad",
    "text": "plain text without a prompt",
    "tokens": "tokens",
}


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
    ``tool_call_id``, ``name``, ``weight``. None for a row of plain text or tokens."""
    tools: list[dict[str, Any]] | None = None

    @property
    def prompt(self) -> list[Message]:
        """Return the messages before the last answer."""
        return self.messages[: self._last_answer()]

    @property
    def answer(self) -> str:
        """Return the text of the last answer; empty for a row that is no conversation."""
        return str(self.messages[self._last_answer()]["content"]) if self.messages else ""

    def _last_answer(self) -> int:
        roles = [m["role"] for m in self.messages]
        return len(roles) - 1 - roles[::-1].index("assistant") if roles else 0


def conversation(example: Example) -> Conversation:
    """Return what training here learns of a row.

    Text parts become one text, arguments of tool calls objects (chat templates would quote JSON
    text once more), a deprecated ``function_call`` a tool call. Raises RowProblem for rows that
    hold nothing to learn, or what is no text.
    """
    if example.kind in ("text", "tokens"):
        return _none(example)
    if example.kind != "chat":
        raise RowProblem(
            "wrong_kind",
            f"it is {_KINDS[example.kind]}; training here takes conversations, texts and tokens",
            "train on it where its method is offered, or give conversations",
        )
    messages = [_message(m, f"message {n}") for n, m in enumerate(example.messages, 1)]
    answers = [m for m in messages if m["role"] == "assistant"]
    if not answers:
        raise RowProblem("no_assistant", "no assistant message to learn from", "add the answer")
    learnt = [m for m in answers if m.get("weight", 1)] or answers
    if all(not m["content"].strip() and not m.get("tool_calls") for m in learnt):
        raise RowProblem(
            "empty_assistant", "every answer is empty", "write the answer or delete it"
        )
    asked = [m for m in messages if m["role"] != "assistant"]
    if asked and not any(m["content"].strip() for m in asked):
        raise RowProblem("empty_prompt", "the prompt is empty", "write the prompt")
    return Conversation(messages=messages, tools=example.tools)


def to_show(example: Example, found: Conversation) -> Conversation:
    """Return a row as people read it: what is no conversation as one message."""
    if found.messages:
        return found
    content = example.text
    if content is None:
        ids = (example.tokens or {}).get("input_ids", [])
        more = f" … ({len(ids):,} tokens)" if len(ids) > _SHOWN_TOKENS else ""
        content = " ".join(map(str, ids[:_SHOWN_TOKENS])) + more
    return Conversation(messages=[{"role": example.kind, "content": content}])


def _none(example: Example) -> Conversation:
    if example.kind == "text" and not (example.text or "").strip():
        raise RowProblem("empty_text", "the text is empty", "write it or delete the row")
    if example.kind == "tokens" and not learnt_of_tokens(example):
        raise RowProblem(
            "tokens_nothing_to_train",
            "no token after the first carries loss",
            "give labels other than -100, or delete the row",
        )
    return Conversation(messages=[])


def _message(value: Message, where: str) -> Message:
    calls = _calls(value, where)
    message: Message = {"role": value["role"], "content": _content(value, bool(calls), where)}
    for key in ("tool_call_id", "name"):
        if value.get(key) is not None:
            message[key] = value[key]
    if calls:
        message["tool_calls"] = [_call(call, where) for call in calls]
    if "weight" in value:
        if value["weight"] not in (0, 1) or isinstance(value["weight"], bool):
            raise RowProblem("weight", f"{where} has a weight other than 0 or 1", "0 or 1")
        message["weight"] = value["weight"]
    return message


def _content(value: Message, calls: bool, where: str) -> str:
    content = value["content"]
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        for part in content:
            if part["type"] != "text":
                raise RowProblem(
                    "content_parts", f"{where} has parts that are no text", "text parts only"
                )
        return "".join(part["text"] for part in content)
    if calls:
        return ""
    raise RowProblem("missing_content", f"{where} has no content", "write it as text")


def _calls(value: Message, where: str) -> list[Any]:
    calls = value.get("tool_calls")
    if not calls and isinstance(value.get("function_call"), dict):
        calls = [{"type": "function", "function": value["function_call"]}]
    if not isinstance(calls or [], list):
        raise RowProblem("tool_call", f"{where}: tool_calls is no list", "list the calls")
    return calls or []


def _call(call: Any, where: str) -> dict[str, Any]:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise RowProblem(
            "tool_call", f"{where}: a tool call names no function", "function: {name, …}"
        )
    arguments = function.get("arguments", {})
    if isinstance(arguments, str):
        try:
            arguments = msgspec.json.decode(arguments or "{}")
        except (msgspec.DecodeError, RecursionError, UnicodeError):
            arguments = None
    if not isinstance(arguments, dict):
        raise RowProblem(
            "tool_arguments", f"{where}: the arguments of a call are no JSON object", "{…}"
        )
    return {**call, "function": {**function, "arguments": arguments}}
