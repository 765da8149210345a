"""Progress of runs in tests: everything in it, compared with all events."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ftwizard.jobs.clock import TimeAlive
from ftwizard.jobs.events import Event, EventReader
from ftwizard.jobs.folder import JobFolder
from ftwizard.runs.progress import Progress
from ftwizard.runs.summary import ProgressReader
from ftwizard.timeseries import Series, ThinSeries


def describe(result: Progress) -> str:
    """Return everything in a progress."""
    parts: dict[str, Any] = {}
    for name, value in {**vars(result), **result.metrics}.items():
        if isinstance(value, Series):
            value = [list(value.xs), list(value.ys)]
            if isinstance(result.metrics.get(name), ThinSeries):
                value += [result.metrics[name].stride, result.metrics[name].count]  # type: ignore[attr-defined]
        parts[name] = list(value) if name in ("recent", "metrics") else value
    return repr(sorted(parts.items()))


def read_whole(folder: JobFolder) -> Progress:
    result = Progress(is_summary=True)
    result.feed(EventReader(folder.events).read())
    return result


def check_summary(folder: JobFolder) -> None:
    """Check that a run has a summary, and that it gives what all its events give."""
    reader = ProgressReader(folder)
    assert reader.events.offset > 0
    assert describe(reader.read()) == describe(read_whole(folder))


def measure_alive(events: Iterable[Event]) -> TimeAlive:
    """Return the working time of a job with these events."""
    result = Progress()
    result.feed(list(events))
    return result.alive
