"""The verdict on a curve: its main pattern, other patterns, and the best checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import median

from ftwizard.diagnosis import memorization, training_loss, validation
from ftwizard.diagnosis.curve import Curve, Pattern, Point, Sign, Value, keep_finite

_DETECTORS: tuple[Callable[[Curve], Sign | None], ...] = (
    training_loss.find_nan, training_loss.find_zero_loss, training_loss.find_divergence, training_loss.find_no_learning,
    memorization.find_memorization, validation.find_overfitting, training_loss.find_eval_nan,
    validation.find_too_good, training_loss.find_noise, training_loss.find_spike, validation.find_plateau,
)  # fmt: skip
"""Detectors, the most severe first."""
_EXCLUDES: dict[Pattern, set[Pattern]] = {
    "nan": {"zero_loss", "eval_nan", "plateau", "spike", "spiky", "no_learning"},
    "zero_loss": {"eval_nan", "plateau", "no_learning", "too_good"},
    "diverged": {"overfit", "spike", "spiky", "plateau", "no_learning", "memorizing"},
    "no_learning": {"overfit", "plateau", "memorizing", "spike"},
    "overfit": {"plateau"},
    "memorizing": {"plateau", "overfit"},
    "spiky": {"spike"},
}
"""Patterns that are mere effects of a more severe one, and are not reported with it."""


@dataclass(frozen=True)
class Verdict:
    """The patterns of a curve, and its best checkpoint."""

    pattern: Pattern
    also: tuple[Pattern, ...]
    onset_step: int | None
    best_step: int | None
    """The evaluation with the lowest validation loss."""
    best_loss: float | None
    best_on_disk: int | None
    """The checkpoint on disk with the lowest validation loss; None if none or unknown."""
    confidence: float
    evidence: dict[str, Value]
    signs: tuple[Sign, ...]


def diagnose(curve: Curve) -> Verdict:
    """Diagnose a run so far."""
    times = training_loss.find_loss_multiple(curve)
    if times is not None:
        curve = training_loss.scale_to_mean(curve, times)
    signs: list[Sign] = []
    for detect in _DETECTORS:
        sign = detect(curve)
        if sign and not any(sign.pattern in _EXCLUDES.get(s.pattern, ()) for s in signs):
            signs.append(sign)
    signs = signs or [_classify_without_signs(curve)]
    if signs[0].pattern == "plateau" and not (curve.evals or curve.validates):
        signs.insert(0, Sign("no_eval", None, 0.9, {}))
    if times is not None:
        signs[0] = replace(signs[0], evidence={**signs[0].evidence, "logged_times": times})
    first = signs[0]
    best = validation.get_best(curve.evals)
    saved = set(curve.checkpoints or ())
    on_disk = validation.get_best([point for point in curve.evals if int(point[0]) in saved])
    return Verdict(
        pattern=first.pattern,
        also=tuple(sign.pattern for sign in signs[1:]),
        onset_step=first.onset,
        best_step=int(best[0]) if best else None,
        best_loss=best[1] if best else None,
        best_on_disk=int(on_disk[0]) if on_disk else None,
        confidence=round(first.confidence, 3),
        evidence=first.evidence,
        signs=tuple(signs),
    )


def _classify_without_signs(curve: Curve) -> Sign:
    """Return the sign of a curve with no problems: healthy, or why that cannot be said."""
    evals, train = keep_finite(curve.evals), keep_finite(curve.train)
    if not (curve.evals or curve.validates) and len(train) >= training_loss.MIN_LOSSES:
        return Sign("no_eval", None, 0.9, {"now": train[-1][1]})
    if len(evals) < validation.MIN_EVALUATIONS or 0 < len(train) < 3:
        return Sign(
            "insufficient", None, 0.9,
            {"evaluations": len(evals), "losses": len(train), **validation.get_early_rise(curve)},
        )  # fmt: skip
    return Sign(
        "healthy", None, 0.85,
        {"start": evals[0][1], "now": evals[-1][1], "train_now": train[-1][1] if train else None,
         "both_fall": int(curve.objective != "reinforcement" and _falls(evals) and _falls(train))},
    )  # fmt: skip


def _falls(points: Sequence[Point]) -> bool:
    """Return whether the median of the last third is below that of the first."""
    third = len(points) // 3
    values = [value for _, value in points]
    return third > 0 and median(values[-third:]) < median(values[:third])
