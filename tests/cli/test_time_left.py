"""Time left of a run, measured over its last steps."""

from __future__ import annotations

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


def test_watch_and_status_label_the_time_left_as_measured(progress: Progress) -> None:
    assert progress.eta_s == pytest.approx(950.0), "95 steps of 10 s"
    rows = dict(watch._progress_rows(progress, Status(state="running", attempt=1)))
    assert str(rows["training ends"]).endswith(f", {describe.MEASURED}")
    fields = {field.name: None for field in msgspec.structs.fields(RunStatus) if field.required}
    status = RunStatus(**{  # type: ignore[arg-type]
        **fields, "id": "a", "state": "running", "attempt": 1, "total_steps": 100, "step": 5,
        "eta_s": progress.eta_s, "folder": "/a", "troubles": (),
    })  # fmt: skip
    assert dict(runs._report_lines(status))["time left"] == f"15 min 50 s, {describe.MEASURED}"
