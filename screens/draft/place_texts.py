"""Texts about where a run trains: its processes, and what the cluster has."""

from __future__ import annotations

from collections.abc import Iterator

from ftwizard.advice import rank_advice, recipe_rules
from ftwizard.advice.recipe_rules import Setting
from ftwizard.errors import FtwizardError
from ftwizard.estimate.parallelism import MODE_NAMES
from ftwizard.plan.schema import Plan
from ftwizard.screens.draft import live_estimate
from ftwizard.screens.draft.drafts import Draft
from ftwizard.slurm import cluster
from ftwizard.slurm.cluster import ClusterReport
from ftwizard.text import format_byte_range, format_count, make_visible

MAX_PARTITIONS = 4
"""Partitions that a row's explanation lists."""
ASKING = "Asking Slurm what it has…"
_STEP_SETTINGS = ("batch_size", "gradient_accumulation", "where.processes", "slurm.nodes")
"""Settings that decide how many rows a step of several processes sees."""


def describe_mode(draft: Draft) -> str:
    """Describe how several processes train together, with the reason; empty for one, or if unknown."""
    plan = draft.final_plan
    if plan.ranks == 1:
        return ""
    if plan.where.parallel != "auto":
        return f"{MODE_NAMES[plan.where.parallel]}, as you chose."
    estimate = live_estimate.estimate_recipe(draft)
    if estimate is None or estimate.parallel is None:
        return "auto decides at the start, by the free memory of the GPUs."
    return f"auto uses {MODE_NAMES[estimate.parallel.mode]}. {estimate.parallel.reason}"


def _describe_each(draft: Draft) -> str:
    """Describe the memory of each of several processes; empty for one, or if unknown."""
    estimate = live_estimate.estimate_recipe(draft)
    if estimate is None or estimate.parallel is None or estimate.memory is None:
        return ""
    peak, unit = estimate.memory.peak, "GPU" if estimate.parallel.on_gpu else "process"
    return f"{format_byte_range(peak.lowest, peak.highest)} on each {unit}."


def describe_row(setting: Setting, draft: Draft, report: ClusterReport | None) -> str:
    """Describe what the draft's other settings, or the cluster, add to a setting; often nothing."""
    parts = []
    if setting.key in _STEP_SETTINGS:
        parts.append(rank_advice.describe_step(draft.final_plan))
    if setting.key == "where.parallel":
        parts.append(describe_mode(draft))
    if report is not None and setting.key == "slurm.partition":
        parts.append(describe_partitions(report))
    if report is not None and setting.key == "slurm.account" and report.accounts:
        parts.append(f"Your accounts: {make_visible(', '.join(report.accounts), 200)}.")
    return " ".join(filter(None, parts))


def describe_partitions(report: ClusterReport) -> str:
    """Describe the first partitions of a cluster."""
    usable = [each for each in report.partitions if each.nodes]
    if not usable:
        return "Slurm lists no partition that you may use."
    listed = [
        f"{make_visible(each.name, 30)}{' (default)' if each.is_default else ''}: "
        f"{make_visible(cluster.describe_partition(each), 120)}"
        for each in usable[:MAX_PARTITIONS]
    ]
    others = len(usable) - len(listed)
    return "; ".join(listed) + (f"; {others} more" if others else "") + "."


def find_cautions(plan: Plan, report: ClusterReport | None) -> dict[str, str]:
    """Return what the cluster does not seem to have, by the settings' keys. Slurm itself decides."""
    if report is None or plan.where.scheduler != "slurm" or not report.partitions:
        return {}
    return dict(_list_cautions(plan, report))


def _list_cautions(plan: Plan, report: ClusterReport) -> Iterator[tuple[str, str]]:
    settings = plan.slurm
    if settings.partition and "," in settings.partition:  # Slurm takes the first that is free
        return
    partition = report.find(settings.partition)
    if partition is None:
        if settings.partition:
            names = ", ".join(make_visible(each.name, 30) for each in report.partitions[:8])
            shown = make_visible(settings.partition, 30)
            yield "slurm.partition", f"Slurm lists no partition {shown}, only: {names}."
        return
    name = make_visible(partition.name, 30)
    if not partition.is_up:
        yield "slurm.partition", f"{name} does not start jobs now."
    if settings.nodes > partition.nodes:
        yield "slurm.nodes", f"{name} has {format_count(partition.nodes, 'node')}."
    if settings.gpus > partition.max_gpus:
        has = format_count(partition.max_gpus, "GPU") if partition.max_gpus else "no GPU"
        hint = "" if partition.max_gpus else " 0 trains on the CPU of its nodes."
        yield "slurm.gpus", f"A node of {name} has {has}.{hint}"
    types = partition.gpu_types
    if settings.gpu_type and types and settings.gpu_type not in types:
        yield "slurm.gpu_type", f"{name} has {make_visible(', '.join(types), 100)}."


def describe_place(draft: Draft) -> str:
    """Describe where a draft trains: the job, or the processes of this machine; empty for one."""
    plan, parts = draft.final_plan, []
    if plan.where.scheduler == "slurm":
        settings = plan.slurm
        gpus = format_count(settings.gpus, f"{settings.gpu_type or ''} GPU".strip())
        each = gpus if settings.gpus else "its CPU"
        where = f"partition {settings.partition}" if settings.partition else "the default partition"
        limit = f", up to {settings.time}" if settings.time else ""
        nodes = format_count(settings.nodes, "node")
        parts.append(f"a Slurm job in {where}: {nodes} with {each}{limit}.")
    elif plan.ranks > 1:
        unit = ("GPU", "GPUs") if draft.machine.gpus else ("CPU process", "CPU processes")
        parts.append(f"{format_count(plan.ranks, *unit)} of this machine.")
    parts += [describe_mode(draft), _describe_each(draft), rank_advice.describe_step(plan)]
    return make_visible(" ".join(filter(None, parts)), 600)


def describe_refusal(error: FtwizardError) -> str:
    """Describe why Slurm refuses a job, with the field that changes it."""
    try:
        field = recipe_rules.setting(error.code).label if error.code else ""
    except KeyError:
        field = ""
    where = f" It is “{field}” on the Recipe page." if field else ""
    return f"{error.text}{where}"
