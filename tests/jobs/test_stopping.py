"""Stops of real jobs: repeated, before the start, with a frozen command, and with a frozen keeper."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ftwizard.jobs import identity, launch, requests, stopping
from ftwizard.jobs.folder import JobFolder, State, write_json
from ftwizard.jobs.pace import GRACE_S, Pace
from ftwizard.jobs.status import observe
from ftwizard.runs import delete
from tests.e2e.cli import FTWIZARD, as_json, ok, ok_here, run
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
    """A running job; whatever a test froze is killed at its end."""
    job = start(make(home / "runs" / "one", steps=5000))
    until_step(job, 3)
    state = job.read_state()
    assert state is not None
    yield job
    for process in (state.keeper, state.command):
        assert process is not None
        identity.signal_group(process, signal.SIGKILL)


def freeze(pid: int) -> None:
    os.kill(pid, signal.SIGSTOP)
    while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        time.sleep(0.01)


def is_saved(folder: JobFolder) -> bool:
    """Return whether the last step was saved."""
    return bool(events(folder, "checkpoint")[-1]["step"] == events(folder, "log")[-1]["step"])


def begin_stop(*options: str) -> subprocess.Popen[str]:
    # A background job of a shell script ignores SIGINT, and so would its children.
    argv = ["env", "--default-signal=INT", str(FTWIZARD), "stop", "one", *options]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_two_stops_at_once_are_one_stop(home: Path) -> None:
    """The step in progress takes longer than the time between TERM and KILL."""
    folder = start(make(home / "runs" / "one", steps=50, step_s=13.0))
    until(folder, lambda status: bool(events(folder, "phase")))
    both = [begin_stop(), begin_stop()]
    until(folder, lambda _: requests.read_pending(folder, "stop", 1) is not None)
    third = run("stop", "one")
    assert "It is already stopping" in third.stderr and " more. To kill it now" in third.stderr
    shown = [process.communicate() for process in both]
    assert third.returncode == 0 and [process.returncode for process in both] == [0, 0]
    assert all("was stopped" in out for out, _ in shown)
    assert is_saved(folder)
    assert not list(folder.requests.iterdir())


def test_stop_interrupts_work_that_does_not_look_for_it(home: Path) -> None:
    """It would be killed after the grace of half a minute; it stops long before, and saves nothing."""
    folder = start(make(home / "runs" / "one", mode="deep"))
    until(folder, lambda _: any(e.get("phase") == "comparing" for e in events(folder, "phase")))
    began = time.monotonic()
    shown = ok("stop", "one")
    assert "was stopped" in shown and "No checkpoint was saved. Start again:" in shown
    assert time.monotonic() - began < GRACE_S / 2
    assert until_ended(folder).end_reason == "stopped"


def test_stop_that_is_no_longer_awaited_stands(home: Path) -> None:
    """The step in progress takes longer than the command waits."""
    folder = start(make(home / "runs" / "one", steps=50, step_s=6.0))
    until(folder, lambda status: bool(events(folder, "phase")))
    process = begin_stop()
    assert process.stderr and "Stopping" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, shown = process.communicate(timeout=30)
    assert process.returncode == 3 and "It still saves and stops" in shown
    assert until_ended(folder).end_reason == "stopped" and is_saved(folder)


def test_stop_is_written_before_events_are_read(folder: JobFolder) -> None:
    """Whoever reads the events waits for ever: they are a pipe without a writer."""
    freeze(command_pid(folder))
    freeze(keeper_pid(folder))
    folder.events.rename(folder.events.with_suffix(".real"))
    os.mkfifo(folder.events)
    process = begin_stop()
    end = time.monotonic() + 60
    while requests.read_pending(folder, "stop", 1) is None:
        assert time.monotonic() < end and process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.communicate()


def test_stop_ends_a_run_that_is_being_started(home: Path) -> None:
    """It is called while the launcher looks for a checkpoint, when there is no attempt yet."""
    folder = make(home / "runs" / "one", steps=5000)
    stops: list[subprocess.Popen[str]] = []

    def stop_meanwhile() -> launch.StartPoint:
        stops.append(begin_stop())
        assert stops[0].stderr and "Stopping" in stops[0].stderr.readline()
        return launch.StartPoint()

    launch.start(folder, folder.read_job().argv, find_start=stop_meanwhile)
    out, _ = stops[0].communicate(timeout=60)
    assert "was stopped" in out and until_ended(folder).end_reason == "stopped"


def test_stop_says_that_the_folder_was_moved_while_it_waited(home: Path) -> None:
    """The step in progress takes longer than the move."""
    folder = start(make(home / "runs" / "one", steps=50, step_s=8.0))
    until(folder, lambda status: bool(events(folder, "phase")))
    process = begin_stop()
    assert process.stderr and "Stopping" in process.stderr.readline()
    moved = JobFolder(folder.path.rename(folder.path.with_name("two")))
    _, shown = process.communicate(timeout=60)
    assert process.returncode == 1 and "was moved or deleted" in shown
    assert "ftwizard stop FOLDER" in shown
    assert until_ended(moved).end_reason == "stopped", "the request moved with it"


def test_stop_of_an_ended_attempt_does_not_stop_the_next(home: Path) -> None:
    folder = start(make(home / "runs" / "one", steps=5))
    until_ended(folder)
    until(folder, lambda _: (s := folder.read_state()) is not None and s.state == "ended")
    ok("stop", "one")
    assert not list(folder.requests.iterdir()), "a request for what has ended is not kept"


def test_stop_continues_a_suspended_command_so_that_it_saves(folder: JobFolder) -> None:
    freeze(command_pid(folder))
    assert "was stopped" in ok("stop", "one")
    assert is_saved(folder)


def test_stop_acts_in_place_of_a_suspended_keeper(folder: JobFolder) -> None:
    keeper = identity.from_pid(keeper_pid(folder))
    freeze(keeper_pid(folder))
    assert observe(folder).liveness.troubles == ("keeper_suspended",)
    shown = ok("status", "one")
    assert "Its keeper is suspended" in shown and "stop still works" in shown
    refused = run("remove", "one", "--yes")
    assert refused.returncode == 1 and "ftwizard stop one" in refused.stderr
    assert "was stopped" in ok("stop", "one")
    assert is_saved(folder) and identity.is_alive(keeper) is False
    state = folder.read_state()
    assert state and (state.state, state.end_reason) == ("ended", "stopped")
    start(folder)
    until_step(folder, 10)
    assert observe(folder).attempt == 2
    ok("stop", "one", "--kill")
    delete.remove(folder)
    assert not folder.path.exists()


def test_kill_acts_in_place_of_a_suspended_keeper(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stopping, "TERM_GRACE_S", 0.5)
    folder = start(make(home / "runs" / "one", steps=5000, mode="deaf"))
    until_step(folder, 3)
    keeper, command = (identity.from_pid(p) for p in (keeper_pid(folder), command_pid(folder)))
    freeze(keeper_pid(folder))
    assert "was killed" in ok_here("stop", "one", "--kill")
    assert identity.is_alive(keeper) is identity.is_alive(command) is False
    assert as_json("status", "one")["end_reason"] == "killed"


def test_hung_command_under_a_frozen_keeper_is_killed_after_its_grace(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stopping, "TERM_GRACE_S", 0.3)
    folder = start(make(home / "runs" / "one", steps=5000, mode="hang"))
    until_step(folder, 5)
    freeze(keeper_pid(folder))
    write_json(folder.pace, Pace(attempt=1, stop_s=0.5))
    requests.request_stop(folder, 1)
    lines: list[str] = []
    assert stopping.wait_for_end(folder, 1, report=lines.append)
    assert "It did not stop in time; killing it." in lines
    status = observe(folder)
    assert (status.state, status.end_reason) == ("ended", "killed")


def test_silent_keeper_is_taken_over_once_its_heartbeat_stays_away(
    folder: JobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not suspended, as in a driver call that never returns; here, its heartbeat is lost."""
    monkeypatch.setattr(stopping, "UNHEARD_S", 1.5)
    monkeypatch.setattr(identity, "is_suspended", lambda _: False)
    freeze(keeper_pid(folder))
    requests.request_stop(folder, 1)
    assert stopping.wait_for_end(folder, 1, report=print)
    status = observe(folder)
    assert (status.state, status.end_reason) == ("ended", "stopped")


def test_end_of_a_command_under_a_frozen_keeper_is_recorded_by_stop(folder: JobFolder) -> None:
    freeze(keeper_pid(folder))
    os.kill(command_pid(folder), signal.SIGKILL)
    until(folder, lambda status: status.liveness.troubles == ("unrecorded",))
    assert "To record the end, stop it." in ok("status", "one")
    assert "was lost" in ok("stop", "one"), "nobody knows why it ended"


def test_run_that_finished_under_a_frozen_keeper_is_not_a_killed_one(home: Path) -> None:
    folder = start(make(home / "runs" / "one", steps=200))
    until_step(folder, 1)
    keeper = identity.from_pid(keeper_pid(folder))
    freeze(keeper_pid(folder))
    until(folder, lambda status: status.liveness.troubles == ("unrecorded",))
    assert observe(folder).state == "stopping"
    assert "Run one finished." in ok("stop", "one", "--kill")
    assert identity.is_alive(keeper) is False
    state = folder.read_state()
    assert state and (state.state, state.end_reason) == ("ended", "finished")


def test_frozen_keeper_that_continues_after_a_new_start_changes_nothing(folder: JobFolder) -> None:
    """It was on another machine, where no one here could end it; the disk carries no locks."""
    old_keeper = identity.from_pid(keeper_pid(folder))
    freeze(keeper_pid(folder))
    os.kill(command_pid(folder), signal.SIGKILL)
    folder.lock.rename(folder.lock.with_suffix(".there"))
    start(folder)
    until_step(folder, 3)
    assert old_keeper
    os.kill(old_keeper.pid, signal.SIGCONT)
    end = time.monotonic() + 60
    while identity.is_alive(old_keeper):
        assert time.monotonic() < end
        time.sleep(0.05)
    state = folder.read_state()
    assert state and (state.attempt, state.state) == (2, "running")
    assert observe(folder).state == "running"
    ok("stop", "one")


def test_stop_leaves_a_working_keeper_alone(folder: JobFolder) -> None:
    assert "does its part" not in run("stop", "one").stderr
    until(folder, lambda _: (s := folder.read_state()) is not None and s.state == "ended")
    state = folder.read_state()
    assert isinstance(state, State) and state.returncode == 0, "the keeper recorded the end"
