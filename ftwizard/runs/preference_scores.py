"""How base and tuned model judge the same test pairs."""

from __future__ import annotations

import msgspec

from ftwizard.runs import paired_tests
from ftwizard.text import format_count


class PreferenceScores(msgspec.Struct, frozen=True, kw_only=True):
    """How base and tuned model judge the same test pairs, by the probability of both answers."""

    pairs: int
    base: float
    tuned: float
    """Shares of pairs whose chosen answer is the more probable one, 0–1."""
    fixed: int
    """Pairs that only the tuned model judges rightly."""
    broken: int
    """Pairs that only the base model judges rightly."""
    low: float
    high: float
    """Ends of the change's interval (95%)."""
    p: float
    """p-value of the change: exact McNemar test."""


def describe_preferences(scores: PreferenceScores) -> str:
    """Describe how many pairs the training changed, and whether that can be chance."""
    change = f"{(scores.tuned - scores.base) * 100:+.0f} points"
    interval = f"{scores.low * 100:+.0f} to {scores.high * 100:+.0f}"
    proof = "shown" if scores.p < paired_tests.ALPHA else "can be chance"
    return (
        f"Of {format_count(scores.pairs, 'test pair')}, {scores.fixed:,} are judged rightly only "
        f"after training, {scores.broken:,} only before: {change} ({interval}), {proof} "
        f"(p={scores.p:.2g})."
    )
