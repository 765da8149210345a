"""Prompts of an arm: the messages of an item with the arm's system prompt and examples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from ftwizard.evaluate.arms import Arm
from ftwizard.evaluate.items import Item

DEFAULT_LIMIT = 256
"""Tokens of an answer whose length nothing tells."""
MAX_LIMIT = 4096
"""Most tokens of an answer, however long the expected ones are."""
USUAL_SHARE = 0.95
"""Share of a set whose lengths decide on all of it: the longest of several never does."""
TIMES_USUAL = 2
"""Multiple of the usual length that an answer may have, and that no item may exceed."""


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

    Where an item has none: twice what 95 % of the expected answers of its set have at most, plus 16.
    """
    lengths: dict[str, list[int]] = {}
    for item in items:
        if item.has_whole_answer and item.max_tokens is None and item.expected:
            lengths.setdefault(item.set, []).append(max(map(count_tokens, item.expected)))
    limits = {
        name: min(MAX_LIMIT, TIMES_USUAL * find_usual(counts) + 16)
        for name, counts in lengths.items()
    }
    return [
        msgspec.structs.replace(item, max_tokens=_limit(item, limits))
        if item.max_tokens is None
        else item
        for item in items
    ]


def _limit(item: Item, limits: dict[str, int]) -> int:
    return limits.get(item.set, DEFAULT_LIMIT) if item.has_whole_answer else DEFAULT_LIMIT


def find_usual(lengths: Sequence[int]) -> int:
    """Return the length that ``USUAL_SHARE`` of the lengths do not exceed, and that is not the longest of
    several."""
    return sorted(lengths)[int(USUAL_SHARE * (len(lengths) - 1))]


def find_long(
    items: Sequence[Item], count_tokens: Callable[[str], int], max_length: int, most: int | None
) -> dict[str, int]:
    """Return the tokens of the items that are too long to be asked, by id.

    These exceed ``max_length``, as the rows that are cut in training do, and are unlike their set, or exceed
    ``most``: one would take longer than all others together.
    """
    texts = {item.id: _join(item) for item in items}
    sizes: dict[str, list[int]] = {}
    for item in items:
        sizes.setdefault(item.set, []).append(len(texts[item.id]))
    usual = {name: TIMES_USUAL * find_usual(each) for name, each in sizes.items()}
    long = {}
    for item in items:
        text = texts[item.id]
        is_unlike = len(text) > usual[item.set]
        # A token has at least a byte.
        if len(text.encode()) <= max_length or not (is_unlike or most):
            continue
        tokens = count_tokens(text)
        if tokens > (max_length if is_unlike else max(max_length, most or tokens)):
            long[item.id] = tokens
    return long


def _join(item: Item) -> str:
    """Return prompt and expected answer as one text."""
    contents = [str(message.get("content") or "") for message in item.messages]
    return "\n".join([*contents, *item.expected[:1]])


def count_bytes(text: str) -> int:
    """Return about the tokens of a text without its tokenizer, rather too many.

    English has 4 bytes per token, JSON 2 to 3, Chinese 2 to 3.
    """
    return len(text.encode()) // 2 + 1
