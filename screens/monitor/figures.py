"""Figures of a run: its efficiency over the last steps, and its cost compared with the budget."""

from __future__ import annotations

import math

from ftwizard.catalog.prices import PriceRate
from ftwizard.jobs.events import to_measure
from ftwizard.plan.schema import Budget
from ftwizard.pricing import machine_rate, money
from ftwizard.runs.progress import ACTIVE, RATE_WINDOW, Progress
from ftwizard.text import format_dollars, make_visible
from ftwizard.timeseries import Series

SHARES = {"padding_share": "padding", "wait_share": "data wait", "flops_share": "MFU"}
"""Step metrics and their labels."""


def list_figures(progress: Progress) -> list[tuple[str, str]]:
    """Return name and value of the speed, of each known share and of the best saving.

    The list is empty while no share is known or the run is not training.
    """
    if progress.phase not in ACTIVE:
        return []
    shares = [
        (name, f"{100 * share:.0f}%")
        for measured, name in SHARES.items()
        if (share := _recent_mean(progress.metrics.get(measured))) is not None
    ]
    if not shares:
        return []
    speed = progress.tokens_per_s
    speeds = [("speed", f"{speed:,.0f} tokens/s")] if speed else []
    return [*speeds, *shares, *_best_saving(progress)]


def _recent_mean(series: Series | None) -> float | None:
    """Return the mean of the last steps, None if it is not between 0 and 1."""
    if series is None:
        return None
    begin = max(0, len(series) - RATE_WINDOW)
    points = (series[index] for index in range(begin, len(series)))
    values = [y for _, y in points if math.isfinite(y)]
    mean = sum(values) / len(values) if values else math.nan
    return mean if 0 <= mean <= 1 else None


def _best_saving(progress: Progress) -> list[tuple[str, str]]:
    newest_first = reversed(progress.findings)
    finding = next((item for item in newest_first if item.get("code") == "efficiency"), {})
    setting, saved_share = finding.get("setting"), to_measure(finding.get("saves"))
    if not isinstance(setting, str) or saved_share is None or saved_share > 1:
        return []
    return [
        ("→", f"{make_visible(setting, 60)} would save up to {100 * saved_share:.0f}% of the time")
    ]


def format_spent(
    progress: Progress, hour: PriceRate | None, budget: Budget, now: float | None
) -> tuple[str, str] | None:
    """Return name and value of the figure: ``cost``, ``$0.42 of $2.00 · 0.3 of 4 h``.

    ``hour`` is the machine's hourly price. ``now`` is in Unix seconds, None for a run that has ended.
    Return None without a price and without a time budget.
    """
    parts = []
    if hour is not None:
        cost = money.format_price(machine_rate.measured_cost(progress.alive.seconds(now), hour))
        parts.append(cost if budget.usd is None else f"{cost} of {format_dollars(budget.usd)}")
    if budget.hours is not None:
        is_training = progress.phase in ACTIVE
        used_s = progress.training.seconds_of(progress.attempt, now if is_training else None)
        parts.append(_format_hours(used_s / 3600, budget.hours))
    return ("cost" if hour else "time", " · ".join(parts)) if parts else None


def _format_hours(used_h: float, budget_h: float) -> str:
    if budget_h >= 1:
        return f"{used_h:.1f} of {budget_h:g} h"
    return f"{60 * used_h:.0f} of {60 * budget_h:.3g} min"
