"""The state of a job: from its ``done`` event, else from the keeper, else from the lock."""

from __future__ import annotations

import time

import msgspec

from ftwizard.jobs import (
    allocation,
    clock,
    identity,
    leftovers,
    liveness,
    lock,
    remote_host,
    requests,
    rescue,
)
from ftwizard.jobs.allocation import Allocation
from ftwizard.jobs.clock import Instant
from ftwizard.jobs.ending import (
    GOOD_END_REASONS,
    find_done_event,
    read_done_event,
    read_last_events,
)
from ftwizard.jobs.folder import JobFolder, State
from ftwizard.jobs.identity import Identity
from ftwizard.jobs.liveness import Liveness


class Status(msgspec.Struct, frozen=True, kw_only=True):
    state: str
    """``queued``, ``starting``, ``running``, ``stopping`` or ``ended``."""
    attempt: int
    end_reason: str | None = None
    message: str = ""
    """The command's message about its end."""
    hint: str = ""
    """What to do next, according to the command."""
    exit_code: int = 0
    """Exit code for a command that waited for the job."""
    keeper_lives: bool | None = None
    """None if unknown on this machine."""
    host: str | None = None
    """The other host that it runs on; None for this machine, and after it ended."""
    started: float | None = None
    """Unix seconds; start of this attempt."""
    ended: float | None = None
    seconds: float | None = None
    """Duration of this attempt, once it ended."""
    keeper: Identity | None = None
    allocation: Allocation | None = None
    """Its Slurm job, where it is or was in one."""
    liveness: Liveness = Liveness()
    """Signs of life while it has not ended."""

    def now(self) -> Instant:
        """Return this moment on the clocks of the job's events, where these are readable here."""
        return clock.read() if identity.shares_clocks(self.keeper) else Instant(time.time())

    @property
    def took_s(self) -> float | None:
        """Return the duration of this attempt; of one without a record, the difference of dates."""
        if self.seconds is None and self.started and self.ended:
            return max(0.0, self.ended - self.started)
        return self.seconds

    def age_s(self) -> float:
        """Return the seconds since the start of this attempt; 0 if unknown."""
        if self.keeper and identity.shares_clocks(self.keeper):
            return identity.get_age_s(self.keeper)
        return max(0.0, time.time() - self.started) if self.started else 0.0


def observe(folder: JobFolder, *, asks_slurm: bool = True) -> Status:
    """Read the state of a job; takes no lock and writes nothing.

    Of one in a Slurm job, whose node may be gone, Slurm is asked where the files are in doubt, which
    takes seconds if it is slow. ``asks_slurm``: False to go by the files alone, as if it did not answer.
    """
    state = folder.read_state()
    if state is None or state.slurm_job is None:
        return _observe_files(folder)
    if state.state == "queued" and state.attempt > folder.newest_attempt():
        return _observe_queued(folder, state, state.slurm_job, asks_slurm=asks_slurm)
    return _observe_allocated(folder, state, state.slurm_job, asks_slurm=asks_slurm)


def _observe_queued(folder: JobFolder, state: State, job_id: int, *, asks_slurm: bool) -> Status:
    """Return the status of a run whose next attempt was given to Slurm."""
    has_answer, job = allocation.find(state) if asks_slurm else (False, None)
    shown = allocation.from_job(job_id, job)
    if not has_answer or (job is not None and job.phase != "over"):
        if folder.newest_attempt() >= state.attempt:
            return observe(folder, asks_slurm=asks_slurm)  # it started meanwhile
        is_waiting = job is None or job.phase == "waiting"
        return Status(
            state="queued" if is_waiting else "starting",
            attempt=state.attempt,
            started=state.started,
            allocation=shown,
        )
    newest = folder.read_state()
    if newest is not None and newest != state:
        return observe(folder, asks_slurm=asks_slurm)
    ending = allocation.explain_end(folder, job_id)
    return Status(
        state="ended",
        attempt=state.attempt,
        end_reason=ending.end_reason,
        message=ending.message,
        hint=ending.hint,
        exit_code=1,
        started=state.started,
        allocation=shown,
    )


def _observe_allocated(folder: JobFolder, state: State, job_id: int, *, asks_slurm: bool) -> Status:
    """Return the status of an attempt that started in a Slurm job."""
    status = _observe_files(folder)
    if status.attempt != state.attempt:
        return status
    is_over = status.state == "ended" and status.end_reason not in GOOD_END_REASONS
    is_doubtful = allocation.is_doubtful(status.liveness.heartbeat_age_s)
    if not (is_doubtful or (is_over and allocation.may_continue(state, status.end_reason))):
        shown = Allocation(job_id=job_id, nodes=state.keeper.host if state.keeper else None)
        return msgspec.structs.replace(status, allocation=shown)
    has_answer, job = allocation.find(state) if asks_slurm else (False, None)
    shown = allocation.from_job(job_id, job)
    status = msgspec.structs.replace(status, allocation=shown)
    if not has_answer:
        return status
    if job is not None and job.phase == "waiting":
        return Status(
            state="queued", attempt=state.attempt + 1, started=state.started, allocation=shown
        )
    if job is not None and job.phase != "over":
        if not is_over:
            return status
        # Times are in seconds, of two machines: only a later start is one of the next attempt.
        is_next = (job.expected_start or 0.0) > (state.started or 0.0) + 1.0
        is_starting = is_next and job.phase == "active"
        return msgspec.structs.replace(status, state="starting" if is_starting else "stopping")
    has_record = state.state == "ended" or read_done_event(folder, state.attempt) is not None
    if has_record:
        return status
    ending = allocation.explain_end(folder, job_id)
    return msgspec.structs.replace(
        status,
        state="ended",
        end_reason=ending.end_reason,
        message=ending.message,
        hint=ending.hint,
        exit_code=1,
        host=None,
        liveness=Liveness(),
    )


def _observe_files(folder: JobFolder) -> Status:
    attempt = folder.newest_attempt()
    is_locked = lock.is_held(folder.lock)  # read first, so that what follows is final if unlocked
    state = folder.read_state()
    if is_locked and state and leftovers.is_over(state):
        is_locked, state = False, folder.read_state()  # nobody writes it any more
    if state is None or state.attempt != attempt:
        state = State(state="starting", attempt=attempt)
    events = read_last_events(folder)
    done = find_done_event(events, attempt)
    keeper_lives = identity.is_alive(state.keeper) if state.keeper else None
    if not is_locked and not done and folder.newest_attempt() != attempt:
        return _observe_files(folder)  # it was started again meanwhile
    host = remote_host.get_other_host(folder, state)
    lives = is_locked or (host is not None and remote_host.has_recent_sign(folder))
    if not (done or lives or state.state == "ended"):
        rescued = rescue.read_state(folder)
        state = rescued if rescued and rescued.attempt == attempt else state
    signs = Liveness()
    if lives and state.state != "ended":
        signs = liveness.read(folder, state, events, is_done=done is not None, host=host)
    if done or state.state == "ended" or not lives:
        ended = _make_ended_status(state, done, is_locked, keeper_lives)
        return msgspec.structs.replace(ended, liveness=signs)
    now = state.state
    if now == "running" and requests.read_pending(folder, "stop", attempt):
        now = "stopping"
    return Status(
        state=now,
        attempt=attempt,
        keeper_lives=keeper_lives,
        host=host,
        started=state.started,
        keeper=state.keeper,
        liveness=signs,
    )


def _make_ended_status(
    state: State, done: dict[str, object] | None, is_locked: bool, keeper_lives: bool | None
) -> Status:
    done = done or state.done
    reason = str(done.get("end_reason", "crashed")) if done else state.end_reason or "lost"
    code = done.get("exit_code") if done else None
    ended = state.ended or (done and done.get("t")) or None
    return Status(
        # The command is done but still exiting: its files may be open.
        state="stopping" if is_locked else "ended",
        attempt=state.attempt,
        end_reason=reason,
        message=str(done.get("message", "")) if done else "",
        hint=str(done.get("hint", "")) if done else "",
        exit_code=code if isinstance(code, int) else (0 if reason in GOOD_END_REASONS else 1),
        keeper_lives=keeper_lives,
        started=state.started,
        ended=ended if isinstance(ended, float) else None,
        seconds=state.seconds,
        keeper=state.keeper,
    )


def wait_until_free(folder: JobFolder, timeout_s: float, poll_s: float = 0.1) -> bool:
    """Wait until no process of the job is alive; return False after ``timeout_s``."""
    end = time.monotonic() + timeout_s
    while observe(folder).state != "ended":
        if time.monotonic() >= end:
            return False
        time.sleep(poll_s)
    return True
