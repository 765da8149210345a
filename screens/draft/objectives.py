"""The training objective of a draft: what its rows are for, and what follows from a choice."""

from __future__ import annotations

import typing

from ftwizard.advice.recipe_advice import choose_objective
from ftwizard.advice.recipe_rules import setting
from ftwizard.data.documents import DataReport, describe_reward_columns
from ftwizard.data.format_names import Format
from ftwizard.objectives import ObjectiveName
from ftwizard.screens.draft.drafts import Draft

OTHER_ROWS = "This objective needs other rows, so they are checked again."
_REASONS: dict[ObjectiveName, str] = {
    "sft": "conversations",
    "dpo": "pairs of a chosen and a rejected answer",
    "kto": "answers labeled true or false",
    "grpo": "prompts without an answer",
}
"""The rows that are for one objective only."""


def get_format(report: DataReport) -> Format | None:
    """Return the format of checked rows."""
    return next((name for name in typing.get_args(Format) if name == report.format), None)


def needs_other_rows(draft: Draft) -> bool:
    """Return whether the rows were checked for another objective, whose rules they may not follow.

    GRPO takes what any objective takes.
    """
    is_any = draft.target is None
    return draft.checked is not None and not is_any and draft.target != draft.checked_for


def find_fitting(draft: Draft, report: DataReport) -> ObjectiveName | None:
    """Return the objective that checked rows are for, if it is another than the draft's.

    GRPO takes rows of any kind, so no other objective is returned where the person chose it. None for
    platforms, and for rows of unknown kind.
    """
    if draft.provider != "local" or (format := get_format(report)) is None:
        return None
    if draft.plan.recipe.objective == "grpo" and "objective" in draft.touched:
        return None
    fitting = choose_objective(format)
    return None if fitting == draft.plan.recipe.objective else fitting


def follow_rows(draft: Draft, report: DataReport) -> Draft | None:
    """Return the draft with the objective that its rows are for; None if it has it, or the person
    chose another."""
    fitting = find_fitting(draft, report)
    if fitting is None or "objective" in draft.touched:
        return None
    return draft.with_recipe(objective=fitting)


def take_fitting(draft: Draft, report: DataReport) -> Draft:
    """Return the draft with the objective that its rows are for, although the person chose another."""
    fitting = find_fitting(draft, report)
    if fitting is None:
        return draft
    return draft.with_recipe(objective=fitting).without_touched("objective")


def describe(draft: Draft, report: DataReport) -> str:
    """Describe the objective of the rows of this machine; empty for supervised training."""
    objective = draft.plan.recipe.objective
    if draft.provider != "local" or objective == "sft":
        return ""
    name = get_name(objective)
    if "objective" in draft.touched or choose_objective(get_format(report)) != objective:
        return f"{name}, as you chose"
    if objective == "grpo" and (columns := describe_reward_columns(report.preview)):
        return f"{name}: the rows are prompts, and rewards get {columns}"
    return f"{name}: the rows are {_REASONS[objective]}"


def get_name(objective: ObjectiveName) -> str:
    """Return the name of an objective: ``DPO``."""
    return setting("objective").option(objective).name
