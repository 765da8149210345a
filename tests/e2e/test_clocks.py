"""Runs while the date jumps by days and years, and while the machine is suspended."""

from __future__ import annotations

import itertools
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ftwizard.jobs import launch
from ftwizard.jobs.folder import JobFolder
from ftwizard.jobs.pace import Pace, read_pace
from ftwizard.jobs.status import observe
from ftwizard.runs import default_run, store
from ftwizard.runs.result import read_result
from ftwizard.runs.summary import read_progress
from tests.e2e.cli import as_json, ok, run
from tests.e2e.workspace import Workspace
from tests.helpers.fake_clock import BACK, DAY, FORWARD, FakeClock
from tests.helpers.jobs import events, make, until, until_ended, until_step
from tests.paths import TICKETS
from tests.screens.runs_helpers import make_run

HOUR = 3600.0
SLEEP_S = 4320


@pytest.fixture
def job(home: Path, fake_clock: FakeClock) -> JobFolder:
    """Start a job of the dummy worker whose processes have the clocks of ``fake_clock``."""
    folder = make(home / "runs" / "job", steps=2000)
    launch.start(folder, folder.read_job().argv, environment=fake_clock.environment)
    return folder


def _more_steps(folder: JobFolder, count: int = 5) -> None:
    until_step(folder, events(folder, "log")[-1]["step"] + count)


@pytest.mark.parametrize("jump_s", [FORWARD, BACK])
def test_jump_of_the_date_changes_no_duration(
    job: JobFolder, fake_clock: FakeClock, jump_s: int
) -> None:
    until_step(job, 5)
    fake_clock.set_date(jump_s)
    _more_steps(job)
    dates = [event["t"] for event in events(job)]
    assert any(abs(b - a) > DAY for a, b in itertools.pairwise(dates)), "the date did jump"
    progress, status = read_progress(job), observe(job)
    now = status.now()
    assert now.m is not None, "the clock of a run of this machine is readable here"
    assert not status.liveness.troubles and read_pace(job, 1) == Pace(attempt=1)
    assert 0 < progress.limited_s(now) < HOUR and progress.alive.billed_seconds(now) < HOUR
    assert 0 <= progress.wait_s(now) < HOUR and 0 <= status.age_s() < HOUR
    for arguments in (("status", "job"), ("runs",)):
        text = ok(*arguments, environment=fake_clock.variables)
        assert "running" in text and " day" not in text, text
    ok("stop", "job", environment=fake_clock.variables)
    assert until_ended(job).end_reason == "stopped"
    state, ended = job.read_state(), observe(job)
    assert state and state.returncode == 0
    assert state.started and state.ended and abs(state.ended - state.started) > DAY
    assert ended.took_s is not None and 0 < ended.took_s < HOUR
    record = store.read_record(job)
    assert record.age_s is not None and 0 <= record.age_s < HOUR
    assert not events(job, "finding"), "a jump of the date is nothing to report"


def test_suspend_is_said_once_and_counts_toward_the_cost_only(
    job: JobFolder, fake_clock: FakeClock
) -> None:
    until_step(job, 5)
    fake_clock.set_date(BACK)
    _more_steps(job)
    fake_clock.suspend(SLEEP_S)
    until(job, lambda _: bool(events(job, "finding")))
    _more_steps(job)
    ok("stop", "job")
    until_ended(job)
    (finding,) = events(job, "finding")
    assert (finding["code"], finding["severity"]) == ("suspended", "info")
    assert finding["suspended_s"] == pytest.approx(SLEEP_S, abs=1)
    assert "suspended for 1 h 12 min" in finding["message"]
    progress = read_progress(job)
    seconds = progress.alive.seconds()
    assert seconds < HOUR and progress.limited_s(None) < HOUR
    assert progress.alive.billed_seconds() == pytest.approx(seconds + SLEEP_S, abs=1)


def test_new_run_is_the_newest_after_the_date_was_set_back(home: Path) -> None:
    old = make(home / "runs" / "zebra", steps=2)
    later = old.job.stat().st_mtime + 75 * 365 * DAY  # made when the date was wrong
    os.utime(old.job, (later, later))
    for name in ("yak", "ant"):
        make(home / "runs" / name, steps=2)
    assert [folder.id for folder in store.list_runs()] == ["zebra", "yak", "ant"]
    assert default_run.choose_shown().folder.id == "ant"


@pytest.mark.parametrize(("year", "age"), [(1970, "0 s"), (2099, "days")])
def test_commands_work_on_any_date(home: Path, fake_clock: FakeClock, year: int, age: str) -> None:
    make_run(home, "kept")
    fake_clock.set_date(int((year - 1970 + 0.1) * 365 * DAY - time.time()))
    data = TICKETS / "train.jsonl"
    for arguments in (("estimate", data, "--model", "gpt-4.1-mini"), ("status", "kept")):
        ok(*arguments, environment=fake_clock.variables)
    assert ok("runs", environment=fake_clock.variables).strip().endswith(age)


@pytest.fixture
def restless_clock(fake_clock: FakeClock) -> Iterator[FakeClock]:
    """Yield clocks whose date jumps several times a second."""
    stopped = threading.Event()

    def jump() -> None:
        for offset_s in itertools.cycle((0, FORWARD, BACK)):
            fake_clock.set_date(offset_s)
            if stopped.wait(0.07):
                return

    thread = threading.Thread(target=jump)
    thread.start()
    yield fake_clock
    stopped.set()
    thread.join()


def set_budget(plan: Path, **budget: float) -> None:
    body = json.loads(plan.read_text())
    plan.write_text(json.dumps(body | {"budget": budget}))


@pytest.mark.slow
def test_suspend_spends_a_budget_in_dollars(
    small_workspace: Workspace, fake_clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in fake_clock.variables.items():
        monkeypatch.setenv(name, value)
    plan = small_workspace.plan(rows=60, epochs=8)
    set_budget(plan, usd=1)
    folder = small_workspace.train(plan, "asleep", "--price", "machine=1.00")
    until_step(folder, 5, 90)
    fake_clock.suspend(SLEEP_S)
    status = until_ended(folder, 90)
    assert status.end_reason == "stopped" and "budget.usd is used up: $1.2" in status.message
    refused = run("resume", "asleep")
    assert refused.returncode == 1 and "has spent its budget: $1.2" in refused.stderr


@pytest.mark.slow
def test_training_under_a_jumping_date_spends_no_budget_and_resumes(
    small_workspace: Workspace, restless_clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is suspended for longer than its limit of minutes, too."""
    for name, value in restless_clock.variables.items():
        monkeypatch.setenv(name, value)
    plan = small_workspace.plan(rows=60, epochs=2, finish=True)
    set_budget(plan, minutes=60, usd=5)
    folder = small_workspace.train(plan, "restless", "--price", "machine=1.00")
    until_step(folder, 10, 90)
    restless_clock.suspend(SLEEP_S)
    until(folder, lambda _: any(e["code"] == "suspended" for e in events(folder, "finding")))
    ok("stop", "restless")
    assert until_ended(folder, 90).end_reason == "stopped"
    ok("resume", "restless")
    status = until_ended(folder, 200)
    assert (status.end_reason, status.attempt) == ("finished", 2), status
    dates = [event["t"] for event in events(folder)]
    assert min(dates) < max(dates) - DAY, "the date did jump"
    assert all(0 <= event["eval_runtime"] < HOUR for event in events(folder, "eval"))
    assert not [event for event in events(folder, "finding") if event["code"] == "budget"]
    progress, result = read_progress(folder), read_result(folder)
    assert 0 < progress.alive.seconds() < HOUR
    assert SLEEP_S <= progress.alive.billed_seconds() < SLEEP_S + HOUR
    assert progress.eta_s is not None and progress.eta_s < HOUR
    assert result and result.prediction and result.prediction.actual.seconds
    assert 0 < result.prediction.actual.seconds.value < HOUR
    cost = result.prediction.actual.cost
    assert cost and SLEEP_S / HOUR < cost.value < SLEEP_S / HOUR + 1
    (record,) = as_json("runs")["runs"]
    assert record["actual"]["seconds"]["value"] < HOUR and record["state"] == "ended"
