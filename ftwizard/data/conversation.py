"""Conversations for local training.

Plain text and tokens are trained on unchanged; their conversation is empty.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

import msgspec

from ftwizard.data.example import (
    KIND_NAMES,
    REASONING_KEYS,
    Example,
    Message,
    RowProblem,
    find_trainable_tokens,
    get_thought,
)
from ftwizard.data.mapping.column_map import ColumnMap
from ftwizard.data.mapping.guess import guess_answer
from ftwizard.data.mapping.options import format_columns
from ftwizard.data.privacy.quote import quote

_MAX_SHOWN_TOKENS = 100


class Conversation(msgspec.Struct, frozen=True, kw_only=True):
    """Messages in the form that chat templates take, and the available tools."""

    messages: list[Message]
    """Each with ``role``, ``content`` (text) and optionally ``tool_calls``, ``tool_call_id``,
    ``name``, ``weight``, and an answer's ``REASONING_KEYS``. Empty for a row of plain text or tokens."""
    tools: list[dict[str, Any]] | None = None
    awaits_answer: bool = False
    """Whether all messages are the prompt, to which a grader judges the answers."""

    @property
    def prompt(self) -> list[Message]:
        """Return the messages before the last answer, without the reasoning of earlier answers."""
        return without_reasoning(self.messages[: self._find_last_answer()])

    @property
    def answer(self) -> str:
        """Return the text of the last answer; empty for a row that is not a conversation."""
        index = self._find_last_answer()
        return str(self.messages[index]["content"]) if index < len(self.messages) else ""

    def _find_last_answer(self) -> int:
        roles = [m["role"] for m in self.messages]
        if self.awaits_answer or not roles:
            return len(roles)
        return len(roles) - 1 - roles[::-1].index("assistant")


def without_reasoning(messages: list[Message]) -> list[Message]:
    """Return messages as models are asked with: earlier reasoning is not part of a prompt."""
    return [
        {key: value for key, value in message.items() if key not in REASONING_KEYS}
        if any(key in message for key in REASONING_KEYS)
        else message
        for message in messages
    ]


def _suggest_answer(example: Example) -> str | None:
    """Return the mapping that reads another column of a prompt as its answer; None without one."""
    if example.kind != "prompt" or len(example.messages) != 1:
        return None
    answer = guess_answer(example.extra)
    if answer is None:
        return None
    shown = shlex.quote(format_columns(ColumnMap(prompt="prompt", completion=answer)))
    return f"if {quote(answer, 40)} is its answer: --columns {shown}"


def to_conversation(example: Example) -> Conversation:
    """Convert a row to a conversation for local training.

    Text parts are joined, tool-call arguments become objects (chat templates would quote JSON text
    again), and a deprecated ``function_call`` becomes a tool call. Raises RowProblem for rows with
    nothing to train on or with non-text content.
    """
    if example.kind in ("text", "tokens"):
        return _convert_raw(example)
    if example.kind != "chat":
        raise RowProblem(
            "wrong_kind",
            f"it is {KIND_NAMES[example.kind]}; local training takes conversations, text and tokens",
            _suggest_answer(example)
            or "choose a provider that offers its method, or add conversations",
        )
    messages = convert_messages(example.messages)
    answers = [m for m in messages if m["role"] == "assistant"]
    if not answers:
        raise RowProblem("no_assistant", "no assistant message to train on", "add the answer")
    trained = [m for m in answers if m.get("weight", 1)] or answers
    if all(not m["content"].strip() and not m.get("tool_calls") for m in trained):
        message = "every answer is empty"
        raise RowProblem("empty_assistant", message, "write the answer or delete it")
    prompts = [m for m in messages if m["role"] != "assistant"]
    if prompts and not any(m["content"].strip() for m in prompts):
        raise RowProblem("empty_prompt", "the prompt is empty", "write the prompt")
    return Conversation(messages=messages, tools=example.tools)


def to_compared(example: Example) -> Conversation:
    """Convert a row of any kind to a conversation for the comparison of models.

    A preference has its chosen answer. The conversation is empty for a row with content that is not
    text.
    """
    messages = [*example.messages, *example.chosen]
    try:
        return Conversation(
            messages=convert_messages(messages),
            tools=example.tools,
            awaits_answer=all(message["role"] != "assistant" for message in messages)
            or example.kind == "prompt",
        )
    except RowProblem:
        return Conversation(messages=[])


def to_pair(example: Example) -> tuple[Conversation, Conversation]:
    """Convert a pair to two conversations, with the chosen and the rejected answer.

    The answers in the prompt have weight 0: only the two answers are trained on. Raises RowProblem
    for content that is not text.
    """
    prompt = [
        _without_weight(message, is_trained=False) for message in convert_messages(example.messages)
    ]
    chosen, rejected = (
        [_without_weight(message) for message in convert_messages(answers, f"{side} message")]
        for side, answers in (("chosen", example.chosen), ("rejected", example.rejected))
    )
    return (
        Conversation(messages=[*prompt, *chosen], tools=example.tools),
        Conversation(messages=[*prompt, *rejected], tools=example.tools),
    )


def to_labeled(example: Example) -> Conversation:
    """Convert a labeled answer to a conversation in which only that answer is trained on.

    It is what follows the last message of the user: with tools, their calls as well. Raises
    RowProblem for content that is not text.
    """
    roles = [message["role"] for message in example.messages]
    start = max((n for n, role in enumerate(roles, 1) if role == "user"), default=0)
    return Conversation(
        messages=[
            _without_weight(message, is_trained=number > start)
            for number, message in enumerate(convert_messages(example.messages), 1)
        ],
        tools=example.tools,
    )


def _without_weight(message: Message, *, is_trained: bool = True) -> Message:
    """Return a message as an objective weighs it, whatever weight its row has."""
    rest = {key: value for key, value in message.items() if key != "weight"}
    return rest if is_trained or rest["role"] != "assistant" else {**rest, "weight": 0}


def to_displayed(example: Example, converted: Conversation) -> Conversation:
    """Return a row for display; text and tokens become one message."""
    if converted.messages:
        return converted
    content = example.text
    if content is None:
        ids = (example.tokens or {}).get("input_ids", [])
        more = f" … ({len(ids):,} tokens)" if len(ids) > _MAX_SHOWN_TOKENS else ""
        content = " ".join(map(str, ids[:_MAX_SHOWN_TOKENS])) + more
    return Conversation(messages=[{"role": example.kind, "content": content}])


def _convert_raw(example: Example) -> Conversation:
    if example.kind == "text" and not (example.text or "").strip():
        raise RowProblem("empty_text", "the text is empty", "write it or delete the row")
    if example.kind == "tokens" and not find_trainable_tokens(example):
        raise RowProblem(
            "tokens_nothing_to_train",
            "it has no trainable tokens after the first",
            "set labels other than -100, or delete the row",
        )
    return Conversation(messages=[])


def convert_messages(messages: Sequence[Message], name: str = "message") -> list[Message]:
    """Return messages as chat templates take them; problems call one ``name`` and its number.

    Raises RowProblem for content that is not text.
    """
    return [_convert_message(message, f"{name} {n}") for n, message in enumerate(messages, 1)]


def _convert_message(value: Message, where: str) -> Message:
    calls = _get_calls(value, where)
    message: Message = {"role": value["role"], "content": _join_content(value, bool(calls), where)}
    for key in ("tool_call_id", "name"):
        if value.get(key) is not None:
            message[key] = value[key]
    if value["role"] == "assistant":
        message |= _get_reasoning(value)
    if calls:
        message["tool_calls"] = [_convert_call(call, where) for call in calls]
    if "weight" in value:
        if value["weight"] not in (0, 1) or isinstance(value["weight"], bool):
            problem = f"{where} has a weight other than 0 or 1"
            raise RowProblem("weight", problem, "set it to 0 or 1")
        message["weight"] = value["weight"]
    return message


def _get_reasoning(value: Message) -> dict[str, str]:
    """Return an answer's reasoning by its key; ``reasoning_content`` if it is in parts."""
    named = {key: value[key] for key in REASONING_KEYS if isinstance(value.get(key), str)}
    if not named and isinstance(value["content"], list):
        thoughts = (get_thought(part) for part in value["content"])
        named = {REASONING_KEYS[0]: "\n\n".join(thought for thought in thoughts if thought)}
    return {key: text for key, text in named.items() if text.strip()}


def _join_content(value: Message, calls: bool, where: str) -> str:
    content = value["content"]
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        # Reasoning is a field of its own, which a chat template may read.
        parts = [part for part in content if get_thought(part) is None]
        for part in parts:
            if part["type"] != "text":
                message = f"{where} has non-text parts"
                raise RowProblem("content_parts", message, "keep only text parts")
        return "".join(part["text"] for part in parts)
    if calls:
        return ""
    raise RowProblem("missing_content", f"{where} has no content", "write it as text")


def _get_calls(value: Message, where: str) -> list[Any]:
    calls = value.get("tool_calls")
    if not calls and isinstance(value.get("function_call"), dict):
        calls = [{"type": "function", "function": value["function_call"]}]
    if not isinstance(calls or [], list):
        message = f"{where}: tool_calls is not a list"
        raise RowProblem("tool_call.no_list", message, "write a list of calls")
    return calls or []


def _convert_call(call: Any, where: str) -> dict[str, Any]:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        message = f"{where}: a tool call has no function name"
        raise RowProblem("tool_call.no_name", message, "add function: {name, …}")
    arguments = function.get("arguments", {})
    if isinstance(arguments, str):
        try:
            arguments = msgspec.json.decode(arguments or "{}")
        except (msgspec.DecodeError, RecursionError, UnicodeError):
            arguments = None
    if not isinstance(arguments, dict):
        problem = f"{where}: tool-call arguments are not a JSON object"
        raise RowProblem("tool_arguments", problem, "write {…}")
    return {**call, "function": {**function, "arguments": arguments}}
