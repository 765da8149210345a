"""What is known of a run so far, as a diagnosis reads it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from ftwizard.diagnosis.sign import Value

Point = tuple[float, float]
"""An optimizer step and a value there."""
Objective = Literal["supervised", "preference", "reinforcement"]


@dataclass(frozen=True)
class Curve:
    """A run up to now. Points are in order of their steps; a value may be NaN or infinite.

    Only ``train`` is needed. Whatever else is known makes the verdict surer or earlier.
    """

    train: Sequence[Point]
    """Training loss: mean cross-entropy in nats a trained token, as logged."""
    evals: Sequence[Point] = ()
    """Validation loss, in the same unit."""
    learning_rate: Sequence[Point] = ()
    grad_norm: Sequence[Point] = ()
    """L2 norm of all gradients before clipping."""
    scores: Mapping[str, Sequence[Point]] = field(default_factory=dict)
    """Other measures of the validation rows of which more is better, by name, such as accuracy."""
    total_steps: int | None = None
    steps_per_epoch: float | None = None
    """Optimizer steps in which each row is seen once; where rows are packed, of packed ones."""
    warmup_steps: int | None = None
    """None: read off the learning rate, where there is one."""
    vocabulary: int | None = None
    """Number of tokens that the model chooses among."""
    accumulation: int | None = None
    """Micro-batches a step."""
    objective: Objective = "supervised"
    validates: bool = False
    """Whether rows are known to be held out, be none of them evaluated yet."""
    checkpoints: Sequence[int] | None = None
    """Steps whose weights are on disk; None where that is not known."""
    eval_sets: Sequence[str] = ()
    """Names of the validation sets whose mean ``evals`` is; empty where there is but one."""

    @property
    def last_step(self) -> float:
        """The newest step of any loss; 0 without one."""
        return max((points[-1][0] for points in (self.train, self.evals) if points), default=0)

    @property
    def warmup_end(self) -> float:
        """The step at which the learning rate has risen to its height, 0 without a warm-up.

        While it still rises, the newest step.
        """
        if self.warmup_steps is not None:
            return self.warmup_steps
        rates = self.learning_rate
        if not rates:
            return 0
        height = max(rate for _, rate in rates)
        return next(step for step, rate in rates if rate >= 0.98 * height) if height > 0 else 0

    def until(self, step: float) -> Curve:
        """Return the curve as it was known at ``step``."""

        def cut(points: Sequence[Point]) -> list[Point]:
            return [point for point in points if point[0] <= step]

        return Curve(
            train=cut(self.train),
            evals=cut(self.evals),
            learning_rate=cut(self.learning_rate),
            grad_norm=cut(self.grad_norm),
            scores={name: cut(points) for name, points in self.scores.items()},
            total_steps=self.total_steps,
            steps_per_epoch=self.steps_per_epoch,
            warmup_steps=self.warmup_steps,
            vocabulary=self.vocabulary,
            accumulation=self.accumulation,
            objective=self.objective,
            validates=self.validates,
            checkpoints=None
            if self.checkpoints is None
            else [one for one in self.checkpoints if one <= step],
            eval_sets=self.eval_sets,
        )


def of_guessing(curve: Curve, loss: float) -> dict[str, Value]:
    """Return as evidence what a model's loss is that guesses among its vocabulary, if it is that."""
    if not curve.vocabulary or curve.vocabulary < 2:
        return {}
    chance = math.log(curve.vocabulary)
    return {"ln_vocabulary": chance} if abs(loss - chance) < 0.03 * chance else {}


def finite(points: Sequence[Point]) -> list[Point]:
    """Return the points whose value is a number."""
    return [point for point in points if math.isfinite(point[1])]
