"""Predicted and actual memory, time, disk and cost of a run, with the error."""

from __future__ import annotations

import math

import msgspec

from ftwizard.jobs.folder import JobFolder, read_json, write_json
from ftwizard.quantity import Figure


class RunFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Predicted or measured figures of one run; None if unknown."""

    peak_memory: Figure | None = None
    """Bytes, during training."""
    seconds: Figure | None = None
    """Of training: from the first step to the last save, all attempts."""
    tokens_per_s: Figure | None = None
    """Without padding."""
    disk: Figure | None = None
    """Peak bytes on disk."""
    cost: Figure | None = None
    """US dollars of the whole run, at the hourly price it was started with; None without one."""


NAMES = RunFigures.__struct_fields__


class PredictionResult(msgspec.Struct, frozen=True, kw_only=True):
    """``predicted``, ``actual`` and ``error`` of ``result.json``."""

    predicted: RunFigures
    actual: RunFigures
    error: dict[str, float | None]
    """Relative error by name: 0.1 means the prediction was 10% too high. If training ended early,
    time and cost are predicted for the completed steps."""

    @property
    def is_sound(self) -> bool:
        """Return whether all numbers can be shown, because files are untrusted."""
        are_finite = all(math.isfinite(100 * error) for error in self.error.values() if error)
        return are_finite and _is_sound(self.predicted) and _is_sound(self.actual)


def compare_prediction(
    predicted: RunFigures, actual: RunFigures, *, share: float = 1.0
) -> PredictionResult:
    """Return both with their errors; ``share`` is the share of completed steps, 0–1."""
    error: dict[str, float | None] = {}
    for name in NAMES:
        before, after = getattr(predicted, name), getattr(actual, name)
        if before is None or after is None or not after.value:
            error[name] = None
            continue
        value = before.value * (share if name in ("seconds", "cost") else 1.0)
        error[name] = round(value / after.value - 1, 4)
    return PredictionResult(predicted=predicted, actual=actual, error=error)


def record_prediction(folder: JobFolder, predicted: RunFigures) -> None:
    """Record the prediction once: a resumed run is compared with its first prediction."""
    if read_prediction(folder) is None:
        write_json(folder.prediction, predicted)


def read_prediction(folder: JobFolder) -> RunFigures | None:
    """Return the recorded prediction of a run; None if there is no readable one."""
    prediction = read_json(folder.prediction, RunFigures)
    return prediction if prediction and _is_sound(prediction) else None


def _is_sound(expected: RunFigures) -> bool:
    """Return whether all numbers are finite and not negative, because files are untrusted."""
    figures = filter(None, (getattr(expected, name) for name in NAMES))
    numbers = (n for figure in figures for n in (figure.value, figure.low, figure.high))
    return all(n is None or 0 <= n < math.inf for n in numbers)
