"""Jobs on another machine with a shared disk: status, stop requests and second starts."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from ftwizard.errors import FtwizardError
from ftwizard.jobs import identity, lock, remote_host, requests, stopping
from ftwizard.jobs.folder import JobFolder, State, write_json
from ftwizard.jobs.identity import Identity
from ftwizard.jobs.launch import AlreadyRunning
from ftwizard.jobs.status import observe
from ftwizard.runs import delete
from tests.e2e.cli import as_json, ok, run
from tests.helpers.fake_clock import BACK, FORWARD, FakeClock
from tests.helpers.jobs import command_pid, keeper_pid, make, start, until, until_ended, until_step

HOST = "node\x1b7"


def _moved(origin: Identity | None) -> Identity:
    assert origin is not None
    return msgspec.structs.replace(origin, host=HOST, boot_id="another")


@pytest.fixture
def away(home: Path) -> Iterator[JobFolder]:
    """Start a job whose state says that it runs on another machine."""
    folder = start(make(home / "runs" / "away", steps=5000))
    until_step(folder, 2)
    state = folder.read_state()
    assert state is not None
    there = {name: _moved(getattr(state, name)) for name in ("keeper", "command")}
    write_json(folder.state, msgspec.structs.replace(state, **there))
    yield folder
    for item in (state.keeper, state.command):
        assert item is not None
        identity.signal_group(item, signal.SIGKILL)


def forget_lock(folder: JobFolder) -> None:
    """Replace the lock with a free one, as on a disk without shared locks."""
    folder.lock.rename(folder.lock.with_suffix(".there"))
    folder.lock.touch(mode=0o600)
    assert not lock.is_held(folder.lock)


def age(folder: JobFolder, seconds: float) -> None:
    for file in (folder.heartbeat, folder.events):
        then = file.stat().st_mtime - seconds
        os.utime(file, (then, then))


@pytest.mark.parametrize("carries_locks", [True, False])
def test_status_shows_the_other_host_and_stop_sends_a_request(
    away: JobFolder, carries_locks: bool
) -> None:
    if not carries_locks:
        forget_lock(away)
    status = observe(away)
    assert (status.state, status.keeper_lives, status.host) == ("running", None, HOST)
    shown = ok("status", "away")
    assert "node␛7" in shown and "\x1b" not in shown
    assert as_json("runs")["runs"][0]["state"] == "running"
    for command in (("resume", "away"), ("remove", "away", "--yes")):
        refused = run(*command)
        assert refused.returncode == 1 and "ftwizard stop away" in refused.stderr
    if not carries_locks:  # a keeper on another machine would not write here
        os.kill(keeper_pid(away), signal.SIGSTOP)
    stopped = run("stop", "away")
    os.kill(keeper_pid(away), signal.SIGCONT)
    assert stopped.returncode == 0 and "was stopped" in stopped.stdout
    assert "on node␛7" in stopped.stderr
    until(away, lambda _: (s := away.read_state()) is not None and s.state == "ended")
    assert not (away.requests / "stop").exists(), "the command consumes the stop request"


@pytest.mark.parametrize("carries_locks", [True, False])
def test_watch_follows_a_run_of_another_host_to_its_end(
    away: JobFolder, carries_locks: bool
) -> None:
    """Lines of text, as in a terminal without screens; the run ends there by a request."""
    if not carries_locks:
        forget_lock(away)
    command = [sys.executable, "-m", "ftwizard", "watch", "away", "--plain"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watch:
        assert watch.stdout
        begun = watch.stdout.readline()
        assert f"run away in {away.path}" in begun
        assert "running on node␛7" in watch.stdout.readline(), "at the top"
        assert watch.poll() is None, "it follows a run that lives"
        requests.request_stop(away, 1)
        rest = watch.stdout.read()
        assert watch.wait(60) == 1, "as of a stopped run on this host"
    assert "lost" not in rest and "killed" not in rest
    assert "running on" not in rest, "once"
    assert "■ Run away was stopped." in rest


def test_watch_of_a_silent_run_of_another_host_ends(away: JobFolder) -> None:
    """Its host may be gone: nothing is awaited there for ever."""
    forget_lock(away)
    for pid in (keeper_pid(away), command_pid(away)):
        os.kill(pid, signal.SIGSTOP)
    age(away, remote_host.SILENT_S + 1)
    watch = run("watch", "away", "--plain", timeout=120)
    assert watch.returncode == 1
    assert "✗ Run away was lost." in watch.stdout, watch.stdout


def test_kill_of_a_remote_job_is_left_to_its_host(
    away: JobFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from ftwizard.__main__ import main

    os.kill(command_pid(away), signal.SIGSTOP)
    os.kill(keeper_pid(away), signal.SIGSTOP)
    monkeypatch.setattr(stopping, "SLACK_S", 0.2)
    monkeypatch.setattr(stopping, "TERM_GRACE_S", 0.1)
    assert main(["stop", "away", "--kill"]) == 1
    text = capsys.readouterr().err
    assert "cannot be killed from here" in text and "On node␛7, run: ftwizard stop away" in text
    assert requests.read_pending(away, "kill", 1)
    assert observe(away).state == "stopping"


@pytest.mark.parametrize("jump_s", [FORWARD, BACK])
def test_wrong_date_here_does_not_make_a_remote_run_lost(
    away: JobFolder, fake_clock: FakeClock, jump_s: int
) -> None:
    fake_clock.set_date(jump_s)
    for carries_locks in (True, False):
        if not carries_locks:
            forget_lock(away)
        shown = as_json("status", "away", environment=fake_clock.variables)
        assert shown["state"] == "running"
        text = ok("status", "away", environment=fake_clock.variables)
        assert re.search(r"event \d+ s ago, heartbeat \d+ s ago", text), text
    assert not list(away.requests.iterdir())
    for pid in (keeper_pid(away), command_pid(away)):
        os.kill(pid, signal.SIGSTOP)
    age(away, remote_host.SILENT_S + 1)
    shown = as_json("status", "away", environment=fake_clock.variables)
    assert (shown["state"], shown["end_reason"]) == ("ended", "lost")
    assert not remote_host.has_recent_sign(away)
    age(away, -remote_host.SILENT_S)
    assert remote_host.has_recent_sign(away), "it was only slow"


def test_heartbeat_prevents_a_second_start_without_a_lock(
    away: JobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget_lock(away)
    with pytest.raises(AlreadyRunning, match="on node␛7"):
        start(away)
    assert away.newest_attempt() == 1
    # With clock skew the job looks dead, but its heartbeat still moves.
    age(away, 10_000)
    os.kill(command_pid(away), signal.SIGSTOP)
    with pytest.raises(AlreadyRunning, match="on node␛7"):
        start(away)
    age(away, 10_000)
    with pytest.raises(FtwizardError, match="has not ended"):
        delete.remove(away)
    os.killpg(keeper_pid(away), signal.SIGKILL)
    os.killpg(command_pid(away), signal.SIGKILL)
    age(away, remote_host.SILENT_S + 1)
    status = observe(away)
    assert (status.state, status.end_reason, status.host) == ("ended", "lost", None)
    monkeypatch.setattr(remote_host, "WATCHED_S", 0.2)
    start(away)
    assert observe(away).attempt == 2


def test_job_that_ended_on_another_host_counts_as_ended(away: JobFolder) -> None:
    requests.request_stop(away, 1)
    until_ended(away)
    until(away, lambda _: (s := away.read_state()) is not None and s.state == "ended")
    state = away.read_state()
    assert state is not None
    left: State = msgspec.structs.replace(state, keeper=_moved(state.keeper))
    write_json(away.state, left)
    assert remote_host.get_other_host(away, left) is None
    status = observe(away)
    assert (status.state, status.end_reason, status.host) == ("ended", "stopped", None)


def test_starting_attempt_reports_its_other_host(away: JobFolder) -> None:
    attempt = away.read_attempt(1)
    write_json(away.attempt(1), msgspec.structs.replace(attempt, host="elsewhere"))
    starting = State(state="starting", attempt=1)
    assert remote_host.get_other_host(away, starting) == "elsewhere"
