"""Advised settings of a whole plan, for its model, its checked data and a machine."""

from __future__ import annotations

import typing
from collections.abc import Callable, Collection

from ftwizard.advice import rank_advice, recipe_advice
from ftwizard.advice.recipe_rules import AdvisedValue
from ftwizard.data.documents import DataReport
from ftwizard.estimate import batching, training_machine
from ftwizard.hardware.machine import MachineInfo
from ftwizard.models.shapes import ModelShape
from ftwizard.plan.schema import Method, Plan, Recipe


def advise(
    plan: Plan,
    method: Method,
    machine: MachineInfo,
    report: DataReport | None,
    *,
    rows: int | None,
    parameters: int | None = None,
    shape: ModelShape | None = None,
    context: int | None = None,
) -> dict[str, AdvisedValue]:
    """Return the advised settings of the recipe by name.

    ``method``: the one in use, on which the other settings depend; ``report``: of the check of the
    training file; ``rows``: number of training examples; ``parameters``, ``shape`` and ``context``
    (tokens): of the model. None if unknown.
    """
    size = parameters or (shape.parameters if shape else None)
    lengths = batching.from_check_tokens(report.tokens) if report else None
    here = training_machine.only_process_share(plan, machine)
    settings_advice = recipe_advice.advise(
        method,
        size,
        rows,
        here,
        lengths=lengths,
        shape=shape,
        context=context,
        recipe=plan.recipe,
    )
    method_advice = recipe_advice.advise_method(size, here, shape=shape, recipe=plan.recipe)
    return rank_advice.share_step(
        plan, {advice.name: advice for advice in (method_advice, *settings_advice)}
    )


def choose(
    recipe: Recipe, kept: Collection[str], advise_for: Callable[[Method], dict[str, AdvisedValue]]
) -> dict[str, AdvisedValue]:
    """Return the advice to follow, by setting: all but the settings in ``kept``.

    ``advise_for`` returns the advice for a method; the advised method comes first.
    """
    method = recipe.method
    if "method" not in kept:
        method = typing.cast(Method, advise_for(method)["method"].value)
    return {name: value for name, value in advise_for(method).items() if name not in kept}


def count_training_rows(plan: Plan, report: DataReport) -> int:
    """Return how many of a file's usable rows are left for training by the plan's shares and
    ``data.max_rows``."""
    rows = round(report.usable * (1 - plan.validation_share - plan.test_share))
    return min(rows, plan.data.max_rows or rows)
