"""What the losses of single validation rows tell: sampling noise, and changes that they prove."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean, stdev

MIN_ROWS = 5
"""Rows needed to prove a change; with fewer, its error is too uncertain."""
DRAWS = 400
"""Steps drawn to measure their noise."""
ERROR_RATE = 0.05
"""Chance that a run without any change has one that counts as proven, over all its evaluations."""


def measure_step_noise(
    totals: Sequence[float], tokens: Sequence[int], rows_per_step: float
) -> float:
    """Return the standard deviation of a step's loss by the choice of its rows, in nats per token.

    ``totals`` are the losses of rows, summed over their trainable ``tokens``. Steps are drawn from
    them: a formula for the error of a ratio is too low for few rows of different lengths. 0 with
    fewer than two rows.
    """
    rows = [(total, count) for total, count in zip(totals, tokens, strict=True) if count]
    if len(rows) < 2:
        return 0.0
    chance, size = random.Random(0), max(1, round(rows_per_step))
    drawn = (chance.choices(rows, k=size) for _ in range(DRAWS))
    return stdev(sum(t for t, _ in step) / sum(n for _, n in step) for step in drawn)


@dataclass(frozen=True)
class RowLosses:
    """An evaluation, row by row."""

    step: int
    losses: Sequence[float]
    """What each row adds to the validation loss, which is their mean, in nats per token."""

    @property
    def loss(self) -> float:
        """Return the validation loss."""
        return fmean(self.losses) if self.losses else math.nan


@dataclass(frozen=True)
class Change:
    """The change of the mean loss between two evaluations, with its interval, in nats per token."""

    value: float
    low: float
    high: float

    @property
    def is_rise(self) -> bool:
        """Return whether the rows prove that the loss rose."""
        return self.low > 0

    @property
    def is_fall(self) -> bool:
        """Return whether the rows prove that the loss fell."""
        return self.high < 0


def compare(before: RowLosses, now: RowLosses, looks: int) -> Change | None:
    """Compare two evaluations of the same rows; None with too few rows.

    The interval is that of Student's t for the paired differences, so wide that ``looks``
    comparisons together have the error rate (Bonferroni). Rows are paired because they differ far
    more among each other than one row does between two evaluations.
    """
    n = len(now.losses)
    differences = [b - a for a, b in zip(before.losses, now.losses, strict=False)]
    if len(before.losses) != n or n < MIN_ROWS or not all(map(math.isfinite, differences)):
        return None
    value = fmean(differences)
    reach = stdev(differences) / math.sqrt(n) * student_t(ERROR_RATE / 2 / max(1, looks), n - 1)
    return Change(value, value - reach, value + reach)


def student_t(tail: float, degrees: int) -> float:
    """Return the value that Student's t exceeds with probability ``tail`` (Hill 1970, CACM 396)."""
    n = float(degrees)
    if n <= 2:
        p = 2 * tail
        return math.sqrt(2 / (p * (2 - p)) - 2) if n == 2 else 1 / math.tan(p * math.pi / 2)
    a = 1 / (n - 0.5)
    b = 48 / a**2
    c = ((20_700 * a / b - 98) * a - 16) * a + 96.36
    d = ((94.5 / (b + c) - 3) / b + 1) * math.sqrt(a * math.pi / 2) * n
    x = d * 2 * tail
    y = x ** (2 / n)
    if y > 0.05 + a:
        x = NormalDist().inv_cdf(tail)
        y = x * x
        if n < 5:
            c += 0.3 * (n - 4.5) * (x + 0.6)
        c = (((0.05 * d * x - 5) * x - 7) * x - 2) * x + b + c
        y = (((((0.4 * y + 6.3) * y + 36) * y + 94.5) / c - y - 3) / b + 1) * x
        y = math.expm1(a * y * y)
    else:
        y = (
            (1 / (((n + 6) / (n * y) - 0.089 * d - 0.822) * (n + 2) * 3) + 0.5 / (n + 4)) * y - 1
        ) * (n + 1) / (n + 2) + 1 / y
    return math.sqrt(n * y)
