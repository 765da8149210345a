"""What a run has cost so far, and how much of its budget that is."""

from __future__ import annotations

from ftwizard import hour_price
from ftwizard.catalog.prices import Rate
from ftwizard.estimate import hour_cost
from ftwizard.plan import Budget
from ftwizard.runs import ACTIVE, Progress
from ftwizard.text import dollars


def so_far(
    progress: Progress, hour: Rate | None, budget: Budget, now: float | None
) -> tuple[str, str] | None:
    """Return name and value of the figure: ``cost``, ``$0.42 of $2.00 · 0.3 of 4 h``.

    ``hour`` is what one of the machine costs; ``now`` (Unix seconds) None for a run that has
    ended. None where there is neither a price nor a budget of hours.
    """
    parts = []
    if hour is not None:
        cost = hour_price.spread(hour_cost.so_far(progress.alive.seconds(now), hour))
        parts.append(cost if budget.usd is None else f"{cost} of {dollars(budget.usd)}")
    if budget.hours is not None:
        trains = progress.phase in ACTIVE
        used = progress.training.seconds_of(progress.attempt, now if trains else None)
        parts.append(_of_hours(used / 3600, budget.hours))
    return ("cost" if hour else "time", " · ".join(parts)) if parts else None


def _of_hours(used: float, budget: float) -> str:
    if budget >= 1:
        return f"{used:.1f} of {budget:g} h"
    return f"{60 * used:.0f} of {60 * budget:.3g} min"
