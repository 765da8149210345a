"""Advice on training in several processes: how many, and how many rows each takes in a step."""

from __future__ import annotations

import msgspec

from ftwizard.advice.recipe_rules import AdvisedValue, advise_value
from ftwizard.hardware.machine import MachineInfo
from ftwizard.plan.objective_checks import fill_groups
from ftwizard.plan.schema import Plan, Recipe
from ftwizard.text import format_count


def advise_processes(plan: Plan, machine: MachineInfo) -> AdvisedValue | None:
    """Advise the processes of a machine; None where only one can train."""
    if plan.where.scheduler == "slurm":
        return advise_value("where.processes", "processes-slurm", max(1, plan.slurm.gpus))
    if len(machine.gpus) < 2:
        return None
    gpus = format_count(len(machine.gpus), "GPU")
    return advise_value("where.processes", "processes-here", 1, gpus=gpus)


def share_step(plan: Plan, advice: dict[str, AdvisedValue]) -> dict[str, AdvisedValue]:
    """Return the advice with the rows of a step shared by the plan's processes.

    The advised batch and accumulation are of one process. A step of several sees as many rows
    together where that is possible, so that the learning rate still suits it.
    """
    batch, passes = advice.get("batch_size"), advice.get("gradient_accumulation")
    ranks = plan.ranks
    if ranks == 1 or batch is None or passes is None:
        return advice
    recipe = plan.recipe
    each = max(1, int(batch.value or 1) * int(passes.value or 1) // ranks)
    rows = min(int(batch.value or 1), each)
    if recipe.objective == "kto" and recipe.kto.loss_type == "kto":
        rows = max(2, rows)
    accumulation = max(1, each // rows)
    if recipe.objective == "grpo":
        shares = {"batch_size": rows, "gradient_accumulation": accumulation}
        accumulation = fill_groups(msgspec.structs.replace(recipe, **shares), ranks)
    words = {"ranks": ranks, "rows": format_count(rows * accumulation * ranks, _get_unit(recipe))}
    shared = advise_value("gradient_accumulation", "rank-batch", accumulation, **words)
    smaller = advise_value("batch_size", "rank-batch", rows, **words)
    changed = {"gradient_accumulation": shared}
    return {**advice, **changed, **({"batch_size": smaller} if rows != batch.value else {})}


def describe_step(plan: Plan) -> str:
    """Describe the rows of a step of several processes: ``2 × 4 × 2 = 16 rows``; else empty."""
    recipe, ranks = plan.recipe, plan.ranks
    if ranks == 1:
        return ""
    rows = ranks * recipe.batch_size * recipe.gradient_accumulation
    passes = format_count(recipe.gradient_accumulation, "pass", "passes")
    unit = _get_unit(recipe)
    return (
        f"{ranks} processes × {format_count(recipe.batch_size, unit)} × {passes} = {rows} {unit}s "
        "in each step."
    )


def _get_unit(recipe: Recipe) -> str:
    """Return what a batch consists of."""
    if recipe.objective == "grpo":
        return "answer"
    return "sequence" if recipe.packing else "row"
