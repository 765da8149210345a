"""Exact counts of a plan before training: rows, tokens, steps and parameters.

Rows are read, split, masked and truncated with the same functions as in the training itself.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from ftwizard.estimate import training_setup
from ftwizard.estimate.batching import LengthDistribution
from ftwizard.plan.schema import Plan
from ftwizard.train import (
    adapter,
    dataset,
    model_loading,
    predict,
    target_modules,
    trainer_rows,
)
from ftwizard.train.encoder import EncodingReport, load_encoder


class TrainingPreview(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of one plan."""

    parts: dict[str, EncodingReport]
    """``train``, ``validation``, ``test``, ``mix`` → report on the rows."""
    available: dict[str, int]
    """Rows before ``data.max_rows``, of the parts that it makes smaller."""
    mix_short: str | None
    """Message if there are fewer general rows than the plan asks for."""
    sequences: int
    """Rows of the training file, or packed sequences."""
    steps_per_epoch: int
    steps: int
    epochs: float
    """Epochs trained; fewer than the recipe's where ``max_steps`` ends it."""
    evaluate_every: int
    """Steps between evaluations; 0 without validation data."""
    tokens: int
    """Tokens trained on in all epochs."""
    parameters: int
    """Parameters of the base model."""
    trained: int
    """Trainable parameters."""
    adapted: list[str]
    """Modules that get an adapter; empty for a full fine-tune."""
    lengths: dict[str, LengthDistribution | None]
    """``train``, ``validation`` → lengths of the rows, truncated as in the plan."""


def preview_plan(plan: Plan, base: Path, say: Callable[..., None]) -> TrainingPreview:
    """Count rows, tokens, steps and parameters of ``plan`` with the model in ``base``.

    Only its tokenizer and configuration are needed. Raises FtwizardError for unusable rows or an
    unusable model, as the training would.
    """
    available: dict[str, int] = {}
    parts = dataset.load_rows(plan, {}, sampled=available)
    encoder, recipe = load_encoder(base, say), plan.recipe

    def progress(name: str, done: int, total: int) -> None:
        say("tokenising", what=f"{name} rows", done=done, total=total, unit="rows")

    encoded, reports = dataset.encode_parts(encoder, parts, recipe, progress)
    dataset.check_lengths(base, encoded, recipe)
    train = encoded["train"]
    sequences = len(train)
    if recipe.packing:
        say("packing")
        sequences = len(trainer_rows.build_dataset(train, recipe))
    say("loading", what="the model's shape")
    parameters, trained, adapted = _count_parameters(plan, base)
    steps = training_setup.count_steps(sequences, recipe, plan.ranks)
    every = recipe.evaluation_steps or training_setup.evaluation_steps(steps.total)
    return TrainingPreview(
        parts=reports,
        available=available,
        mix_short=dataset.describe_shortage(plan, parts),
        sequences=sequences,
        steps_per_epoch=steps.per_epoch,
        steps=steps.total,
        epochs=steps.epochs,
        evaluate_every=every if reports["validation"].used else 0,
        tokens=round(sum(row.tokens for row in train) * steps.epochs),
        parameters=parameters,
        trained=trained,
        adapted=adapted,
        lengths=predict.row_lengths(encoded),
    )


def _count_parameters(plan: Plan, base: Path) -> tuple[int, int, list[str]]:
    """Return the model's parameters, the trainable ones, and the adapted modules.

    The model is built without its weights.
    """
    model = model_loading.without_weights(base)
    total = sum(p.numel() for p in model.parameters())
    if plan.recipe.method == "full":
        return total, total, []
    import torch
    from peft import get_peft_model

    resolved = target_modules.resolve(model, plan.recipe.target_modules)
    with torch.device("meta"):
        tuned = get_peft_model(model, adapter.lora_config(plan.recipe, resolved))
    trained = predict.count_trainable(tuned)
    return total, trained, [*resolved.modules, *resolved.parameters]
