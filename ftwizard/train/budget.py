"""Budgets of a run in minutes, hours or dollars."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

from ftwizard.catalog.prices import PriceRate
from ftwizard.errors import FtwizardError
from ftwizard.estimate import duration
from ftwizard.jobs import clock
from ftwizard.jobs.clock import Instant
from ftwizard.jobs.folder import JobFolder
from ftwizard.jobs.worker import Worker
from ftwizard.plan.schema import Plan
from ftwizard.pricing import machine_rate, money
from ftwizard.runs.summary import read_progress
from ftwizard.text import format_dollars, format_duration
from ftwizard.train.measure import folder_bytes

BEFORE_SHARE = 0.5
"""Part of the time for the evaluation that its base models may take, before the first step."""
WARNING_SHARE = 0.8
"""Warn when this share of a budget is used."""


@dataclasses.dataclass(frozen=True)
class Limit:
    """A limit on a run's time, expressed in minutes, hours or dollars."""

    name: str
    """The plan's setting."""
    seconds: float
    """The limit."""
    before: float
    """Seconds used before ``began``."""
    began: float
    """Start of this attempt, on the clock ``now``."""
    format_amount: Callable[[float], str]
    """Formats seconds in the unit of the budget."""
    basis: str = ""
    """What counts, appended to the amount."""
    now: Callable[[], float] = time.monotonic
    kept_s: float | None = None
    """Seconds kept for what follows the training, after which the run finishes early; None for a
    limit at which it stops and can be resumed."""

    @property
    def finishes(self) -> bool:
        """Return whether the run finishes early at the limit, with its results."""
        return self.kept_s is not None

    def used(self) -> float:
        """Return the seconds used so far."""
        return self.before + self.now() - self.began

    def share(self, ending_s: float = 0.0) -> float:
        """Return the used share; 1 is all.

        ``ending_s``: seconds of one more step, and of the last evaluation. They are only kept free
        where the run finishes with its results.
        """
        if self.kept_s is None:
            return self.used() / self.seconds
        available = self.seconds - self.kept_s - ending_s
        return self.used() / available if available > 0 else math.inf

    def describe_exhausted(self) -> str:
        """Return the message for a budget that is used up."""
        if self.finishes:
            return (
                f"Training ended early, to finish within {self.format_amount(self.seconds)} "
                f"({self.name}). The best weights are kept."
            )
        # Hours count in each attempt, dollars over all.
        raise_it = " Raise it in plan.yaml to continue." if self.name == "budget.usd" else ""
        return f"{self.name} is used up: {self._describe_use()}.{raise_it}"

    def describe_warning(self, ending_s: float = 0.0) -> str:
        """Return the message for a budget that will be used up soon."""
        if self.kept_s is not None:
            end = max(self.used(), self.seconds - self.kept_s - ending_s)
            return (  # it stays on the screen: no countdown
                f"Training ends after {self.format_amount(end)} of "
                f"{self.format_amount(self.seconds)} ({self.name}) at the latest. The rest is kept to "
                "finish with the best weights."
            )
        left = max(0.0, self.seconds - self.used())
        return (
            f"{self.name} is {self.share():.0%} used: {self._describe_use()}. "
            f"The run stops in {format_duration(left)}."
        )

    def _describe_use(self) -> str:
        used, total = self.format_amount(self.used()), self.format_amount(self.seconds)
        return f"{used} of {total}{self.basis}"


def limits(worker: Worker, plan: Plan, base: Path | None = None) -> list[Limit]:
    """Return the plan's limits for the attempt that is about to train; ``base``: the model's folder."""
    result, began, budget = list[Limit](), time.monotonic(), plan.budget
    if budget.minutes is not None:
        result.append(
            Limit(
                name="budget.minutes",
                seconds=budget.minutes * 60,
                before=read_progress(worker.folder).limited_s(clock.read()),
                began=began,
                format_amount=format_duration,
                kept_s=_keep_for_finish(plan, budget.minutes * 60, base),
            )
        )
    if budget.hours is not None:
        result.append(Limit("budget.hours", budget.hours * 3600, 0.0, began, format_duration))
    hour = machine_rate.read_recorded_price(worker.folder)
    hour = hour and hour.times(plan.nodes)
    if budget.usd is not None and hour and (rate := hour.usd):
        result.append(
            Limit(
                name="budget.usd",
                seconds=float(_dollars(budget.usd) / rate * 3600),
                before=_billed_seconds(worker.folder, clock.read()),
                began=clock.read_with_suspend(),
                now=clock.read_with_suspend,
                format_amount=lambda seconds: format_dollars(
                    float(machine_rate.usd_for(seconds, rate))
                ),
                basis=f" at {money.describe_rate(hour)}, over all attempts",
            )
        )
    return result


def _keep_for_finish(plan: Plan, seconds: float, base: Path | None) -> float:
    """Return the seconds to keep for saving, merging and the evaluation of the tuned model."""
    stored = folder_bytes(base) if base else 0
    kept = 0.0
    if plan.finish.compare:
        kept = seconds * duration.COMPARISON_SHARE * (1 - BEFORE_SHARE)
    if plan.recipe.method == "full":  # weights and moments in 32 bits, from 16
        kept += 8 * stored * duration.WRITE_S
    if plan.finish.merge or plan.recipe.method == "full":
        kept += stored * (duration.READ_S + duration.WRITE_S) * duration.DISKS
    return kept


def seconds_before(plan: Plan) -> float | None:
    """Return the seconds of ``budget.minutes`` that the base model may answer for before the first
    step; None without that limit."""
    if plan.budget.minutes is None:
        return None
    return plan.budget.minutes * 60 * duration.COMPARISON_SHARE * BEFORE_SHARE


def seconds_left(folder: JobFolder, plan: Plan) -> float | None:
    """Return the seconds left of ``budget.minutes`` in the active attempt; None without that limit."""
    if plan.budget.minutes is None:
        return None
    used_s = read_progress(folder).limited_s(clock.read())
    return plan.budget.minutes * 60 - used_s


def require_price(plan: Plan, hour: PriceRate | None) -> None:
    """Raise FtwizardError for a budget in dollars without an hourly price."""
    if plan.budget.usd is not None and hour is None:
        raise FtwizardError(
            f"budget.usd is {plan.budget.usd:g}, but the hourly price of this machine is unknown.",
            f"Set it with {machine_rate.OPTION}, or in {machine_rate.shown_file()}.",
        )


def require_rest(folder: JobFolder, plan: Plan, hour: PriceRate | None) -> None:
    """Raise FtwizardError if a run's dollar budget is spent, so that it would stop at once.

    ``hour`` is the machine's hourly price, None if unknown.
    """
    if plan.budget.usd is None or hour is None:
        return
    hour = hour.times(plan.nodes)
    spent = machine_rate.usd_for(_billed_seconds(folder), hour.usd)
    if spent >= _dollars(plan.budget.usd):
        raise FtwizardError(
            f"Run {folder.id} has spent its budget: {format_dollars(float(spent))} of "
            f"{format_dollars(plan.budget.usd)} at {money.describe_rate(hour)}.",
            f"Raise budget.usd in {folder.plan}, then run: ftwizard resume {folder.id}",
        )


def _billed_seconds(folder: JobFolder, now: Instant | None = None) -> float:
    return read_progress(folder).alive.billed_seconds(now)


def _dollars(usd: float) -> Decimal:
    return Decimal(repr(usd))
