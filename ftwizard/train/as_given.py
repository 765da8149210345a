"""Rows that are no conversation: plain text and tokens, trained on as they are given."""

from __future__ import annotations

from typing import Any

from ftwizard.data.example import Example
from ftwizard.data.row_tokens import IGNORED, learnt_of_tokens
from ftwizard.text import plural
from ftwizard.train.proof import Unfit


def text(tokenizer: Any, words: str) -> list[int]:
    """Return the tokens of a text, with what the tokenizer puts before one, and the end of text.

    Loss lies on all of them. Raises Unfit for a model that has no token for the end.
    """
    end = tokenizer.eos_token_id
    if end is None:
        raise Unfit("the model has no end-of-text token, so it would never learn to stop")
    ids = [int(i) for i in tokenizer(words)["input_ids"]]
    return ids if ids[-1:] == [end] else [*ids, int(end)]


def tokens(tokenizer: Any, example: Example) -> tuple[list[int], list[int]]:
    """Return tokens and labels of a row that is tokens already, without its padding.

    Raises Unfit for tokens that the model lacks, for labels that are other tokens, and for rows
    that are packed already.
    """
    held = example.tokens or {}
    if len(held.get("seq_lengths") or []) > 1:
        raise Unfit("several rows are packed in it (seq_lengths), which would see each other")
    ids = [int(i) for i in held["input_ids"]]
    size = len(tokenizer)
    if odd := next((i for i in ids if not 0 <= i < size), None):
        raise Unfit(f"input_ids holds {odd}, and the model has {plural(size, 'token')}, from 0")
    learnt = set(learnt_of_tokens(example))
    given = held.get("labels", ids)
    for place in learnt:
        if given[place] != ids[place]:
            raise Unfit(
                f"labels has {given[place]} where input_ids has {ids[place]} (place {place}): "
                "labels are the same tokens, not those that follow"
            )
    seen = held.get("attention_mask") or [1] * len(ids)
    places = [place for place in range(len(ids)) if seen[place]]
    return (
        [ids[place] for place in places],
        [ids[place] if place in learnt else IGNORED for place in places],
    )
