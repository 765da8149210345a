"""Every text of a row, and where it stands."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

from ftwizard.data.checks.turns import all_turns, name_in
from ftwizard.data.example import Example, Message
from ftwizard.data.secrets import redact
from ftwizard.text import visible

_NAME_WIDTH = 40


def texts(example: Example) -> Iterator[tuple[str, str]]:
    """Yield where a text stands in the row (“message 2 (user)”, “the tools”) and the text.

    Contents come as they are, part by part. Of whatever else a row holds, each text and each
    whole number comes with its name before it, ``name: value``: the name says what it is.
    Pictures and other media that stand in the row itself are left out.
    """
    for number, message in enumerate(all_turns(example), 1):
        yield from _of_message(message, name_in(example, number, message))
    yield from (("the tools", text) for text in _named(example.tools))
    if isinstance(example.text, str):
        yield "the text", example.text
    if isinstance(example.extra, dict):
        for name, value in example.extra.items():
            where = _field(str(name))
            yield from ((where, text) for text in _named({name: value}))


@functools.lru_cache(1024)
def _field(name: str) -> str:
    # Cut in its middle, a word can look like a secret that it did not look like before.
    return f"the field “{redact(visible(redact(name), _NAME_WIDTH))}”"


def _of_message(message: Message, where: str) -> Iterator[tuple[str, str]]:
    for name, value in message.items():
        if name == "content" and isinstance(value, str):
            yield where, value
        elif name == "content" and isinstance(value, list):
            yield from ((where, text) for part in value for text in _of_part(part))
        elif name == "tool_calls":
            yield from ((f"a tool call of {where}", text) for text in _named(value))
        elif name != "role":
            yield from ((where, text) for text in _named({name: value}))


def _of_part(part: Any) -> Iterator[str]:
    if isinstance(part, dict) and isinstance(part.get("text"), str):
        yield part["text"]
    else:
        yield from _named(part)


def _named(value: Any) -> Iterator[str]:
    """Yield ``name: value`` of the texts and whole numbers in a JSON value, however deep."""
    left: list[tuple[str, Any]] = [("", value)]
    while left:
        name, value = left.pop()
        if isinstance(value, dict):
            left.extend((f"{key}: ", item) for key, item in reversed(value.items()))
        elif isinstance(value, list | tuple):
            left.extend((name, item) for item in reversed(value))
        elif isinstance(value, str) and not _is_media(value):
            yield name + value
        elif isinstance(value, int) and not isinstance(value, bool):
            yield f"{name}{value}"


def _is_media(text: str) -> bool:
    return text.startswith("data:") and ";base64," in text[:100]
