"""How the checks look at a row: its messages, their texts, and what counts as empty.

Readers have seen to the form of a row by then; here nothing is taken for granted all the same, so
that no value, however odd, stops a check.
"""

from __future__ import annotations

import re
from typing import Any

from ftwizard.data.example import ROLES, Example, Message

SYSTEM = frozenset({"system", "developer"})
RESULTS = frozenset({"tool", "function"})
"""Roles that bring what a tool answered."""
_TEXTUAL = (None, "text", "refusal")

# Characters that show nothing: zero-width ones, marks of direction, fillers, variation selectors,
# tags. The dots of Braille U+2800 and the Hangul fillers are letters by their category.
_UNSEEN = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\U000e0000-\U000e0fff"
)
_BLANK = re.compile(rf"[\s\x00-\x1f\x7f-\x9f{_UNSEEN}]*\Z")


def listed(value: Any) -> list[Message]:
    """Return the messages of a list, whatever else it may hold left out."""
    if not isinstance(value, list):
        return []
    return [message for message in value if isinstance(message, dict)]


def all_turns(example: Example) -> list[Message]:
    """Return every message: the prompt's, the chosen answer's, the rejected answer's."""
    if not example.chosen and not example.rejected:
        return listed(example.messages)
    return listed(example.messages) + listed(example.chosen) + listed(example.rejected)


def is_blank(text: str) -> bool:
    """Tell whether a text shows nothing: empty, white space, invisible characters."""
    return _BLANK.match(text) is not None


def texts(message: Message) -> list[str]:
    """Return the texts of a message's content, one a part, and of what its tool calls pass."""
    content = message.get("content")
    found = [content] if isinstance(content, str) else []
    if isinstance(content, list):
        for part in content:
            text = part.get("text") if isinstance(part, dict) else part
            if isinstance(text, str):
                found.append(text)
    if calls := message.get("tool_calls"):
        found.extend(_arguments(calls))
    return found


def says_nothing(message: Message) -> bool:
    """Tell whether a message has neither text that shows, nor a picture or the like, nor a call."""
    content = message.get("content")
    if isinstance(content, str) and not is_blank(content):
        return False
    if isinstance(content, list) and any(_shows(part) for part in content):
        return False
    return not any(message.get(key) for key in ("tool_calls", "function_call", "refusal", "audio"))


def name_of(number: int, message: Message) -> str:
    """Name a message as findings do: ``message 2 (user)``."""
    role = message.get("role")
    known = isinstance(role, str) and role in ROLES
    return f"message {number} ({role})" if known else f"message {number}"


def name_in(example: Example, number: int, message: Message) -> str:
    """Name the message that is ``number`` (1-based) among ``all_turns`` of a row."""
    # Only lengths: it is asked for every message of a row.
    before = _length(example.messages)
    if number <= before or (not example.chosen and not example.rejected):
        return name_of(number, message)
    chosen = number <= before + _length(example.chosen)
    return "the chosen answer" if chosen else "the rejected answer"


def weight_of(message: Message) -> int:
    """Return whether an answer is learnt from: 1, or 0 where its weight says not."""
    weight = message.get("weight")
    return 0 if type(weight) is int and weight == 0 else 1


def _length(value: Any) -> int:
    return len(value) if isinstance(value, list) else 0


def _shows(part: Any) -> bool:
    if not isinstance(part, dict):
        return isinstance(part, str) and not is_blank(part)
    text = part.get("text", part.get("refusal"))
    if isinstance(text, str):
        return not is_blank(text)
    return part.get("type") not in _TEXTUAL


def _arguments(calls: Any) -> list[str]:
    found = []
    for call in calls if isinstance(calls, list) else ():
        function = call.get("function") if isinstance(call, dict) else None
        arguments = function.get("arguments") if isinstance(function, dict) else None
        if isinstance(arguments, str):
            found.append(arguments)
    return found
