"""How many steps a training has, how often it looks at its validation loss, when it has seen enough."""

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


def counts(step: int, every: float, total: int) -> bool:
    """Say whether an evaluation at ``step`` was due; one that a viewer asked for does not count."""
    return step >= total or step % max(1, int(every)) == 0


class Patience:
    """Counts evaluations since the best: the founding article's rule, patience 3 (SPEC T3)."""

    def __init__(self, patience: int) -> None:
        self.patience = patience
        self.best_loss = math.inf
        self.best_step = 0
        self.since_best = 0

    def see(self, step: int, eval_loss: float) -> bool:
        """Take one evaluation into account; return whether patience is used up."""
        if eval_loss < self.best_loss:
            self.best_loss, self.best_step, self.since_best = eval_loss, step, 0
        else:
            self.since_best += 1
        return self.is_used_up

    def replay(self, log_history: list[dict[str, float]], every: float) -> None:
        """Take the evaluations of earlier attempts into account, from a trainer's history."""
        for entry in log_history:
            if "eval_loss" in entry and int(entry["step"]) % max(1, int(every)) == 0:
                self.see(int(entry["step"]), entry["eval_loss"])

    @property
    def is_used_up(self) -> bool:
        """Say whether the last ``patience`` evaluations were no better than the best."""
        return self.since_best >= self.patience
