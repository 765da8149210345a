"""Values for this model, data and machine, with reasons; and warnings before training."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec

from ftwizard.advice import hardware
from ftwizard.advice import rows as by_rows
from ftwizard.advice.hardware import method_for
from ftwizard.advice.setting import setting
from ftwizard.advice.tables import Advised, Method, said, table
from ftwizard.estimate.batches import Lengths
from ftwizard.estimate.shape import Shape
from ftwizard.machine import Facts
from ftwizard.plan import MANY_EPOCHS, Recipe, RiskName

__all__ = [
    "Advised", "EarlierRate", "Method", "RecipeWarning", "advise", "in_words", "learning_rate",
    "method_for", "report_to", "warnings",
]  # fmt: skip
WarningCode = Literal[
    "rate-from-another-size",
    "rate-too-high",
    "rate-too-low",
    "many-epochs",
    "no-validation",
    "missing-modules",
    "beyond-positions",
]
FAR = 10.0
"""A rate this many times the usual one, or one part in as many of it, is warned about."""
ANOTHER_SIZE = 1.5
"""Models whose sizes differ by more than this factor are of different sizes (SPEC H5)."""


class EarlierRate(msgspec.Struct, frozen=True, kw_only=True):
    """The learning rate of an earlier run."""

    rate: float
    parameters: int | None
    """Parameters of its model; None where not known."""


class RecipeWarning(msgspec.Struct, frozen=True, kw_only=True):
    """Something to think about before training."""

    code: WarningCode
    message: str
    allow: RiskName | None = None
    """What the user must allow by name; None where a look is enough."""


def learning_rate(method: Method, parameters: int | None) -> Advised:
    """Return the usual peak learning rate for a method and a model of so many parameters.

    Without a size it is that of the smallest models, which is the plan's own default.
    """
    rates = [one for one in table().rates if method in one.methods]
    found = next(one for one in rates if (parameters or 0) <= one.up_to)
    unknown = "The model's size is not known yet. " if parameters is None else ""
    return Advised(
        name="learning_rate", value=found.value, reason=unknown + found.reason,
        as_of=found.as_of, source=found.source,
    )  # fmt: skip


def advise(
    method: Method,
    parameters: int | None,
    rows: int | None,
    facts: Facts,
    *,
    lengths: Lengths | None = None,
    shape: Shape | None = None,
    context: int | None = None,
) -> tuple[Advised, ...]:
    """Advise the settings that depend on method, model, data and machine.

    ``parameters``: of the model; ``rows``: that are trained on; ``lengths``: of the rows of the
    checked file (``estimate.batches.lengths`` of a check's ``tokens``); ``context``: tokens that
    the model reads at most. None where not known; what follows from it is then left out.
    """
    spread = lengths if lengths is None or rows is None else lengths.scaled(rows)
    case = by_rows.Case(
        method=method, parameters=parameters, rows=rows, facts=facts, lengths=spread, shape=shape,
        context=context,
    )  # fmt: skip
    return (
        learning_rate(method, parameters),
        *by_rows.advise(case),
        *hardware.advise(method, facts),
    )


def report_to() -> Advised:
    """Advise where metrics go: nowhere but the run's own folder (SPEC H7)."""
    return said("report_to", "report", None)


def warnings(
    recipe: Recipe,
    parameters: int | None,
    earlier: EarlierRate | None = None,
    *,
    validates: bool = True,
    falling: bool = False,
) -> tuple[RecipeWarning, ...]:
    """Return what should be thought about before training with this recipe.

    ``parameters``: of the model, None where not known; ``earlier``: the rate of another run;
    ``validates``: whether any rows validate; ``falling``: whether the validation loss of an
    earlier run on the same rows was still falling when it ended (SPEC H6).
    """
    found = [*_rate_warnings(recipe, parameters, earlier)]
    if recipe.epochs > MANY_EPOCHS and not falling:
        found.append(
            RecipeWarning(
                code="many-epochs",
                message=f"{recipe.epochs:g} epochs mostly teach the rows by heart. Begin with "
                f"{MANY_EPOCHS} and look at the validation loss.",
                allow="many-epochs",
            )
        )
    if not validates:
        found.append(
            RecipeWarning(
                code="no-validation",
                message="Without validation rows nobody can see the model overfit. "
                "Set 10–20 % of the rows aside.",
                allow="no-validation",
            )
        )
    return tuple(found)


def _rate_warnings(
    recipe: Recipe, parameters: int | None, earlier: EarlierRate | None
) -> Iterator[RecipeWarning]:
    rate: float | None = recipe.learning_rate
    if rate is None:  # the usual one is taken
        return
    usual = learning_rate(recipe.method, parameters).value
    assert isinstance(usual, float)
    name = setting("method").option(recipe.method).label.partition(":")[0]
    if earlier and earlier.rate == rate and _differ(earlier.parameters, parameters):
        yield RecipeWarning(
            code="rate-from-another-size",
            message=f"{in_words(rate)} comes from a model of another size. Usual for this one, "
            f"with {name}: {in_words(usual)}.",
        )
    # A hair less than FAR: 2e-5 beside 2e-4 is what a rate for full fine-tuning looks like.
    if rate <= usual / FAR * 1.001:
        yield RecipeWarning(
            code="rate-too-low",
            message=f"{in_words(rate)} is far below the usual {in_words(usual)} of {name}: it may "
            "learn nothing.",
        )
    if rate >= usual * FAR * 0.999:
        yield RecipeWarning(
            code="rate-too-high",
            message=f"{in_words(rate)} is far above the usual {in_words(usual)} of {name}: "
            "training may diverge.",
        )


def in_words(rate: float) -> str:
    """Return a learning rate as it is written in a plan: ``2e-4``."""
    digits, _, power = f"{rate:.2e}".partition("e")
    return f"{digits.rstrip('0').rstrip('.')}e{int(power)}"


def _differ(one: int | None, other: int | None) -> bool:
    if not one or not other:
        return False
    return max(one, other) / min(one, other) > ANOTHER_SIZE
