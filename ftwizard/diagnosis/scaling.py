"""A training loss that is logged as the sum over a step's micro-batches, not as their mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import median

from ftwizard.diagnosis.curve import Curve, Point, finite

USUAL = (4, 8, 16, 32, 64)
"""What accumulates where nobody says how much does. A training loss of twice the validation's has
other reasons: harder rows, dropout."""
NEAR = 0.15
"""Share by which the two losses of one model may differ otherwise."""
FIRST = 3
"""Evaluations, the first ones: later the two losses part anyway."""
LOGS = 4
"""Logged losses before an evaluation that it is held against."""


def times_its_mean(curve: Curve) -> int | None:
    """Return N where the training loss is logged N times its mean, None where nothing says so.

    Then it is about N times the validation loss, at once and at each of the first evaluations. One
    that is high only because it still falls is so at the first alone.
    """
    ratios = _ratios(finite(curve.train), finite(curve.evals)[:FIRST])
    if len(ratios) < FIRST or curve.objective == "reinforcement":
        return None
    among = USUAL if curve.accumulation is None else (curve.accumulation,)
    told = ratios[0], median(ratios)
    return next((n for n in among if n > 1 and all(abs(one / n - 1) < NEAR for one in told)), None)


def to_mean(curve: Curve, times: int) -> Curve:
    """Return the curve with its training loss in the unit of its validation loss."""
    return replace(curve, train=[(step, loss / times) for step, loss in curve.train])


def _ratios(train: Sequence[Point], evals: Sequence[Point]) -> list[float]:
    """Return training loss over validation loss at each evaluation that has both."""
    found, since = [], float("-inf")
    for step, loss in evals:
        logs = [value for at, value in train if since < at <= step][-LOGS:]
        since = step
        if logs and loss > 0:
            found.append(median(logs) / loss)
    return found
