"""Warnings before training, and the check of many epochs against earlier runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ftwizard.advice import recipe_advice, run_history
from ftwizard.estimate.report import RecipeWarning
from ftwizard.models import context_length
from ftwizard.plan.checks import check_epochs
from ftwizard.plan.schema import MANY_EPOCHS, Plan

if TYPE_CHECKING:
    from ftwizard.advice.run_history import EarlierLoss, HashGetter


def find_warnings(
    chosen: Plan, parameters: int | None, hashed: HashGetter | None = None
) -> list[RecipeWarning]:
    """Return the warnings about a plan, without those that it allows.

    ``parameters``: of the model, or None if unknown; ``hashed`` returns the hash of the training file,
    if it was read.
    """
    many = chosen.recipe.epochs > MANY_EPOCHS and "many-epochs" not in chosen.allow
    before = run_history.find_earlier_loss(chosen, hashed) if many else None
    rate = run_history.find_earlier_rate(chosen, hashed)
    warnings = recipe_advice.warnings(
        chosen.recipe, parameters, rate, validates=chosen.has_validation,
        falling=before is not None and before.falling,
    )  # fmt: skip
    return [warning for warning in warnings if warning.allow not in chosen.allow]


def check_lengths(config: Mapping[str, Any] | None, tokens: int) -> list[RecipeWarning]:
    """Return the warning about longest examples of ``tokens`` tokens, if any.

    ``config``: the model's config.json, or None if unknown.
    """
    message = context_length.warning(config, tokens) if config else None
    return [RecipeWarning(code="beyond-positions", message=message)] if message else []


def explain_epochs(chosen: Plan) -> str | None:
    """Return which earlier run supports more epochs than advised; None if none does or none is
    needed."""
    if chosen.recipe.epochs <= MANY_EPOCHS or "many-epochs" in chosen.allow:
        return None
    before = run_history.find_earlier_loss(chosen)
    return before.summary if before is not None and before.falling else None


def find_supporting_run(chosen: Plan, hashed: HashGetter | None = None) -> EarlierLoss | None:
    """Return the earlier run that supports more epochs than advised; None where none is needed.

    Raises FtwizardError where the plan does not allow them and no earlier run supports them.
    """
    if chosen.recipe.epochs <= MANY_EPOCHS or "many-epochs" in chosen.allow:
        return None
    before = run_history.find_earlier_loss(chosen, hashed)
    if before is None or not before.falling:
        check_epochs(chosen, before.summary if before else "")
    return before
