"""Signs of life of real jobs that hang or are frozen, in every view that opens after it began."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from textual.pilot import Pilot

from ftwizard.jobs import identity, liveness, lock
from ftwizard.jobs.folder import JobFolder, State, write_json
from ftwizard.jobs.identity import Identity
from ftwizard.jobs.pace import read_pace
from ftwizard.jobs.status import observe
from ftwizard.screens.app import FtwizardApp
from tests.e2e.cli import FTWIZARD, as_json, ok
from tests.helpers.jobs import command_pid, keeper_pid, make, start, until, until_step
from tests.screens.frames import drive, wait_for_text


@pytest.fixture
def processes() -> Iterator[list[Identity]]:
    """Processes that the test freezes; they are killed at its end."""
    frozen: list[Identity] = []
    yield frozen
    for process in frozen:
        identity.signal_group(process, signal.SIGKILL)


def freeze(pid: int, processes: list[Identity]) -> None:
    process = identity.from_pid(pid)
    assert process
    processes.append(process)
    os.kill(pid, signal.SIGSTOP)
    while not identity.is_suspended(process):
        time.sleep(0.01)


def read_piped_watch(text: str) -> str:
    """Return what ``watch`` without a terminal prints, up to the line that contains ``text``."""
    argv = [str(FTWIZARD), "watch", "one"]
    shown = ""
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        while text not in shown and (line := process.stdout.readline()):
            shown += line
        process.kill()
    assert text in shown
    return shown


def see(route: tuple[str, str] | None, *texts: str) -> None:
    """Open the screens and wait until they show each text."""

    async def play(pilot: Pilot[Any]) -> None:
        for text in texts:
            await wait_for_text(pilot, text)

    drive(FtwizardApp(route) if route else FtwizardApp(), (80, 24), play)


def test_suspended_command_is_shown_at_once(home: Path, processes: list[Identity]) -> None:
    folder = start(make(home / "runs" / "one", steps=5000))
    until_step(folder, 3)
    pid = command_pid(folder)
    freeze(pid, processes)
    assert observe(folder).liveness.troubles == ("suspended",)
    hint = f"Its process is suspended. To continue it: kill -CONT {pid}"
    assert hint in ok("status", "one") and "! suspended" in ok("runs")
    for document in (as_json("status", "one"), as_json("runs")["runs"][0]):
        assert document["state"] == "running" and document["troubles"] == ["suspended"]
        assert document["silent_s"] >= 0 and document["heartbeat_age_s"] >= 0
    assert as_json("runs", "state:suspended")["runs"]
    read_piped_watch(hint)
    see(("run", "one"), "! Its process is suspended.")
    see(None, "! suspended")
    os.kill(pid, signal.SIGCONT)
    until(folder, lambda status: not status.liveness.troubles)
    assert "suspended" not in ok("runs")


def test_hung_command_is_shown_as_stalled(home: Path) -> None:
    """Its own report, which is the newest event, does not count as progress."""
    folder = start(make(home / "runs" / "one", mode="hang", silent_s=1.0))
    until_step(folder, 5)
    until(folder, lambda status: status.liveness.troubles == ("stalled",))
    before = observe(folder).liveness.silent_s
    assert before is not None and before > 1
    shown = ok("status", "one")
    assert "! No progress for" in shown and "If it hangs, stop it." in shown
    assert ": training" in shown
    assert "event " in shown and ", heartbeat " in shown
    assert "! stalled" in ok("runs")
    read_piped_watch("! No progress for")
    see(("run", "one"), "! No progress for")
    see(None, "! stalled")
    after = as_json("status", "one")
    assert after["troubles"] == ["stalled"] and after["silent_s"] > before


def test_command_that_was_silent_before_may_be_silent_again(home: Path) -> None:
    """It pauses for three seconds; from then on it counts as stalled after fifteen."""
    folder = start(make(home / "runs" / "one", mode="pause", steps=5000, silent_s=1.0))
    assert until(folder, lambda status: bool(status.liveness.troubles)).state == "running"
    until(folder, lambda _: read_pace(folder, 1).silent_s >= 15)
    until(folder, lambda status: not status.liveness.troubles)


def test_suspended_keeper_is_shown(home: Path, processes: list[Identity]) -> None:
    folder = start(make(home / "runs" / "one", steps=5000))
    until_step(folder, 3)
    freeze(keeper_pid(folder), processes)
    assert observe(folder).liveness.troubles == ("keeper_suspended",)
    see(("run", "one"), f"! Its keeper is suspended (kill -CONT {keeper_pid(folder)}).")
    see(None, "● training")


HERE = identity.from_pid(os.getpid())
assert HERE
AWAY = msgspec.structs.replace(HERE, host="node7")


@pytest.mark.parametrize(
    ("keeper", "age_s", "troubles"),
    [
        (HERE, 20.0, ()),
        (HERE, 200.0, ("keeper_silent",)),
        (AWAY, 100.0, ()),
        (AWAY, 200.0, ("keeper_silent",)),
        (AWAY, -500.0, ()),
    ],
)
def test_old_heartbeat_is_a_silent_keeper(
    tmp_path: Path, keeper: Identity, age_s: float, troubles: tuple[str, ...]
) -> None:
    """Here by the monotonic clock; on another machine by the date, whose clocks may differ."""
    folder = JobFolder(tmp_path)
    folder.heartbeat.write_text(f"{time.monotonic() - age_s}\n")
    then = time.time() - age_s
    os.utime(folder.heartbeat, (then, then))
    state = State(state="running", attempt=1, started=time.time(), keeper=keeper)
    host = None if keeper is HERE else keeper.host
    # The tests themselves may be older than the silence that is allowed from the keeper's start.
    step = {"kind": "step", "attempt": 1, "t": time.time(), "m": time.monotonic()}
    signs = liveness.read(folder, state, [step], is_done=False, host=host)
    assert signs.troubles == troubles
    assert signs.heartbeat_age_s == pytest.approx(max(0.0, age_s), abs=60)


def test_jump_of_the_date_is_no_silence(tmp_path: Path) -> None:
    event = {"kind": "log", "t": time.time() - 9e6, "m": time.monotonic() - 30, "attempt": 1}
    report = {"kind": "finding", "t": time.time(), "m": time.monotonic(), "attempt": 1}
    state = State(state="running", attempt=1, keeper=HERE)
    signs = liveness.read(JobFolder(tmp_path), state, [event, report], is_done=False, host=None)
    assert signs.silent_s == pytest.approx(30, abs=20) and not signs.troubles


def test_event_longer_than_what_is_read_is_a_sign_of_life(home: Path) -> None:
    """The worker's samples and rows may be long; the run began long ago."""
    folder = make(home / "runs" / "one")
    (folder.path / "attempts" / "1.json").write_text("{}")
    began = time.time() - 5000
    write_json(folder.state, State(state="running", attempt=1, started=began))
    event = {"kind": "sample", "t": time.time(), "attempt": 1, "step": 3, "answer": "x" * 10**6}
    folder.events.write_text(json.dumps(event) + "\n")
    descriptor = lock.take_exclusive(folder.lock)
    assert descriptor is not None and observe(folder).liveness.troubles == ()
    os.utime(folder.events, (began, began))
    assert observe(folder).liveness.troubles == ("stalled",)
    os.close(descriptor)
