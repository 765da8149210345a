"""Estimates for a plan on this machine: from a probe or earlier runs, else computed."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from ftwizard.catalog import gpu_specs, model_configs
from ftwizard.catalog.gpu_specs import GpuSpec
from ftwizard.catalog.prices import PriceRate, Prices
from ftwizard.errors import FtwizardError
from ftwizard.estimate import duration, gpu_fit, precision, training_setup
from ftwizard.estimate.batching import LengthDistribution, Lengths, TrainingPasses, compute_passes
from ftwizard.estimate.duration import RunSpeed
from ftwizard.estimate.gpu_fit import Fit
from ftwizard.estimate.memory import MemoryEstimate, estimate_cpu_memory, estimate_memory
from ftwizard.estimate.probe_cache import CachedProbe, installed_version
from ftwizard.estimate.training_setup import LossHead, TrainingSetup, head_for
from ftwizard.hardware.machine import Gpu, MachineInfo
from ftwizard.models import architectures
from ftwizard.models.shapes import ModelShape
from ftwizard.plan.schema import Plan, Recipe
from ftwizard.pricing import machine_rate
from ftwizard.pricing.offer import LocalOffer
from ftwizard.quantity import Figure, today
from ftwizard.text import format_count


class TrainingMachine(msgspec.Struct, frozen=True, kw_only=True):
    """The machine, as far as it affects time and cost."""

    card: GpuSpec | None = None
    """None without a GPU, and for a GPU that is not in the catalog."""
    gpu: bool = False
    cores: int = 0
    bfloat16_cpu: bool = False
    hour: PriceRate | None = None
    """Price per hour; None if not set."""
    head: LossHead = "tiled"
    """How the installed TRL computes the loss."""
    speeds: tuple[RunSpeed, ...] = ()
    """Of similar earlier runs; they take precedence over computed speed."""
    probed: float | None = None
    """Tokens per second measured by a probe, padding included; takes precedence over all else."""
    probed_on: str | None = None
    """Date of that probe."""


class RecipeEstimate(msgspec.Struct, frozen=True, kw_only=True):
    """Estimates for one recipe; None if unknown."""

    steps: Figure
    steps_per_epoch: int
    evaluations: int
    tokens: Figure
    """Over all epochs, without padding."""
    padding: Figure
    """Share of the computed tokens that is padding."""
    cut: Figure
    """Share of the rows that are truncated."""
    memory: MemoryEstimate | None
    """Of the GPU, else of the machine; None for target modules that the model does not have."""
    time: Figure | None
    """Seconds of training alone."""
    parts: dict[str, Figure]
    """Seconds of the whole run by part, including ``time``; empty if unknown."""
    whole: Figure | None
    """Seconds of the whole run."""
    cost: Figure | None
    """US dollars of the whole run, at the machine's hourly price."""


def estimate_on(
    machine: TrainingMachine, plan: Plan, lengths: Lengths, shape: ModelShape | None
) -> RecipeEstimate | None:
    """Estimate a plan on any machine in a few milliseconds, without I/O; None without training rows.

    ``lengths``: of ``train`` and ``validation``, which is never packed; ``shape``: None before the
    model is known. Raises ValueError for a training set of no rows.
    """
    recipe, lengths = plan.recipe, sample_lengths(plan, lengths)
    train, validation = lengths.get("train"), lengths.get("validation")
    if train is None:
        return None
    work = compute_passes(train, recipe)
    setup = resolve_setup(recipe, machine, train, shape)
    evaluations = _count_evaluations(recipe, validation, work.steps)
    # How long the answers of reinforcement become is unknown, and with them the time.
    time = None if recipe.objective == "grpo" else _time(shape, setup, machine, work)
    parts: dict[str, Figure] = {}
    if shape is not None and time is not None:
        parts = duration.estimate_phases(
            time, shape, setup, machine.card, work, evaluations=evaluations,
            merges=plan.finish.merge,
            evaluated=_count_evaluated_tokens(recipe, validation),
        )  # fmt: skip
    whole = duration.sum_phases(parts) if parts else None
    return RecipeEstimate(
        steps=_counted(
            work.steps, "steps", f"{format_count(round(work.passes), 'pass', 'passes')}"
        ),
        steps_per_epoch=work.steps_per_epoch,
        evaluations=evaluations,
        tokens=_counted(round(work.tokens), "tokens", "the distribution of row lengths"),
        padding=_counted(work.padding_share, "share", "the expected longest row of random batches"),
        cut=_counted(work.cut, "share", f"rows longer than {recipe.max_length:,} tokens"),
        memory=_estimate_memory(shape, setup, machine),
        time=time,
        parts=parts,
        whole=whole,
        cost=machine_rate.estimate_cost(whole or time, machine.hour),
    )


def sample_lengths(plan: Plan, lengths: Lengths) -> Lengths:
    """Return the distributions of the rows that ``data.max_rows`` leaves, which are drawn in
    proportion to length."""
    data = plan.data
    if data.max_rows is None:
        return lengths
    mixed = round(data.max_rows * data.mix.share / (1 - data.mix.share))
    most = {"train": data.max_rows + mixed, "validation": data.max_validation_rows}
    return {
        part: rows.scaled(limit)
        if rows and (limit := most.get(part)) and rows.rows > limit
        else rows
        for part, rows in lengths.items()
    }


def resolve_setup(
    recipe: Recipe, machine: TrainingMachine, lengths: LengthDistribution | None = None,
    shape: ModelShape | None = None,
) -> TrainingSetup:  # fmt: skip
    """Resolve a recipe for a machine, choosing the open settings as the run does.

    ``lengths``: of the training set, whose rows may all be shorter than the recipe allows;
    ``shape``: None if the model is unknown.
    """
    again, length = recipe.gradient_checkpointing, recipe.max_length
    if lengths is not None and lengths.buckets and not recipe.packing:
        length = min(length, math.ceil(lengths.buckets[-1].upto))
    if recipe.objective == "grpo":  # the model is trained on a prompt and its answer
        length += recipe.grpo.max_completion_length
    computed = precision.resolve_precision(
        recipe, machine.card, gpu=machine.gpu, bf16_cpu=machine.bfloat16_cpu, shape=shape
    )
    return TrainingSetup(
        method=recipe.method, rank=recipe.rank, alpha=recipe.alpha, targets=recipe.target_modules,
        batch_size=recipe.batch_size * recipe.sequences_per_row, accumulation=recipe.gradient_accumulation, length=length,
        checkpointing=machine.gpu if again is None else again, head=machine.head,
        precision=computed, dropout=recipe.dropout > 0 and recipe.objective == "sft",
        reference_passes=recipe.reference_passes,
        reference_copy=recipe.method == "full" and recipe.objective != "sft"
        and not recipe.asks_reference_first,
        attention=precision.resolve_attention(recipe, machine.card, computed, gpu=machine.gpu),
    )  # fmt: skip


def _count_evaluations(recipe: Recipe, validation: LengthDistribution | None, total: int) -> int:
    if validation is None or validation.rows < 1:
        return 0
    every = recipe.evaluation_steps or training_setup.evaluation_steps(total)
    return max(1, -(-total // every))  # includes the one at the end


def _count_evaluated_tokens(recipe: Recipe, validation: LengthDistribution | None) -> float:
    """Return the tokens of one evaluation, padding included."""
    if validation is None or validation.rows < 1:
        return 0.0
    # Validation rows are never packed, but are laid end to end where the others are.
    once = msgspec.structs.replace(recipe, epochs=1.0, packing=False, padding_free=recipe.is_flat)
    passes = compute_passes(validation, once)
    return passes.tokens + passes.padding


def _estimate_memory(
    shape: ModelShape | None, setup: TrainingSetup, machine: TrainingMachine
) -> MemoryEstimate | None:
    """Estimate the memory of a setup; None if the model is unknown or lacks the target modules."""
    if shape is None:
        return None
    try:
        return (estimate_memory if machine.gpu else estimate_cpu_memory)(shape, setup)
    except FtwizardError:
        return None


def _time(
    shape: ModelShape | None, setup: TrainingSetup, machine: TrainingMachine, work: TrainingPasses
) -> Figure | None:
    """Return seconds of training: from a probe, else from earlier runs, else computed."""
    if machine.probed is not None:
        return duration.from_probe(work.tokens + work.padding, machine.probed, machine.probed_on)
    if machine.speeds:
        return duration.from_earlier_runs(work.tokens, machine.speeds)
    if shape is None:
        return None
    if machine.gpu or machine.card is not None:
        return duration.from_gpu_spec(shape, setup, machine.card, work)
    return duration.from_cpu_cores(
        shape, setup, work, cores=machine.cores, bf16=machine.bfloat16_cpu
    )


def _counted(value: float, unit: str, source: str) -> Figure:
    return Figure(value=value, unit=unit, source=source, as_of=today())


def estimate_plan(
    plan: Plan,
    lengths: Lengths,
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
    machine = msgspec.structs.replace(_training_machine(plan, facts), hour=hour, speeds=speeds)
    if probe and not probe.halved:
        rates = probe.measured.rates or [probe.measured.tokens_per_s]
        machine = msgspec.structs.replace(
            machine, probed=sum(rates) / len(rates), probed_on=probe.seconds.as_of
        )
    return estimate_on(machine, plan, lengths, shape)


def _training_machine(plan: Plan, facts: MachineInfo) -> TrainingMachine:
    """Return the machine that a plan trains on, with the plan's GPU."""
    return TrainingMachine(
        card=_find_gpu_spec(plan_gpu(plan, facts)), gpu=bool(facts.gpus), cores=facts.cores,
        bfloat16_cpu=facts.bfloat16_cpu, head=head_for(installed_version("trl")),
    )  # fmt: skip


def setup(
    plan: Plan, lengths: Lengths, facts: MachineInfo, shape: ModelShape | None = None
) -> TrainingSetup:
    """Return how the plan trains on this machine; ``shape``: None if the model is unknown."""
    return resolve_setup(plan.recipe, _training_machine(plan, facts), lengths.get("train"), shape)


def check_settings(
    plan: Plan, facts: MachineInfo, shape: ModelShape | None = None
) -> FtwizardError | None:
    """Return why training refuses a setting of the plan on this machine; None if it runs."""
    machine = _training_machine(plan, facts)
    return precision.check_settings(plan.recipe, machine.card, gpu=machine.gpu, shape=shape)


def list_cautions(plan: Plan, facts: MachineInfo) -> list[str]:
    """Return cautions about settings that the plan's GPU runs slowly."""
    return list(precision.describe_emulation(plan.recipe, _training_machine(plan, facts).card))


def check_plan_fit(
    plan: Plan,
    lengths: Lengths,
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
    gpu = gpu_fit.AvailableGpu(
        name=device.name or "the GPU", memory=device.memory, used=float(device.used_by_others)
    )
    cards = gpu_specs.cards()
    if shape is None:
        return gpu_fit.check_fit_by_count(counted, gpu, cards=cards) if counted else None
    try:
        return gpu_fit.check_fit(
            shape, setup(plan, lengths, facts, shape), gpu, smaller=list_smaller_models(shape), counted=counted,
            spread=lengths.get("train"), cards=cards,
        )  # fmt: skip
    except FtwizardError:  # the model lacks the target modules
        return None


def list_smaller_models(shape: ModelShape) -> list[tuple[str, ModelShape]]:
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


class GpuEstimates(NamedTuple):
    """A run on GPUs, by their name of the driver or of a price; unknown GPUs are left out."""

    hours: Mapping[str, Figure] = {}
    """Of the whole run, on GPUs that it may fit on."""
    too_small: frozenset[str] = frozenset()
    """GPUs with less memory than the lower end of the estimate."""
    by_qlora: frozenset[str] = frozenset()
    """GPUs that the plan's LoRA does not fit on; they are estimated with QLoRA."""


def estimate_gpus(
    plan: Plan, lengths: Lengths, shape: ModelShape | None, names: Iterable[str]
) -> GpuEstimates:
    """Estimate the whole run on each GPU in ``names``; nothing without shape or rows.

    The plan's LoRA suits this machine; a GPU that it does not fit on is judged by QLoRA.
    """
    hours, too_small, by_qlora = {}, set(), set()
    quantized = _with_qlora(plan)
    for name in names:
        card = gpu_specs.find_gpu(name)
        if shape is None or card is None:
            continue
        machine = TrainingMachine(card=card, gpu=True)
        estimate = estimate_on(machine, plan, lengths, shape)
        if plan.recipe.method == "lora" and _exceeds(estimate, card):
            estimate = estimate_on(machine, quantized, lengths, shape)
            by_qlora.add(name)
        if _exceeds(estimate, card):
            too_small.add(name)
        elif figure := run_hours(estimate):
            hours[name] = figure
    return GpuEstimates(hours, frozenset(too_small), frozenset(by_qlora))


def _with_qlora(plan: Plan) -> Plan:
    recipe = msgspec.structs.replace(plan.recipe, method="qlora")
    return msgspec.structs.replace(plan, recipe=recipe)


def _exceeds(estimate: RecipeEstimate | None, card: GpuSpec) -> bool:
    """Tell whether even the lower end of the memory exceeds the GPU's."""
    memory = estimate.memory if estimate else None
    return memory is not None and memory.peak.lowest > card.memory * 1e9


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
    counted = probe.measured.memory_on_device
    if counted is None:
        return probe.memory
    value = float(counted)
    if memory and "context" in memory.parts:
        value = min(value, probe.memory.value + memory.parts["context"].value)
    return msgspec.structs.replace(probe.memory, value=value)


def _find_gpu_spec(device: Gpu | None) -> GpuSpec | None:
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
    least = memory.peak.lowest if memory else 0  # as for rented GPUs
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
    return seconds.scaled(1 / 3600, source, unit="h")


def rental_price(device: Gpu | None, prices: Prices) -> Figure | None:
    """Return the on-demand rental price per hour of the same GPU, as a comparison.

    None if the GPU or its price is unknown.
    """
    spec = _find_gpu_spec(device)
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
