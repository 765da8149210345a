"""Stops of a job: the wait for its end, and the keeper's part of it where the keeper does not act.

The command sees a request to stop by itself. Only what follows if it does not obey, and the record
of its end, are the keeper's part. If the keeper is dead, suspended or silent, ``wait_for_end`` does
it instead, and ends the keeper, which holds the job's lock.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from ftwizard.jobs import identity, leftovers, lock, requests
from ftwizard.jobs.ending import read_done_event
from ftwizard.jobs.folder import JobFolder, State, write_json
from ftwizard.jobs.identity import Identity
from ftwizard.jobs.pace import TERM_GRACE_S, read_pace
from ftwizard.jobs.status import observe

UNHEARD_S = 20.0
"""Time without a heartbeat, measured here, after which a keeper counts as frozen."""
SLACK_S = 10.0
"""Extra time beyond the grace period and the signals, for a slow disk."""
POLL_S = 0.1


def read_seconds_left(folder: JobFolder, attempt: int) -> float | None:
    """Return how long a requested stop may still take before it becomes a kill; None without one."""
    try:
        asked = (folder.requests / "stop").stat().st_mtime
    except OSError:
        return None
    grace_s = read_pace(folder, attempt).stop_s
    return min(grace_s, max(0.0, grace_s - (time.time() - asked)))


def wait_for_end(
    folder: JobFolder, attempt: int, *, now: bool = False, report: Callable[[str], None]
) -> bool:
    """Wait until a job that was asked to stop has ended; return False if it does not in time.

    ``attempt``: the one that was asked; if it had ended already, a newer one is being started, and
    is asked as well. ``now``: it was asked to end at once. ``report`` gets lines for the user.
    """
    stop = _Stop(folder, attempt, now, report)
    while not stop.has_ended():
        if stop.is_overdue():
            return False
        time.sleep(POLL_S)
    requests.withdraw(folder, stop.attempt)
    return True


class _Stop:
    def __init__(
        self, folder: JobFolder, attempt: int, now: bool, report: Callable[[str], None]
    ) -> None:
        self.folder, self.attempt = folder, attempt
        self._now, self._report = now, report
        self._began = time.monotonic()
        state = folder.read_state()
        self._is_starting = attempt == 0 or (
            state is not None and state.attempt == attempt and state.state == "ended"
        )
        self._beat: float | None = None
        self._heard_at = self._began
        self._is_acting = False
        self._signaled: dict[signal.Signals, float] = {}
        """Monotonic times of the signals sent in place of the keeper."""

    def has_ended(self) -> bool:
        """Return whether the job has ended; do the keeper's part if that does not act."""
        newest = self.folder.newest_attempt()
        if newest != self.attempt:
            if newest < self.attempt or not self._is_starting:
                return True  # its folder was moved or deleted, or it was started again since
            self.attempt, self._is_starting = newest, False
            requests.request_stop(self.folder, newest, now=self._now)
        state = self.folder.read_state()
        if observe(self.folder).state == "ended":
            is_recorded = state is None or state.attempt != self.attempt or state.state == "ended"
            if self._signaled and state and not is_recorded:
                _record_end(self.folder, state, is_killed=True)
            return True
        if state is None or state.attempt != self.attempt or state.is_self_kept:
            return False
        if not self._is_frozen(state.keeper):
            return False
        return self._act(state)

    def is_overdue(self) -> bool:
        """Return whether even the signals had no effect in time."""
        waited_s = time.monotonic() - max(self._signaled.values(), default=self._began)
        grace_s = 0.0 if self._signaled else self._grace_s
        return waited_s > grace_s + 2 * TERM_GRACE_S + SLACK_S

    @property
    def _grace_s(self) -> float:
        return 0.0 if self._now else read_pace(self.folder, self.attempt).stop_s

    def _is_frozen(self, keeper: Identity | None) -> bool:
        """Return whether the keeper is known to be dead, suspended or silent since this wait began."""
        if keeper is None or (lives := identity.is_alive(keeper)) is None:
            return False
        if not lives or identity.is_suspended(keeper):
            return True
        beat = _read_mtime(self.folder.heartbeat)
        if beat != self._beat:
            self._beat, self._heard_at = beat, time.monotonic()
        return time.monotonic() - self._heard_at > UNHEARD_S

    def _act(self, state: State) -> bool:
        """Do the next of the keeper's steps; return whether the job has ended."""
        if state.command is None:
            return False
        if identity.is_alive(state.command) is False:
            return _record_end(self.folder, state, is_killed=bool(self._signaled))
        if not self._is_acting:
            self._is_acting = True
            self._report("Its keeper does not act, so this command does its part.")
            identity.signal_group(state.command, signal.SIGCONT)  # suspended, it could not save
        now, termed = time.monotonic(), self._signaled.get(signal.SIGTERM)
        if termed is None and now - self._began >= self._grace_s:
            if not self._now:
                self._report("It did not stop in time; killing it.")
            self._send(state.command, signal.SIGTERM)
        elif termed and now - termed >= TERM_GRACE_S and signal.SIGKILL not in self._signaled:
            self._send(state.command, signal.SIGKILL)
        return False

    def _send(self, command: Identity, number: signal.Signals) -> None:
        self._signaled[number] = time.monotonic()
        identity.signal_group(command, number)


def _record_end(folder: JobFolder, state: State, *, is_killed: bool) -> bool:
    """End the keeper and what the command left, and record why it ended; return whether it is over."""
    if state.keeper and identity.signal_group(state.keeper, signal.SIGKILL):
        end = time.monotonic() + SLACK_S
        while identity.is_alive(state.keeper) and time.monotonic() < end:
            time.sleep(POLL_S)
    leftovers.end(folder)
    lock_fd = lock.take_exclusive(folder.lock)
    if lock_fd is None:
        return False
    try:
        newest = folder.read_state()
        if newest == state and folder.newest_attempt() == state.attempt:
            done = read_done_event(folder, state.attempt)
            reason = str(done.get("end_reason")) if done else "killed" if is_killed else "lost"
            ended = msgspec.structs.replace(
                state, state="ended", end_reason=reason, ended=time.time()
            )
            with contextlib.suppress(OSError):
                write_json(folder.state, ended, ballast=folder.ballast)
    finally:
        os.close(lock_fd)
    return True


def _read_mtime(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except OSError:
        return None
