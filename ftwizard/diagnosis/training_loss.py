"""Signs in the training loss: NaN, zeros, divergence, no learning, spikes, noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean, median

from ftwizard.diagnosis.curve import Curve, Point, Sign, get_guessing_evidence, keep_finite
from ftwizard.diagnosis.statistics import noise, running_median, slope, spread, thin

MIN_HIGH_LOSSES = 6
"""Consecutive high losses that count as divergence, not chance."""
MIN_ZEROS = 3
"""Consecutive losses of exactly zero that count as a sign."""
CALM_REACH = 2
"""Points on each side of a running median that finds the level before a divergence."""
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
    smooth = running_median(values, CALM_REACH)
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
    # A loss that has long been above its start failed, even if it is falling again.
    has_lasted = points[-1][0] - points[onset][0] >= 0.05 * points[-1][0]
    failed = last > 1.1 * start and len(elevated) >= 10 and has_lasted
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


MIN_LOSSES = 20
"""Logged losses needed to judge noise or a level."""
MIN_FALL = 0.02
"""A loss that fell by less than this share of its start has not moved."""
BLOCKS = 8
REACH = 3
"""Points on each side of a running median."""


def find_no_learning(curve: Curve) -> Sign | None:
    """Find a training loss that does not move after warm-up."""
    points = keep_finite(curve.train)
    rates = curve.learning_rate
    if len(rates) >= 5 and all(rate == 0 for _, rate in rates):
        return Sign("no_learning", 0, 1.0, {"learning_rate": 0.0})
    if curve.objective == "reinforcement":
        return None
    after = [point for point in points if point[0] >= curve.warmup_end]
    if len(points) < MIN_LOSSES or len(after) < MIN_LOSSES // 2 or not _has_had_time(curve, after):
        return None
    start, now, error = _fit_levels(points)
    fallen = (start - now) / abs(start) if start else 0.0
    upper = fallen + 1.645 * error / abs(start) if start else 0.0
    if (
        fallen >= MIN_FALL
        or upper >= 2 * MIN_FALL
        or fallen < -0.1
        or _has_validation_fallen(curve)
    ):
        return None
    return Sign(
        "no_learning", int(points[0][0]), 0.9,
        {"start": start, "now": now, "fallen_share": fallen, **get_guessing_evidence(curve, now)},
    )  # fmt: skip


def _has_had_time(curve: Curve, after: Sequence[Point]) -> bool:
    """Return whether enough steps have passed for the loss to have moved."""
    span = after[-1][0] - max(curve.warmup_end, 0)
    if curve.total_steps:
        return span >= 0.06 * curve.total_steps
    return len(after) >= MIN_LOSSES


def _has_validation_fallen(curve: Curve) -> bool:
    losses = [loss for _, loss in keep_finite(curve.evals)]
    if len(losses) < 3:
        return False
    fell = losses[0] - median(losses[-3:])
    return fell > max(MIN_FALL * abs(losses[0]), 3 * noise(losses))


def _fit_levels(points: Sequence[Point]) -> tuple[float, float, float]:
    """Fit a line; return its losses at the start and now, and the standard error of their difference."""
    sample = thin(points)
    gradient = slope(sample)
    middle = median(value - gradient * step for step, value in sample)
    residuals = [value - middle - gradient * step for step, value in sample]
    sigma = max(spread(residuals), 1e-12)
    steps = [step for step, _ in sample]
    mean = fmean(steps)
    deviation = math.sqrt(sum((step - mean) ** 2 for step in steps)) or 1.0
    span = steps[-1] - steps[0]
    head = median(value for _, value in points[: max(3, len(points) // 20)])
    start = max(middle + gradient * steps[0], min(head, middle + gradient * steps[0] + 3 * sigma))
    return start, middle + gradient * steps[-1], sigma * span / deviation


def find_noise(curve: Curve) -> Sign | None:
    """Find a training loss that jumps throughout, by far more than it falls."""
    points = keep_finite(curve.train)
    if len(points) < MIN_LOSSES or curve.objective == "reinforcement":
        return None
    values = [loss for _, loss in points]
    scale = 0.4 * median(values[:3])
    smooth = running_median(values, REACH)
    shares = []
    for k in range(BLOCKS):
        i, j = len(values) * k // BLOCKS, len(values) * (k + 1) // BLOCKS
        residuals = _subtract(values[i:j], smooth[i:j])
        level = max(median(smooth[i:j]), scale)
        shares.append(math.sqrt(fmean([r * r for r in residuals])) / level if level > 0 else 0.0)
    share = median(shares)
    norms = [norm for _, norm in keep_finite(curve.grad_norm)]
    clipped = len(norms) >= MIN_LOSSES and median(norms) > 2
    if share < (0.09 if clipped else 0.13):
        return None
    residuals = _subtract(values, smooth)
    limit = 3 * max(spread(residuals), 1e-12)
    jumps = sum(residual > limit for residual in residuals)
    return Sign(
        "spiky", int(points[0][0]), min(0.99, 0.6 + 2 * (share - 0.09)),
        {"noise_share": share, "jumps": jumps, "grad_norm": median(norms) if norms else None},
    )  # fmt: skip


def _subtract(values: Sequence[float], smooth: Sequence[float]) -> list[float]:
    return [value - middle for value, middle in zip(values, smooth, strict=True)]


def find_spike(curve: Curve) -> Sign | None:
    """Find jumps of the training loss that it recovered from; report the highest."""
    points = keep_finite(curve.train)
    if len(points) < 8 or curve.objective == "reinforcement":
        return None
    values = [loss for _, loss in points]
    sigma = max(noise(values), 1e-12)
    spikes: list[tuple[float, int, int]] = []
    index = 3
    while index < len(values):
        window = values[max(0, index - 5) : index]
        before = sorted(window)[len(window) // 2]
        height = values[index] - before
        if height > max(6 * sigma, 0.15 * abs(before)):
            recovered = before + max(3 * sigma, 0.25 * height)
            end = next((k for k in range(index + 1, len(values)) if values[k] <= recovered), None)
            if end is None:
                break
            spikes.append((max(values[index:end]) - before, index, end))
            index = end
        index += 1
    if not spikes:
        return None
    top, start, end = max(spikes, key=lambda jump: jump[0])
    return Sign(
        "spike", int(points[start][0]), 0.9,
        {"height": top, "before": median(values[max(0, start - 5) : start]),
         "back_at_step": int(points[end][0]), "spikes": len(spikes)},
    )  # fmt: skip


# Detection of a training loss that is logged as a sum over micro-batches instead of a mean.

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
