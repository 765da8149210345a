"""Estimates for a plan on this machine: from a probe or earlier runs, else computed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path

import msgspec

from ftwizard.catalog import gpu_specs, model_configs
from ftwizard.catalog.gpu_specs import GpuSpec
from ftwizard.catalog.prices import PriceRate, Prices
from ftwizard.errors import FtwizardError
from ftwizard.estimate import duration, gpu_fit, memory, recipe_estimate
from ftwizard.estimate.article import RuleOfThumb, rule_of_thumb, to_qlora
from ftwizard.estimate.batching import LengthDistribution
from ftwizard.estimate.duration import RunSpeed
from ftwizard.estimate.gpu_fit import Fit
from ftwizard.estimate.memory import MemoryEstimate
from ftwizard.estimate.probe_cache import CachedProbe
from ftwizard.estimate.recipe_estimate import RecipeEstimate, RowStats, TrainingMachine
from ftwizard.estimate.training_setup import LossHead, TrainingSetup, head_for
from ftwizard.hardware.machine import Gpu, MachineInfo
from ftwizard.models import architectures
from ftwizard.models.shapes import ModelShape
from ftwizard.plan.schema import Plan
from ftwizard.pricing.offer import LocalOffer
from ftwizard.quantity import Figure

METHODS = {"lora": "with LoRA on 16-bit weights", "full": "all weights"}
ON_CPU = "on the CPU"


def estimate_plan(
    plan: Plan,
    lengths: Mapping[str, LengthDistribution | None],
    shape: ModelShape | None,
    facts: MachineInfo,
    *,
    speeds: tuple[RunSpeed, ...] = (),
    probe: CachedProbe | None = None,
    hour: PriceRate | None = None,
) -> RecipeEstimate | None:
    """Estimate a plan; None without training rows.

    ``lengths``: of ``train`` and ``validation``; ``shape``: None if the model's configuration is
    incomplete; ``probe``: of exactly this plan, takes precedence over all else; ``hour``: hourly
    price of the machine, None if not set.
    """
    train = lengths.get("train")
    if train is None:
        return None
    machine = msgspec.structs.replace(
        training_machine(plan, facts, hour), speeds=speeds, probed=_probed(probe),
        probed_on=probe.seconds.as_of if probe else None,
    )  # fmt: skip
    rows = RowStats(train=train, validation=lengths.get("validation"))
    return recipe_estimate.estimate_recipe(
        plan.recipe, rows, shape, machine, merges=plan.finish.merge
    )


def training_machine(
    plan: Plan, facts: MachineInfo, hour: PriceRate | None = None
) -> TrainingMachine:
    """Return the machine that a plan trains on, with the plan's GPU."""
    machine = recipe_estimate.machine_from_facts(facts, find_gpu_spec(plan_gpu(plan, facts)), hour)
    return msgspec.structs.replace(machine, head=installed_head())


def installed_head() -> LossHead:
    """Return how the installed TRL computes the loss; without TRL, as the newest version does."""
    try:
        return head_for(metadata.version("trl"))
    except metadata.PackageNotFoundError:
        return "tiled"


def setup(
    plan: Plan, lengths: Mapping[str, LengthDistribution | None], facts: MachineInfo
) -> TrainingSetup:
    """Return how the plan trains on this machine."""
    return recipe_estimate.resolve_setup(
        plan.recipe, training_machine(plan, facts), lengths.get("train")
    )


def check_plan_fit(
    plan: Plan,
    lengths: Mapping[str, LengthDistribution | None],
    shape: ModelShape | None,
    facts: MachineInfo,
    *,
    counted: MemoryEstimate | None = None,
) -> Fit | None:
    """Check whether the plan fits its GPU, and what would make it fit.

    None without a GPU, if the driver does not report its memory, or if nothing is known about the
    model's memory. ``counted``: from the ledger, if it ran; it suffices for a verdict without shape.
    """
    device = plan_gpu(plan, facts)
    if device is None or not device.memory:
        return None
    room = gpu_fit.AvailableGpu(
        name=device.name or "the GPU", memory=device.memory, used=float(device.used_by_others)
    )
    if shape is None:
        return (
            gpu_fit.check_fit_by_count(counted, room, cards=gpu_specs.cards()) if counted else None
        )
    try:
        (result,) = gpu_fit.check_fit(
            shape, setup(plan, lengths, facts), [room], smaller=_smaller(shape), counted=counted,
            spread=lengths.get("train"), cards=gpu_specs.cards(),
        )  # fmt: skip
    except FtwizardError:  # the model lacks the target modules
        return None
    return result


def compare_with_article(
    plan: Plan,
    lengths: Mapping[str, LengthDistribution | None],
    shape: ModelShape | None,
    facts: MachineInfo,
) -> RuleOfThumb | None:
    """Compare the article's memory figure for QLoRA with ours for the same rows.

    QLoRA is used whatever the plan's method. None if the article has no figure for this model size.
    """
    if shape is None:
        return None
    resolved = setup(plan, lengths, facts)
    same, otherwise = (
        to_qlora(resolved),
        METHODS[resolved.method] if resolved.method != "qlora" else "",
    )
    if not facts.gpus:
        same, otherwise = to_qlora(msgspec.structs.replace(resolved, method="lora")), ON_CPU
    try:
        return rule_of_thumb(shape, memory.estimate_memory(shape, same), otherwise=otherwise)
    except FtwizardError:
        return None


def _smaller(shape: ModelShape) -> list[tuple[str, ModelShape]]:
    """Return the smaller models of the catalog: its own family first, then by size, largest first."""
    models = [
        (model.name, architectures.build_shape(model.config, model.source))
        for model in model_configs.configs()
    ]
    smaller = [model for model in models if model[1].parameters < shape.parameters]
    own = _family(shape)
    return sorted(smaller, key=lambda model: (_family(model[1]) != own, -model[1].parameters))


def _family(shape: ModelShape) -> str:
    """Return the model family: ``qwen`` for ``qwen3_moe``."""
    return re.split(r"[^a-z]", shape.model_type, maxsplit=1)[0]


def _probed(probe: CachedProbe | None) -> float | None:
    """Return the probed tokens per second on typical rows, padding included."""
    if probe is None or probe.halved:
        return None
    rates = probe.measured.rates or [probe.measured.tokens_per_s]
    return sum(rates) / len(rates)


def estimate_gpu_hours(
    plan: Plan,
    lengths: Mapping[str, LengthDistribution | None],
    shape: ModelShape | None,
    names: Iterable[str],
) -> dict[str, Figure]:
    """Return the hours of the whole run by GPU name, for GPUs that it may fit on."""
    train = lengths.get("train")
    if train is None or shape is None:
        return {}
    rows = RowStats(train=train, validation=lengths.get("validation"))
    return recipe_estimate.estimate_hours(plan.recipe, rows, shape, names, merges=plan.finish.merge)


def too_small_gpus(
    plan: Plan,
    lengths: Mapping[str, LengthDistribution | None],
    shape: ModelShape | None,
    names: Iterable[str],
) -> frozenset[str]:
    """Return the GPUs in ``names`` on which the plan does not fit; none without shape or rows."""
    train = lengths.get("train")
    if train is None or shape is None:
        return frozenset()
    return recipe_estimate.find_too_small_gpus(plan.recipe, RowStats(train=train), shape, names)


def plan_gpu(plan: Plan, facts: MachineInfo) -> Gpu | None:
    """Return the plan's GPU, else the first one; None without a GPU."""
    number = plan.where.gpu or 0
    return facts.gpus[number] if number < len(facts.gpus) else None


def available_bytes(plan: Plan, facts: MachineInfo) -> int | None:
    """Return the bytes available to the plan: its GPU's free memory, else the machine's memory.

    None if the driver does not report it.
    """
    device = plan_gpu(plan, facts)
    return device.free if device else facts.memory


def only_plan_gpu(plan: Plan, facts: MachineInfo) -> MachineInfo:
    """Return the machine facts with only the plan's GPU."""
    device = plan_gpu(plan, facts)
    return msgspec.structs.replace(facts, gpus=(device,)) if device else facts


def measured_peak(probe: CachedProbe, memory: MemoryEstimate | None = None) -> Figure:
    """Return the peak memory measured by a probe, including the CUDA context on a GPU.

    torch does not count the context, so it comes from ``memory``, the computed estimate. The
    driver's count includes it but also other programs: the smaller of both is used.
    """
    counted = probe.memory_parts.get("on_device")
    if counted is None:
        return probe.memory
    context = memory.parts.get("context") if memory else None
    value = counted.value
    if context is not None:
        value = min(value, probe.memory.value + context.value)
    return msgspec.structs.replace(probe.memory, value=value)


def find_gpu_spec(device: Gpu | None) -> GpuSpec | None:
    """Look up a GPU in the catalog; None if it is not listed."""
    return gpu_specs.find_gpu(device.name, device.memory) if device else None


def local_offer(
    plan: Plan,
    facts: MachineInfo,
    estimate: RecipeEstimate | None,
    counted: MemoryEstimate | None = None,
) -> LocalOffer:
    """Build the cost table's entry for this machine from the estimates of ``plan``.

    ``counted``: memory from the ledger or a probe, if either ran.
    """
    device, can = plan_gpu(plan, facts), available_bytes(plan, facts)
    memory = counted or (estimate.memory if estimate else None)
    least = (memory.peak.low or memory.peak.value) if memory else 0  # as for rented GPUs
    return LocalOffer(
        hours=run_hours(estimate),
        too_small=can is not None and least > can,
        memory=device.memory if device else facts.memory,
    )


def run_hours(estimate: RecipeEstimate | None) -> Figure | None:
    """Return the hours of the whole run, or of training alone if no more is known."""
    seconds = (estimate.whole or estimate.time) if estimate else None
    if seconds is None:
        return None
    source = estimate.time.source if estimate and estimate.time else seconds.source
    return msgspec.structs.replace(duration.scale_figure(seconds, 1 / 3600, source), unit="h")


def rental_price(device: Gpu | None, prices: Prices) -> Figure | None:
    """Return the on-demand rental price per hour of the same GPU, as a comparison.

    None if the GPU or its price is unknown.
    """
    spec = find_gpu_spec(device)
    names = (name for name, market in prices.cards() if market == "on demand")
    name = next((name for name in names if spec and gpu_specs.find_gpu(name) == spec), None)
    rate = prices.gpu(name, "on demand")[0] if name else None
    if rate is None or spec is None:
        return None
    figure = rate.figure()
    short = f"{spec.name} on demand"
    return msgspec.structs.replace(figure, source=f"{short}: {figure.source}", short_source=short)


def read_shape(base: Path) -> ModelShape | None:
    """Return the shape of the model in a folder; None if its configuration is incomplete."""
    try:
        config = json.loads((base / "config.json").read_text("utf-8"))
        return architectures.build_shape(config, "the model's config.json")
    except (OSError, ValueError, RecursionError, FtwizardError):
        return None
