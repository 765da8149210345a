"""Estimates for a plan on this machine: from a probe or earlier runs, else computed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

import msgspec

from ftwizard.catalog import gpu_specs, model_configs
from ftwizard.catalog.gpu_specs import GpuSpec
from ftwizard.catalog.prices import PriceRate, Prices
from ftwizard.errors import FtwizardError
from ftwizard.estimate import gpu_fit
from ftwizard.estimate.batching import Lengths
from ftwizard.estimate.duration import RunSpeed
from ftwizard.estimate.gpu_fit import Fit
from ftwizard.estimate.memory import MemoryEstimate
from ftwizard.estimate.probe_cache import CachedProbe, installed_version
from ftwizard.estimate.recipe_estimate import (
    RecipeEstimate,
    TrainingMachine,
    estimate_recipe,
    estimate_setup_memory,
    resolve_setup,
)
from ftwizard.estimate.training_setup import TrainingSetup, head_for
from ftwizard.hardware.machine import Gpu, MachineInfo
from ftwizard.models import architectures
from ftwizard.models.shapes import ModelShape
from ftwizard.plan.schema import Plan
from ftwizard.pricing.offer import LocalOffer
from ftwizard.quantity import Figure


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
    train = lengths.get("train")
    if train is None:
        return None
    machine = msgspec.structs.replace(
        _training_machine(plan, facts), hour=hour, speeds=speeds, probed=_probed(probe),
        probed_on=probe.seconds.as_of if probe else None,
    )  # fmt: skip
    return estimate_recipe(
        plan.recipe, train, lengths.get("validation"), shape, machine, merges=plan.finish.merge
    )


def _training_machine(plan: Plan, facts: MachineInfo) -> TrainingMachine:
    """Return the machine that a plan trains on, with the plan's GPU."""
    return TrainingMachine(
        card=find_gpu_spec(plan_gpu(plan, facts)), gpu=bool(facts.gpus), cores=facts.cores,
        bfloat16_cpu=facts.bfloat16_cpu, head=head_for(installed_version("trl")),
    )  # fmt: skip


def setup(plan: Plan, lengths: Lengths, facts: MachineInfo) -> TrainingSetup:
    """Return how the plan trains on this machine."""
    return resolve_setup(plan.recipe, _training_machine(plan, facts), lengths.get("train"))


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
            shape, setup(plan, lengths, facts), gpu, smaller=_smaller(shape), counted=counted,
            spread=lengths.get("train"), cards=cards,
        )  # fmt: skip
    except FtwizardError:  # the model lacks the target modules
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
    plan: Plan, lengths: Lengths, shape: ModelShape | None, names: Iterable[str]
) -> dict[str, Figure]:
    """Return the hours of the whole run by GPU (a name of the driver or a price).

    Unknown GPUs and those that are too small are left out.
    """
    train, hours = lengths.get("train"), {}
    small = too_small_gpus(plan, lengths, shape, names := tuple(names))
    for name, machine in _rented_machines(names).items():
        if train is None or shape is None or name in small:
            continue
        estimate = estimate_recipe(
            plan.recipe, train, lengths.get("validation"), shape, machine, merges=plan.finish.merge
        )
        if figure := run_hours(estimate):
            hours[name] = figure
    return hours


def too_small_gpus(
    plan: Plan, lengths: Lengths, shape: ModelShape | None, names: Iterable[str]
) -> frozenset[str]:
    """Return the GPUs in ``names`` with less memory than the lower end of the estimate.

    None without shape or rows.
    """
    train, small = lengths.get("train"), set()
    for name, machine in _rented_machines(names).items():
        if train is None or shape is None or machine.card is None:
            continue
        memory = estimate_setup_memory(shape, resolve_setup(plan.recipe, machine, train), machine)
        if memory and memory.peak.lowest > machine.card.memory * 1e9:
            small.add(name)
    return frozenset(small)


def _rented_machines(names: Iterable[str]) -> dict[str, TrainingMachine]:
    cards = {name: gpu_specs.find_gpu(name) for name in names}
    return {name: TrainingMachine(card=card, gpu=True) for name, card in cards.items() if card}


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
