"""One thing that a curve shows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Pattern = Literal[
    "healthy", "plateau", "overfit", "memorising", "no_learning", "spiky", "spike", "diverged",
    "nan", "zero_loss", "eval_nan", "too_good", "insufficient", "no_eval",
]  # fmt: skip
Value = float | int | str | None


@dataclass(frozen=True)
class Sign:
    """A pattern that a curve shows, since when, how surely, and in which numbers."""

    pattern: Pattern
    onset: int | None
    """The step at which it began, as far as the curve tells."""
    confidence: float
    """From 0 to 1."""
    evidence: dict[str, Value] = field(default_factory=dict)
    """Losses in nats a token, steps, shares from 0 to 1 (names end in ``_share``)."""
