"""Signs in the validation loss: it rises, it is flat, it is too good to be true."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

from ftwizard.diagnosis.curve import Curve, Point, finite
from ftwizard.diagnosis.sign import Sign, Value
from ftwizard.diagnosis.statistics import certainty, cusum, noise, slope, thinned, trend

LEAST = 4
"""Evaluations below which nothing is said of a trend."""
SURE = 1.0
"""Standard errors that a rise must have, beside the significance of its trend."""
RISES = 0.01
"""A rise by less than this share of the best is none (the founding article's patterns are visible
ones; below it deterministic evaluations of one model on two machines differ)."""


def overfit(curve: Curve) -> Sign | None:
    """Find a validation loss that rises since its best while the training loss does not.

    The trend since the best by Mann-Kendall, its size by Theil-Sen, against the noise of the
    evaluations; ``severity_share`` is the generalisation loss GL (Prechelt 1998), ``cusum`` the
    confirmation.
    """
    evals = thinned(finite(curve.evals))
    if len(evals) < LEAST:
        return None
    losses = [loss for _, loss in evals]
    at = min(range(len(losses)), key=losses.__getitem__)
    since = evals[at:]
    if len(since) < LEAST or _training_rises(curve, evals[at][0]):
        return None
    best = losses[at]
    sigma = noise(losses)
    z = trend([loss for _, loss in since])
    rise = max(0.0, slope(since)) * (since[-1][0] - since[0][0])
    above = median(losses[-3:]) - _level_at_best(losses, at)
    confirmed = cusum([loss for _, loss in since[1:]], _level_at_best(losses, at), sigma)
    needed = max(RISES * abs(best), SURE * sigma * _error_of_rise(len(since)))
    if z <= 1.645 or rise < needed or above < RISES * abs(best):
        return None
    surely = min(0.99, certainty(z) * (1.0 if confirmed > 5 else 0.93))
    return Sign(
        "overfit", int(evals[at][0]), surely,
        {"best_loss": best, "now": losses[-1], "severity_share": (losses[-1] - best) / abs(best) if best else None,
         "evaluations_since": len(since) - 1, "trend_z": z, "cusum": confirmed, "noise": sigma,
         **_improving(curve, evals[at][0])},
    )  # fmt: skip


def _error_of_rise(n: int) -> float:
    """Return the standard error of a straight line's rise over ``n`` even points, in sigmas."""
    return math.sqrt(12 * (n - 1) / (n * (n + 1)))


def _level_at_best(losses: Sequence[float], at: int) -> float:
    """Return the level about the best: the best itself is the luckiest of several."""
    return median(losses[max(0, at - 1) : at + 2])


def _improving(curve: Curve, since: float) -> dict[str, Value]:
    """Name a score that has gone on to improve: the loss may rise by growing sure of itself."""
    for name, points in curve.scores.items():
        values = [value for step, value in finite(points) if step >= since]
        if len(values) >= LEAST and trend(values) > 1.645:
            return {"score": name}
    return {}


def _training_rises(curve: Curve, since: float) -> bool:
    """Say whether the training loss is above where it was at ``since``: then all of it is worse."""
    train = finite(curve.train)
    before = [loss for step, loss in train if step <= since][-8:]
    now = [loss for _, loss in train][-4:]
    if not before or not now:
        return False
    sigma = noise([loss for _, loss in train])
    return median(now) > median(before) + max(3 * sigma, 0.02 * abs(median(before)))


def plateau(curve: Curve) -> Sign | None:
    """Find a validation loss (without one, a training loss) that fell and has become flat."""
    evals = finite(curve.evals)
    points = thinned(evals or finite(curve.train))
    if len(points) < (LEAST + 2 if evals else 20):
        return None
    width = max(LEAST, round(0.3 * len(points)))
    last = points[-width:]
    losses = [loss for _, loss in points]
    fallen = max(losses[:3]) - min(losses)
    sigma = noise(losses)
    if fallen <= 3 * sigma:
        return None
    falls = -slope(last) * (last[-1][0] - last[0][0])
    error = 1.2 * sigma * (12 / width) ** 0.5
    if abs(falls) + 0.5 * error > 0.06 * fallen + sigma:
        return None
    if falls > 0 and trend([loss for _, loss in last]) < -1.96 and falls > 0.03 * fallen:
        return None
    return Sign(
        "plateau", int(last[0][0]), 0.8,
        {"fell": fallen, "falls_now": falls, "noise": sigma, "evaluations": width},
    )  # fmt: skip


def too_good(curve: Curve) -> Sign | None:
    """Find a validation loss near zero before any row was seen twice."""
    evals = finite(curve.evals)
    if curve.steps_per_epoch is None or curve.objective != "supervised":
        return None
    first = [(step, loss) for step, loss in evals if step <= curve.steps_per_epoch]
    if len(first) < 2 or first[-1][1] > 0.03 or first[-1][1] > 0.05 * max(first[0][1], 0.5):
        return None
    return Sign("too_good", int(first[-1][0]), 0.7, {"eval_loss": first[-1][1]})


def best(points: Sequence[Point]) -> Point | None:
    """Return the least finite point, the oldest of equals; None without one."""
    return min(finite(points), key=lambda point: (point[1], point[0]), default=None)
