"""Signs in the shape of the training loss: it does not move, it jumps, it falls by the epoch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, median

from ftwizard.diagnosis.curve import Curve, Point, finite, of_guessing
from ftwizard.diagnosis.sign import Sign
from ftwizard.diagnosis.statistics import noise, running_median, slope, spread, thinned

LEAST = 20
"""Logged losses below which nothing is said of noise or of a level."""
MOVES = 0.02
"""A loss that has fallen by less than this share of its start has not moved."""
BLOCKS = 8
REACH = 3


def no_learning(curve: Curve) -> Sign | None:
    """Find a training loss that does not move once the learning rate has risen."""
    points = finite(curve.train)
    rates = curve.learning_rate
    if len(rates) >= 5 and all(rate == 0 for _, rate in rates):
        return Sign("no_learning", 0, 1.0, {"learning_rate": 0.0})
    if curve.objective == "reinforcement":
        return None
    risen = curve.warmup_end
    after = [point for point in points if point[0] >= risen]
    if len(points) < LEAST or len(after) < LEAST // 2 or not _has_had_time(curve, after):
        return None
    start, now, error = _levels(points)
    fallen = (start - now) / abs(start) if start else 0.0
    most = fallen + 1.645 * error / abs(start) if start else 0.0
    if fallen >= MOVES or most >= 2 * MOVES or fallen < -0.1 or _validation_fell(curve):
        return None
    return Sign(
        "no_learning", int(points[0][0]), 0.9,
        {"start": start, "now": now, "fallen_share": fallen, **of_guessing(curve, now)},
    )  # fmt: skip


def _has_had_time(curve: Curve, after: Sequence[Point]) -> bool:
    """Say whether enough of the run, in learning rate times steps, has passed to have moved."""
    spanned = after[-1][0] - max(curve.warmup_end, 0)
    if curve.total_steps:
        return spanned >= 0.06 * curve.total_steps
    return len(after) >= LEAST


def _validation_fell(curve: Curve) -> bool:
    losses = [loss for _, loss in finite(curve.evals)]
    if len(losses) < 3:
        return False
    fell = losses[0] - median(losses[-3:])
    return fell > max(MOVES * abs(losses[0]), 3 * noise(losses))


def _levels(points: Sequence[Point]) -> tuple[float, float, float]:
    """Return the losses at the start and now, by a straight line, and its standard error."""
    few = thinned(points)
    steep = slope(few)
    middle = median(value - steep * step for step, value in few)
    rest = [value - middle - steep * step for step, value in few]
    sigma = max(spread(rest), 1e-12)
    steps = [step for step, _ in few]
    mean = fmean(steps)
    around = math.sqrt(sum((step - mean) ** 2 for step in steps)) or 1.0
    span = steps[-1] - steps[0]
    head = median(value for _, value in points[: max(3, len(points) // 20)])
    start = max(middle + steep * steps[0], min(head, middle + steep * steps[0] + 3 * sigma))
    return start, middle + steep * steps[-1], sigma * span / around


def spiky(curve: Curve) -> Sign | None:
    """Find a training loss that jumps throughout, by far more than it falls."""
    points = finite(curve.train)
    if len(points) < LEAST or curve.objective == "reinforcement":
        return None
    values = [loss for _, loss in points]
    scale = 0.4 * median(values[:3])
    smooth = running_median(values, REACH)
    shares = []
    for k in range(BLOCKS):
        i, j = len(values) * k // BLOCKS, len(values) * (k + 1) // BLOCKS
        rest = _rest(values[i:j], smooth[i:j])
        level = max(median(smooth[i:j]), scale)
        shares.append(math.sqrt(fmean([one * one for one in rest])) / level if level > 0 else 0.0)
    share = median(shares)
    norms = [norm for _, norm in finite(curve.grad_norm)]
    clipped = len(norms) >= LEAST and median(norms) > 2
    if share < (0.09 if clipped else 0.13):
        return None
    rest = _rest(values, smooth)
    jumps = sum(one > 3 * max(spread(rest), 1e-12) for one in rest)
    return Sign(
        "spiky", int(points[0][0]), min(0.99, 0.6 + 2 * (share - 0.09)),
        {"noise_share": share, "jumps": jumps, "grad_norm": median(norms) if norms else None},
    )  # fmt: skip


def _rest(values: Sequence[float], smooth: Sequence[float]) -> list[float]:
    return [value - middle for value, middle in zip(values, smooth, strict=True)]


def spike(curve: Curve) -> Sign | None:
    """Find jumps of the training loss from which it came back; the sign is of the highest."""
    points = finite(curve.train)
    if len(points) < 8 or curve.objective == "reinforcement":
        return None
    values = [loss for _, loss in points]
    sigma = max(noise(values), 1e-12)
    found: list[tuple[float, int, int]] = []
    index = 3
    while index < len(values):
        window = values[max(0, index - 5) : index]
        before = sorted(window)[len(window) // 2]
        height = values[index] - before
        if height > max(6 * sigma, 0.15 * abs(before)):
            back = before + max(3 * sigma, 0.25 * height)
            end = next((k for k in range(index + 1, len(values)) if values[k] <= back), None)
            if end is None:
                break
            found.append((max(values[index:end]) - before, index, end))
            index = end
        index += 1
    if not found:
        return None
    top, start, end = max(found, key=lambda one: one[0])
    return Sign(
        "spike", int(points[start][0]), 0.9,
        {"height": top, "before": median(values[max(0, start - 5) : start]),
         "back_at_step": int(points[end][0]), "spikes": len(found)},
    )  # fmt: skip
