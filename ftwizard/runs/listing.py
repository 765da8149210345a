"""Run records: the status of a run, with its prediction and the actual values."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

from ftwizard.jobs.folder import JobFolder
from ftwizard.jobs.status import observe
from ftwizard.runs import prediction, store
from ftwizard.runs.prediction import RunFigures
from ftwizard.runs.store import Progress, RunStatus


class RunRecord(RunStatus, frozen=True, kw_only=True):
    """A run in ``ftwizard runs --json``."""

    predicted: RunFigures | None
    """The prediction from before its first step."""
    actual: RunFigures | None
    """The actual values, once it finished."""
    error: dict[str, float | None] | None
    """Error of the prediction by name: 0.1 means 10% too high."""


def read_records() -> list[RunRecord]:
    """Read the records of all runs, oldest first; unreadable runs are skipped."""
    return list(iterate_newest_first())[::-1]


def iterate_newest_first(folders: Iterable[JobFolder] | None = None) -> Iterator[RunRecord]:
    """Yield records lazily: of all runs, or of ``folders`` in their order."""
    for folder in store.list_runs()[::-1] if folders is None else folders:
        with contextlib.suppress(OSError):
            yield read_record(folder)


def read_record(folder: JobFolder, progress: Progress | None = None) -> RunRecord:
    """Read the record of a run; ``progress``: its events, if already read."""
    status = store.make_status(folder, observe(folder), progress or store.read_progress(folder))
    compared = (
        prediction.from_result(store.read_result(folder)) if status.state == "ended" else None
    )
    return RunRecord(
        **{name: getattr(status, name) for name in RunStatus.__struct_fields__},
        predicted=compared.predicted if compared else prediction.read_prediction(folder),
        actual=compared.actual if compared else None,
        error=compared.error if compared else None,
    )
