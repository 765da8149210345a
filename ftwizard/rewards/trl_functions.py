"""Reward functions as TRL calls them, without ftwizard's processes and limits.

Ejected scripts have a copy of this module: it imports the standard library only. The dataset has each
row as one text, in the column ``row``, because the columns of different rows may have different types.
"""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

REFERENCE = "reference_answer"
"""Column with the right answer of each row."""


def from_score(
    name: str, score: Callable[..., float | None], options: Mapping[str, Any], tokenizer: Any
) -> Callable[..., list[float | None]]:
    """Return a reward function of one that scores a completion, such as ``numeric_answer``."""

    def reward(rows: list[dict[str, Any]], completions: list[str]) -> list[float | None]:
        return [
            score(completion, row.get(REFERENCE) or "", get_last_text(row["prompt"]), options)
            for row, completion in zip(rows, completions, strict=True)
        ]

    return _to_trl(name, reward, tokenizer)


def from_function(
    name: str, function: Callable[..., Any], tokenizer: Any
) -> Callable[..., list[float | None]]:
    """Return a reward function of one with TRL's signature, which gets the arguments that it names."""
    parameters = inspect.signature(function).parameters
    takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    runner = asyncio.Runner()  # one loop for all batches: clients and semaphores belong to one

    def reward(rows: list[dict[str, Any]], completions: list[str]) -> list[float | None]:
        names = dict.fromkeys(key for row in rows for key in row if key != "prompt")
        arguments = {key: [row.get(key) for row in rows] for key in names}
        arguments["prompts"] = [row["prompt"] for row in rows]
        arguments["completions"] = [[{"role": "assistant", "content": c}] for c in completions]
        if not takes_all:
            arguments = {key: value for key, value in arguments.items() if key in parameters}
        result = function(**arguments)
        return list(runner.run(result) if inspect.iscoroutine(result) else result)

    return _to_trl(name, reward, tokenizer)


def get_last_text(prompt: Sequence[Mapping[str, Any]]) -> str:
    """Return the text of a prompt's last message; empty if it has none."""
    content = prompt[-1].get("content") if prompt else None
    return content if isinstance(content, str) else ""


def _to_trl(
    name: str,
    reward: Callable[[list[dict[str, Any]], list[str]], list[float | None]],
    tokenizer: Any,
) -> Callable[..., list[float | None]]:
    def call(completion_ids: list[list[int]], row: list[str], **_: Any) -> list[float | None]:
        texts = tokenizer.batch_decode(completion_ids, skip_special_tokens=True)
        return reward([json.loads(text) for text in row], texts)

    call.__name__ = name  # TRL logs the rewards under it
    return call
