"""What state a job is in: its own last word, else the keeper's, else what the lock tells."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable

import msgspec

from ftwizard.jobs import elsewhere, identity, lock, requests
from ftwizard.jobs.ending import GOOD, done_event
from ftwizard.jobs.folder import JobFolder, State, write_json

KILL_AFTER_TERM_S = 10.0


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """A job's state now."""

    state: str
    """``queued``, ``starting``, ``running``, ``stopping`` or ``ended``."""
    attempt: int
    end_reason: str | None = None
    message: str = ""
    """What the command said of its end."""
    hint: str = ""
    """What it said to do next."""
    exit_code: int = 0
    """What a command that waited for it answers with."""
    keeper_lives: bool | None = None
    """None where this machine cannot know."""
    host: str | None = None
    """The other machine that it runs on; None for this one, and once it has ended."""
    started: float | None = None
    """Unix seconds, of this attempt."""
    ended: float | None = None


def observe(folder: JobFolder) -> Status:
    """Look at a job without disturbing it (no lock is taken, nothing is written)."""
    attempt = folder.newest_attempt()
    held = lock.is_held(folder.lock)  # before the rest: what is written under it is then final
    state = folder.read_state()
    if state is None or state.attempt != attempt:
        state = State(state="starting", attempt=attempt)
    word = done_event(folder, attempt)
    keeper_lives = identity.is_alive(state.keeper) if state.keeper else None
    if not held and not word and folder.newest_attempt() != attempt:
        return observe(folder)  # it was started again while we looked
    host = elsewhere.host(folder, state)
    lives = held or (host is not None and elsewhere.was_heard(folder))
    if word or state.state == "ended" or not lives:
        return _ended(state, word, held, keeper_lives)
    now = state.state
    if now == "running" and requests.pending(folder, "stop", attempt):
        now = "stopping"
    return Status(
        state=now, attempt=attempt, keeper_lives=keeper_lives, host=host, started=state.started
    )


def _ended(
    state: State, word: dict[str, object] | None, held: bool, keeper_lives: bool | None
) -> Status:
    reason = str(word.get("end_reason", "crashed")) if word else state.end_reason or "lost"
    code = word.get("exit_code") if word else None
    ended = state.ended or (word and word.get("t")) or None
    return Status(
        # The command said its last word but has not gone yet: its files may still be open.
        state="stopping" if held else "ended",
        attempt=state.attempt,
        end_reason=reason,
        message=str(word.get("message", "")) if word else "",
        hint=str(word.get("hint", "")) if word else "",
        exit_code=code if isinstance(code, int) else (0 if reason in GOOD else 1),
        keeper_lives=keeper_lives,
        started=state.started,
        ended=ended if isinstance(ended, float) else None,
    )


def wait_until_free(folder: JobFolder, timeout_s: float, poll_s: float = 0.1) -> bool:
    """Wait until nothing of the job lives; False when it still does after ``timeout_s``."""
    end = time.monotonic() + timeout_s
    while observe(folder).state != "ended":
        if time.monotonic() >= end:
            return False
        time.sleep(poll_s)
    return True


def end_without_keeper(
    folder: JobFolder, grace_s: float, report: Callable[[str], None] = lambda _: None
) -> None:
    """Do the keeper's part of a stop where the keeper is dead: wait, TERM, KILL, write it down."""
    state = folder.read_state()
    if state is None or state.command is None:
        return
    if wait_until_free(folder, grace_s):
        return
    report("It has not stopped by itself; ending it.")
    for number in (signal.SIGTERM, signal.SIGKILL):
        identity.signal_group(state.command, number)
        if wait_until_free(folder, KILL_AFTER_TERM_S):
            break
    held = lock.take_exclusive(folder.lock)
    if held is None:
        return
    try:
        if done_event(folder, state.attempt) is None:
            ended = msgspec.structs.replace(
                state, state="ended", end_reason="killed", ended=time.time()
            )
            with contextlib.suppress(OSError):
                write_json(folder.state, ended, ballast=folder.ballast)
    finally:
        os.close(held)
