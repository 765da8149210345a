"""Requests from viewers to a job: small files under ``requests/``, each for one attempt."""

from __future__ import annotations

import contextlib
import time
from typing import Literal, get_args

import msgspec

from ftwizard.jobs.folder import JobFolder, read_json, write_json

Name = Literal["stop", "save", "evaluate", "kill"]
NAMES: tuple[Name, ...] = get_args(Name)


class Request(msgspec.Struct, frozen=True, kw_only=True):
    attempt: int
    """The attempt it is for; a request for another attempt is void."""
    t: float
    """Unix seconds."""
    grace_s: float | None = None
    """For ``stop``: seconds to save before the keeper ends the command."""


def send(folder: JobFolder, name: Name, attempt: int, *, grace_s: float | None = None) -> None:
    """Send a request to the job, replacing an older one of the same name."""
    request = Request(attempt=attempt, t=time.time(), grace_s=grace_s)
    write_json(folder.requests / name, request, ballast=folder.ballast)


def request_stop(folder: JobFolder, attempt: int, *, grace_s: float, now: bool = False) -> None:
    """Ask a job to save and stop within ``grace_s`` seconds; ``now``: stop without saving."""
    send(folder, "stop", attempt, grace_s=0.0 if now else grace_s)
    if now:
        send(folder, "kill", attempt)


def read_pending(folder: JobFolder, name: Name, attempt: int) -> Request | None:
    """Return the request of that name for that attempt, or None."""
    request = read_json(folder.requests / name, Request)
    return request if request and request.attempt == attempt else None


def remove(folder: JobFolder, name: Name) -> None:
    with contextlib.suppress(OSError):  # a request that stays is void for the next attempt
        (folder.requests / name).unlink()


def clear(folder: JobFolder) -> None:
    """Remove all leftover requests; call it only under the exclusive lock of a start."""
    for name in NAMES:
        remove(folder, name)
