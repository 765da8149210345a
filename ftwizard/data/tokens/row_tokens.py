"""Token counts of single rows, with trainable tokens."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import msgspec

from ftwizard.data.example import Example, Message, find_trainable_tokens
from ftwizard.data.platforms import Target
from ftwizard.data.tokens import tokenizers
from ftwizard.data.tokens.tokenizers import Encoding


class RowCount(NamedTuple):
    """Tokens of one row, as counted by the encoding."""

    text: int
    """Tokens of texts; exact."""
    frame: int
    """Tokens around messages: role, start and end."""
    guessed: int
    """Tokens of tools and tool calls, whose encoding is undocumented."""
    images: int
    """Number of images, not tokens."""
    trained: int
    """Trainable tokens among ``text``, ``frame`` and ``guessed``."""
    before: int
    """Tokens before the first trainable one; all if there is none."""

    @property
    def tokens(self) -> int:
        """Return all tokens except those of images."""
        return self.text + self.frame + self.guessed


class RowCounter:
    """Counts rows for one target with one encoding."""

    def __init__(self, target: Target, encoding: Encoding) -> None:
        self._target, self._encoding = target, encoding
        self._count = tokenizers.make_counter(encoding)
        self._count_role = functools.cache(self._count)

    def count(self, example: Example) -> RowCount:
        """Count one row; never raises, whatever the row contains."""
        if example.kind == "tokens":
            return _count_pretokenized(example)
        if example.kind == "text":
            text = self._count(example.text or "")
            frame = self._encoding.per_row + self._encoding.end
            trained = text + self._encoding.end
            return RowCount(text, frame, 0, 0, trained, before=self._encoding.per_row)
        return self._count_messages(example)

    def _count_messages(self, example: Example) -> RowCount:
        encoding, trained_turns = self._encoding, _find_trained_turns(example, self._target)
        text, frame, images, trained = 0, encoding.per_row, 0, 0
        guessed = self._count(_to_json(example.tools)) if example.tools else 0
        before: int | None = None
        for number, message in enumerate(example.turns):
            text_tokens, call_tokens, image_count = self._count_parts(message)
            role = message.get("role")
            overhead = encoding.per_message + (
                self._count_role(role) if isinstance(role, str) else 0
            )
            if number in trained_turns:
                trained += text_tokens + call_tokens + encoding.end
                if before is None:
                    before = text + frame + guessed + overhead - encoding.end
            text, frame, guessed = text + text_tokens, frame + overhead, guessed + call_tokens
            images += image_count
        total = text + frame + guessed
        return RowCount(text, frame, guessed, images, trained, total if before is None else before)

    def _count_parts(self, message: Message) -> tuple[int, int, int]:
        """Return the tokens of a message's text and tool calls, and its number of images."""
        text, images = 0, 0
        content = message.get("content")
        if isinstance(content, str):
            text = self._count(content)
        elif isinstance(content, list):
            for part in content:
                part_text = part.get("text") if isinstance(part, dict) else None
                if isinstance(part_text, str):
                    text += self._count(part_text)
                else:
                    images += 1
        name = message.get("name")
        if isinstance(name, str):
            text += self._count(name) + 1  # as in OpenAI's cookbook
        calls = message.get("tool_calls") or message.get("function_call")
        return text, self._count(_to_json(calls)) if calls else 0, images


def _find_trained_turns(example: Example, target: Target) -> set[int]:
    """Return the indexes of the turns that are trained on."""
    turns = example.turns
    answers = [number for number, turn in enumerate(turns) if turn.get("role") == "assistant"]
    if target.method == "rft":
        return set()  # a grader scores generated answers
    if target.method == "dpo":
        return {number for number in answers if number >= len(example.messages)}
    if target.method == "kto":
        return set(answers[-1:])
    if not target.weight:
        return set(answers)
    return {number for number in answers if turns[number].get("weight", 1) != 0}


def _count_pretokenized(example: Example) -> RowCount:
    ids = (example.tokens or {}).get("input_ids")
    total = len(ids) if isinstance(ids, list) else 0
    trained = find_trainable_tokens(example)
    return RowCount(total, 0, 0, 0, len(trained), trained[0] if trained else total)


def _to_json(value: Any) -> str:
    try:
        return msgspec.json.encode(value).decode()
    except (TypeError, ValueError, RecursionError, OverflowError):
        return ""
