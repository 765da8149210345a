"""The figures that matter in preference tuning and reinforcement: their names, order and values."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import fmean

import msgspec

from ftwizard.objectives import ObjectiveName, guess_objective, to_objective
from ftwizard.runs.progress import Progress
from ftwizard.text import make_visible

RECENT_STEPS = 10
"""Steps over which a figure is averaged: a single one has few rows."""
METRIC_NAMES = {
    "rewards_accuracies": "pair accuracy",
    "eval_rewards_accuracies": "validation pairs",
    "rewards_margins": "margin",
    "eval_rewards_margins": "validation margin",
    "rewards_chosen": "chosen reward",
    "rewards_rejected": "rejected reward",
    "logps_chosen": "chosen log-prob",
    "logps_rejected": "rejected log-prob",
    "kl": "KL to the reference",
    "reward": "reward",
    "eval_reward": "validation reward",
    "reward_std": "reward spread",
    "frac_reward_zero_std": "groups without signal",
    "completions_mean_length": "completion length",
    "completions_clipped_ratio": "completions cut off",
    "entropy": "entropy",
    "clip_ratio_region_mean": "clipped updates",
    "eval_general_logp": "general text log-prob",
}
"""Names of metrics in plain words, in the order in which a chart offers them."""
PARTNERS = {"rewards_chosen": "rewards_rejected", "logps_chosen": "logps_rejected"}
"""Metrics that are drawn together."""


@dataclass(frozen=True)
class _Figure:
    metric: str
    name: str
    write: Callable[[float], str]


def _format_share(value: float) -> str:
    return f"{100 * value:.0f}%"


_GENERAL = _Figure("eval_general_logp", "general text", "{:.2f}".format)
_FIGURES: dict[ObjectiveName, tuple[_Figure, ...]] = {
    "sft": (),
    "dpo": (
        _Figure("rewards_accuracies", "pair accuracy", _format_share),
        _Figure("eval_rewards_accuracies", "validation pairs", _format_share),
        _Figure("rewards_margins", "margin", "{:.3g}".format),
        _Figure("rewards_chosen", "chosen", "{:+.2f}".format),
        _Figure("rewards_rejected", "rejected", "{:+.2f}".format),
        _GENERAL,
    ),
    "kto": (
        _Figure("rewards_margins", "margin", "{:.3g}".format),
        _Figure("rewards_chosen", "chosen", "{:+.2f}".format),
        _Figure("rewards_rejected", "rejected", "{:+.2f}".format),
        _Figure("kl", "KL", "{:.3g}".format),
        _GENERAL,
    ),
    "grpo": (
        _Figure("reward", "reward", "{:.3f}".format),
        _Figure("frac_reward_zero_std", "no signal", _format_share),
        _Figure("completions_mean_length", "length", "{:,.0f} tokens".format),
        _Figure("completions_clipped_ratio", "cut off", _format_share),
        _Figure("kl", "KL", "{:.2g}".format),
        _Figure("entropy", "entropy", "{:.2g}".format),
        _GENERAL,
    ),
}  # fmt: skip
"""Figures of each objective, the most important first."""


def get_objective(progress: Progress) -> ObjectiveName:
    """Return what a run trains for: as its plan says, else by what it logs."""
    return to_objective(progress.objective) or guess_objective(progress.metrics)


def get_main_metric(progress: Progress) -> str:
    """Return the metric that shows how a run goes: the reward of GRPO, else the loss."""
    has_reward = bool(progress.metrics.get("reward"))
    return "reward" if has_reward and get_objective(progress) == "grpo" else "loss"


def name_metric(metric: str) -> str:
    """Return the name of a metric in plain words, or its own."""
    if metric in METRIC_NAMES:
        return METRIC_NAMES[metric]
    is_function = metric.startswith("rewards_") and metric.endswith("_mean")
    name = metric.removeprefix("rewards_").removesuffix("_mean") if is_function else metric
    return f"reward “{make_visible(name, 40)}”" if is_function else name


def read_figures(progress: Progress) -> dict[str, float]:
    """Return the newest value of each figure of the objective, by metric; empty in SFT.

    That of an evaluation is its own, that of training steps the mean of the last ones.
    """
    figures = {}
    for figure in _FIGURES[get_objective(progress)]:
        value = read_recent(progress, figure.metric)
        if value is not None:
            figures[figure.metric] = value
    return figures


def read_recent(progress: Progress, metric: str) -> float | None:
    """Return the newest level of a metric; None without a finite value."""
    series = progress.metrics.get(metric)
    if not series:
        return None
    count = 1 if metric.startswith("eval_") else RECENT_STEPS
    newest = range(max(0, len(series) - count), len(series))
    values = [value for index in newest if math.isfinite(value := series[index][1])]
    return fmean(values) if values else None


def read_evaluated(progress: Progress, metric: str) -> float | None:
    """Return the newest level of a metric on validation rows, without them on training rows."""
    value = read_recent(progress, f"eval_{metric}")
    return read_recent(progress, metric) if value is None else value


def list_figures(progress: Progress) -> list[tuple[str, str]]:
    """Return name and text of each figure of the objective that is known; empty in SFT."""
    return format_figures(get_objective(progress), read_figures(progress))


def format_figures(
    objective: str | msgspec.UnsetType, figures: Mapping[str, float] | msgspec.UnsetType
) -> list[tuple[str, str]]:
    """Return name and text of each figure of a status; empty in SFT."""
    name = to_objective(objective) if isinstance(objective, str) else None
    values = figures if isinstance(figures, Mapping) else {}
    return [
        (figure.name, figure.write(values[figure.metric]))
        for figure in _FIGURES[name or "sft"]
        if figure.metric in values
    ]
