"""Signs of a training that is broken: no numbers, zeros, a loss that ran away."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

from ftwizard.diagnosis.curve import Curve, Point, finite, of_guessing
from ftwizard.diagnosis.sign import Sign
from ftwizard.diagnosis.statistics import noise, running_median

RUN = 6
"""Logged losses in a row that make a state and no accident."""
ZEROS = 3
"""Losses of exactly zero in a row that make a state."""
REACH = 2


def nan(curve: Curve) -> Sign | None:
    """Find losses that are no numbers, or gradients that are none three times in a row.

    A trainer that filters such losses from its log (transformers does by default) still logs the
    gradient's norm. An infinite norm is none of it: loss scaling in float16 makes and skips those.
    """
    for step, loss in curve.train:
        if not math.isfinite(loss):
            return Sign("nan", int(step), 1.0, {"loss": repr(loss)})
    row = 0
    for step, norm in curve.grad_norm:
        row = row + 1 if math.isnan(norm) else 0
        if row == 3:
            return Sign("nan", int(step), 0.95, {"grad_norm": "nan"})
    return _logged_as_zero(curve)


def _logged_as_zero(curve: Curve) -> Sign | None:
    """Find a loss that fell as usual, then is logged as 0 while every evaluation is no number.

    From the first step on it would be rows without a trained token.
    """
    start = _zeros_from(curve.train)
    if curve.objective == "reinforcement" or not start or len(curve.train) - start < ZEROS:
        return None
    onset = curve.train[start][0]
    since = [loss for step, loss in curve.evals if step >= onset]
    if not since or any(math.isfinite(loss) for loss in since):
        return None
    return Sign("nan", int(onset), 0.95, {"loss": 0.0, "eval_loss": repr(since[0])})


def _zeros_from(points: Sequence[Point]) -> int:
    """Return the place from which on all losses are exactly zero; the length where none is."""
    start = len(points)
    while start and points[start - 1][1] == 0:
        start -= 1
    return start


def eval_nan(curve: Curve) -> Sign | None:
    """Find a validation loss that is no number although the training's is one."""
    bad = [(step, loss) for step, loss in curve.evals if not math.isfinite(loss)]
    if not bad:
        return None
    return Sign(
        "eval_nan", int(bad[0][0]), 1.0,
        {"eval_loss": repr(bad[0][1]), "bad": len(bad), "evaluations": len(curve.evals),
         "training_is_one": int(bool(curve.train))},
    )  # fmt: skip


def zero_loss(curve: Curve) -> Sign | None:
    """Find a loss of exactly zero: no token carries loss, or float16 fell to zero.

    Of reinforcement learning a loss near zero is its normal state.
    """
    if curve.objective == "reinforcement":
        return None
    for name, points in (("training", curve.train), ("validation", curve.evals)):
        start = _zeros_from(points)
        if len(points) - start < ZEROS:
            continue
        return Sign("zero_loss", int(points[start][0]), 1.0, {"loss": 0.0, "of": name})
    return None


def diverged(curve: Curve) -> Sign | None:
    """Find a training loss that left its level upwards and does not come back."""
    points = finite(curve.train)
    if len(points) < RUN + 2 or curve.objective == "reinforcement":
        return None
    values = [loss for _, loss in points]
    smooth = running_median(values, REACH)
    floor, at = _floor([min(values[0], smooth[0]), *smooth[1:]])
    calm = values[: at + 1]
    sigma = noise(calm) if len(calm) > RUN else 0.05 * abs(floor)
    height = floor + max(6 * sigma, 0.25 * abs(floor))
    onset = _last_stay_above(values, height)
    if len(points) - onset < RUN:
        return None
    elevated = values[onset:]
    third = len(elevated) // 3
    first, last = median(elevated[:third]), median(elevated[-third:])
    stays = last >= first - sigma and max(elevated[1:]) > elevated[0]
    start = median(values[:3])
    lost = _is_lost(points, onset, last, start)
    if not (stays or lost):
        return None
    sure = min(0.99, 0.8 + 0.02 * (len(elevated) - RUN))
    return Sign(
        "diverged", int(points[onset][0]), sure,
        {"before": floor, "now": last, "start": start,
         **of_guessing(curve, median(values[-RUN:]))},
    )  # fmt: skip


def _floor(smooth: Sequence[float]) -> tuple[float, int]:
    at = min(range(len(smooth)), key=smooth.__getitem__)
    return smooth[at], at


def _last_stay_above(values: Sequence[float], height: float) -> int:
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


def _is_lost(points: Sequence[Point], onset: int, last: float, start: float) -> bool:
    """Say whether it has been worse than untrained for long, be it on its way down again."""
    length = len(points) - onset
    spanned = points[-1][0] - points[onset][0]
    return last > 1.1 * start and length >= 10 and spanned >= 0.05 * points[-1][0]
