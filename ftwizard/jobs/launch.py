"""Starts of a job: the lock first, then what is written down, then the keeper."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from ftwizard.errors import FtwizardError
from ftwizard.jobs import elsewhere, lock, requests
from ftwizard.jobs.folder import (
    APPEND,
    Attempt,
    JobFolder,
    JobRecord,
    State,
    check_id,
    write_json,
    write_whole,
)
from ftwizard.jobs.status import observe
from ftwizard.settings import private_folder
from ftwizard.text import visible

START_TIMEOUT_S = 30.0
_PACKAGE_PARENT = Path(__file__).resolve().parents[2]


class AlreadyRunning(FtwizardError):
    """Something of the job lives, so it cannot be started."""

    def __init__(self, run_id: str, host: str | None = None) -> None:
        on = f", on {visible(host, 64)}" if host else ""
        super().__init__(
            f"Run {run_id} is running already{on}.",
            f"Look at it with: ftwizard watch {run_id}   Stop it with: ftwizard stop {run_id}",
        )


def create(path: Path, record: JobRecord, files: Mapping[str, bytes]) -> JobFolder:
    """Make a job's folder and write down what it is; it does not start it.

    ``files`` are written before ``job.json``, which makes the folder a job. Raises AlreadyRunning
    when a job of that name lives, FtwizardError when it has ended or cannot be written.
    """
    check_id(path.name)
    private_folder(path)
    folder = JobFolder(path)
    held = _take(folder)
    try:
        if folder.job.exists():
            raise FtwizardError(
                f"There is a run {path.name} already.",
                f"Go on with it: ftwizard resume {path.name}   Or choose another name.",
            )
        for name in ("attempts", "requests"):
            (path / name).mkdir(mode=0o700, exist_ok=True)
        for name, data in files.items():
            write_whole(path / name, data)
        write_json(folder.job, record)
    finally:
        os.close(held)
    return folder


def start(
    folder: JobFolder,
    argv: Iterable[str],
    *,
    environment: Mapping[str, str] | None = None,
    checkpoint: Callable[[], str | None] = lambda: None,
    inputs: Mapping[str, Any] | None = None,
) -> Attempt:
    """Start ``argv`` under a detached keeper and return once it runs.

    ``checkpoint`` names where to go on from; it is asked under the exclusive lock, when nothing
    can write checkpoints any more. ``inputs``: what is said anew for this attempt. Raises AlreadyRunning, or FtwizardError when the keeper did
    not come up.
    """
    held = _take(folder)
    try:
        if host := elsewhere.lives(folder):
            raise AlreadyRunning(folder.id, host)
        requests.clear(folder)
        attempt = Attempt(
            number=folder.newest_attempt() + 1,
            started=time.time(),
            host=os.uname().nodename,
            argv=list(argv),
            checkpoint=checkpoint(),
            inputs=dict(inputs or {}),
        )
        write_json(folder.attempt(attempt.number), attempt)
        state = State(state="starting", attempt=attempt.number, started=attempt.started)
        write_json(folder.state, state)
        lock.downgrade(held)
        _spawn_keeper(folder, held, environment)
    finally:
        os.close(held)
    _wait_until_up(folder, attempt.number)
    return attempt


def _take(folder: JobFolder) -> int:
    held = lock.take_exclusive(folder.lock)
    if held is None:
        raise AlreadyRunning(folder.id)
    return held


def _spawn_keeper(folder: JobFolder, held: int, environment: Mapping[str, str] | None) -> None:
    log = os.open(folder.log, APPEND, 0o600)
    try:
        subprocess.Popen(
            [*python(), "-m", "ftwizard.jobs.keeper", str(folder.path), str(held)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=folder.path,
            env=import_path(os.environ if environment is None else environment),
            start_new_session=True,
            pass_fds=[held],
        )
    finally:
        os.close(log)


def python() -> list[str]:
    """Return this interpreter, told not to import from the folder it stands in.

    A user's folder often holds a ``datasets`` or a ``tokenizers`` of its own.
    """
    return [sys.executable, "-P"]


def import_path(environment: Mapping[str, str]) -> dict[str, str]:
    """Return ``environment`` in which a child imports the same ftwizard, installed or not."""
    changed = dict(environment)
    if not _PACKAGE_PARENT.name.endswith("-packages"):
        older = changed.get("PYTHONPATH")
        changed["PYTHONPATH"] = f"{_PACKAGE_PARENT}{os.pathsep + older if older else ''}"
    return changed


def _wait_until_up(folder: JobFolder, attempt: int) -> None:
    end = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < end:
        gone = observe(folder).state == "ended"  # before the state: what is written then is final
        state = folder.read_state()
        if state and state.attempt == attempt and state.state != "starting":
            return
        if gone:
            break
        time.sleep(0.02)
    tail = folder.log.read_text(errors="replace")[-500:] if folder.log.exists() else ""
    raise FtwizardError(
        f"Run {folder.id} did not start.",
        f"Its log {folder.log} ends with: {tail.strip().splitlines()[-1] if tail.strip() else '—'}",
    )
