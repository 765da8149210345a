"""Checks of a plan's training objective: its own settings, and others that do not go with it."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ftwizard.data import bundled_samples
from ftwizard.plan.schema import DPO, KTO, Plan, Recipe
from ftwizard.strict_yaml import SettingsError

_PARTS = {"dpo": DPO(), "kto": KTO()}
"""Settings of each objective, with their defaults."""
_SMOOTHED = frozenset({"aot", "aot_unpaired", "exo_pair", "robust"})
"""Losses that use ``label_smoothing``. Source: ``DPOTrainer._compute_loss`` of TRL 1.16."""
_ROWS = {"dpo": "pairs", "kto": "labeled answers"}


def find_problems(plan: Plan) -> Iterator[SettingsError]:
    """Yield each problem of the objective of a plan of this machine."""
    recipe = plan.recipe
    for name, defaults in _PARTS.items():
        if recipe.objective != name and getattr(recipe, name) != defaults:
            yield SettingsError(
                f"is set, but recipe.objective is {recipe.objective}.",
                f"Set recipe.objective to {name}, or remove recipe.{name}.",
                setting=f"recipe.{name}",
            )
    if recipe.objective == "sft":
        return
    yield from _find_shared_problems(plan)
    yield from (
        _find_dpo_problems(recipe) if recipe.objective == "dpo" else _find_kto_problems(recipe)
    )


def _find_shared_problems(plan: Plan) -> Iterator[SettingsError]:
    recipe = plan.recipe
    if plan.ranks > 1:
        yield SettingsError(
            f"is {plan.where.processes}, but recipe.objective is {recipe.objective}: several "
            "processes train only on supervised rows.",
            "Remove where.processes.",
            setting="where.processes",
        )
    if recipe.packing:
        yield SettingsError(
            f"is set, but recipe.objective is {recipe.objective}: TRL packs only supervised rows.",
            "Remove recipe.packing.",
            setting="recipe.packing",
        )
    if plan.data.mix.share and plan.data.mix.rows in bundled_samples.ROW_SETS:
        yield SettingsError(
            f"is set, but the general rows are conversations, not {_ROWS[recipe.objective]}.",
            f"Set data.mix.rows to a file of {_ROWS[recipe.objective]}, or remove data.mix.",
            setting="data.mix.share",
        )
    settings = f"recipe.{recipe.objective}"
    beta = getattr(recipe, recipe.objective).beta
    if not 0 < beta < math.inf:
        yield SettingsError(f"is {beta:g}.", "It must be above 0.", setting=f"{settings}.beta")


def _find_dpo_problems(recipe: Recipe) -> Iterator[SettingsError]:
    settings = recipe.dpo
    losses = [settings.loss_type] if isinstance(settings.loss_type, str) else settings.loss_type
    if not losses:
        yield SettingsError("is empty.", "Name a loss: sigmoid.", setting="recipe.dpo.loss_type")
    weights = settings.loss_weights
    if weights is not None and len(weights) != len(losses):
        yield SettingsError(
            f"has {len(weights)} numbers for {len(losses)} losses.",
            "Write one for each of recipe.dpo.loss_type.",
            setting="recipe.dpo.loss_weights",
        )
    if weights is not None and not all(0 <= weight < math.inf for weight in weights):
        yield SettingsError(
            "has a weight below 0.", "Weights are 0 or more.", setting="recipe.dpo.loss_weights"
        )
    smoothing = settings.label_smoothing
    if not 0 <= smoothing < 0.5:
        yield SettingsError(
            f"is {smoothing:g}.",
            "It must be at least 0 and below 0.5.",
            setting="recipe.dpo.label_smoothing",
        )
    if "exo_pair" in losses and not smoothing:
        yield SettingsError(
            "is 0, which exo_pair cannot use.",
            "Set it to 0.001, as its paper does.",
            setting="recipe.dpo.label_smoothing",
        )
    if smoothing and not _SMOOTHED.intersection(losses):
        yield SettingsError(
            f"is set, but only the losses {', '.join(sorted(_SMOOTHED))} use it.",
            "Set recipe.dpo.loss_type to robust, or remove it.",
            setting="recipe.dpo.label_smoothing",
        )


def _find_kto_problems(recipe: Recipe) -> Iterator[SettingsError]:
    settings = recipe.kto
    for name in ("desirable_weight", "undesirable_weight"):
        weight = getattr(settings, name)
        if not 0 < weight < math.inf:
            yield SettingsError(
                f"is {weight:g}.", "It must be above 0.", setting=f"recipe.kto.{name}"
            )
    if settings.loss_type == "kto" and recipe.batch_size < 2:
        yield SettingsError(
            "is 1. The loss kto compares each answer with the others of its batch.",
            "Set it to 2 or more, or recipe.kto.loss_type to apo_zero_unpaired.",
            setting="recipe.batch_size",
        )
