"""Signs in preference tuning (DPO, KTO): no learning, overfitting, margins, likelihood, KL.

The loss alone says little here: it falls as soon as rejected answers become less likely, whatever
becomes of the chosen ones. Rewards are ``beta`` times the change of an answer's log-probability
since the reference model, in nats; a margin is the reward of the chosen answer minus that of the
rejected one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, median

from ftwizard.diagnosis.curve import Curve, Point, Sign, Value, keep_finite
from ftwizard.diagnosis.general_text import find_general_cost
from ftwizard.diagnosis.statistics import (
    Shift,
    find_fall,
    find_onset,
    measure_noise,
    measure_shift,
    measure_spread_of_steps,
)
from ftwizard.diagnosis.training_loss import MIN_LOSSES, find_zero_rate, has_had_time
from ftwizard.diagnosis.validation import MIN_EVALUATIONS, find_overfitting

SEPARATED = 0.95
"""Accuracy from which pairs are told apart: more margin then changes no order."""
MIN_SEPARATED = 0.92
"""Lower end of the interval of that accuracy."""
MIN_DISPLACEMENT = 0.25
"""Fall of the chosen reward as a share of the fall of the rejected one. Some fall is usual: words
that both answers have become less likely with the rejected ones."""
MIN_REWARD_FALL = 0.2
"""Smallest fall of the chosen reward, in nats."""
MIN_Z = 4.0
"""Standard errors of a change: a run is diagnosed dozens of times."""
CHANCE = 0.5
"""Accuracy of guessing."""
MAX_ACCURACY = 0.6
"""Accuracy that a model that does not learn stays below, with its interval."""
MIN_MARGIN = 8.0
"""Nats of margin at which the loss of a pair is below 0.0004: nothing is left to learn from it."""
MIN_KL = 50.0
"""Nats per answer: with the usual beta of 0.1 the loss is then flat."""
MIN_KL_RATIO = 2.0
"""Multiple of its start by which an exploding KL has grown."""
MIN_ZERO_KL = 20
"""Logged KL estimates of exactly 0 that count."""
MOVED = 0.1
"""Nats of reward from which a model differs from its reference."""
MIN_ACCURACY_FALL = 0.05
"""Smallest fall of the validation accuracy."""
MIN_LOSS_RISE = 0.02
"""Smallest rise of the validation loss, in nats per pair: that of guessing is 0.69."""
MEMORIZED, UNSEEN = 0.9, 0.6
"""Accuracy on training pairs at least, and on validation pairs at most, for pairs that are only
memorized."""


def find_no_preference_learning(curve: Curve) -> Sign | None:
    """Find pairs that are told apart no better than by chance, or margins that do not move."""
    if sign := find_zero_rate(curve):
        return sign
    accuracies = curve.get_metric("rewards_accuracies")
    margins = curve.get_metric("rewards_margins")
    points = accuracies or margins
    after = [point for point in points if point[0] >= curve.warmup_end]
    if len(after) < MIN_LOSSES or not has_had_time(curve, after):
        return None
    if not accuracies:  # KTO: chosen and rejected answers are of different rows
        return _find_flat_margins(curve, after)
    recent = after[len(after) // 2 :]
    accuracy, error = _measure_level(recent)
    if accuracy + 1.645 * error > MAX_ACCURACY or _is_validation_learned(curve):
        return None
    return Sign(
        "no_learning", int(after[0][0]), 0.9,
        {"accuracy": accuracy, "margin": fmean(y for _, y in margins[-len(recent):]) if margins else None},
    )  # fmt: skip


def _find_flat_margins(curve: Curve, margins: Sequence[Point]) -> Sign | None:
    """Find margins that stayed at zero: below a tenth of a nat with their interval."""
    level, error = _measure_level(margins[len(margins) // 2 :])
    if abs(level) + 1.645 * error > MOVED or _is_validation_learned(curve):
        return None
    return Sign("no_learning", int(margins[0][0]), 0.85, {"margin": level})


def _measure_level(points: Sequence[Point]) -> tuple[float, float]:
    """Return the mean of noisy values and its standard error."""
    values = [value for _, value in points]
    sigma = max(measure_noise(values), measure_spread_of_steps(values))
    return fmean(values), sigma / math.sqrt(len(values))


def _is_validation_learned(curve: Curve) -> bool:
    """Return whether the newest evaluations tell pairs apart."""
    accuracies = [value for _, value in curve.get_metric("eval_rewards_accuracies")]
    margins = [value for _, value in curve.get_metric("eval_rewards_margins")]
    if accuracies:
        return median(accuracies[-3:]) > MAX_ACCURACY
    return bool(margins) and median(margins[-3:]) > MOVED


def find_preference_overfitting(curve: Curve) -> Sign | None:
    """Find validation pairs that get worse, or stay at chance, while training margins grow."""
    return _find_rising_loss(curve) or _find_falling_accuracy(curve) or _find_memorized_pairs(curve)


def _find_rising_loss(curve: Curve) -> Sign | None:
    """Find a validation loss that rises while training margins grow.

    The loss of a model that did not move only wavers about that of guessing.
    """
    margins = measure_shift(curve.get_metric("rewards_margins"))
    if margins is not None and (margins.z < MIN_Z or margins.now < MOVED):
        return None
    sign = find_overfitting(curve)
    rise = sign.evidence.get("rise") if sign else None
    return sign if isinstance(rise, float) and rise >= MIN_LOSS_RISE else None


def _find_falling_accuracy(curve: Curve) -> Sign | None:
    """Find a validation accuracy that fell since its best, while training margins rose."""
    fall = find_fall(curve.get_metric("eval_rewards_accuracies"), MIN_ACCURACY_FALL)
    if fall is None or fall.best < MAX_ACCURACY:
        return None
    margins = [point for point in curve.get_metric("rewards_margins") if point[0] >= fall.since]
    growth = measure_shift(margins)
    if growth is None or growth.z < MIN_Z or growth.now < MOVED:
        return None
    return Sign(
        "overfit", int(fall.since), 0.9,
        {"best_accuracy": fall.best, "accuracy": fall.now, "margin": growth.now, "noise": fall.noise},
    )  # fmt: skip


def _find_memorized_pairs(curve: Curve) -> Sign | None:
    """Find training pairs that are told apart while validation pairs are not."""
    train, evals = (
        curve.get_metric("rewards_accuracies"),
        curve.get_metric("eval_rewards_accuracies"),
    )
    if len(train) < MIN_LOSSES or len(evals) < 3:
        return None
    recent = train[-max(MIN_LOSSES // 2, len(train) // 5) :]
    accuracy, error = _measure_level(recent)
    unseen = median(value for _, value in evals[-3:])
    if accuracy - 1.645 * error < MEMORIZED or unseen > UNSEEN:
        return None
    return Sign(
        "overfit", int(find_onset(train, MEMORIZED)), 0.85,
        {"train_accuracy": accuracy, "accuracy": unseen},
    )  # fmt: skip


def find_likelihood_displacement(curve: Curve) -> Sign | None:
    """Find chosen answers that become less likely while pairs are told apart.

    The rejected ones fall further, so accuracy stays at 1.0 and the loss still falls: the
    probability goes to answers of neither kind. Validation rewards are used where there are enough:
    their rows are the same each time.
    """
    for prefix in ("eval_", ""):
        chosen, rejected = (
            curve.get_metric(f"{prefix}rewards_{name}") for name in ("chosen", "rejected")
        )
        accuracy = _measure_separation(curve.get_metric(f"{prefix}rewards_accuracies"))
        enough = MIN_EVALUATIONS + 5 if prefix else MIN_LOSSES
        if len(chosen) >= enough and accuracy is not None:
            sign = _judge_displacement(chosen, measure_shift(rejected), accuracy)
            return _add_log_probabilities(sign, curve, prefix) if sign else None
    return None


def _measure_separation(accuracies: Sequence[Point]) -> float | None:
    """Return the recent accuracy; 0 if it may still be below that of separated pairs."""
    if not accuracies:
        return None
    level, error = _measure_level(accuracies[-max(MIN_LOSSES // 2, len(accuracies) // 4) :])
    return level if level - 1.645 * error >= MIN_SEPARATED else 0.0


def _measure_recent(points: Sequence[Point]) -> float | None:
    """Return the mean of the newest quarter; None without points."""
    recent = points[-max(3, len(points) // 4) :]
    return fmean(value for _, value in recent) if recent else None


def _judge_displacement(
    chosen: Sequence[Point], other: Shift | None, accuracy: float
) -> Sign | None:
    shift = measure_shift(chosen)
    if shift is None or other is None or accuracy < SEPARATED:
        return None
    fall, other_fall = -shift.rise, -other.rise
    if fall < MIN_REWARD_FALL or -shift.z < MIN_Z or fall < MIN_DISPLACEMENT * other_fall:
        return None
    onset = find_onset(chosen, shift.start - fall / 2, is_above=False)
    return Sign(
        "likelihood_displacement", int(onset), 0.85,
        {"accuracy": accuracy, "chosen_start": shift.start, "chosen_now": shift.now,
         "rejected_start": other.start, "rejected_now": other.now},
    )  # fmt: skip


def _add_log_probabilities(sign: Sign, curve: Curve, prefix: str) -> Sign:
    """Add the log-probabilities of whole answers, where they are logged."""
    for name in ("chosen", "rejected"):
        shift = measure_shift(curve.get_metric(f"{prefix}logps_{name}"))
        if shift is not None:
            sign.evidence[f"logps_{name}_start"] = shift.start
            sign.evidence[f"logps_{name}_now"] = shift.now
    return sign


def find_margin_explosion(curve: Curve) -> Sign | None:
    """Find margins so large that nothing is left to learn, only the model to move."""
    margins = curve.get_metric("rewards_margins")
    recent = [value for _, value in margins[-max(MIN_LOSSES // 2, len(margins) // 5) :]]
    if len(margins) < MIN_LOSSES or median(recent) < MIN_MARGIN:
        return None
    return Sign(
        "margin_explosion", int(find_onset(margins, MIN_MARGIN)), 0.9,
        {"margin": median(recent), "accuracy": _measure_recent(curve.get_metric("rewards_accuracies"))},
    )  # fmt: skip


def find_costly_margins(curve: Curve) -> Sign | None:
    """Find margins that grow while general text becomes less likely."""
    margins = curve.get_metric("rewards_margins")
    shift = measure_shift(margins)
    if len(margins) < MIN_LOSSES or shift is None:
        return None
    return find_general_cost(curve, "margin", shift, shift.z)


def find_preference_kl_explosion(curve: Curve) -> Sign | None:
    """Find a KL estimate of KTO, in nats per answer, at which its loss is flat."""
    points = curve.get_metric("kl")
    shift = measure_shift(points)
    if len(points) < MIN_LOSSES or shift is None:
        return None
    recent = median(value for step, value in points if step >= shift.since)
    if recent < MIN_KL or shift.z < MIN_Z or recent < MIN_KL_RATIO * shift.start:
        return None
    return Sign(
        "kl_explosion", int(find_onset(points, MIN_KL)), 0.9,
        {"kl_now": recent, "kl_start": shift.start, "unit": "answer"},
    )  # fmt: skip


def find_zero_kl(curve: Curve) -> Sign | None:
    """Find a KL estimate of KTO that is exactly 0 although the model has moved.

    The estimate is cut off at 0. Such answers are compared with the reference model alone.
    """
    points = keep_finite(curve.metrics.get("kl", ()))
    if len(points) < MIN_ZERO_KL or any(value for _, value in points):
        return None
    levels: dict[str, Value] = {
        name: _measure_recent(curve.get_metric(f"rewards_{name}"))
        for name in ("chosen", "rejected")
    }
    if not any(isinstance(level, float) and abs(level) > MOVED for level in levels.values()):
        return None
    return Sign("kl_zero", int(points[0][0]), None, levels)
