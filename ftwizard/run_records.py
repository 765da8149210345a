"""Runs as they are listed: the status of each, and what became of its prediction."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

from ftwizard import outcome, runs
from ftwizard.jobs.folder import JobFolder
from ftwizard.jobs.status import observe
from ftwizard.outcome import Expected
from ftwizard.runs import Progress, RunStatus


class RunRecord(RunStatus, frozen=True, kw_only=True):
    """One run of ``ftwizard runs --json``."""

    predicted: Expected | None
    """What was predicted of it before its first step."""
    actual: Expected | None
    """What it took, once it has finished."""
    error: dict[str, float | None] | None
    """Predicted against actual by name: 0.1 where 10 % too much was predicted."""


def records() -> list[RunRecord]:
    """Look at every run, oldest first; one that cannot be read does not hide the others."""
    return list(newest_first())[::-1]


def newest_first(folders: Iterable[JobFolder] | None = None) -> Iterator[RunRecord]:
    """Look at runs one by one as they are asked for: all, or those of ``folders`` in their order."""
    for folder in runs.all_runs()[::-1] if folders is None else folders:
        with contextlib.suppress(OSError):
            yield record(folder)


def record(folder: JobFolder, progress: Progress | None = None) -> RunRecord:
    """Look at a run, and at what was predicted of it; ``progress`` where its events are read."""
    found = runs.report(folder, observe(folder), progress or runs.progress(folder))
    came = outcome.of_result(runs.result(folder)) if found.state == "ended" else None
    return RunRecord(
        **{name: getattr(found, name) for name in RunStatus.__struct_fields__},
        predicted=came.predicted if came else outcome.read_prediction(folder),
        actual=came.actual if came else None,
        error=came.error if came else None,
    )
