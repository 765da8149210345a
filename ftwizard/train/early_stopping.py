"""Early stopping, and which evaluations count for it."""

from __future__ import annotations

import math


def is_scheduled(step: int, every: float, total: int) -> bool:
    """Return whether an evaluation at ``step`` is scheduled, and not one that a viewer requested."""
    return step >= total or step % max(1, int(every)) == 0


class Patience:
    """Counts evaluations since the best one; “End-to-End Fine-Tuning Pipeline” stops after three."""

    def __init__(self, patience: int) -> None:
        self.patience = patience
        self.best_loss = math.inf
        self.best_step = 0
        self.since_best = 0

    def update(self, step: int, eval_loss: float) -> bool:
        """Add an evaluation; return whether patience is exhausted."""
        if eval_loss < self.best_loss:
            self.best_loss, self.best_step, self.since_best = eval_loss, step, 0
        else:
            self.since_best += 1
        return self.is_exhausted

    def replay(self, log_history: list[dict[str, float]], every: float) -> None:
        """Add the scheduled evaluations of earlier attempts from a trainer's history."""
        for entry in log_history:
            if "eval_loss" in entry and int(entry["step"]) % max(1, int(every)) == 0:
                self.update(int(entry["step"]), entry["eval_loss"])

    @property
    def is_exhausted(self) -> bool:
        """Return whether none of the last ``patience`` evaluations was better than the best."""
        return self.since_best >= self.patience
