"""Advice on training in several processes: how many, and how many rows each takes in a step."""

from __future__ import annotations

from ftwizard.advice.recipe_rules import AdvisedValue, advise_value
from ftwizard.hardware.machine import MachineInfo
from ftwizard.plan.schema import Plan
from ftwizard.text import format_count


def advise_processes(plan: Plan, machine: MachineInfo) -> AdvisedValue | None:
    """Advise the processes of a machine; None where only one can train."""
    if plan.recipe.objective != "sft":
        return None
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
    each = max(1, int(batch.value or 1) * int(passes.value or 1) // ranks)
    rows = min(int(batch.value or 1), each)
    accumulation = max(1, each // rows)
    words = {"ranks": ranks, "rows": format_count(rows * accumulation * ranks, "row")}
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
    unit = "sequence" if recipe.packing else "row"
    return (
        f"{ranks} processes × {format_count(recipe.batch_size, unit)} × {passes} = {rows} {unit}s "
        "in each step."
    )
