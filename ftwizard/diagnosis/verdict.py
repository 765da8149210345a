"""The verdict on a curve: one pattern, what else it shows, the best checkpoint, what to do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import median

from ftwizard.diagnosis import broken, scaling, shape, staircase, validation
from ftwizard.diagnosis.curve import Curve, Point, finite
from ftwizard.diagnosis.sign import Pattern, Sign, Value

_LOOKS: tuple[Callable[[Curve], Sign | None], ...] = (
    broken.nan, broken.zero_loss, broken.diverged, shape.no_learning, staircase.memorising,
    validation.overfit, broken.eval_nan, validation.too_good, shape.spiky, shape.spike,
    validation.plateau,
)  # fmt: skip
"""What is looked for, the weightiest first."""
_EXCLUDES: dict[Pattern, set[Pattern]] = {
    "nan": {"zero_loss", "eval_nan", "plateau", "spike", "spiky", "no_learning"},
    "zero_loss": {"eval_nan", "plateau", "no_learning", "too_good"},
    "diverged": {"overfit", "spike", "spiky", "plateau", "no_learning", "memorising"},
    "no_learning": {"overfit", "plateau", "memorising", "spike"},
    "overfit": {"plateau"},
    "memorising": {"plateau", "overfit"},
    "spiky": {"spike"},
}
"""What is not said beside a weightier pattern, whose mere effect it is."""


@dataclass(frozen=True)
class Verdict:
    """What a curve shows."""

    pattern: Pattern
    also: tuple[Pattern, ...]
    onset_step: int | None
    best_step: int | None
    """The evaluation with the least validation loss."""
    best_loss: float | None
    best_on_disk: int | None
    """The checkpoint on disk with the least validation loss; None without one or where not known."""
    confidence: float
    evidence: dict[str, Value]
    signs: tuple[Sign, ...]


def diagnose(curve: Curve) -> Verdict:
    """Return the verdict on what is known of a run so far."""
    times = scaling.times_its_mean(curve)
    if times is not None:
        curve = scaling.to_mean(curve, times)
    signs: list[Sign] = []
    for look in _LOOKS:
        sign = look(curve)
        if sign and not any(sign.pattern in _EXCLUDES.get(one.pattern, ()) for one in signs):
            signs.append(sign)
    signs = signs or [_of_none(curve)]
    if signs[0].pattern == "plateau" and not (curve.evals or curve.validates):
        signs.insert(0, Sign("no_eval", None, 0.9, {}))
    if times is not None:
        signs[0] = replace(signs[0], evidence={**signs[0].evidence, "logged_times": times})
    first = signs[0]
    least = validation.best(curve.evals)
    kept = set(curve.checkpoints or ())
    on_disk = validation.best([point for point in curve.evals if int(point[0]) in kept])
    return Verdict(
        pattern=first.pattern,
        also=tuple(sign.pattern for sign in signs[1:]),
        onset_step=first.onset,
        best_step=int(least[0]) if least else None,
        best_loss=least[1] if least else None,
        best_on_disk=int(on_disk[0]) if on_disk else None,
        confidence=round(first.confidence, 3),
        evidence=first.evidence,
        signs=tuple(signs),
    )


def _of_none(curve: Curve) -> Sign:
    """Return what a curve is that shows nothing wrong."""
    evals, train = finite(curve.evals), finite(curve.train)
    if not (curve.evals or curve.validates) and len(train) >= shape.LEAST:
        return Sign("no_eval", None, 0.9, {"now": train[-1][1]})
    if len(evals) < validation.LEAST or 0 < len(train) < 3:
        return Sign(
            "insufficient", None, 0.9,
            {"evaluations": len(evals), "losses": len(train), **validation.rise_of_few(curve)},
        )  # fmt: skip
    return Sign(
        "healthy", None, 0.85,
        {"start": evals[0][1], "now": evals[-1][1], "train_now": train[-1][1] if train else None,
         "both_fall": int(curve.objective != "reinforcement" and _falls(evals) and _falls(train))},
    )  # fmt: skip


def _falls(points: Sequence[Point]) -> bool:
    """Say whether the last third lies below the first."""
    third = len(points) // 3
    values = [value for _, value in points]
    return third > 0 and median(values[-third:]) < median(values[:third])
