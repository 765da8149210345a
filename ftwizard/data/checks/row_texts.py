"""All texts of a row, each with its location."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

from ftwizard.data.checks.turns import format_location, list_all_messages
from ftwizard.data.example import Example, Message
from ftwizard.data.privacy.detect import redact_text
from ftwizard.text import make_visible

_NAME_WIDTH = 40


def iter_texts(example: Example) -> Iterator[tuple[str, str]]:
    """Yield the location of each text in the row (“message 2 (user)”, “the tools”) and the text.

    Message contents are yielded as they are, part by part. Other strings and integers are yielded
    as ``name: value``, because the name tells what they are. Embedded media are skipped.
    """
    for number, message in enumerate(list_all_messages(example), 1):
        yield from _message_texts(message, format_location(example, number, message))
    yield from (("the tools", text) for text in _named_values(example.tools))
    if isinstance(example.text, str):
        yield "the text", example.text
    if isinstance(example.extra, dict):
        for name, value in example.extra.items():
            where = _field(str(name))
            yield from ((where, text) for text in _named_values({name: value}))


@functools.lru_cache(1024)
def _field(name: str) -> str:
    # A truncated word can look like a secret, so redact again.
    return f"the field “{redact_text(make_visible(redact_text(name), _NAME_WIDTH))}”"


def _message_texts(message: Message, where: str) -> Iterator[tuple[str, str]]:
    for name, value in message.items():
        if name == "content" and isinstance(value, str):
            yield where, value
        elif name == "content" and isinstance(value, list):
            yield from ((where, text) for part in value for text in _part_texts(part))
        elif name == "tool_calls":
            yield from ((f"a tool call of {where}", text) for text in _named_values(value))
        elif name != "role":
            yield from ((where, text) for text in _named_values({name: value}))


def _part_texts(part: Any) -> Iterator[str]:
    if isinstance(part, dict) and isinstance(part.get("text"), str):
        yield part["text"]
    else:
        yield from _named_values(part)


def _named_values(value: Any) -> Iterator[str]:
    """Yield ``name: value`` for the strings and integers in a JSON value, at any depth."""
    stack: list[tuple[str, Any]] = [("", value)]
    while stack:
        name, value = stack.pop()
        if isinstance(value, dict):
            stack.extend((f"{key}: ", item) for key, item in reversed(value.items()))
        elif isinstance(value, list | tuple):
            stack.extend((name, item) for item in reversed(value))
        elif isinstance(value, str) and not _is_media(value):
            yield name + value
        elif isinstance(value, int) and not isinstance(value, bool):
            yield f"{name}{value}"


def _is_media(text: str) -> bool:
    return text.startswith("data:") and ";base64," in text[:100]
