"""What a row says, as one text: for telling whether two rows, or two prompts, are the same."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from typing import Any

import msgspec

from ftwizard.data.duplicates import ANSWER_MARK
from ftwizard.data.example import Example, Message, text_of

_SYSTEM = ("system", "developer")


def row(example: Example) -> str:
    """Return what a row says, its answer after ``ANSWER_MARK``.

    Every turn and every tool call, of a preference the chosen and the rejected answer; no system
    prompt, which many rows share.
    """
    if example.kind == "text":
        return example.text or ""
    if example.kind == "tokens":
        ids = (example.tokens or {}).get("input_ids")
        return " ".join(map(str, ids)) if isinstance(ids, list) else ""
    asked, answered = divided(example)
    return f"{said(asked)}{ANSWER_MARK}{said(answered)}" if answered else said(asked)


def prompt(example: Example) -> str:
    """Return what stands before a row's answer, but for a system prompt; "" where nothing does."""
    return said(divided(example)[0])


def said(messages: Iterable[Message]) -> str:
    """Return the texts and tool calls of messages, a line each, system prompts left out."""
    lines: list[str] = []
    for message in messages:
        if message.get("role") not in _SYSTEM:
            lines += (text_of(message), *map(_call, _listed(message.get("tool_calls"))))
    return "\n".join(line for line in lines if line)


def normal(text: str) -> str:
    """Return ``text`` as it is compared: case and white space do not count.

    Digits, signs and punctuation do: “2 + 3” and “2 − 3” are different prompts.
    """
    return " ".join(unicodedata.normalize("NFC", text).casefold().split())


def divided(example: Example) -> tuple[list[Message], list[Message]]:
    """Return the messages before a row's last answer, and from there on."""
    messages = example.messages
    if example.chosen or example.rejected:
        return messages, [*example.chosen, *example.rejected]
    last = len(messages) - 1
    while last >= 0 and messages[last].get("role") != "assistant":
        last -= 1
    return (messages, []) if last < 0 else (messages[:last], messages[last:])


def _call(call: Any) -> str:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict):
        return ""
    arguments = function.get("arguments")
    if not isinstance(arguments, str):
        arguments = msgspec.json.encode(arguments).decode()
    return f"{function.get('name')} {arguments}"


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
