"""The plan of a child run: its parent's, with changed settings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from ftwizard.errors import USAGE, FtwizardError
from ftwizard.jobs.folder import JobFolder
from ftwizard.plan import changes, plan_file
from ftwizard.plan.checks import check_plan
from ftwizard.plan.schema import Plan, Recipe


class Request(NamedTuple):
    """What should differ in a child run."""

    edited: bool = False
    """Start from the parent's ``plan.yaml`` as it is now, not from the plan that the parent used."""
    settings: Sequence[str] = ()
    """``NAME=VALUE`` each."""
    rate_times: float | None = None
    accumulation_times: int | None = None
    smaller_batch: bool = False
    """Halve the batch, and accumulate as many more, so that a step sees as many examples."""
    allow: Sequence[str] = ()
    """Risks to allow besides those of the plan."""


def read_used(folder: JobFolder) -> Plan:
    """Return the plan that a run uses; for a run of an earlier version its ``plan.yaml``."""
    return plan_file.read_recorded(folder) or changes.pin_defaults(
        plan_file.load(folder.plan, begun=True)
    )


def build(parent: JobFolder, request: Request) -> tuple[Plan, changes.Changes]:
    """Return the plan of a child run, and what differs from its parent's.

    Raises FtwizardError where nothing differs, for invalid values, and for a risk not allowed.
    """
    used = read_used(parent)
    _check_factors(request)
    plan = plan_file.load(parent.plan, begun=True) if request.edited else used
    plan = _adjust_rate(used, changes.set_values(plan, request.settings), request.settings)
    plan = plan_file.complete(plan, Path.cwd(), request.allow, begun=True)
    recipe = _multiply(plan.recipe, request.rate_times, request.accumulation_times)
    if request.smaller_batch:
        recipe = halve_batch(recipe, parent.id)
    plan = changes.pin_defaults(msgspec.structs.replace(plan, recipe=recipe))
    differences = changes.find_changes(used, plan)
    if not differences:
        raise FtwizardError(
            "Nothing would change: the run would repeat its parent.",
            f"Edit {parent.plan} first, or use --set instead."
            if request.edited
            else "Pass --rate-times 0.5, or for any setting --set recipe.epochs=2.",
            USAGE,
        )
    # More epochs than the parent's are asked about, as in any new run.
    check_plan(plan, ("many-epochs",) if plan.recipe.epochs <= used.recipe.epochs else ())
    return plan, differences


def halve_batch(recipe: Recipe, run_id: str) -> Recipe:
    """Return the recipe with at most half the batch, and as many examples per optimizer step.

    Raises FtwizardError for a batch of one, with the command that branches ``run_id`` instead.
    """
    size, step = recipe.batch_size, recipe.batch_size * recipe.gradient_accumulation
    if size == 1:
        raise FtwizardError(
            "recipe.batch_size is 1 already.",
            "Shorter examples take less memory, too: "
            f"ftwizard branch {run_id} --set recipe.max_length={max(8, recipe.max_length // 2)}",
            USAGE,
        )
    smaller = next(part for part in range(size // 2, 0, -1) if step % part == 0)
    return msgspec.structs.replace(
        recipe, batch_size=smaller, gradient_accumulation=step // smaller
    )


def _adjust_rate(used: Plan, plan: Plan, settings: Sequence[str]) -> Plan:
    """Return the plan with its default learning rate, if it has another method or objective.

    The plan of a run has its learning rate written out, and that of an adapter ruins a full
    fine-tune, as any of supervised fine-tuning ruins a preference training.
    """
    recipe, before = plan.recipe, used.recipe
    is_set = any("learning_rate" in text.partition("=")[0] for text in settings)
    is_default = recipe.learning_rate == before.learning_rate == before.default_learning_rate
    is_kept = recipe.method == before.method or not is_default
    if is_set or (is_kept and recipe.objective == before.objective):
        return plan
    recipe = msgspec.structs.replace(recipe, learning_rate=recipe.default_learning_rate)
    return msgspec.structs.replace(plan, recipe=recipe)


def _check_factors(request: Request) -> None:
    for option, factor in (
        ("--rate-times", request.rate_times), ("--accumulation-times", request.accumulation_times),
    ):  # fmt: skip
        if factor is not None and not 0 < factor < float("inf"):
            raise FtwizardError(
                f"{option} is {factor:g}; it must be above 0.", "Use 0.5 to halve it.", USAGE
            )


def _multiply(recipe: Recipe, rate: float | None, accumulation: int | None) -> Recipe:
    old = recipe.peak_learning_rate
    return msgspec.structs.replace(
        recipe,
        learning_rate=float(f"{old * rate:.6g}") if rate else old,
        gradient_accumulation=recipe.gradient_accumulation * (accumulation or 1),
    )
