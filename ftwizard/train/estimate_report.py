"""Reports of estimates: of a plan whose rows are encoded, or from a model's configuration only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from ftwizard import locations
from ftwizard.advice import plan_warnings, run_history, target_modules
from ftwizard.catalog.prices import Prices
from ftwizard.estimate import (
    article,
    batching,
    disk,
    longest_rows,
    plan_estimate,
    plan_machine,
    probe_cache,
    training_machine,
)
from ftwizard.estimate.batching import Lengths
from ftwizard.estimate.memory import MemoryEstimate
from ftwizard.estimate.plan_estimate import RecipeEstimate
from ftwizard.estimate.probe_cache import CachedProbe
from ftwizard.estimate.report import (
    Device,
    EstimatedModel,
    EstimateReport,
    HourPrices,
    RecipeWarning,
)
from ftwizard.hardware.machine import MachineInfo
from ftwizard.models import hub, model_config, support
from ftwizard.models.hub import ModelSource
from ftwizard.models.shapes import ModelShape
from ftwizard.plan.schema import Plan
from ftwizard.pricing.cost_report import CostReport
from ftwizard.text import make_visible
from ftwizard.train import memory_ledger
from ftwizard.train.memory_ledger import MemoryCount
from ftwizard.train.preview import TrainingPreview, preview_plan

RULE_PARAMETERS = (6e9, 10e9)
"""Range of parameters to which the article's hours, given for 8B, apply."""


@dataclass(frozen=True)
class PlanFacts:
    """What is known about a plan before training."""

    plan: Plan
    machine: MachineInfo
    lengths: Lengths
    shape: ModelShape | None
    config: dict[str, Any] | None
    counted: MemoryCount
    """Memory from the ledger, where the closed form does not cover the model."""
    run: RecipeEstimate | None
    probe: CachedProbe | None = None
    source: ModelSource | None = None
    preview: TrainingPreview | None = None

    @property
    def memory(self) -> MemoryEstimate | None:
        """Return the counted memory, else the computed one; of each process."""
        computed = self.run.memory if self.run else None
        if self.plan.ranks > 1 and computed:  # which already considers what was counted for one
            return computed
        return self.counted.memory or computed

    def pricing(self, prices: Prices) -> dict[str, Any]:
        """Return the fields of a ``PricingQuery`` that follow from the plan."""
        cards = {card for card, _ in prices.cards()}
        gpus = plan_estimate.estimate_gpus(self.plan, self.lengths, self.shape, cards)
        size = (
            self.preview.parameters if self.preview else self.shape.parameters if self.shape else 0
        )
        return {
            "model": self.plan.model.name,
            "hours": gpus.hours or None,
            "too_small": gpus.too_small,
            "by_qlora": gpus.by_qlora,
            "served": 2.0 * size,
            "here": plan_estimate.local_offer(self.plan, self.machine, self.run, self.memory),
            "by_rule": self.plan.recipe.method != "full"
            and RULE_PARAMETERS[0] <= size <= RULE_PARAMETERS[1],
        }


def inspect_plan(
    plan: Plan, source: ModelSource, base: Path, machine: MachineInfo, prices: Prices,
    say: Callable[..., None],
) -> PlanFacts:  # fmt: skip
    """Encode the rows of a plan and estimate its memory and time, with the model in ``base``."""
    preview, shape = preview_plan(plan, base, say), plan_estimate.read_shape(base)
    facts = _estimate(
        plan, str(base), preview.lengths, shape, machine, prices, say,
        probe_cache.read_cached_probe(plan, source),
    )  # fmt: skip
    return replace(facts, source=source, preview=preview)


def inspect_config(
    plan: Plan, lengths: Lengths, shape: ModelShape, machine: MachineInfo, prices: Prices,
    say: Callable[..., None],
) -> PlanFacts:  # fmt: skip
    """Estimate the memory and time of a plan from the model's configuration only."""
    short = _with_short_module_names(plan)
    facts = _estimate(short, plan.model.name, lengths, shape, machine, prices, say)
    return replace(facts, plan=plan)


def _estimate(
    plan: Plan, model: str, lengths: Lengths, shape: ModelShape | None, machine: MachineInfo,
    prices: Prices, say: Callable[..., None], probe: CachedProbe | None = None,
) -> PlanFacts:  # fmt: skip
    read = model_config.read_config(model)
    config = read[0] if read else None
    counted = memory_ledger.count_plan(plan, config, shape, lengths, machine, say)
    run = plan_estimate.estimate_plan(
        plan, lengths, shape, machine, speeds=tuple(run_history.find_speeds(plan)),
        probe=probe, hour=prices.machine(), counted=counted.memory,
    )  # fmt: skip
    return PlanFacts(
        plan=plan, machine=machine, lengths=lengths, shape=shape, config=config, probe=probe,
        counted=counted, run=run,
    )  # fmt: skip


def build_report(
    facts: PlanFacts, prices: Prices, costs: CostReport, *, why: str = ""
) -> EstimateReport:
    """Build the report of a plan.

    ``why``: a sentence on why the model itself was not read, or ''. Raises FtwizardError where the
    configuration has none of the plan's target modules; ``warnings`` name those it lacks.
    """
    plan, machine, memory, probe = facts.plan, facts.machine, facts.memory, facts.probe
    plan_in_short = plan if facts.preview else _with_short_module_names(plan)
    shape_inputs = plan_in_short, facts.lengths, facts.shape, machine
    specific = _preview_fields(facts) if facts.preview else _config_fields(facts, why)
    parameters = specific["parameters"]
    longest = batching.longest_row_tokens(facts.lengths.get("train"), plan.recipe.max_length)
    own_costs = {name: getattr(costs, name) for name in CostReport.__struct_fields__}
    price = prices.machine()
    rental = training_machine.rental_price(training_machine.plan_gpu(plan, machine), prices)
    fields: dict[str, Any] = own_costs | {
        "recipe": plan.recipe,
        "minutes": plan.budget.minutes,
        "time": facts.run.time if facts.run else None,
        "queued": plan.where.scheduler == "slurm",
        "memory": memory,
        "uncounted": facts.counted.why,
        "one_gpu": _describe_gpu_choice(plan, machine),
        "here": _find_device(plan, machine),
        "room": training_machine.available_bytes(plan, machine),
        "fit": plan_estimate.check_plan_fit(*shape_inputs, counted=facts.counted.memory),
        "longest_rows": longest_rows.find_longest_rows(
            *shape_inputs, counted=facts.counted.memory, context=read_context(facts.config)
        ),
        "article": article.compare_with_article(*shape_inputs),
        "run": facts.run,
        "hour": HourPrices(price=price.figure() if price else None, rental=rental),
        "probe": probe,
        "warnings": [
            *_warn_missing_modules(facts),
            *plan_warnings.check_lengths(facts.config, longest),
            *plan_warnings.find_warnings(plan, parameters),
            *_warn_emulated(plan, machine),
        ],
        "epochs_because": plan_warnings.explain_epochs(plan),
        "measured": plan_estimate.measured_peak(probe, memory)
        if probe and not probe.halved and probe_cache.shows_memory(probe, plan)
        else None,
    }
    refused = specific.get("refused") or _describe_refusal(plan, machine, facts.shape)
    return EstimateReport(**fields | specific | {"refused": refused})


def read_context(config: Mapping[str, Any] | None) -> int | None:
    """Return the tokens that a model of this config.json was made for; None if unknown."""
    context = support.read_context_length(config) if config else None
    return context.max_tokens if context else None


def _describe_refusal(plan: Plan, machine: MachineInfo, shape: ModelShape | None) -> str | None:
    """Return why training refuses a setting on this machine; None if it runs."""
    error = training_machine.check_settings(plan, machine, shape)
    if error is None:
        return None
    return f"Training refuses this plan here: {error.message} {error.hint}"


def _warn_emulated(plan: Plan, machine: MachineInfo) -> list[RecipeWarning]:
    cautions = training_machine.list_cautions(plan, machine)
    return [RecipeWarning(code="emulated-bf16", message=caution) for caution in cautions]


def _preview_fields(facts: PlanFacts) -> dict[str, Any]:
    """Return the fields of a report on encoded rows."""
    preview, source = facts.preview, facts.source
    assert preview is not None and source is not None
    counts = {name: getattr(preview, name) for name in preview.__struct_fields__}
    return counts | {
        "model": msgspec.convert(msgspec.to_builtins(source), EstimatedModel),
        "disk": _check_disk(
            facts, preview.parameters, preview.trained, download=hub.bytes_to_fetch(source)
        ),
    }


def _config_fields(facts: PlanFacts, why: str) -> dict[str, Any]:
    """Return the fields of a report from the configuration only."""
    plan, shape, config, run = facts.plan, facts.shape, facts.config, facts.run
    assert shape is not None
    name, recipe = plan.model.name, _with_short_module_names(plan).recipe
    longest = batching.longest_row_tokens(facts.lengths.get("train"), plan.recipe.max_length)
    error = support.check_config(config, name, longest) if config else None
    # The estimate is for 16-bit weights: of the model that the refusal suggests instead.
    stands_for = config is not None and support.check_quantized(config, name) is not None
    below = " The figures below are for that model." if stands_for else ""
    refused = f"Training refuses this model: {error.message} {error.hint}{below}" if error else None
    summary = f"{make_visible(name, 100)}, from its configuration only ({shape.source})"
    trained = (
        shape.parameters
        if recipe.method == "full"
        else shape.adapter(recipe.rank, recipe.target_modules)
    )
    fields: dict[str, Any] = {
        "model": EstimatedModel(
            name=name, description=f"{summary}. {why}" if why else summary, why=why
        ),
        "parameters": shape.parameters,
        "trained": trained,
        "parts": {},
        "steps": round(run.steps.value) if run else 0,
        "steps_per_epoch": run.steps_per_epoch if run else 0,
        "refused": refused,
        "disk": _check_disk(
            facts, shape.parameters, trained, download=None,
            stored=disk.estimate_file_size(config, shape) if config else None,
        ),
    }  # fmt: skip
    return fields | ({"fit": None} if error and not stands_for else {})


def _check_disk(
    facts: PlanFacts, parameters: int, trained: int, **download: Any
) -> disk.DiskReport:
    needs = disk.estimate_parts(
        trained=trained,
        parameters=parameters,
        adapter=facts.plan.recipe.method != "full",
        merges=facts.plan.finish.merge,
        exports=facts.plan.finish.export,
        **download,
    )
    return disk.check_space(
        needs, locations.runs_folder(), locations.hub_cache_folder(), parameters
    )


def _warn_missing_modules(facts: PlanFacts) -> list[RecipeWarning]:
    """Return the warning about target modules that a model lacks; encoding a plan checks them itself."""
    if facts.preview or facts.shape is None or facts.plan.recipe.method == "full":
        return []
    targets = facts.plan.recipe.target_modules
    target_modules.check_targets(facts.shape, targets)
    lacking = target_modules.describe_missing(facts.shape, targets)
    return [RecipeWarning(code="missing-modules", message=lacking)] if lacking else []


def _with_short_module_names(plan: Plan) -> Plan:
    """Return the plan with its target modules named as in a shape."""
    targets = target_modules.last_name_parts(plan.recipe.target_modules)
    recipe = msgspec.structs.replace(plan.recipe, target_modules=targets)
    return msgspec.structs.replace(plan, recipe=recipe)


def _find_device(plan: Plan, machine: MachineInfo) -> Device:
    gpu = training_machine.plan_gpu(plan, machine)
    if gpu is None:
        name = "the node" if plan.where.scheduler == "slurm" else "this machine"
        return Device(name=name, memory=machine.memory or None, gpu=False)
    return Device(name=gpu.name or "the GPU", memory=gpu.memory, gpu=True)


def _describe_gpu_choice(plan: Plan, machine: MachineInfo) -> str | None:
    """Return the note on which of several GPUs a run uses, or on those that a Slurm job may get."""
    if plan.where.scheduler == "slurm":
        return plan_machine.describe_node(plan, machine)
    if len(machine.gpus) < 2 or plan.ranks > 1:
        return None
    number = plan.where.gpu or 0
    name = make_visible(_find_device(plan, machine).name, 60)
    return (
        f"A run uses one GPU: number {number} of {len(machine.gpus)}, {name}. The memory is for it. "
        "Choose another with where.gpu, or train on several with where.processes."
    )
