"""Encoding without a chat template: plain text, token rows, and a prompt with its answer."""

from __future__ import annotations

from typing import Any

from ftwizard.data.example import IGNORE_INDEX, Example, Message, find_trainable_tokens
from ftwizard.text import format_count
from ftwizard.train.mask_check import MaskError, TokenRange


def encode_text(tokenizer: Any, text: str) -> list[int]:
    """Return a text's tokens, from the tokenizer's prefix to the end-of-text token.

    All of them count toward the loss. Raises MaskError if the model has no end-of-text token.
    """
    end = tokenizer.eos_token_id
    if end is None:
        raise MaskError("the model has no end-of-text token, so it would never learn to stop")
    ids = [int(i) for i in tokenizer(text)["input_ids"]]
    return ids if ids[-1:] == [end] else [*ids, int(end)]


def encode_tokens(tokenizer: Any, example: Example) -> tuple[list[int], list[int]]:
    """Return tokens and labels of a tokenized row, without its padding.

    Raises MaskError for tokens outside the vocabulary, for labels that differ from the tokens, and
    for packed rows.
    """
    row = example.tokens or {}
    if len(row.get("seq_lengths") or []) > 1:
        raise MaskError("it packs several rows (seq_lengths), which would see each other")
    ids = [int(i) for i in row["input_ids"]]
    size = len(tokenizer)
    if invalid := next((i for i in ids if not 0 <= i < size), None):
        raise MaskError(
            f"input_ids contains {invalid}, but the model has {format_count(size, 'token')}"
        )
    trainable = set(find_trainable_tokens(example))
    labels = row.get("labels", ids)
    for index in trainable:
        if labels[index] != ids[index]:
            raise MaskError(
                f"labels has {labels[index]} where input_ids has {ids[index]} (index {index}); "
                "labels must not be shifted"
            )
    attention = row.get("attention_mask") or [1] * len(ids)
    indices = [index for index in range(len(ids)) if attention[index]]
    return (
        [ids[index] for index in indices],
        [ids[index] if index in trainable else IGNORE_INDEX for index in indices],
    )


def encode_pair(
    tokenizer: Any, messages: list[Message], tools: list[dict[str, Any]] | None
) -> tuple[list[int], list[TokenRange]]:
    """Return a row's tokens and the range of its answer with the end of text.

    Nothing is inserted between prompt and answer. They are tokenized separately, so no token spans
    both, and generation later starts after exactly the tokens that were trained on. Raises
    MaskError for a row that is not one prompt and one answer.
    """
    roles = [message["role"] for message in messages]
    if roles != ["user", "assistant"] or tools or messages[1].get("tool_calls"):
        raise MaskError(
            "the model has no chat template, and this row is not one prompt and one answer "
            f"({', '.join(roles)}{', with tools' if tools else ''})"
        )
    prompt = prompt_ids(tokenizer, messages[:1])
    answer = tokenizer(messages[1]["content"], add_special_tokens=False)["input_ids"]
    ids = [*prompt, *(int(i) for i in answer), int(tokenizer.eos_token_id)]
    return ids, [(len(prompt), len(ids))]


def prompt_ids(tokenizer: Any, messages: list[Message]) -> list[int]:
    """Return the prompt's tokens with the tokenizer's prefix, but without an end of text."""
    ids = [int(i) for i in tokenizer(messages[0]["content"])["input_ids"]]
    return ids[:-1] if ids[-1:] == [tokenizer.eos_token_id] else ids
