"""Warnings before training, and the check of many epochs against earlier runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ftwizard.advice import recipe_advice, run_history
from ftwizard.advice.run_history import EarlierLoss, HashGetter
from ftwizard.estimate.report import RecipeWarning
from ftwizard.jobs.folder import JobFolder
from ftwizard.models import support
from ftwizard.plan.checks import check_epochs
from ftwizard.plan.schema import MANY_EPOCHS, Plan
from ftwizard.runs import default_run


def find_warnings(
    chosen: Plan, parameters: int | None, hashed: HashGetter | None = None
) -> list[RecipeWarning]:
    """Return the warnings about a plan, without those that it allows.

    ``parameters``: of the model, or None if unknown; ``hashed`` returns the hash of the training file,
    if it was read.
    """
    before = _find_earlier_loss(chosen, hashed)
    rate = run_history.find_earlier_rate(chosen, hashed)
    warnings = recipe_advice.warnings(
        chosen.recipe, parameters, rate, validates=chosen.has_validation,
        falling=before is not None and before.falling,
    )  # fmt: skip
    return [warning for warning in warnings if warning.allow not in chosen.allow]


def warn_other_runs(own: JobFolder) -> list[RecipeWarning]:
    """Return the warning about runs that are running besides ``own``, if any."""
    others = default_run.describe_others(own)
    message = (
        f"Also running: {others}. On one device, they slow each other and need memory for both."
    )
    return [RecipeWarning(code="other-runs", message=message)] if others else []


def check_lengths(config: Mapping[str, Any] | None, tokens: int) -> list[RecipeWarning]:
    """Return the warning about longest examples of ``tokens`` tokens, if any.

    ``config``: the model's config.json, or None if unknown.
    """
    message = support.warn_context(config, tokens) if config else None
    return [RecipeWarning(code="beyond-positions", message=message)] if message else []


def explain_epochs(chosen: Plan) -> str | None:
    """Return which earlier run supports more epochs than advised; None if none does or none is
    needed."""
    before = _find_earlier_loss(chosen, None)
    return before.summary if before is not None and before.falling else None


def find_supporting_run(chosen: Plan, hashed: HashGetter | None = None) -> EarlierLoss | None:
    """Return the earlier run that supports more epochs than advised; None where none is needed.

    Raises FtwizardError where the plan does not allow them and no earlier run supports them.
    """
    before = _find_earlier_loss(chosen, hashed)
    if before is None or not before.falling:
        check_epochs(chosen, before.summary if before else "")
    return before


def _find_earlier_loss(chosen: Plan, hashed: HashGetter | None) -> EarlierLoss | None:
    """Return how an earlier run ended, if the plan has many epochs that it does not allow."""
    if chosen.recipe.epochs <= MANY_EPOCHS or "many-epochs" in chosen.allow:
        return None
    return run_history.find_earlier_loss(chosen, hashed)
