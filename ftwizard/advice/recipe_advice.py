"""Recommended recipe values for a model, data and machine, and warnings before training."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from ftwizard.advice import data_settings, hardware_settings
from ftwizard.advice.hardware_settings import advise_method
from ftwizard.advice.recipe_rules import AdvisedValue, Method, advise_value, table
from ftwizard.advice.setting_help import setting
from ftwizard.estimate.batching import LengthDistribution
from ftwizard.estimate.report import RecipeWarning
from ftwizard.hardware.machine import MachineInfo
from ftwizard.models.shapes import ModelShape
from ftwizard.plan.schema import MANY_EPOCHS, Recipe

__all__ = [
    "AdvisedValue",
    "EarlierRate",
    "Method",
    "advise",
    "advise_learning_rate",
    "advise_method",
    "advise_report_to",
    "format_learning_rate",
    "warnings",
]  # fmt: skip
FAR = 10.0
"""Ratio between a learning rate and the usual one, in either direction, that causes a warning."""
ANOTHER_SIZE = 1.5
"""Ratio of parameters above which two models count as different sizes."""


class EarlierRate(msgspec.Struct, frozen=True, kw_only=True):
    """The learning rate of an earlier run."""

    rate: float
    parameters: int | None
    """Of its model; None if unknown."""


def advise_learning_rate(method: Method, parameters: int | None) -> AdvisedValue:
    """Advise the usual peak learning rate for a method and a number of parameters.

    Without a size it is the rate of the smallest models, which is the plan's default.
    """
    rates = [rate for rate in table().rates if method in rate.methods]
    rule = next(rate for rate in rates if (parameters or 0) <= rate.up_to)
    unknown = "Model size unknown. " if parameters is None else ""
    return rule.advise("learning_rate", rule.value, unknown + rule.reason)


def advise(
    method: Method,
    parameters: int | None,
    rows: int | None,
    facts: MachineInfo,
    *,
    lengths: LengthDistribution | None = None,
    shape: ModelShape | None = None,
    context: int | None = None,
) -> tuple[AdvisedValue, ...]:
    """Advise the settings that depend on method, model, data and machine.

    ``parameters``: of the model; ``rows``: number of training examples; ``lengths``: of the rows of
    the checked file (``estimate.batches.lengths`` of a check's ``tokens``); ``context``: the model's
    context length in tokens. None if unknown; advice that depends on it is then left out.
    """
    spread = lengths if lengths is None or rows is None else lengths.scaled(rows)
    case = data_settings.RowsCase(
        method=method, parameters=parameters, rows=rows, facts=facts, lengths=spread, shape=shape,
        context=context,
    )  # fmt: skip
    return (
        advise_learning_rate(method, parameters),
        *data_settings.advise(case),
        *hardware_settings.advise(method, facts),
    )


def advise_report_to() -> AdvisedValue:
    """Advise where metrics go: only to the run folder."""
    return advise_value("report_to", "report", None)


def warnings(
    recipe: Recipe,
    parameters: int | None,
    earlier: EarlierRate | None = None,
    *,
    validates: bool = True,
    falling: bool = False,
) -> tuple[RecipeWarning, ...]:
    """Return warnings about a recipe before training.

    ``parameters``: of the model, None if unknown; ``earlier``: the learning rate of another run;
    ``validates``: whether there is a validation set; ``falling``: whether the validation loss of an
    earlier run on the same rows was still falling when it ended.
    """
    raised = [*_rate_warnings(recipe, parameters, earlier)]
    if recipe.epochs > MANY_EPOCHS and not falling:
        raised.append(
            RecipeWarning(
                code="many-epochs",
                message=f"{recipe.epochs:g} epochs usually lead to memorization. Start with "
                f"{MANY_EPOCHS} and check the validation loss.",
                allow="many-epochs",
            )
        )
    if not validates:
        raised.append(
            RecipeWarning(
                code="no-validation",
                message="Without validation data, overfitting goes unnoticed. "
                "Set aside 10–20% of the rows.",
                allow="no-validation",
            )
        )
    return tuple(raised)


def _rate_warnings(
    recipe: Recipe, parameters: int | None, earlier: EarlierRate | None
) -> Iterator[RecipeWarning]:
    rate: float | None = recipe.learning_rate
    if rate is None:  # the run uses the usual one
        return
    usual = advise_learning_rate(recipe.method, parameters).value
    assert isinstance(usual, float)
    name = setting("method").option(recipe.method).name
    if earlier and earlier.rate == rate and _differ(earlier.parameters, parameters):
        yield RecipeWarning(
            code="rate-from-another-size",
            message=f"{format_learning_rate(rate)} comes from a model of another size. Usual for this size "
            f"with {name}: {format_learning_rate(usual)}.",
        )
    # Tolerates rounding: 2e-5 instead of 2e-4 is a typical learning rate for full fine-tuning.
    if rate <= usual / FAR * 1.001:
        yield RecipeWarning(
            code="rate-too-low",
            message=f"{format_learning_rate(rate)} is far below the usual {format_learning_rate(usual)} for {name}: the "
            "model may learn nothing.",
        )
    if rate >= usual * FAR * 0.999:
        yield RecipeWarning(
            code="rate-too-high",
            message=f"{format_learning_rate(rate)} is far above the usual {format_learning_rate(usual)} for {name}: "
            "training may diverge.",
        )


def format_learning_rate(rate: float) -> str:
    """Format a learning rate as in a plan: ``2e-4``."""
    digits, _, power = f"{rate:.2e}".partition("e")
    return f"{digits.rstrip('0').rstrip('.')}e{int(power)}"


def _differ(size: int | None, other_size: int | None) -> bool:
    if not size or not other_size:
        return False
    return max(size, other_size) / min(size, other_size) > ANOTHER_SIZE
