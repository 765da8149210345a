"""When a training looks at its validation loss, and when it has seen enough."""

from __future__ import annotations

import math

from ftwizard.estimate.steps import evaluation_steps, total_steps

__all__ = ["Patience", "counts", "evaluation_steps", "total_steps"]


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
