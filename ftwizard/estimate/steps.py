"""How many optimizer steps rows come to, and how often the validation loss is looked at."""

from __future__ import annotations

import math

EVALUATION_STEPS = 50
MIN_EVALUATIONS = 6


def total_steps(rows: int, batch_size: int, accumulation: int, epochs: float) -> int:
    """Return the optimizer steps of the whole training, as transformers' Trainer counts them."""
    batches = -(-rows // batch_size)
    each_epoch = max(1, -(-batches // accumulation))
    return max(1, math.ceil(each_epoch * epochs))


def evaluation_steps(total: int) -> int:
    """Return the interval: 50 steps, or less where six evaluations need it (SPEC H6)."""
    return max(1, min(EVALUATION_STEPS, total // MIN_EVALUATIONS))
