"""What is said before a plan is trained: warnings that stop nothing, and why many epochs are taken."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ftwizard import earlier, positions
from ftwizard import plan as plans
from ftwizard.advice import recipe
from ftwizard.advice.recipe import RecipeWarning
from ftwizard.plan import MANY_EPOCHS, Plan

if TYPE_CHECKING:
    from ftwizard.earlier import Earlier, Hashed


def of_plan(
    chosen: Plan, parameters: int | None, hashed: Hashed | None = None
) -> list[RecipeWarning]:
    """Return what should be thought about before ``chosen`` is trained.

    ``parameters``: of its model, None where not known; ``hashed`` returns the hash of its training
    file, where it was read. What the plan allows is left out.
    """
    many = chosen.recipe.epochs > MANY_EPOCHS and "many-epochs" not in chosen.allow
    before = earlier.loss_of(chosen, hashed) if many else None
    rate = earlier.rate_of(chosen, hashed)
    found = recipe.warnings(
        chosen.recipe, parameters, rate, validates=plans.validates(chosen),
        falling=before is not None and before.falling,
    )  # fmt: skip
    return [one for one in found if one.allow not in chosen.allow]


def of_lengths(config: Mapping[str, Any] | None, tokens: int) -> list[RecipeWarning]:
    """Return what should be thought about where the longest rows have so many ``tokens``.

    ``config``: the model's config.json; None where it is not known.
    """
    message = positions.warning(config, tokens) if config else None
    return [RecipeWarning(code="beyond-positions", message=message)] if message else []


def because(chosen: Plan) -> str | None:
    """Say which earlier run speaks for more epochs than are advised; None where none does, or
    none is needed."""
    if chosen.recipe.epochs <= MANY_EPOCHS or "many-epochs" in chosen.allow:
        return None
    before = earlier.loss_of(chosen)
    return before.said if before is not None and before.falling else None


def many_epochs(chosen: Plan, hashed: Hashed | None = None) -> Earlier | None:
    """Return the earlier run for whose sake more epochs than are advised are taken, None where
    none is needed: few epochs, or the plan allows it.

    Raises FtwizardError where they are neither allowed nor spoken for.
    """
    if chosen.recipe.epochs <= MANY_EPOCHS or "many-epochs" in chosen.allow:
        return None
    before = earlier.loss_of(chosen, hashed)
    if before is None or not before.falling:
        plans.check_epochs(chosen, before.said if before else "")
    return before
