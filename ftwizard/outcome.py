"""A run's prediction and what came of it: memory, time, disk, cost, and how far off it was."""

from __future__ import annotations

import math
from typing import Any

import msgspec

from ftwizard.figure import Figure
from ftwizard.jobs.folder import JobFolder, write_json

NAMES = ("peak_memory", "seconds", "tokens_per_s", "disk", "cost")


class Expected(msgspec.Struct, frozen=True, kw_only=True):
    """Figures of one run, predicted or measured; None where unknown."""

    peak_memory: Figure | None = None
    """Bytes, of the training."""
    seconds: Figure | None = None
    """Of the training: from its first step to its last save, all attempts."""
    tokens_per_s: Figure | None = None
    """Padding not counted."""
    disk: Figure | None = None
    """Bytes at their most."""
    cost: Figure | None = None
    """US dollars of the whole run, from its first word to its last, at the price of an hour that
    it was started with; None where none was known."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """``predicted``, ``actual`` and ``error`` of ``result.json``."""

    predicted: Expected
    actual: Expected
    error: dict[str, float | None]
    """Predicted against actual, by name: 0.1 where 10 % too much was predicted. For a training that
    ended before its last step time and cost are predicted for the steps that it did."""


def compare(predicted: Expected, actual: Expected, *, share: float = 1.0) -> Outcome:
    """Return both with the error of each; ``share`` of all steps were done."""
    error: dict[str, float | None] = {}
    for name in NAMES:
        before, after = getattr(predicted, name), getattr(actual, name)
        if before is None or after is None or not after.value:
            error[name] = None
            continue
        value = before.value * (share if name in ("seconds", "cost") else 1.0)
        error[name] = round(value / after.value - 1, 4)
    return Outcome(predicted=predicted, actual=actual, error=error)


def predict(folder: JobFolder, predicted: Expected) -> None:
    """Write down what was predicted, once: a resumed run is held against its first word."""
    if read_prediction(folder) is None:
        write_json(folder.prediction, predicted)


def read_prediction(folder: JobFolder) -> Expected | None:
    """Return what was predicted of a run, None where nothing that can be read was."""
    try:
        found = msgspec.json.decode(folder.prediction.read_bytes(), type=Expected)
    except (OSError, ValueError, RecursionError):
        return None
    return found if _is_sound(found) else None


def of_result(result: dict[str, Any]) -> Outcome | None:
    """Return the outcome in a ``result.json``; None where there is none that can be read."""
    try:
        found = msgspec.convert({name: result[name] for name in Outcome.__struct_fields__}, Outcome)
    except (KeyError, ValueError):
        return None
    return found if _is_sound(found.predicted) and _is_sound(found.actual) else None


def _is_sound(found: Expected) -> bool:
    """Say whether every number is one: what a file holds may come from anybody."""
    figures = [getattr(found, name) for name in NAMES]
    numbers = [n for one in figures if one for n in (one.value, one.low, one.high) if n is not None]
    return all(math.isfinite(n) and n >= 0 for n in numbers)
