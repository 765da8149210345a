"""Signs of life of a job on another machine, for where a shared disk does not carry its lock.

Not every such disk does (NFS mounted with ``nolock``, sshfs, many a cluster's), and no pid of
another machine means anything here. What is left is that the keeper touches the heartbeat each
second and that the command writes events.
"""

from __future__ import annotations

import os
import time

from ftwizard.errors import FtwizardError
from ftwizard.jobs.ending import done_event
from ftwizard.jobs.folder import JobFolder, State

SILENT_S = 60.0
"""Longer without a sign and it is taken for gone; clocks and a disk's caches may differ by less."""
WATCHED_S = 4.0
"""How long a sign is waited for: a few heartbeats."""


def host(folder: JobFolder, state: State | None) -> str | None:
    """Return the other machine on which a job that has not ended runs, None if it is this one."""
    if state is None or state.state == "ended":
        return None
    if state.keeper is not None:
        there = state.keeper.host
    else:  # it is just being started there
        try:
            there = folder.read_attempt(folder.newest_attempt()).host
        except (OSError, FtwizardError):
            return None
    return None if there in ("", os.uname().nodename) else there


def was_heard(folder: JobFolder) -> bool:
    """Say whether there was a sign of life of late, by this machine's clock."""
    last = _last_sign(folder)
    return last is not None and abs(time.time() - last) < SILENT_S


def lives(folder: JobFolder) -> str | None:
    """Return the other machine on which a job is heard within a few seconds, else None.

    It compares no clocks: it is for what must not be wrong, a second start or a removal.
    """
    other = host(folder, folder.read_state())
    if other is None or done_event(folder, folder.newest_attempt()) is not None:
        return None
    return other if _is_heard(folder) else None


def _is_heard(folder: JobFolder) -> bool:
    before, end = _last_sign(folder), time.monotonic() + WATCHED_S
    while time.monotonic() < end:
        if _last_sign(folder) != before:
            return True
        time.sleep(0.1)
    return False


def _last_sign(folder: JobFolder) -> float | None:
    found = []
    for path in (folder.heartbeat, folder.events):
        try:
            # Opened, because then a network's disk asks its server anew.
            with path.open("rb") as file:
                found.append(os.fstat(file.fileno()).st_mtime)
        except OSError:
            continue
    return max(found, default=None)
