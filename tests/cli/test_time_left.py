"""Time left of a run, measured over its last steps."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ftwizard.cli import runs, watch
from ftwizard.jobs.status import Status
from ftwizard.runs import describe
from ftwizard.runs.progress import Progress
from ftwizard.runs.store import RunStatus

EVENTS = [
    {"kind": "phase", "t": 0.0, "attempt": 1, "phase": "training", "step": 0, "total": 100},
    *(
        {"kind": "log", "t": 10.0 * n, "attempt": 1, "step": n, "tokens": 50 * n}
        for n in range(1, 6)
    ),
]


@pytest.fixture
def progress() -> Progress:
    progress = Progress()
    progress.feed(EVENTS)
    return progress


def make_status(**fields: Any) -> RunStatus:
    """Return the status of a live run; what is not in ``fields`` is unknown."""
    unknown = {field.name: None for field in msgspec.structs.fields(RunStatus) if field.required}
    return RunStatus(**{
        **unknown, "id": "a", "state": "running", "attempt": 1, "folder": "/a", "troubles": (),
        **fields,
    })  # fmt: skip


def test_watch_and_status_label_the_time_left_as_measured(progress: Progress) -> None:
    assert progress.eta_s == pytest.approx(950.0), "95 steps of 10 s"
    rows = dict(watch._progress_rows(progress, Status(state="running", attempt=1)))
    assert str(rows["training ends"]).endswith(f", {describe.MEASURED}")
    status = make_status(total_steps=100, step=5, eta_s=progress.eta_s)
    assert dict(runs._report_lines(status))["time left"] == f"15 min 50 s, {describe.MEASURED}"


def test_status_counts_the_answers_of_an_evaluation(progress: Progress) -> None:
    event = {"kind": "phase", "t": 60.0, "attempt": 1, "phase": "comparing", "what": "tuned model"}
    progress.feed([{**event, "done": 12, "total": 80, "unit": "answers"}])
    status = make_status(phase="comparing")
    lines = dict(runs._report_lines(status, progress))
    assert lines["state"] == "running: comparing: tuned model, 12 of 80 answers"
    stalled = make_status(phase="comparing", troubles=("suspended",))
    assert dict(runs._report_lines(stalled, progress))["state"] == (
        "! suspended: comparing: tuned model, 12 of 80 answers"
    )
