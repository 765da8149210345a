"""Tokens and labels of rows that no chat template is applied to: plain text, and token ids."""

from __future__ import annotations

from typing import Any

from ftwizard.data.example import IGNORE_INDEX, Example, find_trainable_tokens
from ftwizard.text import format_count
from ftwizard.train.mask_check import MaskError


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
