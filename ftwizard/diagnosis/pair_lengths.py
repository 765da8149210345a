"""The length of answers as a shortcut: how well it alone tells chosen from rejected answers."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median
from typing import Literal

MIN_PAIRS = 20
"""Pairs of different lengths needed for a judgment."""
TELLING, MIN_TELLING = 0.8, 0.7
"""Accuracy from which length alone tells pairs apart, and the lower end of its interval. Chosen
answers are longer in about 60% of common preference data."""
Z = 1.96


@dataclass(frozen=True)
class LengthRule:
    """The better of two rules, “the longer answer wins” and “the shorter answer wins”."""

    winner: Literal["longer", "shorter"]
    accuracy: float
    """Share of pairs that it tells apart; pairs of equal length count half."""
    low: float
    high: float
    """Interval of the accuracy at 95% (Wilson 1927)."""
    pairs: int
    equal: int
    """Pairs of equal length."""
    chosen_length: float
    """Median."""
    rejected_length: float

    @property
    def is_telling(self) -> bool:
        """Return whether a model could learn length instead of quality."""
        return self.accuracy >= TELLING and self.low >= MIN_TELLING

    def describe(self) -> str:
        """Describe the rule with its accuracy and interval."""
        return (
            f"The {self.winner} answer is the chosen one in {100 * self.accuracy:.0f}% of "
            f"{self.pairs:,} pairs ({100 * self.low:.0f}–{100 * self.high:.0f}%; by chance 50%): the "
            "model may learn length instead of quality."
        )


def judge_lengths(pairs: Iterable[tuple[int, int]]) -> LengthRule | None:
    """Judge the lengths of chosen and rejected answers; None with too few pairs to tell.

    The better rule is chosen by the data, so its interval is that of the rule, not of a test for
    a difference from 50%: for that, use ``is_telling``.
    """
    lengths = list(pairs)
    longer = sum(chosen > rejected for chosen, rejected in lengths)
    equal = sum(chosen == rejected for chosen, rejected in lengths)
    shorter, total = len(lengths) - longer - equal, len(lengths)
    if total - equal < MIN_PAIRS:
        return None
    accuracy = (max(longer, shorter) + equal / 2) / total
    low, high = _compute_interval(accuracy, total)
    return LengthRule(
        winner="longer" if longer >= shorter else "shorter",
        accuracy=accuracy,
        low=low,
        high=high,
        pairs=total,
        equal=equal,
        chosen_length=median(chosen for chosen, _ in lengths),
        rejected_length=median(rejected for _, rejected in lengths),
    )


def _compute_interval(share: float, count: int) -> tuple[float, float]:
    """Return the Wilson score interval of a share."""
    middle = share + Z * Z / (2 * count)
    reach = Z * math.sqrt(share * (1 - share) / count + Z * Z / (4 * count * count))
    scale = 1 + Z * Z / count
    return (middle - reach) / scale, (middle + reach) / scale
