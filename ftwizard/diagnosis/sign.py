"""Signs: one pattern in a curve, with its evidence."""

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
    """A pattern in a curve: its onset, confidence and evidence."""

    pattern: Pattern
    onset: int | None
    """The step at which it began; None if unknown."""
    confidence: float
    """From 0 to 1."""
    evidence: dict[str, Value] = field(default_factory=dict)
    """Losses in nats per token, steps, and shares from 0 to 1 (their names end in ``_share``)."""
