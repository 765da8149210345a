"""Signs of life of a job on another host, for shared disks that do not carry its lock.

Many such disks do not (NFS mounted with ``nolock``, sshfs, many clusters), and a pid of another
host means nothing here. What remains: the keeper touches the heartbeat each second, and the
command writes events.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

from ftwizard.errors import FtwizardError
from ftwizard.jobs.ending import read_done_event
from ftwizard.jobs.folder import JobFolder, State, append

SILENT_S = 60.0
"""Silence after which a job counts as gone; clock and cache differences are smaller."""
WATCHED_S = 4.0
"""How long to wait for a sign of life: a few heartbeats."""


def get_other_host(folder: JobFolder, state: State | None) -> str | None:
    """Return the other host that an unfinished job runs on; None if it is this one."""
    if state is None or state.state == "ended":
        return None
    if state.keeper is not None:
        node = state.keeper.host
    else:  # it is just being started on that host
        try:
            node = folder.read_attempt(folder.newest_attempt()).host
        except (OSError, FtwizardError):
            return None
    return None if node in ("", os.uname().nodename) else node


_gone: dict[Path, float] = {}
"""Last signs of life that were found too old; a time cannot become recent again."""


def has_recent_sign(folder: JobFolder) -> bool:
    """Return whether there was a recent sign of life."""
    last = _last_sign(folder)
    if last is None or _gone.get(folder.path) == last:
        return False
    if abs(measure_age(folder, last)) < SILENT_S:
        return True
    _gone[folder.path] = last
    return False


def measure_age(folder: JobFolder, changed: float) -> float:
    """Return the age in seconds of a file of the job, from its time of change.

    Where that looks long ago or in the future, the date here may be wrong: the clock of the disk
    decides, which wrote that time.
    """
    age_s = time.time() - changed
    if abs(age_s) >= SILENT_S and (now := _read_disk_clock(folder)) is not None:
        return now - changed
    return age_s


def _read_disk_clock(folder: JobFolder) -> float | None:
    """Return the time that the disk gives a new file; None where this user may not write."""
    path = folder.requests / f".clock.{os.getpid()}.tmp"
    try:
        append(path, b".")
        return path.stat().st_mtime
    except OSError:
        return None
    finally:
        with contextlib.suppress(OSError):
            path.unlink()


def find_live_host(folder: JobFolder) -> str | None:
    """Return the other host on which a job shows a sign of life within a few seconds, else None.

    It compares no clocks, because a second start or a removal must not go wrong.
    """
    node = get_other_host(folder, folder.read_state())
    if node is None or read_done_event(folder, folder.newest_attempt()) is not None:
        return None
    return node if _is_heard(folder) else None


def _is_heard(folder: JobFolder) -> bool:
    before, end = _last_sign(folder), time.monotonic() + WATCHED_S
    while time.monotonic() < end:
        if _last_sign(folder) != before:
            return True
        time.sleep(0.1)
    return False


def _last_sign(folder: JobFolder) -> float | None:
    times = []
    for path in (folder.heartbeat, folder.events):
        try:
            # Opening the file makes a network file system ask its server again.
            with path.open("rb") as file:
                times.append(os.fstat(file.fileno()).st_mtime)
        except OSError:
            continue
    return max(times, default=None)
