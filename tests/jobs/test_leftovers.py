"""Processes that a command leaves behind: daemons in their own sessions, one of them with the job's lock."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ftwizard.errors import FtwizardError
from ftwizard.jobs import identity, leftovers, lock
from ftwizard.jobs.folder import JobFolder
from ftwizard.jobs.identity import Identity
from ftwizard.jobs.status import observe
from ftwizard.runs import delete
from ftwizard.train import launcher
from tests.e2e.cli import ok
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


@pytest.fixture
def folder(home: Path) -> Iterator[JobFolder]:
    """Return a running job with two daemons; kill them in the end."""
    folder = start(make(home / "runs" / "left", steps=5000, mode="daemons"))
    until_step(folder, 3)
    yield folder
    for daemon in daemons(folder):
        if identity.is_alive(daemon):
            os.kill(daemon.pid, signal.SIGKILL)


def daemons(folder: JobFolder) -> list[Identity]:
    """Return the daemons that are alive."""
    pids = [pid for event in events(folder, "children") for pid in event["pids"]]
    return [process for process in map(identity.from_pid, pids) if process]


def kill_both(folder: JobFolder) -> None:
    """Kill the keeper, then the command; the daemons live on."""
    for pid in (keeper_pid(folder), command_pid(folder)):
        os.kill(pid, signal.SIGKILL)
        wait_until_dead(pid)
    assert len(daemons(folder)) == 2


def wait_until_dead(*pids: int) -> None:
    end = time.monotonic() + 60
    while any(map(identity.from_pid, pids)):
        assert time.monotonic() < end
        time.sleep(0.02)


def test_keeper_ends_daemons_of_a_killed_command(folder: JobFolder) -> None:
    assert len(daemons(folder)) == 2
    os.kill(command_pid(folder), signal.SIGKILL)
    assert until_ended(folder).end_reason == "killed"
    assert daemons(folder) == []


def test_command_ends_its_daemons_if_the_keeper_was_killed(folder: JobFolder) -> None:
    os.kill(keeper_pid(folder), signal.SIGKILL)
    wait_until_dead(keeper_pid(folder))
    until_step(folder, len(events(folder, "log")) + 3)
    assert len(daemons(folder)) == 2, "they live as long as the command"
    command = command_pid(folder)
    os.kill(command, signal.SIGTERM)
    wait_until_dead(command)
    assert daemons(folder) == []
    assert until_ended(folder).end_reason == "stopped"


def test_stop_ends_what_two_kills_left_behind(folder: JobFolder) -> None:
    kill_both(folder)
    assert lock.is_held(folder.lock), "the fork without exec has the lock"
    status = observe(folder)
    assert (status.state, status.end_reason) == ("ended", "lost"), "its trainer is dead"
    assert "was lost" in ok("stop", folder.id)
    assert daemons(folder) == [] and not lock.is_held(folder.lock)


def test_resume_ends_what_two_kills_left_behind(folder: JobFolder) -> None:
    kill_both(folder)
    former = daemons(folder)
    launcher.require_resumable(folder)
    assert not any(map(identity.is_alive, former))
    start(folder)
    assert until(folder, lambda s: s.state == "running").attempt == 2


def test_remove_ends_what_two_kills_left_behind(folder: JobFolder) -> None:
    kill_both(folder)
    former = daemons(folder)
    delete.remove(folder)
    assert not any(map(identity.is_alive, former)) and not folder.path.exists()


def test_start_ends_daemons_without_the_lock(folder: JobFolder) -> None:
    kill_both(folder)
    holder, other = daemons(folder)
    os.kill(holder.pid, signal.SIGKILL)
    wait_until_dead(holder.pid)
    start(folder)
    assert not identity.is_alive(other)


def test_leftovers_of_a_moved_folder_are_recognized(folder: JobFolder) -> None:
    kill_both(folder)
    moved = JobFolder(folder.path.rename(folder.path.with_name("moved")))
    assert leftovers.end(moved) == 2 and daemons(moved) == []


def test_nothing_of_a_living_job_is_left_over(folder: JobFolder) -> None:
    for pid in (None, keeper_pid(folder)):
        if pid:
            os.kill(pid, signal.SIGKILL)
            wait_until_dead(pid)
        assert leftovers.end(folder) == 0
        with pytest.raises(FtwizardError):
            delete.refuse_living(folder)
    assert identity.from_pid(command_pid(folder)) and len(daemons(folder)) == 2


def test_processes_of_other_jobs_and_of_later_attempts_are_strangers(
    folder: JobFolder, home: Path
) -> None:
    kill_both(folder)
    other = make(home / "runs" / "other")
    marks = [leftovers.make_mark(other, 1), leftovers.make_mark(folder, 2), {}]
    strangers = [
        subprocess.Popen(["sleep", "60"], env={**os.environ, **mark}, start_new_session=True)
        for mark in marks
    ]
    assert leftovers.end(folder) == 2
    assert [stranger.poll() for stranger in strangers] == [None] * 3
    for stranger in strangers:
        stranger.kill()
        stranger.wait()
