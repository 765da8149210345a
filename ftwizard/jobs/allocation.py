"""The Slurm job of a run: what was asked for, how its script ended, and what Slurm says of it."""

from __future__ import annotations

import contextlib
import os
import time
from typing import Any

import msgspec

from ftwizard.errors import FtwizardError
from ftwizard.jobs import lock, node_secrets
from ftwizard.jobs.folder import JobFolder, State, read_end, write_json
from ftwizard.slurm import client
from ftwizard.slurm.job_states import SlurmJob
from ftwizard.text import make_visible

NO_FOLDER, NO_PYTHON, NO_PACKAGE, OTHER_VERSION = 66, 67, 68, 69
"""Exit statuses of the batch script for a node on which the run cannot start."""
REQUEUE = 75
"""Exit status with which the run asks its script to put the job into the queue again."""
NOT_REQUEUED = 76
"""Exit status of the script where Slurm refused that."""
_CANCEL_S = 15.0
"""Time for a waiting job to leave the queue."""
_ASKED_AFTER_S = 10.0
"""Age of the heartbeat from which Slurm is asked whether the job still runs."""


class Submission(msgspec.Struct, frozen=True, kw_only=True):
    """``slurm.json``: what the job starts on its node."""

    version: str
    """ftwizard's version on the machine that submitted it."""
    token: str
    """The word in ``slurm.token``."""
    plan: dict[str, Any]
    """The plan in force."""
    inputs: dict[str, Any] = {}
    """Inputs that replace those of the run, from the first attempt of this job on."""
    changes: dict[str, tuple[Any, Any]] = {}
    """Settings that differ from the attempt before."""
    from_start: bool = False
    """Whether its first attempt starts over."""


class Allocation(msgspec.Struct, frozen=True, kw_only=True):
    """A run's Slurm job, for views; None means unknown."""

    job_id: int
    state: str | None = None
    """As Slurm names it: ``PENDING``, ``RUNNING``."""
    reason: str | None = None
    """Why it waits, by Slurm's own name."""
    expected_start: float | None = None
    """Unix seconds; only while it waits."""
    nodes: str | None = None
    """In Slurm's notation: ``node[1-2]``."""


def from_job(job_id: int, job: SlurmJob | None) -> Allocation:
    """Return what views show of a job; ``job``: None if Slurm did not say."""
    if job is None:
        return Allocation(job_id=job_id)
    is_waiting = job.phase == "waiting"
    return Allocation(
        job_id=job_id,
        state=job.state,
        reason=job.reason if is_waiting and job.reason != "None" else None,
        expected_start=job.expected_start if is_waiting else None,
        nodes=job.nodes,
    )


def find(state: State) -> tuple[bool, SlurmJob | None]:
    """Return whether Slurm answered, and the job if its queue has it."""
    if state.slurm_job is None:
        return False, None
    try:
        return True, client.find_job(state.slurm_job)
    except FtwizardError:
        return False, None


def is_doubtful(heartbeat_age_s: float | None) -> bool:
    """Return whether a run that seems to live may have lost its node."""
    return heartbeat_age_s is not None and heartbeat_age_s > _ASKED_AFTER_S


def may_continue(state: State, reason: str | None) -> bool:
    """Return whether Slurm may start the job again after an attempt that its files say is over.

    Not where the keeper recorded an end that is final: a result, a failure, or the user's stop.
    """
    if state.stop_cause is not None:
        return state.stop_cause != "user"
    return state.state != "ended" or reason in ("killed", "lost")


def cancel_queued(folder: JobFolder) -> bool:
    """Cancel the job that a run waits for; return False if it started meanwhile.

    Raises FtwizardError if Slurm does not answer.
    """
    state = folder.read_state()
    if state is None or state.slurm_job is None:
        return False
    client.cancel(state.slurm_job)
    end = time.monotonic() + _CANCEL_S
    while (job := client.find_job(state.slurm_job)) is not None and job.phase != "over":
        if job.phase == "active" or time.monotonic() >= end:
            return False
        client.forget()
        time.sleep(0.2)
    lock_fd = lock.take_exclusive(folder.lock)
    if lock_fd is None:
        return False
    try:
        newest = folder.newest_attempt()
        if state.state == "queued" and newest >= state.attempt:
            return False
        ended = msgspec.structs.replace(
            state, state="ended", attempt=newest, end_reason="stopped", stop_cause="user",
            ended=time.time(),
        )  # fmt: skip
        write_json(folder.state, ended)
        node_secrets.remove(folder)
    finally:
        os.close(lock_fd)
    return True


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """Why a Slurm job is over without a record of the run itself."""

    end_reason: str
    message: str
    hint: str = ""


_REASONS = {
    "CANCELLED": ("killed", "Slurm job {id} was canceled."),
    "TIMEOUT": ("killed", "Slurm job {id} reached its time limit before the run had saved."),
    "DEADLINE": ("killed", "Slurm job {id} reached its deadline."),
    "NODE_FAIL": ("lost", "A node of Slurm job {id} failed."),
    "BOOT_FAIL": ("lost", "A node of Slurm job {id} did not start."),
    "PREEMPTED": ("killed", "Slurm job {id} had to make room for another job."),
    "OUT_OF_MEMORY": ("out_of_memory", "Slurm job {id} used more memory than it asked for."),
}
_REFUSALS = {
    NO_FOLDER: (
        "The node of Slurm job {id} does not have this folder: its disk is not shared.",
        "Set FTWIZARD_HOME to a folder that all nodes have, and start the run again.",
    ),
    NO_PYTHON: (
        "The node of Slurm job {id} does not have this Python.",
        "Install ftwizard in an environment on a shared disk, and start the run from there.",
    ),
    NO_PACKAGE: (
        "On the node of Slurm job {id}, this Python could not import ftwizard.",
        "Install ftwizard in an environment on a shared disk, and start the run from there.",
    ),
    OTHER_VERSION: (
        "The node of Slurm job {id} has another version of ftwizard.",
        "Install the same version there, and start the run again.",
    ),
}


def explain_end(folder: JobFolder, job_id: int) -> Ending:
    """Return why a job is over that started no attempt, or whose attempt left no record."""
    job = client.read_job(job_id)
    status = _read_exit(folder, job_id)
    if status is None and job is not None:
        status = job.exit_status
    if status in _REFUSALS:
        message, hint = _REFUSALS[status]
        detail = _read_output(folder, job_id)
        return Ending(
            end_reason="refused",
            message=f"{message.format(id=job_id)} {detail}".rstrip(),
            hint=hint,
        )
    if status == NOT_REQUEUED:
        message = f"Its time limit came, and Slurm did not put job {job_id} into the queue again."
        return Ending(end_reason="stopped", message=message)
    if job is not None and job.failed_node:
        name = make_visible(job.failed_node, 60)
        return Ending(end_reason="lost", message=f"Node {name} of Slurm job {job_id} failed.")
    if job is not None and (reason := _REASONS.get(job.state)):
        return Ending(end_reason=reason[0], message=reason[1].format(id=job_id))
    if status:
        detail = _read_output(folder, job_id)
        return Ending(
            end_reason="crashed",
            message=f"The script of Slurm job {job_id} ended with status {status}. {detail}".rstrip(),
            hint=f"Its output: {folder.path / f'slurm-{job_id}.out'}   "
            f"To start it again: ftwizard resume {folder.id}",
        )
    return Ending(
        end_reason="lost",
        message=f"Slurm job {job_id} is over, and left no result here.",
        hint=f"What Slurm recorded: sacct -j {job_id}   To start it again: ftwizard resume {folder.id}",
    )


def _read_exit(folder: JobFolder, job_id: int) -> int | None:
    """Return the exit status that the job's script left; None without one."""
    fields = read_end(folder.script_exit, 100).split()
    with contextlib.suppress(ValueError):
        if len(fields) == 2 and int(fields[0]) == job_id:
            return int(fields[1])
    return None


def _read_output(folder: JobFolder, job_id: int) -> str:
    """Return the last line of the script's output."""
    output = read_end(folder.path / f"slurm-{job_id}.out", 2000).decode(errors="replace")
    lines = output.strip().splitlines()
    return make_visible(lines[-1], 300) if lines else ""
