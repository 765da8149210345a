"""Signs in the training loss: NaN, zeros, divergence, no learning, spikes, noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean, median

from ftwizard.diagnosis.curve import Curve, Point, Sign, Value, get_guessing_evidence, keep_finite
from ftwizard.diagnosis.statistics import (
    REACH,
    measure_noise,
    noise,
    running_median,
    slope,
    spread,
    thin,
)

MIN_HIGH_LOSSES = 6
"""Consecutive high losses that count as divergence, not chance."""
MIN_ZEROS = 3
"""Consecutive losses of exactly zero that count as a sign."""
CALM_REACH = 2
"""Points on each side of the running median in which a divergence is looked for."""
MIN_RISE_SHARE = 0.1
"""Share of its start by which a diverged loss is above it."""
MIN_RISE_Z = 4.0
"""Standard errors of sampling by which a diverged loss is above its start."""
MIN_FORMER_Z = 5.0
"""The same where it was so before, and is still above its start."""
BLOWN_UP = 7.0
"""Nats above which a pretrained model no longer predicts language."""
FAR_ABOVE = 2.0
"""Multiple of the start of training loss above which a validation loss is not that of the model as
it began: easy and hard rows of one small file differ by less."""
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
    if curve.objective == "grpo" or not start or len(curve.train) - start < MIN_ZEROS:
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
    """Find a loss of exactly zero: no token counts toward the loss, or float16 underflowed."""
    for name, points in (("training", curve.train), ("validation", curve.evals)):
        start = _find_trailing_zeros(points)
        if len(points) - start < MIN_ZEROS:
            continue
        return Sign("zero_loss", int(points[start][0]), 1.0, {"loss": 0.0, "of": name})
    return None


def find_divergence(curve: Curve) -> Sign | None:
    """Find a training loss that left its start upward and does not come back.

    The rise must exceed what other rows in each step would explain. Not while validation loss is
    near its best.
    """
    points = keep_finite(curve.train)
    if len(points) < MIN_HIGH_LOSSES + 2:
        return None
    values = [loss for _, loss in points]
    start = _measure_start(values)
    smooth = running_median(values, CALM_REACH)
    onset = _find_last_stretch_above(smooth, start + MIN_RISE_SHARE * abs(start))
    elevated = values[onset:]
    if len(elevated) < MIN_HIGH_LOSSES:
        return None
    sigma = max(curve.sampling_noise or 0.0, _measure_noise(curve, values))
    # A high loss is noisier than the low one that it began with.
    start_sigma = min(sigma, _get_usual_sampling(curve, start))
    error = math.hypot(
        start_sigma / math.sqrt(min(3, onset or 1)), sigma / math.sqrt(len(elevated))
    )
    third = max(3, len(elevated) // 3)
    last = median(elevated[-third:])
    is_blown_up = start < 0.5 * BLOWN_UP and last > BLOWN_UP
    # A loss that has long been above its start failed, even if it is falling again.
    has_lasted = len(elevated) >= max(MIN_LOSSES, 0.05 * len(points))
    highest = max(
        median(elevated[i : i + third]) for i in range(0, len(elevated) - third + 1, third)
    )
    was_high = has_lasted and highest - start > MIN_FORMER_Z * error
    is_proven = is_blown_up or was_high or last - start > MIN_RISE_Z * error
    if not is_proven or last - start < MIN_RISE_SHARE * abs(start):
        return None
    is_halfway_back = last - start < 0.5 * (max(smooth[onset:]) - start)
    if is_halfway_back and not has_lasted and not is_blown_up:
        return None
    if _is_validation_fine(curve, points[onset][0], start):
        return None
    confidence = min(0.99, 0.8 + 0.02 * (len(elevated) - MIN_HIGH_LOSSES))
    return Sign(
        "diverged", int(points[onset][0]), confidence,
        {"before": min(start, *smooth), "now": last, "start": start,
         "evaluated_before": sum(step < points[onset][0] for step, _ in curve.evals),
         **get_guessing_evidence(curve, median(values[-MIN_HIGH_LOSSES:]))},
    )  # fmt: skip


def _measure_start(values: Sequence[float]) -> float:
    """Return the level at which the loss began: the median of its first values.

    A loss that blew up within them ends near that of random guessing, where no run begins twice.
    """
    first = values[:3]
    is_blown_up = max(first) > BLOWN_UP and min(first) < 0.8 * max(first)
    return min(first) if is_blown_up else median(first)


def _is_validation_fine(curve: Curve, since: float, start: float) -> bool:
    """Return whether the newest evaluation is after ``since`` and not above the best one.

    Evaluations that all came after the rise cannot tell: they fall from wherever it ended. Then
    the newest must be near the start of training loss.
    """
    evals = keep_finite(curve.evals)
    if len(evals) < 2 or evals[-1][0] < since:
        return False
    if evals[0][0] >= since and start > 0 and evals[-1][1] > FAR_ABOVE * start:
        return False
    best = min(loss for _, loss in evals)
    change = curve.get_change(evals[-1][0])
    if change is not None:
        return not change.is_rise
    return evals[-1][1] <= best + 0.01 * abs(best)


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
UNCHANGED = 0.003
"""Share of the validation loss within which all evaluations of a model that does not learn are."""
BLOCKS = 8


def find_zero_rate(curve: Curve) -> Sign | None:
    """Find a learning rate that is 0 throughout: nothing can learn."""
    rates = curve.learning_rate
    if len(rates) < 5 or any(rate != 0 for _, rate in rates):
        return None
    return Sign("no_learning", 0, 1.0, {"learning_rate": 0.0})


def find_no_learning(curve: Curve) -> Sign | None:
    """Find a training loss that does not move after warm-up."""
    points = keep_finite(curve.train)
    if sign := find_zero_rate(curve):
        return sign
    warmup_end = curve.warmup_end
    after = [point for point in points if point[0] >= warmup_end]
    if len(points) < MIN_LOSSES or len(after) < MIN_LOSSES // 2 or not has_had_time(curve, after):
        return None
    start, now, error = _fit_levels(points)
    guessing = get_guessing_evidence(curve, now)
    fallen = (start - now) / abs(start) if start else 0.0
    upper = fallen + 1.645 * error / abs(start) if start else 0.0
    if fallen < -0.1 or _has_validation_fallen(curve):
        return None
    is_flat = fallen < MIN_FALL and (upper < 2 * MIN_FALL or bool(guessing))
    is_unchanged = _is_validation_unchanged(curve)
    if not is_flat and not (fallen < 0.1 and is_unchanged):
        return None
    evidence: dict[str, Value] = {"start": start, "now": now, "fallen_share": fallen, **guessing}
    if is_unchanged:
        evals = keep_finite(curve.evals)
        evidence |= {"eval_start": evals[0][1], "eval_now": evals[-1][1]}
    return Sign("no_learning", int(points[0][0]), 0.9, evidence)


def _is_validation_unchanged(curve: Curve) -> bool:
    """Return whether the validation loss is the same in several evaluations.

    The same rows are evaluated each time, so it shows what the noise of few rows a step hides.
    """
    losses = [loss for _, loss in keep_finite(curve.evals)]
    return len(losses) >= 3 and max(losses) - min(losses) < UNCHANGED * abs(losses[-1])


def has_had_time(curve: Curve, after: Sequence[Point]) -> bool:
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


SINGLE_ROW_NOISE = 0.8
"""Noise of steps of one row, as a share of their loss, that is still usual: on seven small real
files, it was 0.3 to 0.6."""
MIN_NOISE = 0.13
"""Share of the loss by which it must jump to be called spiky, whatever the rows."""
CLIPPED = 2.5
"""Median grad norm above which most steps are clipped, usually at 1."""
MIN_CLIPPED = 30
"""Grad norms needed to judge that: at the beginning of a run they are often large."""
CLIPPED_SHARE = 0.4
"""Share of that noise that is suspicious in steps that are clipped."""
MIN_NOISE_RATIO = 2.0
"""Noise that is not sampling, as a multiple of that of sampling."""


def find_noise(curve: Curve) -> Sign | None:
    """Find a training loss that jumps throughout, by more than the choice of rows explains.

    Where rows of two kinds are mixed, that is unknown: validation rows are of one kind.
    """
    points = keep_finite(curve.train)
    if len(points) < MIN_LOSSES or curve.mixes_rows:
        return None
    values = [loss for _, loss in points]
    share = _measure_noise_share(values)
    residuals = _subtract(values, running_median(values, REACH))
    limit = max(spread(residuals), 1e-12)
    jumps = sum(residual > 6 * limit for residual in residuals)
    norms = [norm for _, norm in keep_finite(curve.grad_norm)]
    is_clipped = len(norms) >= MIN_CLIPPED and median(norms) > CLIPPED
    jumps_often = is_clipped and jumps >= max(3, 0.01 * len(values)) and not curve.sampling_noise
    if share < _get_usual_noise(curve, values, is_clipped) and not jumps_often:
        return None
    return Sign(
        "spiky", int(points[0][0]), min(0.99, 0.6 + 2 * (share - 0.09)),
        {"noise_share": share, "jumps": jumps, "sampling": curve.sampling_noise,
         "grad_norm": median(norms) if norms else None},
    )  # fmt: skip


def _measure_noise_share(values: Sequence[float]) -> float:
    """Return the noise of the training loss as a share of its level, the median over time."""
    scale = 0.4 * median(values[:3])
    smooth = running_median(values, REACH)
    shares = []
    for k in range(BLOCKS):
        i, j = len(values) * k // BLOCKS, len(values) * (k + 1) // BLOCKS
        residuals = _subtract(values[i:j], smooth[i:j])
        level = max(median(smooth[i:j]), scale)
        shares.append(math.sqrt(fmean([r * r for r in residuals])) / level if level > 0 else 0.0)
    return median(shares)


def _get_usual_noise(curve: Curve, values: Sequence[float], is_clipped: bool) -> float:
    """Return the share up to which noise may be that of sampling."""
    # A log of several steps has at least as many rows.
    rows = (curve.rows_per_step or curve.accumulation or 1) * curve.steps_per_log
    if curve.sampling_noise is None:
        suspicious = is_clipped and curve.rows_per_step is None
        single = SINGLE_ROW_NOISE * (CLIPPED_SHARE if suspicious else 1)
        return max(MIN_NOISE, single / math.sqrt(rows))
    level = max(median(values), 0.4 * median(values[:3]))
    measured = MIN_NOISE_RATIO * curve.sampling_noise / level if level > 0 else math.inf
    return max(MIN_NOISE, SINGLE_ROW_NOISE / math.sqrt(rows), measured)


def _subtract(values: Sequence[float], smooth: Sequence[float]) -> list[float]:
    return [value - middle for value, middle in zip(values, smooth, strict=True)]


NEAR = 20
"""Losses on each side of a jump by which the noise there is measured."""
SPIKE_LENGTHS = 1, 2, 4, 8
"""Losses over which a jump is averaged: a longer one may be lower. One loss alone counts only if it
is a mean over steps: a single step with an odd row can be as high. Where rows are mixed, two
steps with several of the other kind can."""


def find_spike(curve: Curve) -> Sign | None:
    """Find jumps of the training loss that no choice of rows explains; report the highest."""
    points = keep_finite(curve.train)
    enough = 8 if curve.rows_per_step else MIN_LOSSES
    if len(points) < enough:
        return None
    spikes = _list_spikes(points, curve)
    if not spikes:
        return None
    height, start, end = max(spikes)
    return Sign(
        "spike", int(points[start][0]), 0.9,
        {"height": height, "before": _get_level([loss for _, loss in points], start),
         "spikes": len(spikes), "back_at_step": int(points[end][0]) if end < len(points) else None},
    )  # fmt: skip


def _get_level(values: Sequence[float], index: int) -> float:
    return median(values[max(0, index - 5) : index])


def _list_spikes(points: Sequence[Point], curve: Curve) -> list[tuple[float, int, int]]:
    """Return height, start and end of each jump; the end is that of the values if it lasts."""
    values = [loss for _, loss in points]
    general = max(_measure_noise(curve, values), 1e-12)
    lengths = SPIKE_LENGTHS[int(curve.steps_per_log == 1) + int(curve.mixes_rows) :]
    spikes = []
    index = 3
    while index < len(values):
        before = _get_level(values, index)
        if not _is_jump(values, index, before, general, lengths):
            index += 1
            continue
        sigma = max(
            general, _measure_noise_near(values, index), _get_sampling(curve, points[index])
        )
        if not _is_jump(values, index, before, sigma, lengths):
            index += 1
            continue
        height = values[index] - before
        recovered = before + max(3 * sigma, 0.25 * height)
        end = next((k for k in range(index + 1, len(values)) if values[k] <= recovered), None)
        if end is None and len(values) - index < MIN_HIGH_LOSSES:
            break  # it may still recover
        end = len(values) if end is None else end
        spikes.append((max(values[index:end]) - before, index, end))
        index = end + 1
    return spikes


def _measure_noise(curve: Curve, values: Sequence[float]) -> float:
    """Return the standard deviation of noise; with mixed rows, of all jumps, however rare."""
    if not curve.mixes_rows:
        return measure_noise(values)
    residuals = _subtract(values, running_median(values, REACH))
    return math.sqrt(fmean([residual * residual for residual in residuals]))


def _measure_noise_near(values: Sequence[float], index: int) -> float:
    """Return the noise around an index: that of a high loss is larger than that of a low one."""
    end = index + REACH + 1
    return measure_noise([*values[max(0, index - NEAR) : index], *values[end : end + NEAR]])


def _get_sampling(curve: Curve, point: Point) -> float:
    """Return the noise of a loss by the choice of its rows; 0 for curves from elsewhere."""
    if curve.rows_per_step is None:
        return 0.0
    nearest = min(curve.row_evidence, key=lambda item: abs(item.step - point[0]), default=None)
    if nearest is None:
        return _get_usual_sampling(curve, point[1])
    return nearest.step_noise / math.sqrt(curve.steps_per_log)


def _get_usual_sampling(curve: Curve, loss: float) -> float:
    """Return the noise that the choice of rows usually has at a loss."""
    rows = (curve.rows_per_step or 1) * curve.steps_per_log
    return SINGLE_ROW_NOISE / 2 * abs(loss) / math.sqrt(rows)


def _is_jump(
    values: Sequence[float], index: int, before: float, sigma: float, lengths: Sequence[int]
) -> bool:
    """Return whether the values from ``index`` on are above ``before``, one or several together."""
    for length in lengths:
        height = min(values[index], sum(values[index : index + length]) / length) - before
        if height > max(6 * sigma / math.sqrt(length), 0.15 * abs(before)):
            return index + length <= len(values)
    return False


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
    high only because it is still falling is so at the first evaluation alone. General rows that are
    mixed in are in the training loss only.
    """
    ratios = _compute_ratios(keep_finite(curve.train), keep_finite(curve.evals)[:EVALUATIONS])
    if len(ratios) < EVALUATIONS or curve.objective == "grpo" or curve.mixes_rows:
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
