"""Training objectives: their names, and the series that their trainers log."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal, get_args

ObjectiveName = Literal["sft", "dpo", "kto", "grpo"]
"""What a run trains for. Of curves from elsewhere, ``dpo`` stands for any method that learns from
pairs, and ``grpo`` for any reinforcement with rewards."""
OBJECTIVE_METRICS = re.compile(
    "(eval_)?(rewards_(chosen|rejected|accuracies|margins)|logps_(chosen|rejected)|reward|reward_std"
    "|rewards_.+_mean|general_logp|frac_reward_zero_std|completions_(mean_length|clipped_ratio)|entropy|kl)"
)
"""Series of preference tuning and reinforcement, by the name that TRL logs with ``_`` for ``/``;
``eval_general_logp`` is ours: the mean log-probability of general text."""
_FORMER_NAMES = {"completion_length": "completions_mean_length", "objective_kl": "kl"}
"""Names of older versions, and of other trainers."""


def to_metric_name(column: str) -> str | None:
    """Return the name of a series of the objective; None for another column."""
    name = column.strip().lower().removeprefix("train/").replace("/", "_")
    name = _FORMER_NAMES.get(name, name)
    return name if OBJECTIVE_METRICS.fullmatch(name) else None


def to_objective(name: str | None) -> ObjectiveName | None:
    """Return an objective by its name; None for another name."""
    return next((objective for objective in get_args(ObjectiveName) if objective == name), None)


def guess_objective(names: Iterable[str]) -> ObjectiveName:
    """Guess what a run trains for by what it logs."""
    metrics = {to_metric_name(name) for name in names}
    if {"rewards_chosen", "rewards_rejected"} & metrics:
        # Pairs have an accuracy; KTO learns from single answers.
        return "dpo" if "rewards_accuracies" in metrics or "kl" not in metrics else "kto"
    has_rewards = {"reward", "reward_std", "completions_mean_length"} & metrics
    return "grpo" if has_rewards else "sft"
