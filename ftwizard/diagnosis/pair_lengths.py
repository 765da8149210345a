"""The length of answers as a shortcut: how well it alone tells chosen from rejected answers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
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

    @property
    def is_telling(self) -> bool:
        """Return whether a model could learn length instead of quality."""
        return self.accuracy >= TELLING and self.low >= MIN_TELLING

    def format_accuracy(self) -> str:
        """Format the accuracy with its interval: ``86% (81–90%)``."""
        return f"{100 * self.accuracy:.0f}% ({100 * self.low:.0f}–{100 * self.high:.0f}%)"

    def describe(self) -> str:
        """Describe the rule with its accuracy and interval."""
        return (
            f"Length alone tells {100 * self.accuracy:.0f}% of {self.pairs:,} pairs apart "
            f"({100 * self.low:.0f}–{100 * self.high:.0f}%; by chance 50%): the {self.winner} answer "
            "is the chosen one. The model may learn length instead of quality."
        )


def judge_lengths(pairs: Iterable[tuple[int, int]]) -> LengthRule | None:
    """Judge the lengths of chosen and rejected answers; None with too few pairs to tell."""
    counts = Counter((chosen > rejected) - (chosen < rejected) for chosen, rejected in pairs)
    return judge_counts(counts[1], counts[-1], counts[0])


def judge_counts(longer: int, shorter: int, equal: int = 0) -> LengthRule | None:
    """Judge how often the chosen answer is longer, shorter, or as long; None with too few pairs.

    The better rule is chosen by the data, so its interval is that of the rule, not of a test for
    a difference from 50%: for that, use ``is_telling``.
    """
    total = longer + shorter + equal
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
    )


def _compute_interval(share: float, count: int) -> tuple[float, float]:
    """Return the Wilson score interval of a share."""
    middle = share + Z * Z / (2 * count)
    reach = Z * math.sqrt(share * (1 - share) / count + Z * Z / (4 * count * count))
    scale = 1 + Z * Z / count
    return (middle - reach) / scale, (middle + reach) / scale
