"""The input of a diagnosis: a run's losses so far, and what else is known."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from statistics import median
from typing import Literal

from ftwizard.diagnosis.rows import Change
from ftwizard.objectives import ObjectiveName

# Signs: one pattern in a curve, with its evidence.

Pattern = Literal[
    "healthy", "plateau", "overfit", "memorizing", "no_learning", "spiky", "spike", "diverged",
    "nan", "zero_loss", "eval_nan", "too_good", "insufficient", "no_eval",
    # Preference tuning (DPO, KTO):
    "likelihood_displacement", "margin_explosion", "kl_zero",
    # Reinforcement (GRPO); "kl_explosion" in KTO, "reward_hacking" in DPO and KTO, too:
    "no_reward_signal", "completions_clipped", "length_hacking", "reward_hacking", "reward_collapse",
    "entropy_collapse", "kl_explosion",
]  # fmt: skip
Value = float | int | str | None


@dataclass(frozen=True)
class Sign:
    """A pattern in a curve: its onset, confidence and evidence."""

    pattern: Pattern
    onset: int | None
    """The step at which it began; None if unknown."""
    confidence: float | None
    """From 0 to 1; None for a sign that is not a judgment, such as too few evaluations."""
    evidence: dict[str, Value] = field(default_factory=dict)
    """Losses in nats per token, steps, and shares from 0 to 1 (their names end in ``_share``)."""


MAX_LOGS = 50
"""Logged losses by which the steps between them are measured."""
Point = tuple[float, float]
"""An optimizer step and a value there."""


@dataclass(frozen=True)
class RowEvidence:
    """What the losses of the single rows of an evaluation show."""

    step: float
    rows: int
    step_noise: float
    """Standard deviation of a training step's loss by the choice of its rows, in nats per token."""
    change: Change | None
    """Change of the loss since the best evaluation before; None at the first one."""


@dataclass(frozen=True)
class Curve:
    """A run up to now. Points are in order of steps; a value may be NaN or infinite.

    Only ``train`` is required. Everything else makes the verdict surer or earlier.
    """

    train: Sequence[Point]
    """Training loss as logged: in SFT, the mean cross-entropy in nats per trained token."""
    evals: Sequence[Point] = ()
    """Validation loss, in the same unit."""
    learning_rate: Sequence[Point] = ()
    grad_norm: Sequence[Point] = ()
    """L2 norm of all gradients before clipping."""
    scores: Mapping[str, Sequence[Point]] = field(default_factory=dict)
    """Validation metrics for which higher is better, by name, such as accuracy."""
    metrics: Mapping[str, Sequence[Point]] = field(default_factory=dict)
    """Series of the objective, by the names of ``OBJECTIVE_METRICS``; of an evaluation with the
    prefix ``eval_``."""
    total_steps: int | None = None
    steps_per_epoch: float | None = None
    """Optimizer steps per epoch; with packing, an epoch of packed rows."""
    warmup_steps: int | None = None
    """None: inferred from the learning rate, if logged."""
    vocabulary: int | None = None
    """Vocabulary size of the model."""
    accumulation: int | None = None
    """Micro-batches per optimizer step."""
    objective: ObjectiveName = "sft"
    validates: bool = False
    """Whether there are validation rows, even if none were evaluated yet."""
    checkpoints: Sequence[int] | None = None
    """Steps whose weights are on disk; None if unknown."""
    eval_sets: Sequence[str] = ()
    """Names of the validation sets that ``evals`` averages; empty if there is only one."""
    row_evidence: Sequence[RowEvidence] = ()
    """Of the evaluations for which it is known; empty for curves from elsewhere."""
    rows_per_step: float | None = None
    """Rows in an optimizer step."""
    usual_rate: float | None = None
    """Peak learning rate that is usual for the method."""
    mixes_rows: bool = False
    """Whether general rows are mixed into the training rows: steps then differ by their share."""

    @property
    def last_step(self) -> float:
        """The newest step of any loss or reward; 0 without one."""
        series = (self.train, self.evals, self.metrics.get("reward", ()))
        return max((points[-1][0] for points in series if points), default=0)

    @property
    def warmup_end(self) -> float:
        """The step at which the learning rate reaches its peak; 0 without a warm-up.

        While the learning rate still rises, the newest step.
        """
        if self.warmup_steps is not None:
            return self.warmup_steps
        rates = self.learning_rate
        if not rates:
            return 0
        peak = max(rate for _, rate in rates)
        return next(step for step, rate in rates if rate >= 0.98 * peak) if peak > 0 else 0

    @property
    def steps_per_log(self) -> float:
        """Return the steps between logged losses; 1 with fewer than three."""
        gaps = [b[0] - a[0] for a, b in pairwise(self.train[:MAX_LOGS])]
        return max(1.0, median(gaps)) if len(gaps) > 1 else 1.0

    @property
    def sampling_noise(self) -> float | None:
        """Return the standard deviation of a logged loss by the choice of its rows alone.

        In nats per token, by the newest evaluation; None if unknown.
        """
        if not self.row_evidence:
            return None
        return self.row_evidence[-1].step_noise / math.sqrt(self.steps_per_log)

    def get_metric(self, name: str) -> list[Point]:
        """Return the finite points of a metric; none if it was not logged."""
        return keep_finite(self.metrics.get(name, ()))

    def get_change(self, step: float) -> Change | None:
        """Return the change that the rows of the evaluation at ``step`` show; None if unknown."""
        return next((item.change for item in self.row_evidence if item.step == step), None)

    def until(self, step: float) -> Curve:
        """Return the curve as it was at ``step``."""

        def cut(points: Sequence[Point]) -> list[Point]:
            return [point for point in points if point[0] <= step]

        saved = self.checkpoints
        return replace(
            self,
            train=cut(self.train),
            evals=cut(self.evals),
            learning_rate=cut(self.learning_rate),
            grad_norm=cut(self.grad_norm),
            scores={name: cut(points) for name, points in self.scores.items()},
            metrics={name: cut(points) for name, points in self.metrics.items()},
            checkpoints=None if saved is None else [at for at in saved if at <= step],
            row_evidence=[item for item in self.row_evidence if item.step <= step],
        )


def get_guessing_evidence(curve: Curve, loss: float) -> dict[str, Value]:
    """Return the loss of random guessing as evidence if ``loss`` is near it, else nothing."""
    if not curve.vocabulary or curve.vocabulary < 2:
        return {}
    chance = math.log(curve.vocabulary)
    return {"ln_vocabulary": chance} if abs(loss - chance) < 0.03 * chance else {}


def keep_finite(points: Sequence[Point]) -> list[Point]:
    """Return the points with a finite value."""
    return [point for point in points if math.isfinite(point[1])]
