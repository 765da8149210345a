"""Instant estimates for a recipe: steps, tokens, memory, time and cost."""

from __future__ import annotations

import math
from typing import Literal

import msgspec

from ftwizard.catalog.gpu_specs import GpuSpec
from ftwizard.catalog.prices import PriceRate
from ftwizard.errors import FtwizardError
from ftwizard.estimate import duration, training_setup
from ftwizard.estimate.batching import LengthDistribution, TrainingPasses, compute_passes
from ftwizard.estimate.duration import RunSpeed
from ftwizard.estimate.memory import MemoryEstimate, estimate_cpu_memory, estimate_memory
from ftwizard.estimate.training_setup import LossHead, TrainingSetup
from ftwizard.models.shapes import ModelShape
from ftwizard.plan.schema import Recipe
from ftwizard.pricing import machine_rate
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


def estimate_recipe(
    recipe: Recipe,
    train: LengthDistribution,
    validation: LengthDistribution | None,
    shape: ModelShape | None,
    machine: TrainingMachine,
    *,
    merges: bool = True,
) -> RecipeEstimate:
    """Estimate a recipe in a few milliseconds, without any I/O.

    ``train``, ``validation``: row lengths, None without a validation set, which is never packed;
    ``shape``: None before the model is known. Raises ValueError without rows.
    """
    work = compute_passes(train, recipe)
    setup = resolve_setup(recipe, machine, train)
    evaluations = _count_evaluations(recipe, validation, work.steps)
    time = _time(shape, setup, machine, work)
    parts: dict[str, Figure] = {}
    if shape is not None and time is not None:
        parts = duration.estimate_phases(
            time, shape, setup, machine.card, work, evaluations=evaluations, merges=merges,
            evaluated=_count_evaluated_tokens(recipe, validation),
        )  # fmt: skip
    whole = duration.sum_phases(parts) if parts else None
    return RecipeEstimate(
        steps=_counted(
            work.steps, "steps", f"{format_count(round(work.passes), 'pass', 'passes')}"
        ),
        steps_per_epoch=max(1, round(work.steps / recipe.epochs)),
        evaluations=evaluations,
        tokens=_counted(round(work.tokens), "tokens", "the distribution of row lengths"),
        padding=_counted(work.padding_share, "share", "the expected longest row of random batches"),
        cut=_counted(work.cut, "share", f"rows longer than {recipe.max_length:,} tokens"),
        memory=estimate_setup_memory(shape, setup, machine),
        time=time,
        parts=parts,
        whole=whole,
        cost=machine_rate.estimate_cost(whole or time, machine.hour),
    )


def resolve_setup(
    recipe: Recipe, machine: TrainingMachine, lengths: LengthDistribution | None = None
) -> TrainingSetup:
    """Resolve a recipe for a machine, choosing the open settings as the run does.

    ``lengths``: of the training set, whose rows may all be shorter than the recipe allows.
    """
    again, length = recipe.gradient_checkpointing, recipe.max_length
    if lengths is not None and lengths.buckets and not recipe.packing:
        length = min(length, math.ceil(lengths.buckets[-1].upto))
    return TrainingSetup(
        method=recipe.method, rank=recipe.rank, alpha=recipe.alpha, targets=recipe.target_modules,
        batch_size=recipe.batch_size, accumulation=recipe.gradient_accumulation, length=length,
        checkpointing=machine.gpu if again is None else again, head=machine.head,
        precision=_precision(recipe, machine),
    )  # fmt: skip


def _precision(recipe: Recipe, machine: TrainingMachine) -> Literal["bf16", "fp16", "fp32"]:
    if recipe.precision != "auto":
        return recipe.precision
    if not machine.gpu:
        return "bf16" if machine.bfloat16_cpu else "fp32"
    if machine.card is None or machine.card.bf16:
        return "bf16"
    return "fp32" if recipe.method == "qlora" else "fp16"


def _count_evaluations(recipe: Recipe, validation: LengthDistribution | None, total: int) -> int:
    if validation is None or validation.rows < 1:
        return 0
    every = recipe.evaluation_steps or training_setup.evaluation_steps(total)
    return max(1, -(-total // every))  # includes the one at the end


def _count_evaluated_tokens(recipe: Recipe, validation: LengthDistribution | None) -> float:
    """Return the tokens of one evaluation, padding included."""
    if validation is None or validation.rows < 1:
        return 0.0
    once = msgspec.structs.replace(recipe, epochs=1.0, packing=False)
    passes = compute_passes(validation, once)
    return passes.tokens + passes.padding


def estimate_setup_memory(
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
