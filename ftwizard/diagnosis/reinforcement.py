"""Signs in reinforcement (GRPO): rewards without signal, flat or hacked, length, entropy, KL.

The loss says nothing here: it starts near 0, and a policy that improves may have a higher one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, median

from ftwizard.diagnosis.curve import Curve, Point, Sign, Value
from ftwizard.diagnosis.general_text import find_general_cost
from ftwizard.diagnosis.statistics import (
    BATCHES,
    Shift,
    average_batches,
    find_fall,
    find_onset,
    measure_noise,
    measure_residuals,
    measure_shift,
    measure_spread_of_steps,
    thin,
    trend,
)
from ftwizard.diagnosis.training_loss import find_zero_rate

MIN_LOGS = 20
"""Logged rewards needed for any judgment."""
MIN_Z = 4.0
"""Standard errors of a change: a run is diagnosed dozens of times."""
MIN_HALVES_Z = 3.0
"""The same between the two halves of a run, whose errors allow for lasting noise, of two series."""
NO_SIGNAL, MIN_NO_SIGNAL = 0.8, 0.7
"""Share of groups whose rewards are all equal, and the lower end of its interval."""
LASTING_LOGS = 12
"""Newest logs over which a share must be high."""
CLIPPED, MIN_CLIPPED = 0.3, 0.2
"""Share of completions cut off at the limit, and the lower end of its interval."""
MIN_LOGS_FLAT = 60
"""Logged rewards before a flat reward counts: rewards rise late."""
MIN_FLAT_SHARE = 0.4
"""The same as a share of the run."""
FLAT_SHARE, FLAT_Z = 0.25, 2.5
"""Rise, with so many standard errors, as a share of the rewards' standard deviation, that counts as none."""
MIN_COLLAPSE_Z = 3.5
"""The same for a fall from the highest of several windows, whose errors allow for lasting noise."""
MIN_COLLAPSE = 0.6
"""Share of the rise so far that a collapsed reward has lost."""
MIN_COLLAPSE_SPREAD = 0.5
"""The loss as a share of the rewards' standard deviation: a medium effect (Cohen 1988)."""
MIN_GROWTH = 2.0
"""Multiple of its first length from which completions run away."""
MIN_STALLED_GROWTH = 1.25
"""Growth of the length while the reward does not rise."""
ENTROPY_SHARE, MAX_ENTROPY = 0.3, 0.15
"""Share of the entropy at the start, and nats per token, that a collapsed entropy is below."""
MIN_KL = 1.0
"""Nats per token: the policy then shares little with its reference."""
MIN_KL_RATIO = 3.0
"""Multiple of its start by which an exploding KL has grown."""
MIN_EVAL_FALL = 0.1
"""Smallest fall of the reward on validation prompts, as a share of its level."""
MIN_SCORE_FALL = 0.05
"""Smallest fall of a score, as a share of its level, that counts against a rising reward."""


def find_no_reward_signal(curve: Curve) -> Sign | None:
    """Find groups whose rewards are all equal, so that nothing is learned from them.

    Where the share of such groups is not logged, the share of steps without any spread stands in.
    """
    points = curve.get_metric("frac_reward_zero_std") or [
        (step, float(value == 0)) for step, value in curve.get_metric("reward_std")
    ]
    recent = points[-max(LASTING_LOGS, len(points) // 4) :]
    if len(points) < MIN_LOGS or not _is_lasting(recent, NO_SIGNAL, MIN_NO_SIGNAL):
        return None
    rewards = [value for _, value in curve.get_metric("reward")]
    evidence: dict[str, Value] = {"share": fmean(value for _, value in recent)}
    if rewards:
        now = fmean(rewards[-len(recent) :])
        highest, lowest = max(rewards), min(rewards)
        # Groups that all succeed and groups that all fail need opposite prompts.
        share = (now - lowest) / (highest - lowest) if highest > lowest else None
        evidence |= {"reward": now, "reward_position": share}
    return Sign("no_reward_signal", int(find_onset(points, NO_SIGNAL)), 0.9, evidence)


def find_clipped_completions(curve: Curve) -> Sign | None:
    """Find completions that are often cut off at the limit: their rewards judge half an answer."""
    points = curve.get_metric("completions_clipped_ratio")
    recent = points[-max(LASTING_LOGS, len(points) // 4) :]
    if len(points) < MIN_LOGS or not _is_lasting(recent, CLIPPED, MIN_CLIPPED):
        return None
    length = curve.get_metric("completions_mean_length")
    return Sign(
        "completions_clipped", int(find_onset(points, CLIPPED)), 0.9,
        {"share": fmean(value for _, value in recent),
         "length": fmean(value for _, value in length[-len(recent):]) if length else None},
    )  # fmt: skip


def _is_lasting(points: Sequence[Point], level: float, low: float) -> bool:
    """Return whether a share is at least ``level``, and the lower end of its interval ``low``."""
    values = [value for _, value in points]
    sigma = max(measure_noise(values), measure_spread_of_steps(values))
    mean = fmean(values)
    return mean >= level and mean - 1.645 * sigma / math.sqrt(len(values)) >= low


def find_flat_reward(curve: Curve) -> Sign | None:
    """Find a reward that does not rise, by much less than it differs between completions."""
    if sign := find_zero_rate(curve):
        return sign
    points = curve.get_metric("reward")
    spread = [value for _, value in curve.get_metric("reward_std")]
    if len(points) < MIN_LOGS_FLAT or not spread:
        return None
    if curve.total_steps and points[-1][0] < MIN_FLAT_SHARE * curve.total_steps:
        return None
    shift, scale = measure_trend(points), median(spread)
    if shift is None or scale <= 0 or shift.z > 2:
        return None
    # The whole rise is about twice that between the means of the halves.
    limit = FLAT_SHARE * scale
    if 2 * (shift.rise + FLAT_Z * shift.error) > limit:
        return None
    # It may have risen at once: four errors of the halves are about two of a batch.
    if shift.now - average_batches(points)[0][1] > min(limit, 4 * shift.error):
        return None
    return Sign(
        "no_learning", int(points[0][0]), 0.85,
        {"reward_start": shift.start, "reward_now": shift.now, "reward_std": scale},
    )  # fmt: skip


def measure_trend(points: Sequence[Point]) -> Shift | None:
    """Measure the shift between the two halves of a run: more precise than between its ends.

    The policy and the prompts of neighboring steps are nearly the same, so the error is that of batch
    means, about a line: a reward that rose only at first counts as noise, not as flat.
    """
    batches = average_batches(points)
    half = len(batches) // 2
    if half < 3:
        return None
    means = [value for _, value in batches]
    # Twelve means may agree by luck: never less than the error of independent steps.
    single = measure_spread_of_steps([value for _, value in points])
    sigma = max(measure_residuals(means, 1), single * math.sqrt(len(means) / len(points)))
    error = sigma * math.sqrt(1 / half + 1 / (len(means) - half))
    return Shift(fmean(means[:half]), fmean(means[half:]), error, batches[half][0])


def find_reward_collapse(curve: Curve) -> Sign | None:
    """Find a reward that rose and then lost most of that, or fell below its start."""
    points = curve.get_metric("reward")
    if len(points) < 2 * MIN_LOGS:
        return None
    batches = average_batches(points)
    levels = [value for _, value in batches]
    means = [fmean(levels[k : k + 2]) for k in range(0, BATCHES, 2)]
    best = max(range(len(means) - 1), key=means.__getitem__)
    # The error of the difference of two means of two batches each is that of one batch.
    error = max(measure_spread_of_steps(levels), measure_residuals(levels, 2))
    fall, rise = means[best] - means[-1], means[best] - means[0]
    spread = [value for _, value in curve.get_metric("reward_std")]
    least = max(MIN_COLLAPSE * rise, MIN_COLLAPSE_SPREAD * median(spread) if spread else 0.0)
    if fall <= 0 or fall < least or fall < MIN_COLLAPSE_Z * error:
        return None
    onset = batches[2 * best + 2][0]
    return Sign(
        "reward_collapse", int(onset), 0.9,
        {"reward_start": means[0], "reward_best": means[best], "reward_now": means[-1]},
    )  # fmt: skip


def find_reward_overfitting(curve: Curve) -> Sign | None:
    """Find a reward on validation prompts that falls while that on training prompts does not."""
    evals = curve.get_metric("eval_reward")
    level = max((abs(reward) for _, reward in evals), default=0.0)
    fall = find_fall(evals, MIN_EVAL_FALL * level)
    if fall is None:
        return None
    training = measure_trend(
        [point for point in curve.get_metric("reward") if point[0] >= fall.since]
    )
    if training is not None and training.z < -2:
        return None
    return Sign(
        "overfit", int(fall.since), 0.85,
        {"best_reward": fall.best, "now_reward": fall.now, "noise": fall.noise,
         "evaluations_since": sum(step > fall.since for step, _ in evals)},
    )  # fmt: skip


def find_reward_hacking(curve: Curve) -> Sign | None:
    """Find a reward that rises while another measure of quality falls.

    That is the probability of general text, a validation score, or one of several reward functions.
    """
    rewards = curve.get_metric("reward")
    reward, rise = measure_shift(rewards), measure_trend(rewards)
    if reward is None or rise is None or len(rewards) < MIN_LOGS or rise.z < MIN_HALVES_Z:
        return None
    if sign := find_general_cost(curve, "reward", reward, rise.z):
        return sign
    for name, points in _list_other_scores(curve):
        shift, halves = measure_shift(points), measure_trend(points)
        if shift is None or halves is None or halves.z > -MIN_HALVES_Z:
            continue
        if -shift.rise >= MIN_SCORE_FALL * max(abs(shift.start), abs(shift.now)):
            onset = find_onset(points, (shift.start + shift.now) / 2, is_above=False)
            return Sign(
                "reward_hacking", int(onset), 0.85,
                {"reward_start": reward.start, "reward_now": reward.now,
                 "score": name, "score_start": shift.start, "score_now": shift.now},
            )  # fmt: skip
    return None


def _list_other_scores(curve: Curve) -> list[tuple[str, Sequence[Point]]]:
    """Return the validation scores, and the mean of each reward function, by name."""
    functions = [
        (name.removeprefix("rewards_").removesuffix("_mean"), curve.get_metric(name))
        for name in curve.metrics
        if name.startswith("rewards_") and name.endswith("_mean")
    ]
    scores = [(name.removeprefix("eval_"), points) for name, points in curve.scores.items()]
    return [*scores, *(functions if len(functions) > 1 else [])]


def find_length_hacking(curve: Curve) -> Sign | None:
    """Find completions that grow and grow, with a reward that rises by that or not at all.

    Longer reasoning may be real progress: while the reward still rises, it is only a hint.
    """
    lengths, rewards = curve.get_metric("completions_mean_length"), curve.get_metric("reward")
    shift = measure_shift(lengths)
    if shift is None or min(len(lengths), len(rewards)) < 2 * MIN_LOGS or shift.start <= 0:
        return None
    if shift.now < MIN_GROWTH * shift.start or shift.z < MIN_Z:
        return None
    half = len(lengths) // 2
    later = [point for point in lengths if point[0] >= lengths[half][0]]
    growth = measure_trend(later)
    if growth is None or trend([value for _, value in thin(later)]) < 1.645:
        return None  # it was longer at once, and stays so
    gain = measure_trend([point for point in rewards if point[0] >= lengths[half][0]])
    is_stalled = gain is not None and gain.z < 2 and growth.now > MIN_STALLED_GROWTH * growth.start
    return Sign(
        "length_hacking", int(find_onset(lengths, (shift.start + shift.now) / 2)),
        0.8 if is_stalled else 0.5,
        {"length_start": shift.start, "length_now": shift.now, "is_stalled": int(is_stalled),
         "reward_start": rewards[0][1] if gain is None else gain.start,
         "reward_now": rewards[-1][1] if gain is None else gain.now},
    )  # fmt: skip


def find_entropy_collapse(curve: Curve) -> Sign | None:
    """Find a policy that became nearly deterministic: its completions no longer explore."""
    points = curve.get_metric("entropy")
    shift = measure_shift(points)
    if shift is None or len(points) < MIN_LOGS or shift.start <= 0:
        return None
    now = median(value for step, value in points if step >= shift.since)
    limit = min(ENTROPY_SHARE * shift.start, MAX_ENTROPY)
    if now > limit or shift.z > -MIN_Z:
        return None
    return Sign(
        "entropy_collapse", int(find_onset(points, limit, is_above=False)), 0.85,
        {"entropy_start": shift.start, "entropy_now": now},
    )  # fmt: skip


def find_policy_kl_explosion(curve: Curve) -> Sign | None:
    """Find a policy that left its reference model, by the KL in nats per token."""
    points = curve.get_metric("kl")
    shift = measure_shift(points)
    if shift is None or len(points) < MIN_LOGS:
        return None
    # The mean is moved by single completions; the median must be high as well.
    recent = median(value for step, value in points if step >= shift.since)
    if recent < MIN_KL or recent < MIN_KL_RATIO * shift.start or shift.z < MIN_Z:
        return None
    return Sign(
        "kl_explosion", int(find_onset(points, MIN_KL)), 0.9,
        {"kl_now": recent, "kl_start": shift.start, "unit": "token"},
    )  # fmt: skip
