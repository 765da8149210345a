"""What a run took, from its own events and files, held against what was predicted."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

from ftwizard import hour_price, outcome
from ftwizard.catalog.prices import Rate
from ftwizard.estimate import hour_cost
from ftwizard.figure import Figure
from ftwizard.jobs.events import Event, EventReader, measure, moment, seconds_alive
from ftwizard.jobs.folder import JobFolder
from ftwizard.outcome import Expected, Outcome
from ftwizard.probes import today
from ftwizard.text import duration
from ftwizard.train import meter
from ftwizard.train.record import Trained

_TRAINING = ("log", "eval", "checkpoint")


def against_prediction(folder: JobFolder, trained: Trained) -> Outcome:
    """Return prediction, measurement and error of a training that is over."""
    predicted = outcome.read_prediction(folder) or Expected()
    share = trained.last_step / max(1, trained.total_steps)
    found = measured(folder, trained.tokens, hour_price.recorded(folder), time.time())
    return outcome.compare(predicted, found, share=share)


def measured(
    folder: JobFolder, tokens: int, hour: Rate | None = None, now: float | None = None
) -> Expected:
    """Return what the training of ``tokens`` took over all attempts, and its files as they are.

    ``hour``: what the machine costs; ``now``: Unix seconds, where the newest attempt goes on.
    """
    events = EventReader(folder.events).read()
    seconds = training_seconds(events)
    peak = max((found for e in events if (found := measure(e.get("memory")))), default=None)
    during = max((found for e in events if (found := measure(e.get("disk")))), default=0.0)
    kept = sum(bytes_below(part) for part in (folder.checkpoints, folder.adapter, folder.merged))

    def figure(value: float, unit: str, source: str) -> Figure:
        return Figure(value=value, unit=unit, source=f"measured: {source}", as_of=today())

    return Expected(
        peak_memory=figure(peak, "bytes", meter.source()) if peak else None,
        seconds=figure(
            seconds,
            "s",
            "from the first step of each attempt to its last save, evaluations included",
        )
        if seconds
        else None,
        tokens_per_s=figure(tokens / seconds, "tokens/s", "tokens without padding by that time")
        if seconds
        else None,
        disk=figure(
            max(during, kept), "bytes", "checkpoints, adapter and merged model at their most"
        ),
        cost=_cost(seconds_alive(events, now), hour) if events else None,
    )


def _cost(seconds: float, hour: Rate | None) -> Figure | None:
    """Return what a run of ``seconds`` in all has cost; None where the price is not known."""
    if hour is None:
        return None
    what = f"measured: {duration(seconds)} of all attempts, each from its first word to its last"
    return hour_cost.so_far(seconds, hour, what)


def training_seconds(events: Iterable[Event]) -> float:
    """Return how long the steps of all attempts took, with their evaluations and saves."""
    spans: dict[object, tuple[float, float]] = {}
    for event in events:
        now, attempt = moment(event), str(event.get("attempt"))
        if now is None:
            continue
        if event.get("kind") == "phase" and event.get("phase") == "training":
            spans.setdefault(attempt, (now, now))
        elif event.get("kind") in _TRAINING and attempt in spans:
            spans[attempt] = (spans[attempt][0], max(now, spans[attempt][1]))
    return sum(end - start for start, end in spans.values())


def bytes_below(folder: Path) -> int:
    """Return the bytes of all files below a folder, 0 where there is none."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
