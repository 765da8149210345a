"""Prediction of a training's memory, time, disk and cost before its first step."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from ftwizard.advice import run_history
from ftwizard.catalog.prices import PriceRate
from ftwizard.estimate import batching, disk, duration, plan_estimate, probe_cache, training_setup
from ftwizard.estimate.batching import LengthDistribution
from ftwizard.estimate.memory import MemoryEstimate
from ftwizard.estimate.plan_estimate import RecipeEstimate
from ftwizard.estimate.probe_cache import CachedProbe
from ftwizard.hardware import machine
from ftwizard.plan.schema import Plan, Recipe
from ftwizard.pricing import machine_rate
from ftwizard.quantity import Figure
from ftwizard.runs.prediction import RunFigures, read_prediction, record_prediction
from ftwizard.train.encoder import EncodedRow
from ftwizard.train.inputs import TrainingInputs, estimate_disk

if TYPE_CHECKING:
    from ftwizard.jobs.worker import Worker

ALLOCATOR_OVERHEAD_RATIO = 0.02
"""Memory that torch's allocator most likely reserves on top of the tensors."""


def save_prediction(worker: Worker, plan: Plan, ready: TrainingInputs, model: Any) -> None:
    """Write the run's prediction to its folder, unless an earlier attempt did."""
    if read_prediction(worker.folder):
        return
    prediction = predict(
        _with_mode(plan, ready),
        ready.base,
        tokens=sum(row.tokens for row in ready.encoded["train"])
        * training_setup.count_steps(len(ready.train), plan.recipe, plan.ranks).epochs,
        lengths=row_lengths(ready.encoded),
        trained=count_trainable(model),
        run=worker.folder.id,
        probe=probe_cache.read_cached_probe(plan, ready.source),
        hour=machine_rate.read_recorded_price(worker.folder),
    )
    with contextlib.suppress(OSError):  # a full disk is reported when weights are saved
        record_prediction(worker.folder, prediction)


def _with_mode(plan: Plan, ready: TrainingInputs) -> Plan:
    """Return the plan with the mode in which its processes train, which was chosen while the GPUs were
    free."""
    if ready.parallel is None:
        return plan
    where = msgspec.structs.replace(plan.where, parallel=ready.parallel.mode)
    return msgspec.structs.replace(plan, where=where)


def predict(
    plan: Plan,
    base: Path,
    *,
    tokens: float,
    lengths: Mapping[str, LengthDistribution | None],
    trained: int,
    run: str = "",
    probe: CachedProbe | None = None,
    hour: PriceRate | None = None,
) -> RunFigures:
    """Return the estimates, with measurements of ``probe`` where it has them; None where unknown.

    ``lengths`` are those of the encoded rows, ``trained`` is the number of trainable parameters,
    ``run`` the predicted run, whose own speed is not used, and ``hour`` the machine's hourly price.
    """
    facts, earlier = machine.read_machine_info(), tuple(run_history.find_speeds(plan, but=run))
    if probe and probe.halved:
        probe = None
    estimate = plan_estimate.estimate_plan(
        plan, lengths, plan_estimate.read_shape(base), facts, speeds=earlier, probe=probe, hour=hour
    )
    is_from_runs = (
        probe is None
        and plan.recipe.objective != "grpo"  # whose time is always computed
        and any(speed.processes == plan.ranks or speed.alone for speed in earlier)
    )
    seconds = _time(estimate, is_from_runs=is_from_runs) if estimate else None
    memory = estimate.memory if estimate else None
    peak = _peak_memory(memory, gpu=bool(facts.gpus)) if memory else None
    return RunFigures(
        # The memory of a single process is another one than that of each of several.
        peak_memory=probe.memory if probe and probe_cache.shows_memory(probe, plan) else peak,
        seconds=seconds,
        # Of reinforcement, most tokens are those of answers, whose number is unknown.
        tokens_per_s=None if plan.recipe.objective == "grpo" else _tokens_per_s(tokens, seconds),
        disk=disk.sum_parts(estimate_disk(plan, base, trained)),
        cost=_cost(estimate, plan) if estimate else None,
    )


def count_evaluations(recipe: Recipe, total: int) -> int:
    """Return the number of evaluations in a training of ``total`` steps."""
    every = recipe.evaluation_steps or training_setup.evaluation_steps(total)
    return -(-total // every)  # the last step is always evaluated


def count_trainable(model: Any) -> int:
    """Return the number of trainable parameters of a model."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def _time(estimate: RecipeEstimate, *, is_from_runs: bool) -> Figure | None:
    """Return the time as measured in a run: steps, evaluations and saves.

    The speed of earlier runs includes these already.
    """
    if estimate.time is None or is_from_runs:
        return estimate.time
    measured = ("training", "evaluations", "samples", "checkpoints")
    parts = {name: part for name, part in estimate.parts.items() if name in measured}
    total = duration.sum_phases(parts or {"training": estimate.time})
    return msgspec.structs.replace(total, source=estimate.time.source, as_of=estimate.time.as_of)


def _cost(estimate: RecipeEstimate, plan: Plan) -> Figure | None:
    """Return the cost of the run, without a comparison, whose duration is unknown."""
    if estimate.cost is None or not plan.finish.compare:
        return estimate.cost
    source = f"{estimate.cost.source}; without the comparison"
    return msgspec.structs.replace(estimate.cost, source=source)


def _peak_memory(memory: MemoryEstimate, *, gpu: bool) -> Figure:
    """Return the peak as measured: on a GPU by torch, which does not count the CUDA context."""
    if not gpu:
        return memory.peak
    peak, context = memory.peak, memory.parts["context"]
    tensors = peak.value - context.value
    low = max((peak.low or peak.value) - (context.low or context.value), memory.sure)
    high = (peak.high or peak.value) - (context.high or context.value)
    slack = ALLOCATOR_OVERHEAD_RATIO * tensors
    return msgspec.structs.replace(
        peak,
        value=tensors + slack,
        low=low,
        high=high + 4 * slack,
        source=f"{peak.source}, without the CUDA context",
    )


def row_lengths(
    encoded: Mapping[str, Sequence[EncodedRow]],
) -> dict[str, LengthDistribution | None]:
    """Return the lengths of the training and validation rows."""
    return {
        name: batching.from_counts([row.longest for row in encoded[name]])
        for name in ("train", "validation")
    }


def _tokens_per_s(tokens: float, seconds: Figure | None) -> Figure | None:
    if seconds is None or not seconds.value:
        return None
    return Figure(
        value=tokens / seconds.value,
        unit="tokens/s",
        source=f"tokens without padding over the training time, {seconds.source}",
        as_of=seconds.as_of,
    )
