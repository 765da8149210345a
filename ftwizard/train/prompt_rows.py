"""Prompts of reinforcement as tokens, and the dataset that TRL's GRPOTrainer takes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from ftwizard.data.example import IGNORE_INDEX
from ftwizard.data.reader import ParsedRow
from ftwizard.errors import DECLINED, FtwizardError
from ftwizard.plan.schema import Recipe
from ftwizard.rewards import rows as reward_rows
from ftwizard.rewards.rows import PromptRow
from ftwizard.text import format_count
from ftwizard.train import model_loading
from ftwizard.train.encoder import EncodedRow, Encoder, EncodingError, EncodingReport

ROW, IDS = "row", "prompt_ids"
"""Columns next to TRL's ``prompt``: the whole row as JSON, and the tokens of its prompt."""


def encode_prompts(
    encoder: Encoder,
    rows: Sequence[ParsedRow],
    max_length: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
    *,
    needed: bool = True,
) -> tuple[list[EncodedRow], EncodingReport]:
    """Encode the prompts of rows as they are asked, without the ones longer than ``max_length``.

    Raises EncodingError for a prompt that the chat template rejects, FtwizardError (declined) if no
    prompts remain and they are ``needed``.
    """
    encoded: list[EncodedRow] = []
    for number, row in enumerate(rows, 1):
        try:
            ids = encoder.prompt_ids(row.conversation.prompt, row.conversation.tools)
        except EncodingError as error:
            message = f"Line {row.line}: {error.message}"
            raise EncodingError(message, error.hint, reason=error.message) from None
        encoded.append(EncodedRow(line=row.line, input_ids=ids, labels=[IGNORE_INDEX] * len(ids)))
        progress(number, len(rows))
    kept = [row for row in encoded if len(row.input_ids) <= max_length]
    if rows and not kept and needed:
        raise FtwizardError(
            f"Each of {format_count(len(rows), 'prompt')} is longer than recipe.max_length"
            f" ({max_length:,} tokens).",
            "Raise recipe.max_length, or use shorter prompts.",
            DECLINED,
        )
    report = EncodingReport(
        route=encoder.route,
        rows=len(rows),
        used=len(kept),
        truncated=0,
        lines_without_loss=[],
        tokens=sum(len(row.input_ids) for row in kept),
        trainable_tokens=0,
        longest_row=max((len(row.input_ids) for row in encoded), default=0),
        trainable_text=[],
        too_long=[row.line for row in encoded if len(row.input_ids) > max_length],
    )
    return kept, report


def build_dataset(encoded: Sequence[EncodedRow], rows: Sequence[ParsedRow]) -> Any:
    """Return the ``datasets.Dataset`` of prompts; ``rows`` include the encoded ones."""
    with model_loading.importing():
        from datasets import Dataset

    by_line = {row.line: row for row in rows}
    chosen = [reward_rows.to_row(by_line[item.line]) for item in encoded]
    prompts = [
        [{"role": message["role"], "content": message["content"]} for message in row.prompt]
        for row in chosen
    ]
    return Dataset.from_dict(
        {
            "prompt": prompts,
            IDS: [item.input_ids for item in encoded],
            # One text: the columns of different rows may have different types.
            ROW: [msgspec.json.encode(row).decode() for row in chosen],
        }
    )


def require_enough(prompts: int, recipe: Recipe, ranks: int = 1) -> None:
    """Raise FtwizardError for fewer prompts than a step takes: TRL would train on none.

    ``ranks``: processes that train together.
    """
    needed = recipe.count_prompts(ranks)
    if prompts >= needed:
        return
    together = f" of {ranks} processes" if ranks > 1 else ""
    raise FtwizardError(
        f"A step{together} takes {needed} prompts, and there are {prompts:,}.",
        "Lower recipe.gradient_accumulation or recipe.batch_size, or raise "
        "recipe.grpo.num_generations.",
    )


@functools.lru_cache(4096)
def read_row(text: str) -> PromptRow:
    """Return a row of the dataset."""
    return msgspec.json.decode(text, type=PromptRow)
