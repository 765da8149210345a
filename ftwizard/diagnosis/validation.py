"""Signs in the validation loss: it rises, it is flat, it is too good to be true."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

from ftwizard.diagnosis.curve import Curve, Point, finite
from ftwizard.diagnosis.sign import Sign, Value
from ftwizard.diagnosis.statistics import (
    certainty,
    cusum,
    error_of_rise,
    noise,
    noise_about_convex,
    slope,
    thinned,
    trend,
)

LEAST = 4
"""Evaluations below which nothing is said of a trend."""
STEADY = 1.0
"""Mann-Kendall z of a rise: one outlier among even evaluations has less."""
SURE = 2.0
"""Standard errors that a rise must have."""
RISES = 0.005
"""A rise by less than this share of the best is none: deterministic evaluations of one model on
two machines differ by about as much."""
WEIGHS = 0.07
"""A rise's share of the best times its standard errors: one of 1 % has to have seven of them, one
of 3.5 % two. Small rises are common and mostly chance; of drawn flat curves about one in twenty
is ever taken for rising."""
EXACT = 1e-6
"""Share of itself to which a loss is known at best (it is summed in float32)."""


def overfit(curve: Curve) -> Sign | None:
    """Find a validation loss that rises since its best while the training loss does not.

    The trend since the best by Mann-Kendall, its size by Theil-Sen, against the noise of the
    evaluations; ``severity_share`` is the generalisation loss GL (Prechelt 1998), ``cusum`` the
    confirmation.
    """
    evals = finite(curve.evals)
    if len(evals) < LEAST or curve.objective == "reinforcement":
        return None
    losses = [loss for _, loss in evals]
    at = min(range(len(losses)), key=losses.__getitem__)
    onset, best = evals[at]
    since = thinned(evals[at:])
    if len(since) < LEAST or _training_rises(curve, onset):
        return None
    sigma = max(noise_about_convex(losses), EXACT * abs(best), 1e-300)
    rise = slope(since) * (since[-1][0] - since[0][0])
    z = rise / (sigma * error_of_rise(len(evals) - at))
    # A loss at or below zero has no share: there its fall so far is what a rise is measured by.
    scale = best if best > 0 else max(-best, losses[0] - best)
    share = rise / scale if scale else math.inf
    steady = trend([loss for _, loss in since])
    if not (steady > STEADY and z > SURE and share >= RISES and share * z >= WEIGHS):
        return None
    confirmed = cusum(losses[at + 1 :], _level_at_best(losses, at), sigma)
    surely = min(0.99, certainty(z) * (1.0 if confirmed > 5 else 0.93))
    return Sign(
        "overfit", int(onset), surely,
        {"best_loss": best, "now": losses[-1], "severity_share": losses[-1] / best - 1 if best > 0 else None,
         "evaluations_since": len(evals) - 1 - at, "trend_z": z, "cusum": confirmed, "noise": sigma,
         "training": _training_since(curve, onset), **_improving(curve, onset)},
    )  # fmt: skip


def rise_of_few(curve: Curve) -> dict[str, Value]:
    """Return the numbers of a rise that begins at the first of too few evaluations to be sure of.

    Empty where one of the later is no higher, or where the training loss has risen as well.
    """
    evals = finite(curve.evals)
    if not 2 <= len(evals) < LEAST or curve.objective == "reinforcement":
        return {}
    (onset, first), *later = evals
    now = later[-1][1]
    if min(loss for _, loss in later) <= first or now - first < RISES * abs(first):
        return {}
    if _training_rises(curve, onset):
        return {}
    return {
        "first": first,
        "now": now,
        "severity_share": now / first - 1 if first > 0 else None,
        "training": _training_since(curve, onset),
    }


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


def _training_since(curve: Curve, since: float) -> str | None:
    """Say in a word what the training loss does since a step, None where too little tells."""
    losses = [
        loss for _, loss in thinned([point for point in finite(curve.train) if point[0] >= since])
    ]
    if len(losses) < LEAST:
        return None
    z = trend(losses)
    return "falls" if z < -1.645 else "rises" if z > 1.645 else "is flat"


def plateau(curve: Curve) -> Sign | None:
    """Find a validation loss (without one, a training loss) that fell and has become flat."""
    if curve.objective == "reinforcement":
        return None
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
    since = last[0][0]
    falls = -slope(last) * (last[-1][0] - last[0][0])
    error = 1.2 * sigma * (12 / width) ** 0.5
    if abs(falls) + 0.5 * error > 0.06 * fallen + sigma:
        return None
    if falls > 0 and trend([loss for _, loss in last]) < -1.96 and falls > 0.03 * fallen:
        return None
    return Sign(
        "plateau", int(since), 0.8,
        {"fell": fallen, "falls_now": falls, "noise": sigma, "since": int(since),
         "evaluations": sum(step >= since for step, _ in evals),
         "rate_share": _rate_share(curve, since)},
    )  # fmt: skip


def _rate_share(curve: Curve, since: float) -> float | None:
    """Return the learning rate's mean since a step as a share of its height, None if not known."""
    rates = finite(curve.learning_rate)
    height = max((rate for _, rate in rates), default=0.0)
    lately = [rate for step, rate in rates if step >= since]
    return sum(lately) / len(lately) / height if lately and height > 0 else None


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
