"""Rows for a model without a chat template: prompt, answer and end of text, side by side."""

from __future__ import annotations

from typing import Any

from ftwizard.data.conversation import Message
from ftwizard.train.proof import Span, Unfit


def encode(
    tokenizer: Any, messages: list[Message], tools: list[dict[str, Any]] | None
) -> tuple[list[int], list[Span]]:
    """Return the tokens of a row, and where its answer and the end of text are among them.

    Nothing is put between prompt and answer. They become tokens apart, so no token can lie on both
    sides of the mask, and generation later begins after the very tokens that were trained on.
    Raises Unfit for a row that is more than one prompt and one answer.
    """
    roles = [message["role"] for message in messages]
    if roles != ["user", "assistant"] or tools or messages[1].get("tool_calls"):
        raise Unfit(
            "the model has no chat template, and this row is more than one prompt and one answer "
            f"({', '.join(roles)}{', with tools' if tools else ''})"
        )
    prompt = prompt_ids(tokenizer, messages[:1])
    answer = tokenizer(messages[1]["content"], add_special_tokens=False)["input_ids"]
    ids = [*prompt, *(int(i) for i in answer), int(tokenizer.eos_token_id)]
    return ids, [(len(prompt), len(ids))]


def prompt_ids(tokenizer: Any, messages: list[Message]) -> list[int]:
    """Return the prompt with what the tokenizer puts before a text, but not what it puts after."""
    ids = [int(i) for i in tokenizer(messages[0]["content"])["input_ids"]]
    return ids[:-1] if ids[-1:] == [tokenizer.eos_token_id] else ids
