"""Signs of broken training: NaN, zero loss, divergence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

from ftwizard.diagnosis.curve import Curve, Point, Sign, get_guessing_evidence, keep_finite
from ftwizard.diagnosis.statistics import noise, running_median

MIN_HIGH_LOSSES = 6
"""Consecutive high losses that count as divergence, not chance."""
MIN_ZEROS = 3
"""Consecutive losses of exactly zero that count as a sign."""
REACH = 2
"""Points on each side of a running median."""
MIN_NAN_NORMS = 3
"""Consecutive NaN grad norms that count as NaN training."""


def find_nan(curve: Curve) -> Sign | None:
    """Find NaN or infinite losses, or a grad norm that is NaN three times in a row.

    A trainer that filters such losses from its log (transformers does by default) still logs the
    grad norm. Infinite norms do not count: float16 loss scaling produces and skips them.
    """
    for step, loss in curve.train:
        if not math.isfinite(loss):
            return Sign("nan", int(step), 1.0, {"loss": repr(loss)})
    nan_norms = 0
    for step, norm in curve.grad_norm:
        nan_norms = nan_norms + 1 if math.isnan(norm) else 0
        if nan_norms == MIN_NAN_NORMS:
            return Sign("nan", int(step), 0.95, {"grad_norm": "nan"})
    return _find_nan_logged_as_zero(curve)


def _find_nan_logged_as_zero(curve: Curve) -> Sign | None:
    """Find a loss that fell as usual, then is logged as 0 while every evaluation is NaN.

    A loss that is 0 from the first step means rows with no trainable tokens instead.
    """
    start = _find_trailing_zeros(curve.train)
    if curve.objective == "reinforcement" or not start or len(curve.train) - start < MIN_ZEROS:
        return None
    onset = curve.train[start][0]
    later = [loss for step, loss in curve.evals if step >= onset]
    if not later or any(math.isfinite(loss) for loss in later):
        return None
    return Sign("nan", int(onset), 0.95, {"loss": 0.0, "eval_loss": repr(later[0])})


def _find_trailing_zeros(points: Sequence[Point]) -> int:
    """Return the index from which all losses are exactly zero; the length if there is none."""
    start = len(points)
    while start and points[start - 1][1] == 0:
        start -= 1
    return start


def find_eval_nan(curve: Curve) -> Sign | None:
    """Find NaN or infinite validation losses."""
    bad = [(step, loss) for step, loss in curve.evals if not math.isfinite(loss)]
    if not bad:
        return None
    return Sign(
        "eval_nan", int(bad[0][0]), 1.0,
        {"eval_loss": repr(bad[0][1]), "bad": len(bad), "evaluations": len(curve.evals),
         "training_is_one": int(bool(curve.train))},
    )  # fmt: skip


def find_zero_loss(curve: Curve) -> Sign | None:
    """Find a loss of exactly zero: no token counts toward the loss, or float16 underflowed.

    In reinforcement learning a loss near zero is normal.
    """
    if curve.objective == "reinforcement":
        return None
    for name, points in (("training", curve.train), ("validation", curve.evals)):
        start = _find_trailing_zeros(points)
        if len(points) - start < MIN_ZEROS:
            continue
        return Sign("zero_loss", int(points[start][0]), 1.0, {"loss": 0.0, "of": name})
    return None


def find_divergence(curve: Curve) -> Sign | None:
    """Find a training loss that rose above its level and does not recover."""
    points = keep_finite(curve.train)
    if len(points) < MIN_HIGH_LOSSES + 2 or curve.objective == "reinforcement":
        return None
    values = [loss for _, loss in points]
    smooth = running_median(values, REACH)
    smooth[0] = min(values[0], smooth[0])
    floor = min(smooth)
    calm = values[: smooth.index(floor) + 1]
    sigma = noise(calm) if len(calm) > MIN_HIGH_LOSSES else 0.05 * abs(floor)
    height = floor + max(6 * sigma, 0.25 * abs(floor))
    onset = _find_last_stretch_above(values, height)
    if len(points) - onset < MIN_HIGH_LOSSES:
        return None
    elevated = values[onset:]
    third = len(elevated) // 3
    first, last = median(elevated[:third]), median(elevated[-third:])
    persists = last >= first - sigma and max(elevated[1:]) > elevated[0]
    start = median(values[:3])
    failed = _is_worse_than_untrained(points, onset, last, start)
    if not (persists or failed):
        return None
    confidence = min(0.99, 0.8 + 0.02 * (len(elevated) - MIN_HIGH_LOSSES))
    return Sign(
        "diverged", int(points[onset][0]), confidence,
        {"before": floor, "now": last, "start": start,
         **get_guessing_evidence(curve, median(values[-MIN_HIGH_LOSSES:]))},
    )  # fmt: skip


def _find_last_stretch_above(values: Sequence[float], height: float) -> int:
    """Return where the newest unbroken stretch above ``height`` begins; one dip does not end it."""
    begin, dips = len(values), 0
    for index in range(len(values) - 1, -1, -1):
        if values[index] > height:
            begin, dips = index, 0
        else:
            dips += 1
            if dips > 1:
                break
    return begin


def _is_worse_than_untrained(
    points: Sequence[Point], onset: int, last: float, start: float
) -> bool:
    """Return whether the loss has long been above its start, even if it is falling again."""
    length = len(points) - onset
    span = points[-1][0] - points[onset][0]
    return last > 1.1 * start and length >= 10 and span >= 0.05 * points[-1][0]
