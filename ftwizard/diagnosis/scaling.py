"""Detection of a training loss that is logged as a sum over micro-batches instead of a mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import median

from ftwizard.diagnosis.curve import Curve, Point, keep_finite

USUAL_ACCUMULATIONS = (4, 8, 16, 32, 64)
"""Gradient accumulation to try if it is unknown. A training loss of twice the validation loss has
other causes: harder rows, dropout."""
MAX_ERROR = 0.15
"""Share by which training and validation loss of one model may differ otherwise."""
EVALUATIONS = 3
"""Evaluations to compare, the first ones: later the two losses diverge anyway."""
MAX_LOGS = 4
"""Logged losses before an evaluation to compare it with."""


def find_loss_multiple(curve: Curve) -> int | None:
    """Return N if the training loss is logged as N times its mean, else None.

    It is then about N times the validation loss at each of the first evaluations. A loss that is
    high only because it is still falling is so at the first evaluation alone.
    """
    ratios = _compute_ratios(keep_finite(curve.train), keep_finite(curve.evals)[:EVALUATIONS])
    if len(ratios) < EVALUATIONS or curve.objective == "reinforcement":
        return None
    candidates = USUAL_ACCUMULATIONS if curve.accumulation is None else (curve.accumulation,)
    observed = ratios[0], median(ratios)
    return next(
        (n for n in candidates if n > 1 and all(abs(r / n - 1) < MAX_ERROR for r in observed)), None
    )


def scale_to_mean(curve: Curve, times: int) -> Curve:
    """Return the curve with its training loss divided by ``times``."""
    return replace(curve, train=[(step, loss / times) for step, loss in curve.train])


def _compute_ratios(train: Sequence[Point], evals: Sequence[Point]) -> list[float]:
    """Return training loss divided by validation loss at each evaluation that has both."""
    ratios, previous = [], float("-inf")
    for step, loss in evals:
        logs = [value for at, value in train if previous < at <= step][-MAX_LOGS:]
        previous = step
        if logs and loss > 0:
            ratios.append(median(logs) / loss)
    return ratios
