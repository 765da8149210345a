"""Loss and gradient of a few rows on the trainer as it is built, to compare kernels and layouts.

Another attention kernel, or rows laid end to end, must not change them by more than rounding.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import Any

from ftwizard.estimate.speed_options import LossCheck
from ftwizard.plan.schema import Recipe
from ftwizard.train.encoder import EncodedRow

MAX_ROWS = 8


def choose_rows(rows: Sequence[EncodedRow], max_length: int) -> list[EncodedRow]:
    """Return the first rows that together fit into one sequence; at least one."""
    chosen: list[EncodedRow] = []
    for row in rows:
        if chosen and sum(each.longest for each in chosen) + row.longest > max_length:
            break
        chosen.append(row)
        if len(chosen) == MAX_ROWS:
            break
    return chosen


def check_loss(trainer: Any, rows: list[EncodedRow], recipe: Recipe) -> LossCheck:
    """Return the loss and the gradient's norm of ``rows`` in the layout of the recipe.

    Of preferences, those of the first rows of the trainer's dataset. Leaves no gradient.
    """
    model = trainer.model
    if recipe.objective == "sft":
        batches = [trainer.data_collator(items) for items in _lay_out(rows, recipe)]
        count = sum(int((batch["labels"][:, 1:] != -100).sum()) for batch in batches)
    else:  # KTO compares each answer with the others of its batch
        first = range(2 if recipe.objective == "kto" else 1)
        dataset = trainer.train_dataset
        batches = [trainer.data_collator([dataset[index] for index in first])]
        count = None
    loss = 0.0
    if checkpoints_activations(trainer.args):
        # The trainer does so only when it begins to train; all activations may not fit into memory.
        enable = getattr(model, "activation_checkpointing_enable", None)
        (enable or model.gradient_checkpointing_enable)()
    model.train()
    model.zero_grad(set_to_none=True)
    with _without_dropout(model):
        for batch in batches:
            with trainer.compute_loss_context_manager():
                part = trainer.compute_loss(
                    model, trainer._prepare_inputs(batch), num_items_in_batch=count
                )
            part.backward()
            loss += float(part.detach())
    squares = [
        float(p.grad.detach().float().square().sum())
        for p in model.parameters()
        if p.grad is not None
    ]
    model.zero_grad(set_to_none=True)
    tokens = sum(row.tokens for row in rows)
    return LossCheck(loss=loss, gradient_norm=math.sqrt(sum(squares)), tokens=tokens)


def checkpoints_activations(args: Any) -> bool:
    """Return whether TRL's settings recompute activations; the name changed in transformers 5.2x."""
    names = ("activation_checkpointing", "gradient_checkpointing")
    return any(bool(getattr(args, name, False)) for name in names)


def _lay_out(rows: list[EncodedRow], recipe: Recipe) -> Iterator[list[dict[str, Any]]]:
    """Yield batches of the trainer's dataset: packed rows are one sequence."""
    if recipe.packing:
        yield [
            {
                "input_ids": [i for row in rows for i in row.input_ids],
                "labels": [i for row in rows for i in row.labels],
                "seq_lengths": [len(row.input_ids) for row in rows],
            }
        ]
        return
    for start in range(0, len(rows), recipe.batch_size):
        yield [
            {"input_ids": row.input_ids, "labels": row.labels}
            for row in rows[start : start + recipe.batch_size]
        ]


@contextlib.contextmanager
def _without_dropout(model: Any) -> Iterator[None]:
    """Turn dropout off in a model that trains, so that other settings of training stay."""
    import torch

    modules = [module for module in model.modules() if isinstance(module, torch.nn.Dropout)]
    rates = [module.p for module in modules]
    for module in modules:
        module.p = 0.0
    try:
        yield
    finally:
        for module, rate in zip(modules, rates, strict=True):
            module.p = rate
