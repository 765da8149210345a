"""A row as it is read, whatever kind it is: a conversation, a pair to prefer one of, text, tokens."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
from rich.text import Text

from ftwizard.screens import marked, palette
from ftwizard.text import plural, size, visible

MOST_CHARACTERS = 4000
"""Of one text in a row."""
MOST_MESSAGES = 200
MOST_TOKENS = 40
_NAME_CHARACTERS = 60
_TITLE = "bold"
_SIDE = "dim"


def meaning(example: dict[str, Any]) -> Text:
    """Return a row as it is read: who says what, what is wanted of it, what else it holds."""
    text = Text()
    for part in _parts(example):
        if text:
            text.append("\n\n")
        text.append_text(part)
    return text


def first_words(example: dict[str, Any]) -> str:
    """Return what a row asks, or begins with, on a line."""
    messages = example.get("messages") or []
    asked = next((one for one in messages if one.get("role") == "user"), None)
    if asked := asked or next(iter(messages), None):
        return visible(" ".join(_words(asked)), 200)
    if example.get("tokens"):
        return _count_of(example["tokens"])
    return visible(str(example.get("text") or ""), 200)


def _parts(example: dict[str, Any]) -> Iterator[Text]:
    kind = example.get("kind", "chat")
    if tools := example.get("tools"):
        names = ", ".join(visible(_tool_name(one), _NAME_CHARACTERS) for one in tools)
        yield Text.assemble(("may call  ", _SIDE), names)
    yield from _messages(example.get("messages"))
    if kind == "preference":
        yield Text.assemble(("✓ ", f"bold {palette.GOOD}"), ("chosen", _TITLE))
        yield from _messages(example.get("chosen"))
        yield Text.assemble(("✗ ", f"bold {palette.BAD}"), ("rejected", _TITLE))
        yield from _messages(example.get("rejected"))
    if kind == "labelled":
        wanted = ("✓ ", f"bold {palette.GOOD}"), "an answer that is wanted"
        unwanted = ("✗ ", f"bold {palette.BAD}"), "an answer that is not wanted"
        yield Text.assemble(*(wanted if example.get("label") else unwanted))
    if example.get("text") is not None:
        yield marked.lines(str(example["text"]), MOST_CHARACTERS)
    if tokens := example.get("tokens"):
        yield _tokens(tokens)
    if extra := example.get("extra"):
        names = ", ".join(visible(str(one), _NAME_CHARACTERS) for one in list(extra)[:20])
        yield Text.assemble(("besides  ", _SIDE), names)


def _messages(messages: Any) -> Iterator[Text]:
    shown = list(messages or [])[:MOST_MESSAGES]
    yield from map(_message, shown)
    if more := len(messages or []) - len(shown):
        yield Text(f"… and {plural(more, 'more message')}", _SIDE)


def _message(message: dict[str, Any]) -> Text:
    """Return a message below the role that says it."""
    text = Text.assemble((visible(str(message.get("role")), 20), f"bold {palette.ACCENT}"))
    for note in _notes(message):
        text.append(f"  {note}", _SIDE)
    for part in _contents(message):
        text.append("\n").append_text(part)
    return text


def _notes(message: dict[str, Any]) -> Iterator[str]:
    if name := message.get("name"):
        yield visible(str(name), _NAME_CHARACTERS)
    if call := message.get("tool_call_id"):
        yield f"answers {visible(str(call), _NAME_CHARACTERS)}"
    if (weight := message.get("weight")) is not None:
        yield "not learnt (weight 0)" if weight == 0 else f"weight {visible(str(weight), 20)}"


def _contents(message: dict[str, Any]) -> Iterator[Text]:
    content = message.get("content")
    if isinstance(content, list):
        yield from map(_part, content)
    elif content is not None:
        yield marked.lines(str(content), MOST_CHARACTERS)
    calls = message.get("tool_calls") or []
    if message.get("function_call"):
        calls = [*calls, {"function": message["function_call"]}]
    yield from map(_call, calls)


def _part(part: Any) -> Text:
    """Return a part of a message: its text, or the name of what it is."""
    if not isinstance(part, dict):
        return marked.lines(str(part), MOST_CHARACTERS)
    if isinstance(part.get("text"), str):
        return marked.lines(part["text"], MOST_CHARACTERS)
    kind = visible(str(part.get("type", "part")), _NAME_CHARACTERS)
    address = part.get("image_url")
    if isinstance(address, dict):
        address = address.get("url")
    if kind == "image_url":
        return Text(f"[picture{_address(address)}]", _SIDE)
    return Text(f"[{kind}]", _SIDE)


def _address(address: Any) -> str:
    if not isinstance(address, str):
        return ""
    if address.startswith("data:"):
        head, _, data = address.partition(",")
        kind = visible(head.removeprefix("data:").partition(";")[0], _NAME_CHARACTERS)
        return f": {kind}, {size(len(data) * 3 // 4)} in the row"
    return f": {visible(address, 200)}"


def _call(call: Any) -> Text:
    function = call.get("function") if isinstance(call, dict) else None
    function = function if isinstance(function, dict) else {}
    arguments = function.get("arguments", "")
    if not isinstance(arguments, str):
        arguments = msgspec.json.encode(arguments).decode()
    text = Text.assemble(
        ("→ ", palette.ACCENT), visible(str(function.get("name")), _NAME_CHARACTERS), "("
    )
    text.append_text(marked.lines(arguments, MOST_CHARACTERS))
    return text.append(")")


def _tool_name(tool: Any) -> str:
    function = tool.get("function") if isinstance(tool, dict) else None
    named = function if isinstance(function, dict) else tool
    return str(named.get("name")) if isinstance(named, dict) else str(tool)


def _tokens(tokens: dict[str, Any]) -> Text:
    text = Text.assemble((_count_of(tokens), _TITLE))
    for name in ("input_ids", "labels"):
        values = tokens.get(name)
        if isinstance(values, list) and values:
            more = " …" if len(values) > MOST_TOKENS else ""
            shown = " ".join(visible(str(one), 20) for one in values[:MOST_TOKENS])
            text.append(f"\n{name}  ", _SIDE).append(f"{shown}{more}")
    return text


def _count_of(tokens: dict[str, Any]) -> str:
    ids, labels = tokens.get("input_ids"), tokens.get("labels")
    words = plural(len(ids) if isinstance(ids, list) else 0, "token")
    if isinstance(labels, list):
        words += f", {sum(one != -100 for one in labels):,} of them learnt"
    return words


def _words(message: dict[str, Any]) -> Iterable[str]:
    content = message.get("content")
    parts = content if isinstance(content, list) else [content]
    for part in parts:
        if isinstance(part, str):
            yield part[:MOST_CHARACTERS]
        elif isinstance(part, dict):
            text = part.get("text")
            yield text[:MOST_CHARACTERS] if isinstance(text, str) else _part(part).plain


def length(example: dict[str, Any]) -> int:
    """Return the characters of a row's texts."""
    turns = [
        message
        for part in ("messages", "chosen", "rejected")
        for message in example.get(part) or []
    ]
    said = sum(len(text) for message in turns for text in _words(message))
    return said + len(str(example.get("text") or ""))
