"""How many tokens one row comes to where it goes, and which of them are learnt."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from ftwizard.data import encodings
from ftwizard.data.encodings import Encoding
from ftwizard.data.example import Example, Message
from ftwizard.data.targets import Target

IGNORED = -100
"""Label of a token without loss (PyTorch's ``ignore_index``)."""
MASKS = ("attention_mask", "completion_mask", "assistant_masks", "loss_mask")
"""Columns beside ``input_ids`` in which 0 means no loss (TRL's dataset formats)."""


class RowCount(NamedTuple):
    """Tokens of one row, as the encoding counts them."""

    text: int
    """Of texts: counted to the token."""
    frame: int
    """Around them: role, start and end of messages."""
    guessed: int
    """Of tools and their calls, of which nobody publishes how they are written."""
    pictures: int
    """How many there are; not tokens."""
    trained: int
    """Of ``text``, ``frame`` and ``guessed``, those that are learnt."""
    before: int
    """Those before the first that is learnt; all of them where none is."""

    @property
    def tokens(self) -> int:
        """Return all but those of pictures."""
        return self.text + self.frame + self.guessed


class RowCounter:
    """Counts rows for one target with one encoding."""

    def __init__(self, target: Target, encoding: Encoding) -> None:
        self._target, self._encoding = target, encoding
        self._count = encodings.make_counter(encoding)
        self._roles: dict[str, int] = {}

    def count(self, example: Example) -> RowCount:
        """Count one row; it never raises, whatever a row holds."""
        if example.kind == "tokens":
            return _pretokenised(example)
        if example.kind == "text":
            text = self._count(example.text or "")
            frame = self._encoding.per_row + self._encoding.end
            learnt = text + self._encoding.end
            return RowCount(text, frame, 0, 0, learnt, before=self._encoding.per_row)
        return self._messages(example)

    def _messages(self, example: Example) -> RowCount:
        encoding, learnt = self._encoding, _learnt(example, self._target)
        text, frame, pictures, trained = 0, encoding.per_row, 0, 0
        guessed = self._count(_json(example.tools)) if example.tools else 0
        before: int | None = None
        for number, message in enumerate(example.turns):
            said, calls, shown = self._parts(message)
            around = encoding.per_message + self._role(message)
            if number in learnt:
                trained += said + calls + encoding.end
                if before is None:
                    before = text + frame + guessed + around - encoding.end
            text, frame, guessed = text + said, frame + around, guessed + calls
            pictures += shown
        whole = text + frame + guessed
        return RowCount(
            text, frame, guessed, pictures, trained, whole if before is None else before
        )

    def _parts(self, message: Message) -> tuple[int, int, int]:
        """Return the tokens of a message's text and of its tool calls, and its pictures."""
        text, pictures = 0, 0
        content = message.get("content")
        if isinstance(content, str):
            text = self._count(content)
        elif isinstance(content, list):
            for part in content:
                said = part.get("text") if isinstance(part, dict) else None
                if isinstance(said, str):
                    text += self._count(said)
                else:
                    pictures += 1
        name = message.get("name")
        if isinstance(name, str):
            text += self._count(name) + 1  # as OpenAI's cookbook counts it
        calls = message.get("tool_calls") or message.get("function_call")
        return text, self._count(_json(calls)) if calls else 0, pictures

    def _role(self, message: Message) -> int:
        role = message.get("role")
        if not isinstance(role, str):
            return 0
        if role not in self._roles:
            self._roles[role] = self._count(role)
        return self._roles[role]


def _learnt(example: Example, target: Target) -> set[int]:
    """Return which turns are learnt."""
    turns = example.turns
    answers = [number for number, turn in enumerate(turns) if turn.get("role") == "assistant"]
    if target.method == "rft":
        return set()  # a grader judges what the model answers
    if target.method == "dpo":
        return {number for number in answers if number >= len(example.messages)}
    if target.method == "kto":
        return set(answers[-1:])
    if not target.weight:
        return set(answers)
    return {number for number in answers if turns[number].get("weight", 1) != 0}


def learnt_of_tokens(example: Example) -> list[int]:
    """Return which places carry loss in a row that is tokens already, before anything is cut.

    The first token is never predicted. Without labels all others are learnt, unless a mask of TRL's
    says otherwise; padding never is.
    """
    held = example.tokens or {}
    ids = held.get("input_ids")
    if not isinstance(ids, list):
        return []
    masks = [held[key] for key in MASKS if isinstance(held.get(key), list)]
    labels = held.get("labels")
    if isinstance(labels, list):
        masks.append([label != IGNORED for label in labels])
    return [
        place
        for place in range(1, len(ids))
        if all(place < len(mask) and mask[place] for mask in masks)
    ]


def _pretokenised(example: Example) -> RowCount:
    ids = (example.tokens or {}).get("input_ids")
    total = len(ids) if isinstance(ids, list) else 0
    learnt = learnt_of_tokens(example)
    return RowCount(total, 0, 0, 0, len(learnt), learnt[0] if learnt else total)


def _json(value: Any) -> str:
    try:
        return msgspec.json.encode(value).decode()
    except (TypeError, ValueError, RecursionError, OverflowError):
        return ""
