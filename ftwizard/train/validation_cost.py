"""What an evaluation should lower: the validation loss or, of reinforcement, the negative mean reward.

The loss of a GRPO evaluation is that of a policy step: about 0, whatever the answers are. The trainer
does not log it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

LOSS, REWARD = "eval_loss", "eval_reward"


def read_cost(metrics: Mapping[str, Any]) -> float | None:
    """Return the cost in an evaluation's metrics; None if they have neither a loss nor a reward."""
    if (loss := metrics.get(LOSS)) is not None:
        return float(loss)
    reward = metrics.get(REWARD)
    return None if reward is None else -float(reward)


def read_finite(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Return the finite loss and reward of an evaluation, by the names of a checkpoint's fields."""
    values = {name: metrics[name] for name in (LOSS, REWARD) if metrics.get(name) is not None}
    return {name: float(value) for name, value in values.items() if math.isfinite(value)}


def describe_stop(metrics: Mapping[str, Any], evaluations: int, best: float, step: int) -> str:
    """Describe why a training ends early; ``best``: the lowest cost, at ``step``."""
    since = f"for {evaluations} evaluations"
    if metrics.get(LOSS) is not None:
        now = float(metrics[LOSS])
        return (
            f"Validation loss has not improved {since} (now {now:.4g}, best {best:.4g} at step "
            f"{step}). Stopping; the best weights are kept."
        )
    now = float(metrics[REWARD])
    return (
        f"The mean reward on the validation prompts has not risen {since} (now {now:.4g}, best "
        f"{-best:.4g} at step {step}). Stopping; the best weights are kept."
    )
