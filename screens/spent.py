"""Cost of a run so far, compared with its budget."""

from __future__ import annotations

from ftwizard import hour_price
from ftwizard.catalog.prices import Rate
from ftwizard.estimate import hour_cost
from ftwizard.plan import Budget
from ftwizard.runs import ACTIVE, Progress
from ftwizard.text import dollars


def format_spent(
    progress: Progress, hour: Rate | None, budget: Budget, now: float | None
) -> tuple[str, str] | None:
    """Return name and value of the figure: ``cost``, ``$0.42 of $2.00 · 0.3 of 4 h``.

    ``hour`` is the machine's hourly price. ``now`` is in Unix seconds, None for a run that has ended.
    Return None without a price and without a time budget.
    """
    parts = []
    if hour is not None:
        cost = hour_price.spread(hour_cost.so_far(progress.alive.seconds(now), hour))
        parts.append(cost if budget.usd is None else f"{cost} of {dollars(budget.usd)}")
    if budget.hours is not None:
        is_training = progress.phase in ACTIVE
        used_s = progress.training.seconds_of(progress.attempt, now if is_training else None)
        parts.append(_format_hours(used_s / 3600, budget.hours))
    return ("cost" if hour else "time", " · ".join(parts)) if parts else None


def _format_hours(used_h: float, budget_h: float) -> str:
    if budget_h >= 1:
        return f"{used_h:.1f} of {budget_h:g} h"
    return f"{60 * used_h:.0f} of {60 * budget_h:.3g} min"
