"""Generation of answers to tokenized prompts."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ftwizard.train.encoder import Encoder

_THINKING = re.compile(r"\A\s*<think>.*?</think>", re.DOTALL)


class GeneratedAnswer(NamedTuple):
    """A generated answer."""

    text: str
    """Without special tokens and without thinking."""
    ended: bool
    """Whether it ended by itself, not at a limit."""
    whole: str = ""
    """The text with thinking."""


def generate_answers(
    model: Any,
    encoder: Encoder,
    prompts: Sequence[list[int]],
    limit: int,
    *,
    seconds: float | None = None,
    should_stop: Callable[[list[int]], bool] | None = None,
    temperature: float = 0.0,
    together: bool = False,
) -> list[GeneratedAnswer]:
    """Return an answer to each prompt, generated as one batch; see ``generate_tokens``."""
    tokens = generate_tokens(
        model, encoder, prompts, limit, seconds=seconds, should_stop=should_stop,
        temperature=temperature, together=together,
    )  # fmt: skip
    stops = encoder.end_ids | encoder.stop_ids
    texts = encoder.tokenizer.batch_decode(tokens, skip_special_tokens=True)
    return [
        GeneratedAnswer(without_thinking(text), not stops.isdisjoint(row), text)
        for text, row in zip(texts, tokens, strict=True)
    ]


def generate_tokens(
    model: Any,
    encoder: Encoder,
    prompts: Sequence[list[int]],
    limit: int,
    *,
    seconds: float | None = None,
    should_stop: Callable[[list[int]], bool] | None = None,
    temperature: float = 0.0,
    together: bool = False,
) -> list[list[int]]:
    """Return the tokens of an answer to each prompt, generated as one batch.

    It is greedy at ``temperature`` 0; above, each call draws another sample.

    After the token that ends it, an answer is padded to the longest one. ``limit`` is the maximum
    of new tokens. Generation stops after ``seconds``, but not before one token, or once
    ``should_stop`` returns True. It is called after each token, with the tokens of the first answer.
    ``model`` must be in evaluation mode; its settings are not changed. ``together``: its weights are
    shared by processes, which all generate until the last of them stops.
    """
    import torch

    tokenizer = encoder.tokenizer
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    stops = sorted(encoder.end_ids | encoder.stop_ids)
    width = max(map(len, prompts))
    ids = torch.full((len(prompts), width), pad)
    mask = torch.zeros((len(prompts), width), dtype=torch.long)
    for row, prompt in enumerate(prompts):  # left padding, so that answers start together
        ids[row, width - len(prompt) :] = torch.tensor(prompt)
        mask[row, width - len(prompt) :] = 1

    def is_done(ids: Any, scores: Any, **_: Any) -> Any:
        is_stopped = should_stop is not None and should_stop(ids[0, width:].tolist())
        return torch.full((len(ids),), is_stopped, device=ids.device)

    # Not inference_mode: tensors that a model caches in it cannot be used in training later.
    with torch.no_grad():
        output = model.generate(
            input_ids=ids.to(model.device),
            attention_mask=mask.to(model.device),
            max_new_tokens=limit,
            max_time=seconds,
            do_sample=temperature > 0,
            temperature=temperature or None,
            top_p=None,
            top_k=None,
            use_cache=True,
            synced_gpus=True if together else None,
            stopping_criteria=[is_done] if should_stop else None,
            pad_token_id=pad,
            eos_token_id=stops,
        )
    tokens: list[list[int]] = output[:, width:].tolist()
    return tokens


def without_thinking(text: str) -> str:
    """Remove the thinking block before an answer (Qwen3's template trains an empty one)."""
    return _THINKING.sub("", text).strip()
