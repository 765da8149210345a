"""What is said of a training before its first step; afterwards it is held against what came."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from ftwizard import forecast, hour_price, machine, outcome, probes, speeds
from ftwizard.advice.follows import Follows
from ftwizard.catalog.prices import Rate
from ftwizard.estimate import batches, disk, duration
from ftwizard.estimate.batches import Lengths
from ftwizard.estimate.memory import Memory
from ftwizard.figure import Figure
from ftwizard.outcome import Expected
from ftwizard.plan import Plan, Recipe
from ftwizard.probes import Probe
from ftwizard.train import room, schedule
from ftwizard.train.tokenise import Encoded

if TYPE_CHECKING:
    from ftwizard.jobs.worker import Worker
    from ftwizard.train.trainer import Prepared

HELD_BACK = 0.02
"""Share of the tensors that torch's allocator holds on top of them, most likely."""


def say(worker: Worker, plan: Plan, ready: Prepared, model: Any) -> None:
    """Write into the run's folder what is predicted of it, unless an earlier attempt did."""
    if outcome.read_prediction(worker.folder):
        return
    found = estimated(
        plan,
        ready.base,
        tokens=sum(len(row.input_ids) for row in ready.encoded["train"]) * plan.recipe.epochs,
        lengths=lengths_of(ready.encoded),
        trained=trained_in(model),
        run=worker.folder.id,
        probe=probes.remembered(plan, ready.source),
        hour=hour_price.recorded(worker.folder),
    )
    with contextlib.suppress(OSError):  # a full disk is told when weights find no room
        outcome.predict(worker.folder, found)


def estimated(
    plan: Plan,
    base: Path,
    *,
    tokens: float,
    lengths: Mapping[str, Lengths | None],
    trained: int,
    run: str = "",
    probe: Probe | None = None,
    hour: Rate | None = None,
) -> Expected:
    """Return what the estimates say, what ``probe`` measured first; None where there is none.

    ``lengths``: of the rows as they are encoded; ``trained`` parameters are trained; ``run`` is the
    one that is predicted, of which nothing is learnt; ``hour``: what the machine costs.
    """
    facts, earlier = machine.facts(), tuple(speeds.of_runs(plan, but=run))
    if probe and probe.halved:
        probe = None
    come = forecast.of_plan(
        plan, lengths, forecast.shape(base), facts, speeds=earlier, probe=probe, hour=hour
    )
    seconds = _seconds(come, of_runs=bool(earlier) and probe is None) if come else None
    peak = _peak(come.memory, gpu=bool(facts.gpus)) if come and come.memory else None
    return Expected(
        peak_memory=probe.memory if probe else peak,
        seconds=seconds,
        tokens_per_s=_speed(tokens, seconds),
        disk=_disk(plan, base, trained),
        cost=_cost(come, plan) if come else None,
    )


def evaluations(recipe: Recipe, total: int) -> int:
    """Return how often a training of ``total`` steps looks at its validation loss."""
    every = recipe.evaluation_steps or schedule.evaluation_steps(total)
    return -(-total // every)  # the last step is always followed by one


def trained_in(model: Any) -> int:
    """Return how many parameters of a model are trained."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def _seconds(come: Follows, *, of_runs: bool) -> Figure | None:
    """Return the time that is measured of a run: steps, evaluations and saves.

    The speed of earlier runs counts these already.
    """
    if come.time is None or of_runs:
        return come.time
    kept = {n: p for n, p in come.parts.items() if n in ("training", "evaluations", "checkpoints")}
    total = duration.total(kept or {"training": come.time})
    return msgspec.structs.replace(total, source=come.time.source, as_of=come.time.as_of)


def _cost(come: Follows, plan: Plan) -> Figure | None:
    """Return what the whole run costs; how long a comparison takes is not known before."""
    if come.cost is None or not plan.finish.compare:
        return come.cost
    source = f"{come.cost.source}; comparing comes on top"
    return msgspec.structs.replace(come.cost, source=source)


def _peak(memory: Memory, *, gpu: bool) -> Figure:
    """Return the peak as it is measured: on a GPU by torch, which does not see the CUDA context."""
    if not gpu:
        return memory.peak
    peak, context = memory.peak, memory.parts["context"]
    tensors = peak.value - context.value
    low = max((peak.low or peak.value) - (context.low or context.value), memory.sure)
    high = (peak.high or peak.value) - (context.high or context.value)
    slack = HELD_BACK * tensors
    return msgspec.structs.replace(
        peak,
        value=tensors + slack,
        low=low,
        high=high + 4 * slack,
        source=f"{peak.source}, without the CUDA context",
    )


def lengths_of(encoded: Mapping[str, Sequence[Encoded]]) -> dict[str, Lengths | None]:
    """Return how long the rows are that are trained on, and those that validate."""
    return {
        name: batches.of_rows([len(row.input_ids) for row in encoded[name]])
        for name in ("train", "validation")
    }


def _speed(tokens: float, seconds: Figure | None) -> Figure | None:
    if seconds is None or not seconds.value:
        return None
    return Figure(
        value=tokens / seconds.value,
        unit="tokens/s",
        source=f"tokens without padding by the time of the training, {seconds.source}",
        as_of=seconds.as_of,
    )


def _disk(plan: Plan, base: Path, trained: int) -> Figure:
    parts = disk.parts(
        trained=trained,
        parameters=room.parameters(base),
        adapter=plan.recipe.method != "full",
        merges=plan.finish.merge,
    )
    return disk.needed(parts)
