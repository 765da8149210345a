"""A draft's time limit: setting it, with what that gives up, and undoing it."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from dataclasses import replace

import msgspec

from ftwizard.advice import time_cap
from ftwizard.advice.time_cap import TimeCap
from ftwizard.screens.draft import live_estimate
from ftwizard.screens.draft.drafts import AppliedLimit, Draft
from ftwizard.text import format_count

TITLE = "Something in a few minutes"
EXPLANATION = (
    "For a first look: the run is reduced until it takes this long at most. What costs the least "
    "quality goes first."
)
NO_ESTIMATE = "No time estimate yet: choose a model, and data with a token count."


def parse_minutes(typed: str) -> float:
    """Return typed minutes; raise ValueError with a message."""
    try:
        minutes = float(typed.strip().replace(",", "."))
    except ValueError:
        minutes = 0.0
    if not 0 < minutes <= time_cap.MAX_MINUTES:
        raise ValueError(f"Enter a number of minutes, above 0 and up to {time_cap.MAX_MINUTES:,g}.")
    return minutes


def compute(draft: Draft, minutes: float, margin: float = 1.0) -> TimeCap | None:
    """Compute the settings with which the draft, without its limit, takes ``minutes`` at most.

    ``margin``: see ``cap_plan``. None if the time is unknown.
    """
    return live_estimate.cap_recipe(undo(draft), minutes, margin)


def find_fit(draft: Draft, typed: str) -> TimeCap:
    """Return the settings for typed minutes; raise ValueError with a message if none fit."""
    cap = compute(draft, parse_minutes(typed))
    if cap is None:
        raise ValueError(NO_ESTIMATE)
    if not cap.fits:
        raise ValueError(time_cap.describe_outcome(cap))
    return cap


def apply(draft: Draft, cap: TimeCap) -> Draft:
    """Return the draft with the settings of ``cap``, which advice no longer changes."""
    draft, plan = undo(draft), cap.plan
    names = {change.setting.partition(".")[2] for change in cap.changes}
    limit = AppliedLimit(
        minutes=cap.minutes, changes=cap.changes, touched=tuple(sorted(names - draft.touched))
    )
    draft = draft.with_plan(data=plan.data, recipe=plan.recipe, budget=plan.budget)
    return replace(draft, touched=draft.touched | names, limit=limit)


def undo(draft: Draft) -> Draft:
    """Return the draft without its limit; settings that were changed since are kept."""
    if draft.limit is None:
        return draft
    touched = draft.touched
    for change in draft.limit.changes:
        part, _, name = change.setting.partition(".")
        if operator.attrgetter(change.setting)(draft.plan) != change.after:
            continue
        settings = msgspec.structs.replace(getattr(draft.plan, part), **{name: change.before})
        draft = draft.with_plan(**{part: settings})
        if name in (draft.limit.touched if draft.limit else ()):
            touched = touched - {name}
    return replace(draft, touched=touched, limit=None)


def tighten(draft: Draft) -> Draft | None:
    """Return the draft reduced further if the exact count takes longer than its limit; else None."""
    if draft.limit is None or draft.estimate is None:
        return None
    compares, minutes = draft.plan.finish.compare, draft.limit.minutes
    margin = time_cap.find_margin(draft.estimate.run, minutes, compares=compares)
    if margin == 1:
        return None
    cap = compute(draft, minutes, margin)
    return apply(draft, cap) if cap and cap.fits else None


def is_limited(draft: Draft, name: str) -> bool:
    """Tell whether the limit has set a setting, named without its part of the plan."""
    changes = draft.limit.changes if draft.limit else ()
    return any(change.setting.partition(".")[2] == name for change in changes)


def describe_limit(draft: Draft) -> str:
    """Describe the draft's limit and what it gives up on a line; empty without one."""
    if draft.limit is None:
        return ""
    losses = list(_list_losses(draft.limit))
    return f"Within {draft.limit.minutes:g} min" + (f": {', '.join(losses)}" if losses else "")


def gives_up(draft: Draft) -> bool:
    """Tell whether the limit makes the model worse, and not only the run shorter."""
    return draft.limit is not None and any(_list_losses(draft.limit))


def _list_losses(limit: AppliedLimit) -> Iterator[str]:
    for change in limit.changes:
        after, before = change.after or 0, change.before
        if change.setting == "data.max_rows":
            yield format_count(int(after), "row")
        elif change.setting == "recipe.epochs":
            yield f"{after:g} of {before:g} epochs"
        elif change.setting == "recipe.max_steps":
            yield format_count(int(after), "step")
        elif change.setting == "recipe.max_length":
            yield f"max length {int(after):,} of {before:,}"
