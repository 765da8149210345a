"""Restarts of a job's command by its keeper: only where the job says so, and nobody ended it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from ftwizard.jobs import requests
from ftwizard.jobs.folder import JobFolder
from ftwizard.jobs.status import Status
from ftwizard.runs import describe, store
from tests.helpers.jobs import (
    command_pid,
    events,
    keeper_pid,
    make,
    start,
    until,
    until_ended,
    until_step,
)


def kill(folder: JobFolder, number: signal.Signals = signal.SIGKILL) -> None:
    os.kill(command_pid(folder), number)


def is_restarting(status: Status) -> bool:
    return status.liveness.troubles == ("restarting",)


def list_restarts(folder: JobFolder) -> list[str]:
    return [e["message"] for e in events(folder, "finding") if e["code"] == "restarted"]


def start_and_kill(path: Path, steps: int) -> tuple[JobFolder, Status]:
    """Return a job whose command was killed, and is started again only in 5 min."""
    folder = start(make(path, steps=steps), (300.0,))
    until_step(folder, 5)
    kill(folder)
    return folder, until(folder, is_restarting)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_killed_command_is_started_again_in_the_same_attempt(
    tmp_path: Path, number: signal.Signals
) -> None:
    folder = start(make(tmp_path / "run", steps=250), (0.1,))
    until_step(folder, 21)  # after step 20 was saved
    kill(folder, number)
    status = until_ended(folder)
    assert (status.end_reason, status.attempt, status.message) == ("finished", 1, "")
    assert len(list_restarts(folder)) == 1
    steps = [event["step"] for event in events(folder, "log")]
    assert steps[-1] == 250 and steps.count(15) == 1  # it continued from what it had saved


def test_a_command_that_ends_each_time_is_given_up(tmp_path: Path) -> None:
    folder = start(make(tmp_path / "run", mode="hard"), (0.05, 0.1))
    status = until_ended(folder)
    assert (status.end_reason, status.exit_code) == ("crashed", 1)
    assert status.message == "It was started again 2 times, and ended unexpectedly each time."
    assert len(list_restarts(folder)) == 2
    assert len(events(folder, "log")) == 15
    start(folder)
    assert until_ended(folder).message == ""


def test_a_command_that_says_why_it_ends_is_not_started_again(tmp_path: Path) -> None:
    folder = start(make(tmp_path / "run", mode="crash"), (0.1, 0.1))
    status = until_ended(folder)
    assert status.end_reason == "crashed" and "made up" in status.message
    assert list_restarts(folder) == []


def test_a_command_that_somebody_ends_is_not_started_again(tmp_path: Path) -> None:
    folder = start(make(tmp_path / "run", steps=5000), (0.1,))
    until_step(folder, 5)
    kill(folder, signal.SIGTERM)
    assert until_ended(folder).end_reason == "stopped"
    assert list_restarts(folder) == []


def test_a_command_that_is_killed_while_it_stops_is_not_started_again(tmp_path: Path) -> None:
    folder = start(make(tmp_path / "run", steps=5000, mode="deaf"), (0.1,))
    until_step(folder, 5)
    requests.request_stop(folder, 1)
    until(folder, lambda s: s.state == "stopping")
    kill(folder)
    assert until_ended(folder).end_reason == "killed"
    assert list_restarts(folder) == []


@pytest.mark.parametrize(("now", "reason"), [(False, "stopped"), (True, "killed")])
def test_a_stop_ends_the_wait_for_a_restart(tmp_path: Path, now: bool, reason: str) -> None:
    folder, status = start_and_kill(tmp_path / "run", 5000)
    assert status.state == "starting"
    assert describe.describe_troubles(status) == [
        "! Its process ended unexpectedly, and is started again soon, by itself."
    ]
    assert describe.describe_state(store.read_status(folder)) == "! starting again"
    assert list_restarts(folder) == ["Its process was killed. It is started again in 5 min."]
    requests.request_stop(folder, 1, now=now)
    assert until_ended(folder).end_reason == reason


def test_a_keeper_that_is_terminated_does_not_start_it_again(tmp_path: Path) -> None:
    folder, _ = start_and_kill(tmp_path / "run", 5000)
    os.kill(keeper_pid(folder), signal.SIGTERM)
    assert until_ended(folder).end_reason == "stopped"


def test_a_request_to_the_command_ends_the_wait(tmp_path: Path) -> None:
    folder, _ = start_and_kill(tmp_path / "run", 60)
    requests.send(folder, "cancel", 1)
    assert until_ended(folder).end_reason == "finished"


def test_a_keeper_that_is_killed_in_the_wait_leaves_a_job_to_start(tmp_path: Path) -> None:
    folder, _ = start_and_kill(tmp_path / "run", 60)
    os.kill(keeper_pid(folder), signal.SIGKILL)
    assert until_ended(folder).end_reason == "killed"
    start(folder)
    assert until_ended(folder).end_reason == "finished"
