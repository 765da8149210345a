"""Prompts of an arm: the messages of an item with the arm's system prompt and examples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from ftwizard.evaluate.arms import Arm
from ftwizard.evaluate.items import Item

DEFAULT_LIMIT = 256
"""Tokens of an answer whose length nothing tells."""


def build_messages(arm: Arm, item: Item) -> list[dict[str, Any]]:
    """Return the item's messages after the arm's system prompt and examples."""
    messages = list(item.messages)
    system = [messages.pop(0)] if messages and messages[0].get("role") == "system" else []
    if not system and arm.system:
        system = [{"role": "system", "content": arm.system}]
    shots = [message for shot in arm.shots for message in shot]
    if system:
        shots = [message for message in shots if message.get("role") != "system"]
    return [*system, *shots, *messages]


def set_limits(items: Sequence[Item], count_tokens: Callable[[str], int]) -> list[Item]:
    """Return the items with a limit of tokens each: the same for every arm.

    Where an item has none: 1.5 times the longest expected answer of its set, plus 16.
    """
    longest: dict[str, int] = {}
    for item in items:
        if item.has_whole_answer and item.max_tokens is None:
            counts = [count_tokens(text) for text in item.expected]
            longest[item.set] = max([longest.get(item.set, 0), *counts])
    return [
        msgspec.structs.replace(item, max_tokens=_limit(item, longest))
        if item.max_tokens is None
        else item
        for item in items
    ]


def _limit(item: Item, longest: dict[str, int]) -> int:
    if not item.has_whole_answer or not longest.get(item.set):
        return DEFAULT_LIMIT
    return longest[item.set] * 3 // 2 + 16


def count_bytes(text: str) -> int:
    """Return about the tokens of a text without its tokenizer, rather too many.

    English has 4 bytes per token, JSON 2 to 3, Chinese 2 to 3.
    """
    return len(text.encode()) // 2 + 1
