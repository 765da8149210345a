"""What a run may take, hours or dollars, and how much of it is used."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from decimal import Decimal

from ftwizard import hour_price
from ftwizard.catalog.prices import Rate
from ftwizard.errors import FtwizardError
from ftwizard.estimate import hour_cost
from ftwizard.jobs.events import EventReader, seconds_alive
from ftwizard.jobs.folder import JobFolder
from ftwizard.jobs.worker import Worker
from ftwizard.plan import Plan
from ftwizard.text import dollars, duration

WARNING_SHARE = 0.8
"""So much of a budget used is worth a word."""


@dataclasses.dataclass(frozen=True)
class Limit:
    """A limit on the time of a run, in whatever it was said."""

    name: str
    """The plan's setting."""
    seconds: float
    """How long it lasts."""
    before: float
    """Seconds that count and lay before ``began``."""
    began: float
    """On the clock ``now``."""
    words: Callable[[float], str]
    """Says what so many seconds come to."""
    what: str = ""
    """What counts, in words."""
    now: Callable[[], float] = time.monotonic

    def used(self) -> float:
        """Return the seconds that count so far."""
        return self.before + self.now() - self.began

    def share(self) -> float:
        """Return how much of it is used: 1 is all."""
        return self.used() / self.seconds

    def reached(self) -> str:
        """Say that it is used up."""
        return (
            f"{self.name} is used up: {self.words(self.used())} of {self.words(self.seconds)}"
            f"{self.what}."
        )

    def nearly(self) -> str:
        """Say how much of it is used, and when the rest will be."""
        left = max(0.0, self.seconds - self.used())
        return (
            f"{self.words(self.used())} of {self.words(self.seconds)} ({self.name}) are used"
            f"{self.what}, {self.share():.0%}; the run stops by itself in {duration(left)}."
        ).replace("%", " %")


def limits(worker: Worker, plan: Plan) -> list[Limit]:
    """Return the limits of a plan for the attempt that is about to train."""
    found = []
    began = time.monotonic()
    if plan.budget.hours is not None:
        found.append(Limit("budget.hours", plan.budget.hours * 3600, 0.0, began, duration))
    if plan.budget.usd is not None and (hour := hour_price.recorded(worker.folder)) and hour.usd:
        found.append(
            Limit(
                name="budget.usd",
                seconds=float(_dollars(plan.budget.usd) / hour.usd * 3600),
                before=_seconds(worker.folder, time.time()),
                began=began,
                words=lambda seconds: dollars(float(hour_cost.dollars(seconds, hour.usd))),
                what=f" at {hour_cost.words(hour)}, over all attempts",
            )
        )
    return found


def refuse_spent(folder: JobFolder, plan: Plan, hour: Rate | None) -> None:
    """Raise FtwizardError if the dollars of a run are spent, so that it would stop at once.

    ``hour``: what one of its machine costs, None where that is not known.
    """
    if plan.budget.usd is None or hour is None:
        return
    spent = hour_cost.dollars(_seconds(folder), hour.usd)
    if spent >= _dollars(plan.budget.usd):
        raise FtwizardError(
            f"Run {folder.id} has spent its budget: {dollars(float(spent))} of "
            f"{dollars(plan.budget.usd)} at {hour_cost.words(hour)}.",
            f"Raise budget.usd in {folder.plan}, then: ftwizard resume {folder.id}",
        )


def _seconds(folder: JobFolder, now: float | None = None) -> float:
    return seconds_alive(EventReader(folder.events).read(), now)


def _dollars(usd: float) -> Decimal:
    return Decimal(repr(usd))
