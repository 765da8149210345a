"""Signs of life of a job that has not ended: its last event, its heartbeat, and its processes.

They come from the job's folder and from ``/proc``, so a view that was just opened knows as much as
one that was open all along.
"""

from __future__ import annotations

import os
import time
from typing import Literal

import msgspec

from ftwizard.jobs import identity, remote_host
from ftwizard.jobs.events import Event, get_instant
from ftwizard.jobs.folder import JobFolder, State
from ftwizard.jobs.pace import read_pace

KEEPER_SILENT_S = 60.0
"""Age of the heartbeat from which the keeper counts as silent; it beats each second."""
MAX_SKEW_S = 60.0
"""Difference of clocks between this machine and another one that counts as possible."""
Trouble = Literal[
    "restarting",
    "suspended",
    "stalled",
    "blocked",
    "keeper_died",
    "keeper_suspended",
    "keeper_silent",
    "unrecorded",
]
"""``restarting``: the command ended unexpectedly, and its keeper starts it again. ``suspended``: the
command is, as by SIGSTOP. ``stalled``: no event for longer than it may be silent; ``blocked``: that
too, and it waits in the kernel. ``unrecorded``: the command ended, but the keeper does not act."""

KEEPER_TROUBLES = {"keeper_died", "keeper_suspended", "keeper_silent", "unrecorded"}


class Liveness(msgspec.Struct, frozen=True, kw_only=True):
    silent_s: float | None = None
    """Seconds since the last event, at first since the start."""
    heartbeat_age_s: float | None = None
    """Seconds since the keeper last gave a sign of life."""
    troubles: tuple[Trouble, ...] = ()
    """The most serious first."""
    command_pid: int | None = None
    is_self_kept: bool = False
    """Whether the command is a process of the user's own, which is never signaled."""
    keeper_pid: int | None = None

    @property
    def is_keeper_out(self) -> bool:
        """Return whether the keeper does not act; training goes on without it."""
        return bool(KEEPER_TROUBLES & set(self.troubles))


def read(
    folder: JobFolder, state: State, events: list[Event], *, is_done: bool, host: str | None
) -> Liveness:
    """Read the signs of life of a job; ``events``: its newest; ``host``: the other one that it is on.

    An age by a clock that was set back is 0.
    """
    beat_m, heartbeat_age_s = _read_heartbeat(folder, state)
    silent_s = _measure_silence(folder, state, events, beat_m, heartbeat_age_s)
    keeper = _judge_keeper(state, heartbeat_age_s, host)
    troubles: list[Trouble] = []
    if keeper and state.command and identity.is_alive(state.command) is False:
        troubles.append("unrecorded")
    elif state.state == "starting" and state.end_reason:
        troubles.append("restarting")
    else:
        limit_s = read_pace(folder, state.attempt).silent_s + (MAX_SKEW_S if host else 0.0)
        run_state = identity.read_run_state(state.command)
        if run_state == "T":
            troubles.append("suspended")
        elif not is_done and silent_s is not None and silent_s > limit_s:
            troubles.append("blocked" if run_state == "D" else "stalled")
        troubles += [keeper] if keeper else []
    return Liveness(
        silent_s=silent_s,
        heartbeat_age_s=heartbeat_age_s,
        troubles=tuple(troubles),
        command_pid=state.command.pid if state.command else None,
        keeper_pid=state.keeper.pid if state.keeper else None,
        is_self_kept=state.is_self_kept,
    )


def _judge_keeper(
    state: State, heartbeat_age_s: float | None, host: str | None
) -> Literal["keeper_died", "keeper_suspended", "keeper_silent"] | None:
    if state.keeper is None or state.is_self_kept:
        return None
    if identity.is_alive(state.keeper) is False:
        return "keeper_died"
    if identity.is_suspended(state.keeper):
        return "keeper_suspended"
    limit_s = KEEPER_SILENT_S + (MAX_SKEW_S if host else 0.0)
    is_silent = heartbeat_age_s is not None and heartbeat_age_s > limit_s
    return "keeper_silent" if is_silent else None


def _measure_silence(
    folder: JobFolder,
    state: State,
    events: list[Event],
    beat_m: float | None,
    heartbeat_age_s: float | None,
) -> float | None:
    """Measure the age of the newest sign of progress, at first of the start.

    Findings are none: a thread reports a stall, or that the machine was suspended. On another host,
    the keeper's heartbeat has the same clock as the events.
    """
    kinds = ((event, get_instant(event)) for event in events[::-1] if event["kind"] != "finding")
    event, newest = next(((event, when) for event, when in kinds if when), ({}, None))
    has_clocks = state.keeper is not None and identity.shares_clocks(state.keeper)
    if newest is None or event.get("attempt") != state.attempt:
        since_start = _measure_age(state.started)
        if state.keeper and has_clocks:
            since_start = identity.get_age_s(state.keeper)
        # One event may be longer than all that was read.
        ages = (since_start, None if newest else _read_age(folder))
        return min((age for age in ages if age is not None), default=None)
    if has_clocks and newest.m is not None:
        return max(0.0, time.monotonic() - newest.m)
    if beat_m is not None and newest.m is not None and heartbeat_age_s is not None:
        return max(0.0, beat_m - newest.m) + heartbeat_age_s
    return _measure_age(newest.t)


def _read_age(folder: JobFolder) -> float | None:
    """Return the age of the last write to the events; None if there are none."""
    try:
        stat = folder.events.stat()
    except OSError:
        return None
    return max(0.0, remote_host.measure_age(folder, stat.st_mtime)) if stat.st_size else None


def _measure_age(t: float | None) -> float | None:
    return None if t is None else max(0.0, time.time() - t)


def write_heartbeat(folder: JobFolder) -> None:
    """Write the moment of a heartbeat, in place; its time of change is for other machines."""
    with open(os.open(folder.heartbeat, os.O_WRONLY | os.O_NOFOLLOW), "wb", buffering=0) as file:
        file.write(f"{time.monotonic():020.3f}\n".encode())


def _read_heartbeat(folder: JobFolder, state: State) -> tuple[float | None, float | None]:
    """Return the moment of the heartbeat by its keeper's clock, and its age; None if unknown.

    The age is by a clock that no change of the date affects, if possible.
    """
    beat_m = None
    try:
        with folder.heartbeat.open("rb") as file:
            moment, changed = file.read(), os.fstat(file.fileno()).st_mtime
        beat_m = float(moment)
    except OSError:
        return None, None
    except ValueError:  # of an earlier version
        pass
    if beat_m is not None and state.keeper and identity.shares_clocks(state.keeper):
        return beat_m, max(0.0, time.monotonic() - beat_m)
    return beat_m, max(0.0, remote_host.measure_age(folder, changed))
