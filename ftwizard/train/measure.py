"""Measured time, memory, disk and cost of a run, compared with the prediction."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from pathlib import Path

from ftwizard.catalog.prices import PriceRate
from ftwizard.jobs import clock
from ftwizard.jobs.clock import Instant, TimeAlive
from ftwizard.jobs.events import (
    Event,
    EventReader,
    get_instant,
    to_count,
    to_measure,
)
from ftwizard.jobs.folder import JobFolder
from ftwizard.plan import plan_file
from ftwizard.pricing import machine_rate
from ftwizard.quantity import Figure, today
from ftwizard.runs import prediction
from ftwizard.runs.prediction import PredictionResult, RunFigures
from ftwizard.runs.result import TrainResult
from ftwizard.text import format_duration
from ftwizard.train import peak_memory

_TRAINING = ("log", "eval", "checkpoint")


def compare_with_prediction(folder: JobFolder, trained: TrainResult) -> PredictionResult:
    """Return prediction, measurement and error of a training that has ended."""
    predicted = prediction.read_prediction(folder) or RunFigures()
    hour = machine_rate.read_recorded_price(folder)
    if hour:
        hour = hour.times(plan_file.read_run(folder).nodes)
    measured = measure_run(folder, trained.tokens, hour, clock.read())
    return prediction.compare_prediction(predicted, measured, share=trained.completed_share)


def measure_run(
    folder: JobFolder, tokens: int, hour: PriceRate | None = None, now: Instant | None = None
) -> RunFigures:
    """Return what training on ``tokens`` took over all attempts, and the size of its files.

    ``hour`` is the hourly price of all its machines, ``now`` this moment if the newest attempt is active.
    """
    training, alive, peak, disk = TimeAlive(), TimeAlive(), 0.0, 0.0
    for event in chain.from_iterable(EventReader(folder.events).read_slices()):
        _record(event, training, alive)
        peak = max(peak, to_measure(event.get("memory")) or 0.0)
        disk = max(disk, to_measure(event.get("disk")) or 0.0)
    seconds = training.seconds()
    kept = sum(folder_bytes(part) for part in (folder.checkpoints, folder.adapter, folder.merged))

    def figure(value: float, unit: str, source: str) -> Figure:
        return Figure(value=value, unit=unit, source=f"measured: {source}", as_of=today())

    time_source = "from each attempt's first step to its last save, including evaluations"
    speed_source = "tokens without padding over that time"
    cost = None
    if alive.last is not None and hour is not None:
        billed_s = alive.billed_seconds(now)
        source = f"{format_duration(billed_s)} over all attempts, from first to last event of each"
        cost = machine_rate.measured_cost(billed_s, hour, f"measured: {source}")
    return RunFigures(
        peak_memory=figure(peak, "bytes", peak_memory.source()) if peak else None,
        seconds=figure(seconds, "s", time_source) if seconds else None,
        tokens_per_s=figure(tokens / seconds, "tokens/s", speed_source) if seconds else None,
        disk=figure(max(disk, kept), "bytes", "peak of checkpoints, adapter and merged model"),
        cost=cost,
    )


def training_seconds(events: Iterable[Event]) -> float:
    """Return the duration of all attempts' steps, including evaluations and saves."""
    training = TimeAlive()
    for event in events:
        _record(event, training, TimeAlive())
    return training.seconds()


def _record(event: Event, training: TimeAlive, alive: TimeAlive) -> None:
    """Add an event to the time of all attempts, and to that of their steps if it is of these."""
    now, attempt = get_instant(event), to_count(event.get("attempt", 0))
    if now is None or attempt is None:
        return
    alive.record(attempt, now)
    begins = event.get("kind") == "phase" and event.get("phase") == "training"
    if begins or (event.get("kind") in _TRAINING and attempt == training.attempt):
        training.record(attempt, now)


def folder_bytes(folder: Path) -> int:
    """Return the size of all files in a folder, 0 if it does not exist."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
