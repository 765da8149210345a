"""A command that waits for a job: what ends it stops the job."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from ftwizard.cli import run_job
from ftwizard.jobs import launch, leftovers, requests, stopping
from ftwizard.jobs.events import EventWriter
from ftwizard.jobs.folder import JobFolder


def test_sigterm_stops_the_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A script's time limit, such as ``timeout 60 ftwizard eval``, must leave nothing running."""
    stopped: list[int] = []

    def follow(job: JobFolder, attempt: int) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)

    monkeypatch.setattr(run_job, "_follow", follow)
    monkeypatch.setattr(leftovers, "end", lambda job: None)
    monkeypatch.setattr(launch, "start", lambda *_, **__: SimpleNamespace(number=3))
    monkeypatch.setattr(requests, "request_stop", lambda job, attempt: stopped.append(attempt))
    monkeypatch.setattr(stopping, "wait_for_end", lambda *_, **__: None)
    with pytest.raises(SystemExit):
        run_job.run(JobFolder(tmp_path), {}, "ftwizard eval x")
    assert stopped == [3]


def test_warnings_of_the_attempt_are_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    job = JobFolder(tmp_path)
    for attempt in (1, 2):
        events = EventWriter(job.events, attempt)
        events.write_finding("no_judge", f"{attempt} items cannot be scored.", "warning")
        events.write_finding("power", "40 items can show a gain of 20 points.")
        events.close()
    monkeypatch.setattr(run_job, "observe", lambda job: SimpleNamespace(state="ended"))
    run_job._follow(job, 2)
    assert capsys.readouterr().err == "! 2 items cannot be scored.\n"
