"""Jobs in tests: helpers to start, await and end them."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ftwizard.jobs import identity, launch, lock
from ftwizard.jobs.events import Event, EventReader
from ftwizard.jobs.folder import JobFolder, JobRecord
from ftwizard.jobs.status import Status, observe
from tests.paths import DOUBLES

BUSY = 4
"""Factor of all timeouts, for busy machines."""
DUMMY = DOUBLES / "dummy_worker.py"


def make(path: Path, **inputs: Any) -> JobFolder:
    """Make a job that runs the dummy worker."""
    argv = [sys.executable, str(DUMMY), str(path)]
    record = JobRecord(
        kind="dummy", argv=argv, version="0", created=time.time(), inputs=dict(inputs)
    )
    return launch.create(path, record, {})


def start(folder: JobFolder, restart_after_s: tuple[float, ...] = ()) -> JobFolder:
    """Start the job under a real keeper."""
    launch.start(folder, folder.read_job().argv, restart_after_s=restart_after_s)
    return folder


def until(folder: JobFolder, condition: Callable[[Status], bool], timeout: float = 20.0) -> Status:
    """Wait until the job's status fulfills ``condition``."""
    end = time.monotonic() + BUSY * timeout
    while time.monotonic() < end:
        status = observe(folder)
        if condition(status):
            return status
        time.sleep(0.05)
    log = folder.log.read_text(errors="replace") if folder.log.exists() else ""
    raise AssertionError(f"{observe(folder)}\n{log[-3000:]}")


def until_ended(folder: JobFolder, timeout: float = 20.0) -> Status:
    return until(folder, lambda s: s.state == "ended", timeout)


def events(folder: JobFolder, kind: str | None = None) -> list[Event]:
    return [e for e in EventReader(folder.events).read() if kind in (None, e["kind"])]


def until_step(folder: JobFolder, step: int, timeout: float = 20.0) -> None:
    end = time.monotonic() + BUSY * timeout
    while time.monotonic() < end:
        if any(e["step"] >= step for e in events(folder, "log")):
            return
        time.sleep(0.05)
    raise AssertionError(f"step {step} not reached: {observe(folder)}")


def command_pid(folder: JobFolder) -> int:
    state = folder.read_state()
    assert state and state.command
    return state.command.pid


def keeper_pid(folder: JobFolder) -> int:
    state = folder.read_state()
    assert state and state.keeper
    return state.keeper.pid


def end_all(root: Path) -> None:
    """Kill every job below ``root``."""
    for path in root.rglob("state.json"):
        folder = JobFolder(path.parent)
        if not lock.is_held(folder.lock):
            continue
        state = folder.read_state()
        for process in (state and state.keeper, state and state.command):
            if process:
                identity.signal_group(process, signal.SIGKILL)
