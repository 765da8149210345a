"""Requests from viewers to a job: small files under ``requests/``, each for one attempt."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from typing import Literal, get_args

import msgspec

from ftwizard.jobs.folder import JobFolder, StopCause, read_json, write_json

Name = Literal["stop", "save", "evaluate", "kill", "cancel", "pause", "continue"]
"""The last three are for the job at a platform; ``stop`` then only ends following it."""
NAMES: tuple[Name, ...] = get_args(Name)


class JobRequest(msgspec.Struct, frozen=True, kw_only=True):
    attempt: int
    """The attempt it is for; a request for another attempt is void."""
    t: float
    """Unix seconds."""
    cause: StopCause = "user"
    """What asked for it."""


def send(folder: JobFolder, name: Name, attempt: int, cause: StopCause = "user") -> None:
    """Send a request to the job, replacing an older one of the same name; raise OSError if it fails."""
    path = folder.requests / name
    request = JobRequest(attempt=attempt, t=time.time(), cause=cause)
    if not write_json(path, request, ballast=folder.ballast):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def request_stop(folder: JobFolder, attempt: int, *, now: bool = False) -> bool:
    """Ask a job to save and stop; ``now``: to end at once. Return whether it was asked before.

    However often it is asked, only ``now`` cuts short the time that it has to save. Raises OSError.
    """
    pending = read_pending(folder, "stop", attempt)
    is_repeated = pending is not None
    if pending is None or pending.cause != "user":  # what the user stops is not continued by itself
        send(folder, "stop", attempt)
    if now:
        send(folder, "kill", attempt)
    return is_repeated


def withdraw(folder: JobFolder, attempt: int) -> None:
    """Remove the requests to stop an attempt, once it has ended."""
    for name in ("stop", "kill"):
        if read_pending(folder, name, attempt):
            remove(folder, name)


def read_pending(folder: JobFolder, name: Name, attempt: int) -> JobRequest | None:
    """Return the request of that name for that attempt, or None."""
    request = read_json(folder.requests / name, JobRequest)
    return request if request and request.attempt == attempt else None


def remove(folder: JobFolder, name: Name) -> None:
    with contextlib.suppress(OSError):  # a request that stays is void for the next attempt
        (folder.requests / name).unlink()


def clear(folder: JobFolder) -> None:
    """Remove all leftover requests; call it only under the exclusive lock of a start."""
    for name in NAMES:
        remove(folder, name)
