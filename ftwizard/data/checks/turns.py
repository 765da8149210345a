"""Access to messages for checks: their texts, names and weights, and emptiness.

Readers have validated roles and contents. Other fields of a message may have any value.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from ftwizard.data.example import Example, Message, get_thought
from ftwizard.data.formats.chat import has_substitute

SYSTEM = ("system", "developer")
RESULTS = ("tool", "function")
"""Roles of tool results."""

# Invisible characters: zero-width ones, direction marks, fillers, variation selectors, tags. The
# blank Braille pattern U+2800 and the Hangul fillers are letters by category.
_INVISIBLE = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\U000e0000-\U000e0fff"
)
_BLANK = re.compile(rf"[\s\x00-\x1f\x7f-\x9f{_INVISIBLE}]*\Z")


def is_blank(text: str) -> bool:
    """Tell whether a text is empty, white space or invisible characters only."""
    return _BLANK.match(text) is not None


def get_texts(message: Message) -> list[str]:
    """Return the texts of a message's content, one per part, and the arguments of its calls."""
    content = message.get("content")
    contents = [content] if isinstance(content, str) else []
    if isinstance(content, list):
        contents += [part["text"] for part in content if isinstance(part.get("text"), str)]
    if calls := message.get("tool_calls"):
        contents.extend(_arguments(calls))
    return contents


def is_empty(message: Message) -> bool:
    """Tell whether a message has no visible text, no media and no tool call."""
    content = message.get("content")
    if isinstance(content, str) and not is_blank(content):
        return False
    if isinstance(content, list) and any(_shows(part) for part in content):
        return False
    return not has_substitute(message)


def name_turns(example: Example) -> Iterator[tuple[str, Message]]:
    """Yield each message of ``example.turns`` with its name for findings: ``message 2 (user)``."""
    for number, message in enumerate(example.messages, 1):
        yield format_message_name(number, message), message
    yield from (("the chosen answer", message) for message in example.chosen)
    yield from (("the rejected answer", message) for message in example.rejected)


def format_message_name(number: int, message: Message) -> str:
    """Return a message's name for findings."""
    return f"message {number} ({message['role']})"


def get_weight(message: Message) -> int:
    """Return 0 if the weight of an answer excludes it from training, else 1."""
    weight = message.get("weight")
    return 0 if type(weight) is int and weight == 0 else 1


def _shows(part: dict[str, Any]) -> bool:
    if get_thought(part) is not None:
        return False
    text = part.get("text", part.get("refusal"))
    if isinstance(text, str):
        return not is_blank(text)
    return part["type"] not in ("text", "refusal")


def _arguments(calls: Any) -> list[str]:
    texts = []
    for call in calls if isinstance(calls, list) else ():
        function = call.get("function") if isinstance(call, dict) else None
        arguments = function.get("arguments") if isinstance(function, dict) else None
        if isinstance(arguments, str):
            texts.append(arguments)
    return texts
