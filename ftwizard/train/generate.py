"""Greedy answers of a model to prompts that are tokens already."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from ftwizard.train.tokenise import Encoder

_THINKING = re.compile(r"\A\s*<think>.*?</think>", re.DOTALL)


class Answer(NamedTuple):
    """What was generated."""

    text: str
    """Without special tokens and without thinking."""
    ended: bool
    """Whether it came to its own end, not to a limit."""


def answers(
    model: Any,
    encoder: Encoder,
    prompts: Sequence[list[int]],
    limit: int,
    *,
    seconds: float | None = None,
) -> list[Answer]:
    """Return one greedy answer a prompt, all generated at once.

    ``limit``: tokens of the longest answer; ``seconds``: after which it ends wherever it is, with
    one token at least. ``model`` is in evaluation mode; its settings stay as they are.
    """
    import torch

    tokenizer = encoder.tokenizer
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    stops = sorted(encoder.end_ids | encoder.stop_ids)
    width = max(map(len, prompts))
    ids = torch.full((len(prompts), width), pad)
    mask = torch.zeros((len(prompts), width), dtype=torch.long)
    for row, prompt in enumerate(prompts):  # padded on the left: answers begin together
        ids[row, width - len(prompt) :] = torch.tensor(prompt)
        mask[row, width - len(prompt) :] = 1
    # Not inference_mode: what a model caches in it could not be trained on afterwards.
    with torch.no_grad():
        out = model.generate(
            input_ids=ids.to(model.device),
            attention_mask=mask.to(model.device),
            max_new_tokens=limit,
            max_time=seconds,
            do_sample=False,
            temperature=None,
            top_p=None,
            top_k=None,
            use_cache=True,
            pad_token_id=pad,
            eos_token_id=stops,
        )
    found = out[:, width:].tolist()
    texts = tokenizer.batch_decode(found, skip_special_tokens=True)
    return [
        Answer(without_thinking(text), not set(stops).isdisjoint(row))
        for text, row in zip(texts, found, strict=True)
    ]


def without_thinking(text: str) -> str:
    """Return an answer less the thinking before it (Qwen3's template trains an empty one)."""
    return _THINKING.sub("", text).strip()
