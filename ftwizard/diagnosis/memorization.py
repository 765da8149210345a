"""Signs of memorization: a training loss that drops in steps, epoch by epoch."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from ftwizard.diagnosis.curve import Curve, Point, Sign, keep_finite
from ftwizard.diagnosis.statistics import measure_noise, thin

MAX_POINTS = 240
MIN_POINTS = 10
MIN_DROP = 0.05
"""Share of its level by which the loss must drop at once."""
MIN_Z = 10.0, 7.0
"""Standard errors needed for one drop, and for several: with unknown epochs, many spacings are
tried."""
MIN_Z_KNOWN_EPOCHS = 4.0
MIN_FOLLOWING = 0.35
"""A validation loss follows the training loss if its fall is at least this share of it."""
MIN_AFTER = 2
"""Evaluations after the first drop that show whether validation loss follows."""
MIN_IMPROVEMENT = 0.01
"""Share by which a validation loss below its best before the drop shows that the model learns."""
REACH = 4
"""Points on each side of a drop."""
MAX_PEAKS = 6


@dataclass(frozen=True)
class _Stairs:
    steps: tuple[float, ...]
    """Optimizer steps of the boundaries."""
    shares: tuple[float, ...]
    """Share of its level by which the loss dropped at each."""
    z: float


def find_memorization(curve: Curve) -> Sign | None:
    """Find a training loss that drops at epoch boundaries while nothing validates it.

    Fine-tuning over several epochs shows this: rows seen before have a lower loss at once, and
    within an epoch the loss barely falls. With unknown epochs, any even spacing is tried.
    """
    points = thin(keep_finite(curve.train), MAX_POINTS)
    if len(points) < MIN_POINTS:
        return None
    epoch = curve.steps_per_epoch
    if epoch is not None and not 1 <= epoch < math.inf:
        epoch = None
    spans = [epoch] if epoch else _suggest_periods(points)
    sigma = max(measure_noise([value for _, value in points]), 1e-9)
    candidates = [stairs for span in spans if (stairs := _fit_stairs(points, span, sigma))]
    stairs = max(candidates, key=lambda stairs: stairs.z, default=None)
    if stairs is None or stairs.z < (MIN_Z_KNOWN_EPOCHS if epoch else MIN_Z[len(stairs.steps) > 1]):
        return None
    if _does_validation_follow(curve, stairs.steps[0]):
        return None
    return Sign(
        "memorizing", int(stairs.steps[0]), min(0.97, 0.6 + 0.03 * stairs.z),
        {"steps_down": len(stairs.steps), "drop_share": median(stairs.shares),
         "epochs_known": int(bool(epoch)), "validated": int(bool(curve.evals))},
    )  # fmt: skip


def find_unfollowed_memorization(curve: Curve) -> Sign | None:
    """Find memorization only where a validation loss shows that nothing else was learned."""
    return find_memorization(curve) if curve.evals else None


def _suggest_periods(points: Sequence[Point]) -> list[float]:
    """Return the spacings to try: those between the largest sudden drops."""
    values = [value for _, value in points]
    falls = {
        i: median(values[i - REACH : i]) - median(values[i : i + REACH])
        for i in range(REACH, len(values) - REACH + 1)
    }
    peaks: list[int] = []
    for i in sorted(falls, key=falls.__getitem__, reverse=True):
        if falls[i] > 0 and all(abs(i - peak) >= REACH for peak in peaks):
            peaks.append(i)
        if len(peaks) == MAX_PEAKS:
            break
    # A boundary lies between the point before the fall and the one after it.
    ends = sorted((points[i - 1][0] + points[i][0]) / 2 for i in peaks)
    spans = {end / k for end in ends for k in range(1, MAX_PEAKS)}
    spans |= {b - a for i, a in enumerate(ends) for b in ends[i + 1 :]}
    min_span = 3.5 * (points[-1][0] - points[0][0]) / (len(points) - 1)
    return sorted(span for span in spans if span >= min_span and span > 0)


def _fit_stairs(points: Sequence[Point], span: float, sigma: float) -> _Stairs | None:
    """Return the drops at multiples of ``span``; None unless each multiple has one."""
    epochs = _split_epochs(points, span)
    if len(epochs) < 2:
        return None
    falls = []
    for before, after in pairwise(epochs):
        late, early = before[-_get_reach(before) :], after[: _get_reach(after)]
        if len(early) < 2 or len(late) < 2:
            continue
        # Compare with the epoch's own level if lower: recovery from a spike is not a drop.
        level = min(median(value for _, value in late), median(value for _, value in before))
        fallen = level - median(value for _, value in early)
        if level <= 0 or fallen <= 0:
            return None  # the fast exit for most candidate spacings
        falls.append((late, early, level, fallen))
    # A loss that rises within epochs, as in a spike, must not enlarge the drops at their ends.
    # The first epoch falls steeply at its beginning, which therefore does not count.
    ends = [epoch[len(epoch) // 2 :] if len(epoch) >= 8 else epoch for epoch in epochs]
    inner = min(0.0, median(map(_compute_slope, ends)))
    steps, shares, score = [], [], 0.0
    for late, early, level, fallen in falls:
        drop = fallen + inner * (_get_middle(early) - _get_middle(late))
        if drop < MIN_DROP * level or drop < 0.5 * fallen:
            return None
        steps.append(early[0][0])
        shares.append(drop / level)
        score += drop / (sigma * 1.25 * math.sqrt(1 / len(late) + 1 / len(early)))
    return _Stairs(tuple(steps), tuple(shares), score / math.sqrt(len(steps))) if steps else None


def _split_epochs(points: Sequence[Point], span: float) -> list[Sequence[Point]]:
    """Group points by epoch; a point on a boundary belongs to the epoch that it ends."""
    epochs: list[Sequence[Point]] = []
    begin = 0
    while begin < len(points):
        end_step = span * math.ceil(points[begin][0] / span)
        end = max(begin + 1, bisect_right(points, (end_step, math.inf), begin))
        epochs.append(points[begin:end])
        begin = end
    return epochs


def _compute_slope(points: Sequence[Point]) -> float:
    """Return the rise per step between the medians of the first and the last third."""
    third = max(1, len(points) // 3)
    distance = points[-1 - third // 2][0] - points[third // 2][0]
    head, tail = points[:third], points[-third:]
    rise = median(value for _, value in tail) - median(value for _, value in head)
    return rise / distance if distance > 0 else 0.0


def _get_reach(epoch: Sequence[Point]) -> int:
    return min(12, max(2, len(epoch) // 2))


def _get_middle(points: Sequence[Point]) -> float:
    return points[len(points) // 2][0]


def _does_validation_follow(curve: Curve, since: float) -> bool:
    """Return whether validation loss has followed training loss down since ``since``."""
    train, evals = keep_finite(curve.train), keep_finite(curve.evals)
    before = [point for point in evals if point[0] <= since]
    after = [loss for step, loss in evals if step > since]
    if not before or len(after) < MIN_AFTER:
        return bool(evals)
    if after[-1] < (1 - MIN_IMPROVEMENT) * min(loss for _, loss in before):
        return True
    start = before[-1][0]
    train_before = [loss for step, loss in train if step <= start][-REACH:]
    train_fall = _compute_fall_share(train_before, [loss for _, loss in train][-REACH:])
    eval_fall = _compute_fall_share([before[-1][1]], after[-3:])
    return eval_fall >= MIN_FOLLOWING * train_fall


def _compute_fall_share(before: Sequence[float], now: Sequence[float]) -> float:
    level = median(before) if before else 0.0
    return (level - median(now)) / level if level > 0 else 0.0
