"""Job starts: take the lock, write the record, then spawn the keeper."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ftwizard.errors import FtwizardError
from ftwizard.jobs import leftovers, lock, remote_host, requests, rescue
from ftwizard.jobs.folder import (
    APPEND,
    Attempt,
    JobFolder,
    JobRecord,
    State,
    check_id,
    iterate_ids,
    read_end,
    write_json,
    write_whole,
)
from ftwizard.jobs.status import observe
from ftwizard.locations import create_private_folder
from ftwizard.text import make_visible

START_TIMEOUT_S = 30.0
_PACKAGE_PARENT = Path(__file__).resolve().parents[2]


class StartPoint(NamedTuple):
    """The point that an attempt starts from."""

    checkpoint: str | None = None
    """Relative to the job folder; None for the start."""
    damaged: Mapping[str, list[str]] = {}
    """Checkpoints that were set aside, with their damaged files."""


class AlreadyRunning(FtwizardError):
    """Raised when a process of the job is alive, so it cannot be started."""

    def __init__(self, run_id: str, host: str | None = None) -> None:
        where = f" on {make_visible(host, 64)}" if host else ""
        super().__init__(
            f"Run {run_id} is already running{where}.",
            f"Watch it: ftwizard watch {run_id}   Stop it: ftwizard stop {run_id}",
        )


def claim(path: Path, is_taken: Callable[[str], bool] = lambda _: False) -> Path:
    """Create a job's folder, numbered where a job of that name exists; return its path.

    Of processes that do so at once, each gets its own. ``is_taken``: whether a name is not free
    though the folder does not exist.
    """
    root = create_private_folder(path.parent)
    for name in iterate_ids(path.name):
        if not is_taken(name):
            with contextlib.suppress(FileExistsError):
                (root / name).mkdir(mode=0o700)
                break
    return root / name


def create(path: Path, record: JobRecord, files: Mapping[str, bytes]) -> JobFolder:
    """Create a job's folder and its files, without starting it.

    ``files`` are written before ``job.json``, which makes the folder a job. Raises AlreadyRunning
    if a job of that name is running, FtwizardError if it ended or cannot be written.
    """
    check_id(path.name)
    create_private_folder(path)
    folder = JobFolder(path)
    lock_fd = _take_lock(folder)
    try:
        if folder.job.exists():
            raise FtwizardError(
                f"A run named {path.name} already exists.",
                f"Continue it: ftwizard resume {path.name}   Or choose another name.",
            )
        for name in ("attempts", "requests"):
            (path / name).mkdir(mode=0o700, exist_ok=True)
        for name, data in files.items():
            write_whole(path / name, data)
        write_json(folder.job, record)
        _date_after_others(folder.job)
    finally:
        os.close(lock_fd)
    return folder


def _date_after_others(job: Path) -> None:
    """Date a new ``job.json`` after those of all others: lists are in that order.

    After the date was set back, older jobs are dated later.
    """
    newest = 0
    for other in job.parent.parent.glob("*/job.json"):
        with contextlib.suppress(OSError):  # being removed
            newest = max(newest, other.stat().st_mtime_ns)
    if newest > job.stat().st_mtime_ns:
        os.utime(job, ns=(newest + 10**9, newest + 10**9))


def start(
    folder: JobFolder,
    argv: Iterable[str],
    *,
    environment: Mapping[str, str] | None = None,
    find_start: Callable[[], StartPoint] = StartPoint,
    inputs: Mapping[str, Any] | None = None,
    plan: dict[str, Any] | None = None,
    changes: Mapping[str, tuple[Any, Any]] | None = None,
    restart_after_s: Iterable[float] = (),
) -> Attempt:
    """Start ``argv`` under a detached keeper and return once it runs.

    ``find_start`` is called under the exclusive lock, when nothing can write checkpoints.
    ``inputs`` replace those of the job from this attempt on; ``plan`` is the plan in force, with
    its ``changes`` since the attempt before. ``restart_after_s``: seconds before each further start
    of a command that ended unexpectedly. Raises AlreadyRunning, or FtwizardError if the keeper did
    not start.
    """
    attempt, _ = start_keeper(
        folder,
        argv,
        environment=environment,
        find_start=find_start,
        inputs=inputs,
        plan=plan,
        changes=changes,
        restart_after_s=restart_after_s,
    )
    _wait_until_up(folder, attempt.number)
    return attempt


def start_keeper(
    folder: JobFolder,
    argv: Iterable[str],
    *,
    environment: Mapping[str, str] | None = None,
    find_start: Callable[[], StartPoint] = StartPoint,
    inputs: Mapping[str, Any] | None = None,
    plan: dict[str, Any] | None = None,
    changes: Mapping[str, tuple[Any, Any]] | None = None,
    restart_after_s: Iterable[float] = (),
    slurm_job: int | None = None,
) -> tuple[Attempt, subprocess.Popen[bytes]]:
    """Start as ``start`` does, without waiting; return the keeper's process as well."""
    lock_fd = _take_lock(folder)
    try:
        number = _clear_for_start(folder)
        start_point = find_start()
        attempt = Attempt(
            number=number,
            started=time.time(),
            host=os.uname().nodename,
            argv=list(argv),
            checkpoint=start_point.checkpoint,
            damaged=dict(start_point.damaged),
            inputs=dict(inputs or {}),
            plan=plan,
            changes=dict(changes or {}),
            slurm_job=slurm_job,
            restart_after_s=tuple(restart_after_s),
        )
        write_json(folder.attempt(attempt.number), attempt)
        state = State(
            state="starting",
            attempt=attempt.number,
            started=attempt.started,
            slurm_job=slurm_job,
        )
        write_json(folder.state, state)
        lock.downgrade(lock_fd)
        keeper = [
            *get_python_command(),
            "-m",
            "ftwizard.jobs.keeper",
            str(folder.path),
            str(lock_fd),
        ]
        child_environment = with_import_path(os.environ if environment is None else environment)
        process = spawn(folder, keeper, lock_fd=lock_fd, environment=child_environment)
    finally:
        os.close(lock_fd)
    return attempt, process


def queue(folder: JobFolder, submit: Callable[[], int]) -> State:
    """Give the next attempt to a scheduler, which starts it later; return the new state.

    ``submit`` returns the id of its Slurm job. Raises AlreadyRunning, and what ``submit`` raises.
    """
    lock_fd = _take_lock(folder)
    try:
        number = _clear_for_start(folder)
        state = State(state="queued", attempt=number, started=time.time(), slurm_job=submit())
        write_json(folder.state, state)
    finally:
        os.close(lock_fd)
    return state


def _clear_for_start(folder: JobFolder) -> int:
    """Remove what earlier attempts left, under the lock; return the number of the next one."""
    if host := remote_host.find_live_host(folder):
        raise AlreadyRunning(folder.id, host)
    requests.clear(folder)
    number = folder.newest_attempt() + 1
    leftovers.end_older(folder, number)
    rescue.bring_back(folder)
    return number


def _take_lock(folder: JobFolder) -> int:
    lock_fd = lock.take_exclusive(folder.lock)
    if lock_fd is None:
        raise AlreadyRunning(folder.id)
    return lock_fd


def spawn(
    folder: JobFolder,
    argv: list[str],
    *,
    lock_fd: int,
    environment: Mapping[str, str] | None = None,
    more_fds: Iterable[int] = (),
) -> subprocess.Popen[bytes]:
    """Start a process of a job: in its own session, with the job's lock, writing to its log."""
    with open(os.open(folder.log, APPEND, 0o600), "wb") as log:
        return subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=folder.path,
            env=environment,
            start_new_session=True,
            pass_fds=[lock_fd, *more_fds],
        )


def get_python_command() -> list[str]:
    """Return the command of this interpreter, without imports from the current folder.

    A user's folder often contains a ``datasets`` or a ``tokenizers``.
    """
    return [sys.executable, "-P"]


def with_import_path(environment: Mapping[str, str]) -> dict[str, str]:
    """Return ``environment`` in which a child imports the same ftwizard, installed or not."""
    changed = dict(environment)
    if not _PACKAGE_PARENT.name.endswith("-packages"):
        older = changed.get("PYTHONPATH")
        changed["PYTHONPATH"] = f"{_PACKAGE_PARENT}{os.pathsep + older if older else ''}"
    return changed


def _wait_until_up(folder: JobFolder, attempt: int) -> None:
    end = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < end:
        has_ended = observe(folder).state == "ended"  # read first, so that the state below is final
        state = folder.read_state()
        if state and state.attempt == attempt and state.state != "starting":
            return
        if has_ended:
            break
        time.sleep(0.02)
    log = read_end(folder.log, 500).decode(errors="replace").strip().splitlines()
    raise FtwizardError(
        f"Run {folder.id} did not start.",
        f"Its log {folder.log} ends with: {log[-1] if log else '—'}",
    )
