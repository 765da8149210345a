"""The sign of rows known by heart: a training loss that falls in steps, epoch by epoch."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from ftwizard.diagnosis.curve import Curve, Point, finite
from ftwizard.diagnosis.sign import Sign
from ftwizard.diagnosis.statistics import noise, thinned

MOST_POINTS = 240
LEAST = 10
SMALLEST = 0.05
"""Share of its level by which the loss must fall at once."""
SURE = 10.0, 7.0
"""Standard errors of one step, of several together; many places are tried where epochs are not
known."""
SURE_OF_KNOWN = 4.0
FOLLOWS = 0.35
"""A validation loss that falls by this much of the training loss's fall, in shares, follows it."""
NEAR = 4
"""Points on each side of a fall."""
PEAKS = 6


@dataclass(frozen=True)
class _Stairs:
    steps: tuple[float, ...]
    """Optimizer steps of the boundaries."""
    shares: tuple[float, ...]
    """By which share of its level the loss fell at each."""
    z: float


def memorising(curve: Curve) -> Sign | None:
    """Find a training loss that falls at once at the ends of epochs, validated by nothing.

    Seen in fine-tunings of several epochs: what was seen once is known better at once, and within
    an epoch the loss hardly falls. Where epochs are not known, any even spacing is tried.
    """
    points = thinned(finite(curve.train), MOST_POINTS)
    if len(points) < LEAST or curve.objective == "reinforcement":
        return None
    known = curve.steps_per_epoch
    if known is not None and not 1 <= known < math.inf:
        known = None
    spans = [known] if known else _periods(points)
    sigma = max(noise([value for _, value in points]), 1e-9)
    found = [stairs for span in spans if (stairs := _stairs(points, span, sigma))]
    stairs = max(found, key=lambda one: one.z, default=None)
    if stairs is None or stairs.z < (SURE_OF_KNOWN if known else SURE[len(stairs.steps) > 1]):
        return None
    if not _nothing_validates(curve, stairs.steps[0]):
        return None
    return Sign(
        "memorising", int(stairs.steps[0]), min(0.97, 0.6 + 0.03 * stairs.z),
        {"steps_down": len(stairs.steps), "drop_share": median(stairs.shares),
         "epochs_known": int(bool(known))},
    )  # fmt: skip


def _periods(points: Sequence[Point]) -> list[float]:
    """Return the spacings that the greatest falls at once suggest, to be tried."""
    values = [value for _, value in points]
    falls = {
        i: median(values[i - NEAR : i]) - median(values[i : i + NEAR])
        for i in range(NEAR, len(values) - NEAR + 1)
    }
    peaks: list[int] = []
    for i in sorted(falls, key=falls.__getitem__, reverse=True):
        if falls[i] > 0 and all(abs(i - peak) >= NEAR for peak in peaks):
            peaks.append(i)
        if len(peaks) == PEAKS:
            break
    # A boundary lies between the point before the fall and the one after it.
    ends = sorted((points[i - 1][0] + points[i][0]) / 2 for i in peaks)
    spans = {end / k for end in ends for k in range(1, PEAKS)}
    spans |= {b - a for i, a in enumerate(ends) for b in ends[i + 1 :]}
    least = 3.5 * (points[-1][0] - points[0][0]) / (len(points) - 1)
    return sorted(span for span in spans if span >= least and span > 0)


def _stairs(points: Sequence[Point], span: float, sigma: float) -> _Stairs | None:
    """Return the steps down at multiples of ``span``, None unless each of them is one."""
    epochs = _by_epoch(points, span)
    if len(epochs) < 2:
        return None
    falls = []
    for before, after in pairwise(epochs):
        late, early = before[-_reach(before) :], after[: _reach(after)]
        if len(early) < 2 or len(late) < 2:
            continue
        # Against the epoch's own level, if lower: to come back from a spike is no step down.
        level = min(median(value for _, value in late), median(value for _, value in before))
        fallen = level - median(value for _, value in early)
        if level <= 0 or fallen <= 0:
            return None  # which most of the spacings that are tried come to, and soon
        falls.append((late, early, level, fallen))
    # Where the loss rises within epochs, as in a spike, no more of the fall is put down to their ends.
    inner = min(0.0, median([_steepness(_late(epoch)) for epoch in epochs]))
    steps, shares, score = [], [], 0.0
    for late, early, level, fallen in falls:
        drop = fallen + inner * (_middle(early) - _middle(late))
        if drop < SMALLEST * level or drop < 0.5 * fallen:
            return None
        steps.append(early[0][0])
        shares.append(drop / level)
        score += drop / (sigma * 1.25 * math.sqrt(1 / len(late) + 1 / len(early)))
    return _Stairs(tuple(steps), tuple(shares), score / math.sqrt(len(steps))) if steps else None


def _by_epoch(points: Sequence[Point], span: float) -> list[Sequence[Point]]:
    """Return the points of each epoch that has some; one on a boundary belongs to what it ends."""
    epochs: list[Sequence[Point]] = []
    begin = 0
    while begin < len(points):
        end_step = span * math.ceil(points[begin][0] / span)
        end = max(begin + 1, bisect_right(points, (end_step, math.inf), begin))
        epochs.append(points[begin:end])
        begin = end
    return epochs


def _late(epoch: Sequence[Point]) -> Sequence[Point]:
    """Return an epoch without its beginning, where the first one falls steeply."""
    return epoch[len(epoch) // 2 :] if len(epoch) >= 8 else epoch


def _steepness(points: Sequence[Point]) -> float:
    """Return the rise a step between the medians of the first and of the last third."""
    third = max(1, len(points) // 3)
    apart = points[-1 - third // 2][0] - points[third // 2][0]
    head, tail = points[:third], points[-third:]
    rise = median(value for _, value in tail) - median(value for _, value in head)
    return rise / apart if apart > 0 else 0.0


def _reach(epoch: Sequence[Point]) -> int:
    return min(12, max(2, len(epoch) // 2))


def _middle(points: Sequence[Point]) -> float:
    return points[len(points) // 2][0]


def _nothing_validates(curve: Curve, since: float) -> bool:
    """Say whether the validation loss has not followed the training loss down since ``since``."""
    train, evals = finite(curve.train), finite(curve.evals)
    before = [point for point in evals if point[0] <= since]
    after = [loss for step, loss in evals if step > since]
    if not before or not after:
        return not evals
    start = before[-1][0]
    known = _share_fallen(
        [v for s, v in train if s <= start][-NEAR:], [v for _, v in train][-NEAR:]
    )
    told = _share_fallen([before[-1][1]], after[-3:])
    return told < FOLLOWS * known


def _share_fallen(before: Sequence[float], now: Sequence[float]) -> float:
    level = median(before) if before else 0.0
    return (level - median(now)) / level if level > 0 else 0.0
