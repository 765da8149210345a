"""Proof on a row's tokens: loss lies on the answers and their ends, and nowhere else."""

from __future__ import annotations

import unicodedata
from typing import Any

import msgspec

from ftwizard.data.conversation import Message
from ftwizard.text import visible

Span = tuple[int, int]
"""From the first token with loss to the one after the last."""


FOREIGN_LENGTH = 12
"""Shorter texts of others also stand in answers by chance."""


class Unfit(Exception):
    """Why a row cannot be masked."""


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """What the proof saw."""

    end_ids: set[int]
    """Tokens that end answers."""
    added: set[str]
    """What the template puts into the loss besides answer and end."""


def prove(
    tokenizer: Any,
    special_ids: set[int],
    messages: list[Message],
    ids: list[int],
    spans: list[Span],
) -> Proof:
    """Check that ``spans`` of ``ids`` are the answers of ``messages``, each with its end.

    The tokens are decoded again, so it does not matter how the spans were found. Raises Unfit.
    """
    given = answers(messages)
    if len(spans) != len(given):
        raise Unfit(f"{len(given)} answers, but {len(spans)} stretches of loss")
    others: list[list[Message]] = [[]]
    for message in messages:
        if message["role"] == "assistant":
            others.append([])
        else:
            others[-1].append(message)
    proof = Proof(end_ids=set(), added=set())
    position = 0
    foreign = [_folded(m["content"]).strip() for m in messages if m["role"] != "assistant"]
    for answer, (start, end), before in zip(given, spans, others, strict=False):
        _without_loss(tokenizer, before, ids[position:start])
        rest = _answer(tokenizer, special_ids, answer, ids[start:end], proof)
        for text in foreign:
            if len(text) >= FOREIGN_LENGTH and text in rest and text not in _calls(answer):
                raise Unfit(f"the loss covers “{visible(text, 40)}”, which is no answer")
        position = end
    _without_loss(tokenizer, others[-1], ids[position:])
    return proof


def answers(messages: list[Message]) -> list[Message]:
    """Return the assistant's messages."""
    return [m for m in messages if m["role"] == "assistant"]


def _answer(
    tokenizer: Any, special_ids: set[int], answer: Message, span: list[int], proof: Proof
) -> str:
    """Prove one answer; return what its span holds besides answer and special tokens."""
    text = _decode(tokenizer, span)
    content = _folded(answer["content"]).strip()
    if content not in text and not _has_unknown(tokenizer, content):
        raise Unfit(f"the loss covers “{visible(text, 60)}”, not the whole answer")
    called = [call["function"]["name"] for call in answer.get("tool_calls") or []]
    if not all(name in text for name in called):
        raise Unfit("the loss does not cover the answer's tool call")
    end = next((i for i in reversed(span) if tokenizer.decode([i]).strip()), None)
    if end is None or end not in special_ids:
        raise Unfit(
            "no token that ends the answer carries loss, so the model would never learn to stop"
        )
    proof.end_ids.add(end)
    rest = text.replace(content, "", 1) if content else text
    for token in tokenizer.all_special_tokens:
        rest = rest.replace(_folded(token), "")
    if rest and not called:
        proof.added.add(rest)
    return rest


def _without_loss(tokenizer: Any, messages: list[Message], gap: list[int]) -> None:
    text = _decode(tokenizer, gap)
    position = 0
    for message in messages:
        content = _folded(message["content"]).strip()
        found = text.find(content, position)
        if found >= 0:
            position = found + len(content)
        # A template may escape what a tool said; that it is not in the loss is proved above.
        elif message["role"] not in ("tool", "function") and not _has_unknown(tokenizer, content):
            raise Unfit(
                f"the {message['role']}'s text “{visible(content, 40)}” is not among the tokens "
                "without loss"
            )


def _has_unknown(tokenizer: Any, content: str) -> bool:
    """Say whether the tokenizer lacks letters of ``content``, which so cannot be read back."""
    unknown = tokenizer.unk_token_id
    if unknown is None:
        return False
    return unknown in tokenizer(content, add_special_tokens=False)["input_ids"]


def _calls(answer: Message) -> str:
    """Return the answer's tool calls as text; an argument may well quote the user."""
    return _folded(msgspec.json.encode(answer.get("tool_calls") or []).decode())


def _decode(tokenizer: Any, ids: list[int]) -> str:
    return _folded(
        tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    )


def _folded(text: str) -> str:
    """Fold what tokenizers normalise (Qwen's composes characters), to compare text with tokens."""
    return text if text.isascii() else unicodedata.normalize("NFKC", text)
