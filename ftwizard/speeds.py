"""Speeds of earlier runs of a model on this machine."""

from __future__ import annotations

import datetime
from itertools import islice

from ftwizard import plan as plans
from ftwizard import runs
from ftwizard.errors import FtwizardError
from ftwizard.estimate.duration import Speed
from ftwizard.jobs.events import tail
from ftwizard.jobs.folder import JobFolder
from ftwizard.plan import Plan
from ftwizard.runs import Progress

MAX_SPEEDS = 5
MAX_RUNS = 50
"""Number of newest runs to inspect."""
TAIL_BYTES = 1 << 17
"""Bytes read from the end of a run's events: more than its last ``RATE_WINDOW`` steps, over which
its speed is measured."""


def of_runs(chosen: Plan, *, but: str = "") -> list[Speed]:
    """Return the speeds of the newest runs of the same model and method, except run ``but``."""
    newest = runs.all_runs()[: -MAX_RUNS - 1 : -1]
    alike = (folder for folder in newest if folder.id != but and _is_similar(folder, chosen))
    speeds = (
        Speed(run=folder.id, tokens_per_s=rate, as_of=_last_day(folder))
        for folder in alike
        if (rate := _read_speed(folder))
    )
    return list(islice(speeds, MAX_SPEEDS))


def _is_similar(folder: JobFolder, chosen: Plan) -> bool:
    try:
        earlier = plans.parse(folder.plan.read_text())
    except (OSError, ValueError, FtwizardError):
        return False
    return (earlier.model.name, earlier.recipe.method) == (chosen.model.name, chosen.recipe.method)


def _last_day(folder: JobFolder) -> str | None:
    """Return the date of the run's last event."""
    try:
        return str(datetime.date.fromtimestamp(folder.events.stat().st_mtime))
    except OSError:
        return None


def _read_speed(folder: JobFolder) -> float | None:
    """Return the tokens per second of a run's last steps, reading only the end of its events."""
    progress = Progress()
    try:
        progress.feed(tail(folder.events, TAIL_BYTES))
    except OSError:
        return None
    return progress.tokens_per_s
