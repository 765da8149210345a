"""``estimate --minutes``: the settings with which a plan finishes in time, and what they give up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from ftwizard.advice import run_history, time_cap
from ftwizard.advice.time_cap import TimeCap
from ftwizard.errors import FtwizardError
from ftwizard.plan.schema import Plan
from ftwizard.train.estimate_report import PlanFacts


def fit_facts(
    facts: PlanFacts, minutes: float, inspect: Callable[[Plan], PlanFacts]
) -> tuple[PlanFacts, TimeCap]:
    """Return the facts of the reduced plan, and how it was reduced.

    ``inspect`` counts a plan exactly. If that shows more time than planned, the plan is reduced once
    more. Raises FtwizardError if the time is unknown.
    """
    margin = 1.0
    while True:
        cap = time_cap.cap_on_machine(
            facts.plan, minutes, facts.lengths, facts.shape, facts.machine,
            speeds=tuple(run_history.find_speeds(facts.plan)), probe=facts.probe, margin=margin,
        )  # fmt: skip
        if cap is None:
            raise FtwizardError(
                "The time of this plan is unknown, so it cannot be fitted into minutes.",
                "Measure its speed first: ftwizard probe PLAN",
            )
        reduced = inspect(cap.plan)
        tighter = time_cap.find_margin(reduced.run, minutes, compares=cap.compares)
        if tighter == 1 or not cap.fits or margin < 1:
            return reduced, cap
        margin = tighter


def list_lines(cap: TimeCap) -> Iterator[tuple[str, str]]:
    """Yield the settings as in a plan, then what they give up, each with a name."""
    mark = "✓ fits" if cap.fits else "✗ does not fit"
    yield f"{cap.minutes:g} min", f"{mark}. {time_cap.describe_outcome(cap)}"
    name = "set"
    for change in cap.changes:
        value = "remove it" if change.after is None else f"{change.after:g}"
        yield name, f"{change.setting}: {value}"
        name = ""
    name = "gives up"
    for loss in time_cap.describe_losses(cap):
        yield name, loss
        name = ""


def to_document(cap: TimeCap) -> dict[str, Any]:
    """Return the cap as a part of the JSON document."""
    return {
        "minutes": cap.minutes,
        "fits": cap.fits,
        "settings": {change.setting: change.after for change in cap.changes},
        "gives_up": time_cap.describe_losses(cap),
        "outcome": time_cap.describe_outcome(cap),
        "before": msgspec.to_builtins(cap.whole),
        "after": msgspec.to_builtins(cap.capped),
        "smaller_model": cap.smaller_model or None,
    }
