"""The verdict on a curve: its main pattern, other patterns, and the best checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import median

from ftwizard.diagnosis import memorization, preference, reinforcement, training_loss, validation
from ftwizard.diagnosis.curve import (
    Curve,
    Pattern,
    Point,
    Sign,
    Value,
    keep_finite,
)
from ftwizard.diagnosis.statistics import measure_shift
from ftwizard.objectives import ObjectiveName

_Detector = Callable[[Curve], Sign | None]
_PREFERENCE: tuple[_Detector, ...] = (
    training_loss.find_nan, training_loss.find_divergence, preference.find_no_preference_learning,
    memorization.find_unfollowed_memorization, preference.find_preference_overfitting,
    preference.find_margin_explosion, preference.find_likelihood_displacement,
    preference.find_costly_margins,
)  # fmt: skip
_DETECTORS: dict[ObjectiveName, tuple[_Detector, ...]] = {
    "sft": (
        training_loss.find_nan, training_loss.find_zero_loss, training_loss.find_divergence,
        training_loss.find_no_learning, memorization.find_memorization, validation.find_overfitting,
        training_loss.find_eval_nan, validation.find_too_good, training_loss.find_noise,
        training_loss.find_spike, validation.find_plateau,
    ),
    # Of the patterns of SFT, these are missing in preference tuning: zero_loss and too_good (a loss
    # near 0 means pairs that are told apart), spiky and spike (a step's loss is that of its few
    # hard pairs, so its noise grows as it falls), memorizing without validation (the loss usually
    # drops at each epoch, and often helps), and plateau of the training loss.
    "dpo": (*_PREFERENCE, training_loss.find_eval_nan, validation.find_validation_plateau),
    "kto": (
        *_PREFERENCE, preference.find_preference_kl_explosion, training_loss.find_eval_nan,
        validation.find_validation_plateau, preference.find_zero_kl,
    ),
    # In reinforcement, only NaN means the same. All else is about rewards.
    "grpo": (
        training_loss.find_nan, reinforcement.find_reward_collapse,
        reinforcement.find_no_reward_signal, reinforcement.find_flat_reward,
        reinforcement.find_reward_overfitting, reinforcement.find_reward_hacking,
        reinforcement.find_policy_kl_explosion, reinforcement.find_entropy_collapse,
        reinforcement.find_length_hacking, reinforcement.find_clipped_completions,
        training_loss.find_eval_nan,
    ),
}  # fmt: skip
"""Detectors of each objective, the most severe first."""
_FIGURES = {"rewards_accuracies": "accuracy", "rewards_margins": "margin", "reward": "reward"}
"""Metrics by which a run without problems is described, and their names as evidence."""
_EXCLUDES: dict[Pattern, set[Pattern]] = {
    "nan": {"zero_loss", "eval_nan", "plateau", "spike", "spiky", "no_learning"},
    "zero_loss": {"eval_nan", "plateau", "no_learning", "too_good"},
    "diverged": {
        "overfit",
        "spike",
        "spiky",
        "plateau",
        "no_learning",
        "memorizing",
        "margin_explosion",
    },
    "no_learning": {"overfit", "plateau", "memorizing", "spike", "likelihood_displacement"},
    "overfit": {"plateau"},
    "memorizing": {"plateau", "overfit"},
    "spiky": {"spike"},
    "no_reward_signal": {"no_learning"},
    "reward_collapse": {"no_learning"},
    "margin_explosion": {"kl_explosion"},
}
"""Patterns that are mere effects of a more severe one, and are not reported with it."""
_EXCLUDING_NO_EVAL = frozenset({"nan", "zero_loss", "no_eval", "insufficient"})
"""Patterns with which the lack of validation is not reported: it comes first or changes nothing."""


@dataclass(frozen=True)
class CurveVerdict:
    """The patterns of a curve, and its best checkpoint."""

    pattern: Pattern
    also: tuple[Pattern, ...]
    onset_step: int | None
    best_step: int | None
    """The evaluation with the lowest validation loss; in GRPO, with the highest reward."""
    best_loss: float | None
    best_reward: float | None
    """In GRPO, the mean reward of the best evaluation."""
    best_on_disk: int | None
    """The best checkpoint on disk; None if none or unknown."""
    confidence: float | None
    """From 0 to 1; None where nothing was judged."""
    evidence: dict[str, Value]
    signs: tuple[Sign, ...]


def diagnose(curve: Curve) -> CurveVerdict:
    """Diagnose a run so far."""
    times = training_loss.find_loss_multiple(curve)
    if times is not None:
        curve = training_loss.scale_to_mean(curve, times)
    signs: list[Sign] = []
    for detect in _DETECTORS[curve.objective]:
        sign = detect(curve)
        if sign and not any(sign.pattern in _EXCLUDES.get(s.pattern, ()) for s in signs):
            signs.append(sign)
    signs = signs or [_classify_without_signs(curve)]
    if _lacks_validation(curve) and signs[0].pattern not in _EXCLUDING_NO_EVAL:
        no_eval = Sign("no_eval", None, None, {})
        signs.insert(0 if signs[0].pattern == "plateau" else len(signs), no_eval)
    signs = [
        replace(sign, evidence=sign.evidence | _describe_recipe(sign, curve)) for sign in signs
    ]
    if times is not None:
        signs[0].evidence["logged_times"] = times
    first = signs[0]
    has_rewards = curve.objective == "grpo"
    # The loss of GRPO ranks nothing: its best evaluation is the one with the highest reward.
    scored = [(step, -reward) for step, reward in curve.get_metric("eval_reward")]
    points = scored if has_rewards else curve.evals
    best = validation.get_best(points)
    saved = set(curve.checkpoints or ())
    on_disk = validation.get_best([point for point in points if int(point[0]) in saved])
    return CurveVerdict(
        pattern=first.pattern,
        also=tuple(sign.pattern for sign in signs[1:]),
        onset_step=first.onset,
        best_step=int(best[0]) if best else None,
        best_loss=best[1] if best and not has_rewards else None,
        best_reward=-best[1] if best and has_rewards else None,
        best_on_disk=int(on_disk[0]) if on_disk else None,
        confidence=None if first.confidence is None else round(first.confidence, 3),
        evidence=first.evidence,
        signs=tuple(signs),
    )


def _describe_recipe(sign: Sign, curve: Curve) -> dict[str, Value]:
    """Return the settings that the advice on a sign depends on."""
    if sign.pattern == "overfit" and curve.steps_per_epoch and sign.onset:
        return {"best_epoch": sign.onset / curve.steps_per_epoch}
    if sign.pattern in ("no_learning", "spiky", "diverged") and curve.objective == "sft":
        rates = [rate for _, rate in keep_finite(curve.learning_rate)]
        return {"rate": max(rates, default=None), "usual_rate": curve.usual_rate}
    return {}


def _lacks_validation(curve: Curve) -> bool:
    if curve.objective == "grpo":  # rewards on new completions show more than a validation loss
        return False
    enough = len(keep_finite(curve.train)) >= training_loss.MIN_LOSSES
    return enough and not (curve.evals or curve.validates)


def _classify_without_signs(curve: Curve) -> Sign:
    """Return the sign of a curve with no problems: healthy, or why that cannot be said."""
    evals, train = keep_finite(curve.evals), keep_finite(curve.train)
    if curve.objective == "grpo" and curve.get_metric("reward"):
        return _classify_rewards(curve)
    if _lacks_validation(curve):
        return Sign("no_eval", None, None, {"train_start": train[0][1], "train_now": train[-1][1]})
    reached = {**_describe_reached(curve), **validation.describe_since_best(curve)}
    is_early = len(evals) < validation.MIN_EVALUATIONS and not validation.is_falling_by_rows(curve)
    if is_early or 0 < len(train) < 3:
        return Sign("insufficient", None, None, reached)
    both_fall = curve.objective != "grpo" and _falls(evals) and _falls(train)
    return Sign("healthy", None, 0.85, {**reached, "both_fall": int(both_fall)})


def _classify_rewards(curve: Curve) -> Sign:
    """Return the sign of rewards with no problems: healthy, or that there are too few."""
    rewards = curve.get_metric("reward")
    if len(rewards) < reinforcement.MIN_LOGS:
        reached = {**_describe_reached(curve), "rewards": len(rewards)}
        return Sign("insufficient", None, None, reached)
    return Sign("healthy", None, 0.8, {**_describe_reached(curve), "both_fall": 0})


def _describe_objective(curve: Curve) -> dict[str, Value]:
    """Return how the figures of the objective changed; empty in SFT."""
    evidence: dict[str, Value] = {}
    for name, key in _FIGURES.items():
        train, evals = curve.get_metric(name), curve.get_metric(f"eval_{name}")
        # Few evaluations of a reward vary by chance; pairs are the same each time.
        points = train or evals if key == "reward" else evals or train
        shift = measure_shift(points)
        if shift is not None:
            evidence |= {f"{key}_start": shift.start, f"{key}_now": shift.now}
        elif points:
            evidence |= {f"{key}_start": points[0][1], f"{key}_now": points[-1][1]}
    return {"objective": curve.objective, **evidence} if evidence else {}


def _describe_reached(curve: Curve) -> dict[str, Value]:
    """Return where the losses began and are now, and how far the run is."""
    evals, train = keep_finite(curve.evals), keep_finite(curve.train)
    epoch = curve.last_step / curve.steps_per_epoch if curve.steps_per_epoch else None
    width = max(3, len(train) // 10)
    ends = (train[:width], train[-width:]) if train else ()
    begin, now = (median(loss for _, loss in part) for part in ends) if ends else (None, None)
    return {
        "evaluations": len(evals),
        "losses": len(train),
        "start": evals[0][1] if evals else None,
        "now": evals[-1][1] if evals else None,
        "train_start": begin,
        "train_now": now,
        "epoch": epoch,
        "is_done": int(bool(curve.total_steps) and curve.last_step >= (curve.total_steps or 0)),
        **(_describe_objective(curve) if curve.objective != "sft" else {}),
    }


def _falls(points: Sequence[Point]) -> bool:
    """Return whether the median of the last third is below that of the first."""
    third = max(1, len(points) // 3)
    values = [value for _, value in points]
    return len(points) > 1 and median(values[-third:]) < median(values[:third])
