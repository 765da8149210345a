"""Number of optimizer steps, and the interval between evaluations."""

from __future__ import annotations

import math

EVALUATION_STEPS = 50
MIN_EVALUATIONS = 6


def total_steps(rows: int, batch_size: int, accumulation: int, epochs: float) -> int:
    """Return the total optimizer steps, counted as in transformers' Trainer."""
    batches = -(-rows // batch_size)
    each_epoch = max(1, -(-batches // accumulation))
    return max(1, math.ceil(each_epoch * epochs))


def evaluation_steps(total: int) -> int:
    """Return the evaluation interval: 50 steps, or less to get six evaluations."""
    return max(1, min(EVALUATION_STEPS, total // MIN_EVALUATIONS))
