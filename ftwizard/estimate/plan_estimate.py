"""Estimates for a plan on this machine: from a probe or earlier runs, else computed."""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from ftwizard.catalog import gpu_specs, model_configs
from ftwizard.catalog.gpu_specs import GpuSpec
from ftwizard.catalog.prices import PriceRate
from ftwizard.errors import FtwizardError
from ftwizard.estimate import (
    duration,
    generation,
    gpu_fit,
    parallelism,
    training_machine,
    training_setup,
)
from ftwizard.estimate.batching import LengthDistribution, Lengths, TrainingPasses, compute_passes
from ftwizard.estimate.duration import RunSpeed
from ftwizard.estimate.generation import Processor, ReinforcementTime
from ftwizard.estimate.gpu_fit import Fit
from ftwizard.estimate.memory import Group, MemoryEstimate, estimate_cpu_memory, estimate_each
from ftwizard.estimate.parallelism import ParallelChoice, ParallelEstimate
from ftwizard.estimate.probe_cache import CachedProbe
from ftwizard.estimate.training_machine import TrainingMachine
from ftwizard.estimate.training_setup import TrainingSetup
from ftwizard.hardware.machine import MachineInfo
from ftwizard.models import architectures
from ftwizard.models.shapes import ModelShape
from ftwizard.plan.schema import Plan, Recipe, Slurm, Where
from ftwizard.pricing import machine_rate
from ftwizard.pricing.offer import LocalOffer
from ftwizard.quantity import Figure, today
from ftwizard.text import format_count


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
    """Of the GPU, else of the machine; None for target modules that the model does not have. Of each
    process, where several train together."""
    time: Figure | None
    """Seconds of training alone."""
    parts: dict[str, Figure]
    """Seconds of the whole run by part, including ``time``; empty if unknown."""
    whole: Figure | None
    """Seconds of the whole run."""
    cost: Figure | None
    """US dollars of the whole run, at the machine's hourly price."""
    parallel: ParallelEstimate | None = None
    """Where several processes train together."""

    def with_price(self, hour: PriceRate | None) -> RecipeEstimate:
        """Return the estimate at an hourly price of the machine, or of each of several nodes."""
        parallel = self.parallel
        rate = hour.times(parallel.nodes) if hour and parallel else hour
        cost = machine_rate.estimate_cost(self.whole or self.time, rate)
        if parallel:
            each = cost and cost.scaled(1 / parallel.processes, f"{cost.source}, for each process")
            parallel = msgspec.structs.replace(parallel, cost_each=each)
        return msgspec.structs.replace(self, cost=cost, parallel=parallel)


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
    setup = training_machine.resolve_setup(recipe, machine, train, shape)
    work = compute_passes(train, recipe, plan.ranks)
    evaluations = _count_evaluations(recipe, validation, work.steps)
    choice = parallelism.choose_for_plan(
        plan, shape=shape, setup=setup, free_bytes=machine.free, on_gpu=machine.gpu
    )
    written = None
    if recipe.objective == "grpo":
        written = _time_answers(plan, machine, shape, setup, train, validation, work.steps)
        time, speedup = (written.training if written else None), None
        if written and choice:
            lone_plan = msgspec.structs.replace(
                plan, where=Where(), slurm=Slurm(), recipe=_alone(plan)
            )
            alone = _time_answers(lone_plan, machine, shape, setup, train, validation, work.steps)
            speedup = _compare_answers(alone, written)
    else:
        time, speedup = _time(plan, machine, shape, setup, train, work, choice)
    parts: dict[str, Figure] = {}
    if shape is not None and time is not None:
        estimate_parts = functools.partial(
            duration.estimate_phases, time, shape, setup, machine.card, work,
            evaluations=evaluations, merges=plan.finish.merge,
            evaluated=_count_evaluated_tokens(plan, validation, on_gpu=machine.gpu),
            evaluation=written.evaluation if written else None,
        )  # fmt: skip
        parts = estimate_parts()
        looks = parts.get("evaluations")
        token = generation.estimate_token(
            shape, setup, _describe_processor(machine), max(1, plan.samples.count)
        )
        each = looks.value / evaluations if looks else 0.0
        parts = estimate_parts(samples=generation.estimate_samples(plan, token, evaluations, each))
    whole = duration.sum_phases(parts) if parts else None
    memory = _estimate_memory(shape, setup, machine, plan.ranks, choice)
    if memory and recipe.objective == "grpo":
        memory = _allow_short_answers(memory, shape, setup, machine, plan, train)
    return RecipeEstimate(
        steps=_counted(
            work.steps, "steps", f"{format_count(round(work.passes), 'pass', 'passes')}"
        ),
        steps_per_epoch=work.steps_per_epoch,
        evaluations=evaluations,
        tokens=_counted(round(work.tokens), "tokens", "the distribution of row lengths"),
        padding=_counted(work.padding_share, "share", "the expected longest row of random batches"),
        cut=_counted(work.cut, "share", f"rows longer than {recipe.max_length:,} tokens"),
        memory=memory,
        time=time,
        parts=parts,
        whole=whole,
        cost=None,
        parallel=_describe_parallel(plan, machine, choice, memory, speedup) if choice else None,
    ).with_price(machine.hour)


def _describe_parallel(
    plan: Plan, machine: TrainingMachine, choice: ParallelChoice, memory: MemoryEstimate | None,
    speedup: Figure | None,
) -> ParallelEstimate:  # fmt: skip
    estimate = ParallelEstimate(
        processes=plan.ranks,
        nodes=plan.nodes,
        mode=choice.mode,
        reason=choice.reason,
        on_gpu=machine.gpu,
        speedup=speedup,
    )
    return _add_memory(estimate, memory) if memory else estimate


def _add_memory(parallel: ParallelEstimate, memory: MemoryEstimate) -> ParallelEstimate:
    """Add the memory of all processes; ``memory``: of each."""
    source = f"{parallel.processes} × the peak of each process"
    total = memory.peak.scaled(parallel.processes, source)
    gathered = memory.parts.get("gathered")
    return msgspec.structs.replace(parallel, memory=total, gathered=gathered)


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


def _count_evaluations(recipe: Recipe, validation: LengthDistribution | None, total: int) -> int:
    if validation is None or validation.rows < 1:
        return 0
    every = recipe.evaluation_steps or training_setup.evaluation_steps(total)
    return max(1, -(-total // every))  # includes the one at the end


def _count_evaluated_tokens(
    plan: Plan, validation: LengthDistribution | None, *, on_gpu: bool
) -> float:
    """Return the tokens of one evaluation of DPO, KTO or SFT, padding included."""
    recipe = plan.recipe
    if validation is None or validation.rows < 1:
        return 0.0
    # Validation rows are never packed, but are laid end to end where the others are.
    once = msgspec.structs.replace(recipe, epochs=1.0, packing=False, padding_free=recipe.is_flat)
    passes = compute_passes(validation, once)
    general = generation.count_general_tokens(plan, on_gpu=on_gpu)
    return passes.tokens + passes.padding + general


def _estimate_memory(
    shape: ModelShape | None, setup: TrainingSetup, machine: TrainingMachine,
    processes: int = 1, choice: ParallelChoice | None = None,
) -> MemoryEstimate | None:  # fmt: skip
    """Estimate the memory of each process; None if the model is unknown or lacks the target modules."""
    if shape is None:
        return None
    estimate = estimate_each if machine.gpu else estimate_cpu_memory
    group = Group(processes, sharded=choice is not None and choice.mode == "fsdp")
    try:
        return estimate(shape, setup, group)
    except FtwizardError:
        return None


def _allow_short_answers(
    memory: MemoryEstimate, shape: ModelShape | None, setup: TrainingSetup, machine: TrainingMachine,
    plan: Plan, prompts: LengthDistribution,
) -> MemoryEstimate:  # fmt: skip
    """Return the memory of reinforcement with the lower end of short answers to usual prompts."""
    recipe = plan.recipe
    prompt = min(prompts.mean, recipe.max_length)
    answer = generation.SHORT_ANSWERS * recipe.grpo.max_completion_length
    short = msgspec.structs.replace(setup, length=math.ceil(prompt + answer))
    least = _estimate_memory(shape, short, machine, plan.ranks)
    if least is None:
        return memory
    low = min(memory.peak.lowest, least.peak.lowest)
    return msgspec.structs.replace(memory, peak=msgspec.structs.replace(memory.peak, low=low))


def _time(
    plan: Plan, machine: TrainingMachine, shape: ModelShape | None, setup: TrainingSetup,
    train: LengthDistribution, work: TrainingPasses, choice: ParallelChoice | None,
) -> tuple[Figure | None, Figure | None]:  # fmt: skip
    """Return the seconds of training, and how many times as fast as one process several are; None
    for what is unknown, and for one process."""
    ranks = plan.ranks
    together = [speed for speed in machine.speeds if speed.processes == ranks]
    single = tuple(filter(None, (speed.alone for speed in machine.speeds)))
    measured = msgspec.structs.replace(machine, speeds=single)
    if choice is None:
        return _time_alone(shape, setup, measured, work), None
    probed: Figure | None = None  # as long as the measured processes take for their part
    node = machine.probed_processes
    if machine.probed is not None and node > 1:
        measured = msgspec.structs.replace(measured, probed=None)  # it is not that of one alone
        padded = (work.tokens + work.padding) * node / ranks
        probed = duration.from_probe(padded, machine.probed, machine.probed_on, node)
        if probed and node < ranks:
            # A run of all nodes says more than a probe of one.
            probed = (
                None if together else _join_nodes(probed, plan, machine, shape, setup, work, choice)
            )
    # Processes on a CPU share the cores that one process would use alone.
    devices = ranks if machine.gpu or machine.card else plan.nodes
    steps = work.steps
    alone = _time_alone(shape, setup, measured, msgspec.structs.replace(work, steps=steps * ranks))
    ideal = _time_alone(shape, setup, measured, work.share(devices))
    if alone is None or ideal is None or shape is None:
        measured_time = probed or duration.from_earlier_runs(work.tokens, together)
        return measured_time, _measured_speedup(together)
    wider = msgspec.structs.replace(plan.recipe, batch_size=plan.recipe.batch_size * ranks)
    longest = compute_passes(train, wider).padding_share
    try:
        exchanged = parallelism.count_exchanged(
            shape, setup, choice.mode, ranks, steps=steps, passes=work.passes / ranks
        )
    except FtwizardError:  # it lacks the requested target modules
        return None, None
    wait = parallelism.find_wait(work.padding_share, longest, setup.accumulation)
    link = parallelism.choose_link(nodes=plan.nodes, on_gpu=machine.gpu)
    scaled, speedup = parallelism.scale_time(
        ideal, alone.value, exchanged, link, wait=wait, processes=ranks
    )
    if probed:
        return probed, _measured_speedup(together) or speedup
    if together:
        measured_time = duration.from_earlier_runs(work.tokens, together)
        return measured_time, _measured_speedup(together) or speedup
    return scaled, speedup


def _join_nodes(
    time: Figure, plan: Plan, machine: TrainingMachine, shape: ModelShape | None, setup: TrainingSetup,
    work: TrainingPasses, choice: ParallelChoice,
) -> Figure | None:  # fmt: skip
    """Return the seconds of all nodes; ``time``: of one node for its part. None for an unknown model."""
    if shape is None:
        return None
    try:
        exchanged = parallelism.count_exchanged(
            shape, setup, choice.mode, plan.ranks, steps=work.steps, passes=work.passes / plan.ranks
        )
    except FtwizardError:  # it lacks the requested target modules
        return None
    link = parallelism.choose_link(nodes=plan.nodes, on_gpu=machine.gpu)
    return parallelism.add_exchange(time, exchanged, link)


def _time_answers(
    plan: Plan, machine: TrainingMachine, shape: ModelShape | None, setup: TrainingSetup,
    train: LengthDistribution, validation: LengthDistribution | None, steps: int,
) -> ReinforcementTime | None:  # fmt: skip
    """Return the seconds of reinforcement; None if the model or the hardware is unknown."""
    if shape is None:
        return None
    # Processes on a CPU share the cores that one process would use alone.
    devices = plan.ranks if machine.gpu or machine.card else plan.nodes
    written = generation.estimate_reinforcement(
        plan, shape, setup, _describe_processor(machine), train, validation, steps, devices
    )
    if written is None or plan.ranks == 1:
        return written
    try:
        exchanged = parallelism.count_exchanged(
            shape, setup, "ddp", plan.ranks, steps=steps, passes=0
        )
    except FtwizardError:  # it lacks the requested target modules
        return None
    link = parallelism.choose_link(nodes=plan.nodes, on_gpu=machine.gpu)
    return written._replace(training=parallelism.add_exchange(written.training, exchanged, link))


def _alone(plan: Plan) -> Recipe:
    """Return the recipe with which one process takes the answers of all the plan's in a step."""
    accumulation = plan.recipe.gradient_accumulation * plan.ranks
    return msgspec.structs.replace(plan.recipe, gradient_accumulation=accumulation)


def _compare_answers(alone: ReinforcementTime | None, together: ReinforcementTime) -> Figure | None:
    """Return how many times as fast as one process several are, which write answers alike."""
    if alone is None:
        return None
    single, several = alone.training, together.training
    ratios = (
        single.lowest / several.lowest,
        single.value / several.value,
        single.highest / several.highest,
    )
    return Figure(
        value=ratios[1], unit="times", low=min(ratios), high=max(ratios), as_of=several.as_of,
        source="computed: one process writes all answers at once, several a part each",
    )  # fmt: skip


def _describe_processor(machine: TrainingMachine) -> Processor:
    return Processor(machine.card, machine.gpu, machine.cores, machine.bfloat16_cpu)


def _measured_speedup(speeds: Iterable[RunSpeed]) -> Figure | None:
    """Return how many times as fast as one process earlier runs were; None if none measured it."""
    for speed in speeds:
        if speed.speedup:
            source = f"measured before the first step of {speed.run}"
            return Figure(value=speed.speedup, unit="times", source=source, as_of=speed.as_of)
    return None


def _time_alone(
    shape: ModelShape | None, setup: TrainingSetup, machine: TrainingMachine, work: TrainingPasses
) -> Figure | None:
    """Return seconds of training with one process: from a probe, else from earlier runs, else
    computed."""
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
    counted: MemoryEstimate | None = None,
) -> RecipeEstimate | None:
    """Estimate a plan; None without training rows.

    ``facts``: about the machine that it trains on; ``lengths``: of ``train`` and ``validation``; ``shape``: None if the model's configuration is
    incomplete; ``probe``: of exactly this plan, takes precedence over all else; ``hour``: hourly
    price of the machine, None if not set; ``counted``: memory of one process from the ledger, with
    which that of several is scaled.
    """
    machine = msgspec.structs.replace(
        training_machine.from_facts(plan, facts), hour=hour, speeds=speeds
    )
    if probe and not probe.halved:
        rates = probe.measured.rates or [probe.measured.tokens_per_s]
        machine = msgspec.structs.replace(
            machine, probed=sum(rates) / len(rates), probed_on=probe.seconds.as_of,
            probed_processes=probe.measured.processes,
        )  # fmt: skip
    estimate = estimate_on(machine, plan, lengths, shape)
    if estimate and estimate.parallel and estimate.memory and counted and shape:
        trained = training_machine.setup(plan, lengths, facts, shape)
        group = find_group(plan, trained, shape, facts)
        memory = gpu_fit.estimate_like(shape, trained, counted, group)(trained)
        parallel = _add_memory(estimate.parallel, memory)
        estimate = msgspec.structs.replace(estimate, memory=memory, parallel=parallel)
    return estimate


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
    device = training_machine.plan_gpu(plan, facts)
    if device is None or not device.memory:
        return None
    gpu = gpu_fit.AvailableGpu(
        name=device.name or "the GPU", memory=device.memory, used=float(device.used_by_others)
    )
    cards = gpu_specs.cards()
    if shape is None:
        return gpu_fit.check_fit_by_count(counted, gpu, cards=cards) if counted else None
    trained = training_machine.setup(plan, lengths, facts, shape)
    try:
        return gpu_fit.check_fit(
            shape, trained, gpu, smaller=list_smaller_models(shape), counted=counted,
            spread=lengths.get("train"), cards=cards, group=find_group(plan, trained, shape, facts),
        )  # fmt: skip
    except FtwizardError:  # the model lacks the target modules
        return None


def find_group(
    plan: Plan, trained: TrainingSetup, shape: ModelShape | None, facts: MachineInfo
) -> Group:
    """Return the processes of a plan, as far as they affect the memory of each.

    ``trained``: its setup on this machine.
    """
    device = training_machine.plan_gpu(plan, facts)
    choice = parallelism.choose_for_plan(
        plan, shape=shape, setup=trained, free_bytes=device.free if device else None,
        on_gpu=device is not None,
    )  # fmt: skip
    return Group(plan.ranks, sharded=choice is not None and choice.mode == "fsdp")


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

    The run has one process there. The plan's LoRA suits this machine; a GPU that it does not fit on
    is judged by QLoRA.
    """
    hours, too_small, by_qlora = {}, set(), set()
    plan = msgspec.structs.replace(plan, where=Where())
    quantized = _with_qlora(plan)
    for name in names:
        card = gpu_specs.find_gpu(name)
        if shape is None or card is None:
            continue
        machine = TrainingMachine(card=card, gpu=True, free=card.usable)
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


def local_offer(
    plan: Plan,
    facts: MachineInfo,
    estimate: RecipeEstimate | None,
    counted: MemoryEstimate | None = None,
) -> LocalOffer:
    """Build the cost table's entry for this machine from the estimates of ``plan``.

    ``counted``: memory from the ledger or a probe, if either ran.
    """
    device, can = (
        training_machine.plan_gpu(plan, facts),
        training_machine.available_bytes(plan, facts),
    )
    memory = counted or (estimate.memory if estimate else None)
    least = memory.peak.lowest if memory else 0  # as for rented GPUs
    hours, parallel = run_hours(estimate), estimate.parallel if estimate else None
    if hours and parallel and parallel.nodes > 1:
        hours = hours.scaled(parallel.nodes, f"{hours.source}, on {parallel.nodes} machines")
    return LocalOffer(
        hours=hours,
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


def read_shape(base: Path) -> ModelShape | None:
    """Return the shape of the model in a folder; None if its configuration is incomplete."""
    try:
        config = json.loads((base / "config.json").read_text("utf-8"))
        return architectures.build_shape(config, "the model's config.json")
    except (OSError, ValueError, RecursionError, FtwizardError):
        return None
