"""Signs in the validation loss: overfitting, plateau, too good to be true."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median

from ftwizard.diagnosis.curve import Curve, Point, Sign, Value, keep_finite
from ftwizard.diagnosis.statistics import (
    certainty,
    cusum,
    error_of_rise,
    noise,
    noise_about_convex,
    slope,
    thin,
    trend,
)

MIN_EVALUATIONS = 4
"""Evaluations needed to judge a trend."""
MIN_TREND_Z = 1.0
"""Mann-Kendall z of a rise; one outlier among flat evaluations has less."""
MIN_RISE_Z = 2.0
"""Standard errors that a rise must have."""
MIN_RISE_SHARE = 0.005
"""Smallest rise, as a share of the best loss: deterministic evaluations of one model on two
machines differ by about as much."""
MIN_RISE_WEIGHT = 0.07
"""Smallest product of a rise's share and its standard errors: a rise of 1% needs seven, one of
3.5% needs two. Small rises are common and mostly chance; about one in twenty simulated flat curves
is ever taken for rising."""
MIN_PLAIN_RISE = {2: 0.08, 3: 0.03}
"""By rises in a row, the smallest share above the best that needs no other test."""
MIN_RISE_WITHOUT_PROOF = {3: 0.05}
"""The same where single rows do not prove the rise."""
MIN_PLAIN_Z = 5.0
"""Standard deviations of an evaluation by which such a rise must exceed the best."""
PRECISION = 1e-6
"""Relative precision of a loss (it is summed in float32)."""


def find_overfitting(curve: Curve) -> Sign | None:
    """Find a validation loss that rises since its best while training loss does not.

    Where the losses of single rows are known, they must prove the rise. Elsewhere the curve itself
    must show it: by a trend, or by rises in a row.
    """
    evals = keep_finite(curve.evals)
    if len(evals) < 3:
        return None
    best = get_best(evals)
    if best is None or _has_training_risen(curve, best[0]):
        return None
    evidence = _prove_rise(curve, best) if curve.row_evidence else _find_lasting_rise(evals)
    if evidence is None:
        return None
    onset, best_loss = best
    now = evals[-1][1]
    confidence = evidence.pop("confidence")
    assert isinstance(confidence, float)
    return Sign(
        "overfit", int(onset), confidence,
        {"best_loss": best_loss, "now": now, "rise": now - best_loss,
         "evaluations_since": sum(step > onset for step, _ in evals), **evidence,
         "training": _describe_training_since(curve, onset), **_find_improving_score(curve, onset)},
    )  # fmt: skip


MIN_PROVEN = 2
"""Evaluations since the best that must each prove a rise: one may be a passing bump."""


def _prove_rise(curve: Curve, best: Point) -> dict[str, Value] | None:
    """Return the evidence for a rise since the best evaluation by its single rows; else None.

    Once proven, it lasts until the loss is back at its best. Few rows that differ much prove
    nothing; then three large rises in a row must do, while training loss falls.
    """
    smallest = MIN_RISE_SHARE * abs(best[1])
    since = [item for item in curve.row_evidence if item.step > best[0]]
    changes = [item.change for item in since if item.change]
    if not changes or changes[-1].value < smallest:
        return None
    proven = [change for change in changes if change.is_rise and change.value >= smallest]
    shown: dict[str, Value] = {
        "rise_low": changes[-1].low, "rise_high": changes[-1].high, "rows": since[-1].rows
    }  # fmt: skip
    if len(proven) >= MIN_PROVEN:
        return {**shown, "confidence": 0.99 if len(proven) > MIN_PROVEN else 0.95}
    losses = [loss for step, loss in keep_finite(curve.evals) if step >= best[0]]
    still_high = losses[-1] - best[1] >= MIN_RISE_WITHOUT_PROOF[3] * abs(best[1])
    looks = [losses[:count] for count in range(len(losses), 3, -1)] if still_high else []
    rises = (_find_plain_rise(look, abs(best[1]), 0.0, MIN_RISE_WITHOUT_PROOF) for look in looks)
    plain = next(filter(None, rises), None)
    falls = _describe_training_since(curve, best[0]) == "falls"
    return {**shown, **plain} if plain and falls else None


def _find_lasting_rise(evals: Sequence[Point]) -> dict[str, Value] | None:
    """Return the evidence for a rise now, or at the evaluation before if the loss is still high."""
    if evidence := _find_rise(evals):
        return evidence
    best = min(loss for _, loss in evals[:-1])
    is_high = evals[-1][1] > best + MIN_RISE_SHARE * abs(best)
    return _find_rise(evals[:-1]) if is_high and len(evals) > MIN_EVALUATIONS else None


def _find_rise(evals: Sequence[Point]) -> dict[str, Value] | None:
    """Return the evidence for a rise since the best, by the losses of evaluations alone.

    Mann-Kendall tests the trend since the best and Theil-Sen measures it, relative to the noise of
    the evaluations; CUSUM confirms the rise.
    """
    losses = [loss for _, loss in evals]
    best_index = min(range(len(losses)), key=losses.__getitem__)
    best_loss = losses[best_index]
    since = thin(evals[best_index:])
    # Of fewer evaluations, the noise cannot be told from the rise.
    measured = noise_about_convex(losses) if len(losses) > MIN_EVALUATIONS else 0.0
    sigma = max(measured, PRECISION * abs(best_loss), 1e-300)
    # A loss at or below zero has no share: compare the rise with the fall so far.
    scale = best_loss if best_loss > 0 else max(-best_loss, losses[0] - best_loss)
    if len(since) < MIN_EVALUATIONS:
        return _find_plain_rise(losses[best_index:], scale, sigma)
    rise = slope(since) * (since[-1][0] - since[0][0])
    z = rise / (sigma * error_of_rise(len(evals) - best_index))
    share = rise / scale if scale else math.inf
    trend_z = trend([loss for _, loss in since])
    if not (
        trend_z > MIN_TREND_Z
        and z > MIN_RISE_Z
        and share >= MIN_RISE_SHARE
        and share * z >= MIN_RISE_WEIGHT
    ):
        return _find_plain_rise(losses[best_index:], scale, sigma)
    # The level around the best: the best itself is partly luck.
    level = median(losses[max(0, best_index - 1) : best_index + 2])
    confirmed = cusum(losses[best_index + 1 :], level, sigma)
    confidence = min(0.99, certainty(z) * (1.0 if confirmed > 5 else 0.93))
    return {"trend_z": trend_z, "cusum": confirmed, "noise": sigma, "confidence": confidence}


def _find_plain_rise(
    losses: Sequence[float],
    scale: float,
    sigma: float,
    needs: Mapping[int, float] = MIN_PLAIN_RISE,
) -> dict[str, Value] | None:
    """Return evidence if the newest losses rose in a row, far above the best, the first of them.

    Three rises in a row are the rule of “End-to-End Fine-Tuning Pipeline”; two suffice if larger.
    """
    rises = 0
    while rises + 1 < len(losses) and losses[-1 - rises] > losses[-2 - rises]:
        rises += 1
    needed = needs.get(min(rises, 3))
    if needed is None or losses[-1] - losses[0] < max(needed * scale, MIN_PLAIN_Z * sigma):
        return None
    return {"rises_in_a_row": rises, "confidence": 0.8}


def describe_since_best(curve: Curve) -> dict[str, Value]:
    """Return evidence of a loss that is above its best: by how much, and what the rows prove.

    Empty if the newest evaluation is the best, or training loss has risen as well.
    """
    evals = keep_finite(curve.evals)
    best = get_best(evals)
    if best is None or evals[-1][0] == best[0] or _has_training_risen(curve, best[0]):
        return {}
    change, above = curve.get_change(evals[-1][0]), evals[-1][1] - best[1]
    if change is None and above < MIN_RISE_SHARE * abs(best[1]):
        return {}
    return {
        "above_best": above,
        "evaluations_since": sum(step > best[0] for step, _ in evals),
        "rows": curve.row_evidence[-1].rows if change else None,
        "rise_low": change.low if change else None,
        "rise_high": change.high if change else None,
        "training": _describe_training_since(curve, best[0]),
    }


def _find_improving_score(curve: Curve, since: float) -> dict[str, Value]:
    """Name a score that keeps improving: the loss may rise by overconfidence alone."""
    for name, points in curve.scores.items():
        values = [value for step, value in keep_finite(points) if step >= since]
        if len(values) >= MIN_EVALUATIONS and trend(values) > 1.645:
            return {"score": name}
    return {}


def _has_training_risen(curve: Curve, since: float) -> bool:
    """Return whether training loss is higher than at ``since``: then it is not overfitting."""
    train = keep_finite(curve.train)
    before = [loss for step, loss in train if step <= since][-8:]
    now = [loss for _, loss in train][-4:]
    if not before or not now:
        return False
    sigma = noise([loss for _, loss in train])
    return median(now) > median(before) + max(3 * sigma, 0.02 * abs(median(before)))


def _describe_training_since(curve: Curve, since: float) -> str | None:
    """Describe in a word what training loss does since a step; None with too few points."""
    losses = [
        loss for _, loss in thin([point for point in keep_finite(curve.train) if point[0] >= since])
    ]
    if len(losses) < MIN_EVALUATIONS:
        return None
    z = trend(losses)
    return "falls" if z < -1.645 else "rises" if z > 1.645 else "is flat"


def find_plateau(curve: Curve) -> Sign | None:
    """Find a validation loss (without one, a training loss) that fell and became flat.

    It counts if two of the last three looks find it, so that noise does not toggle it.
    """
    points = curve.evals or curve.train
    looks = [curve, *(curve.until(step) for step, _ in points[-3:-1])]
    flat = [sign for look in looks if (sign := _find_flat(look))]
    return flat[0] if len(flat) > 1 else None


def find_validation_plateau(curve: Curve) -> Sign | None:
    """Find a flat validation loss; a training loss alone does not count."""
    return find_plateau(curve) if curve.evals else None


def _find_flat(curve: Curve) -> Sign | None:
    if curve.validates and not curve.evals:
        return None
    evals = keep_finite(curve.evals)
    points = thin(evals or keep_finite(curve.train))
    if len(points) < (MIN_EVALUATIONS + 2 if evals else 20):
        return None
    width = max(MIN_EVALUATIONS, round(0.3 * len(points)))
    last = points[-width:]
    losses = [loss for _, loss in points]
    total_fall = max(losses[:3]) - min(losses)
    sigma = noise(losses)
    if total_fall <= 3 * sigma:
        return None
    since = last[0][0]
    recent_fall = -slope(last) * (last[-1][0] - last[0][0])
    error = 1.2 * sigma * (12 / width) ** 0.5
    if abs(recent_fall) + 0.5 * error > 0.06 * total_fall + sigma:
        return None
    if trend([loss for _, loss in last]) < -1.96 or is_falling_by_rows(curve, since):
        return None
    return Sign(
        "plateau", int(since), 0.8,
        {"fell": total_fall, "falls_now": recent_fall, "noise": sigma, "since": int(since),
         "evaluations": sum(step >= since for step, _ in evals),
         "rate_share": _get_rate_share(curve, since)},
    )  # fmt: skip


def is_falling_by_rows(curve: Curve, since: float = 0.0) -> bool:
    """Return whether an evaluation after ``since`` is below the best before, as its rows prove.

    Many rows prove a fall that is too small to matter; it does not count.
    """
    losses = dict(curve.evals)
    return any(
        item.change.is_fall
        and -item.change.value >= MIN_RISE_SHARE * abs(losses.get(item.step, 0.0))
        for item in curve.row_evidence
        if item.change and item.step > since
    )


def _get_rate_share(curve: Curve, since: float) -> float | None:
    """Return the mean learning rate since a step as a share of its peak; None if unknown."""
    rates = keep_finite(curve.learning_rate)
    peak = max((rate for _, rate in rates), default=0.0)
    recent = [rate for step, rate in rates if step >= since]
    return sum(recent) / len(recent) / peak if recent and peak > 0 else None


def find_too_good(curve: Curve) -> Sign | None:
    """Find a validation loss near zero before any row was repeated."""
    evals = keep_finite(curve.evals)
    if curve.steps_per_epoch is None:
        return None
    first = [(step, loss) for step, loss in evals if step <= curve.steps_per_epoch]
    if len(first) < 2 or first[-1][1] > 0.03 or first[-1][1] > 0.05 * max(first[0][1], 0.5):
        return None
    return Sign("too_good", int(first[-1][0]), 0.7, {"eval_loss": first[-1][1]})


def get_best(points: Sequence[Point]) -> Point | None:
    """Return the lowest finite point, the oldest of equals; None without one."""
    return min(keep_finite(points), key=lambda point: (point[1], point[0]), default=None)
