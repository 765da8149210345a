"""Encoding for models without a chat template: prompt, answer and end of text, concatenated."""

from __future__ import annotations

from typing import Any

from ftwizard.data.conversation import Message
from ftwizard.train.proof import MaskError, TokenRange


def encode(
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
