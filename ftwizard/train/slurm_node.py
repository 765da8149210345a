"""A run on the node of its Slurm job: its keeper, the warning of the time limit, and what comes next.

It is started by the batch script, once for each start of the job. Slurm may start a job again: after
a preemption, after a node failure, or because the run asked for it. Each start is a new attempt, which
continues from the newest complete checkpoint.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import msgspec

from ftwizard.errors import FtwizardError
from ftwizard.jobs import allocation, identity, launch, node_secrets, requests
from ftwizard.jobs.allocation import Submission
from ftwizard.jobs.ending import GOOD_END_REASONS, read_done_event
from ftwizard.jobs.events import EventWriter
from ftwizard.jobs.folder import Attempt, JobFolder, State, StopCause, read_json, write_json
from ftwizard.jobs.launch import AlreadyRunning
from ftwizard.jobs.status import observe
from ftwizard.plan.schema import Plan
from ftwizard.slurm import client
from ftwizard.train import checkpoint_rotation, command, node_check, rank_agent

POLL_S = 0.5
LOCK_S = 30.0
"""Time for the submission to write its record, and for the last start to leave the lock."""
FIRST_PORT, PORTS = 20_000, 12_000
"""Ports for the processes of several nodes: below those that Linux gives to connections."""
PORT_TRIES, PORT_STRIDE = 50, 101
"""Ports that are tried, and their distance: the next ones are those of the next jobs."""
TIME_LIMIT = "time-limit"
"""File under ``requests/`` by which the script passes on Slurm's warning."""
_RESULTS = ("trained.json", "result.json")
_RESULT_FOLDERS = ("checkpoints", "merged", "export")


def run(folder: JobFolder) -> int:
    """Start the next attempt in this allocation and wait for its end; return the exit status.

    ``allocation.REQUEUE`` asks the script to put the job into the queue again.
    """
    job_id = int(os.environ["SLURM_JOB_ID"])
    submission = read_json(folder.submission, Submission)
    if submission is None:
        print(f"{folder.submission} is missing or damaged.", file=sys.stderr)
        return allocation.NO_FOLDER
    if reason := _find_reason_against(folder, job_id):
        print(reason)
        node_secrets.remove(folder)
        return 0
    try:
        return _Node(folder, job_id, submission).run()
    except AlreadyRunning as error:
        print(error.text, file=sys.stderr)
        return 1
    except FtwizardError as error:
        print(error.text, file=sys.stderr)
        _record_refusal(folder, job_id, error)
        if error.code != node_check.SILENT:
            node_secrets.remove(folder)
        return 1


def _find_reason_against(folder: JobFolder, job_id: int) -> str:
    """Return why a run is not started again, in words; empty if it is."""
    _wait_for_record(folder, job_id)
    state = folder.read_state()
    if state is None or state.state == "queued":
        return ""
    attempt = folder.newest_attempt()
    is_asked = any(
        (request := requests.read_pending(folder, name, attempt)) and request.cause == "user"
        for name in ("stop", "kill")
    )
    if state.slurm_job == job_id and (state.stop_cause == "user" or is_asked):
        _record_end(folder, state)
        return "The user stopped this run; it is not started again."
    status = observe(folder)
    if status.state == "ended" and status.end_reason in GOOD_END_REASONS:
        return "This run has finished."
    return ""


def _wait_for_record(folder: JobFolder, job_id: int) -> None:
    """Wait until the submission recorded the job's id, where it started at once."""
    end = time.monotonic() + LOCK_S
    while time.monotonic() < end:
        state = folder.read_state()
        if state is not None and state.slurm_job == job_id:
            return
        if os.environ.get("SLURM_RESTART_COUNT", "0") != "0":
            return
        time.sleep(0.1)


def _record_end(folder: JobFolder, state: State) -> None:
    """Record a stop that the user asked for where the node failed before the run obeyed."""
    if state.state != "ended":
        reason = state.end_reason or "stopped"
        ended = msgspec.structs.replace(
            state, state="ended", end_reason=reason, ended=time.time(), stop_cause="user"
        )
        write_json(folder.state, ended)


def _record_refusal(folder: JobFolder, job_id: int, error: FtwizardError) -> None:
    """Record that the run could not start on this node, as the end of an attempt."""
    number = folder.newest_attempt()
    state = folder.read_state()
    if state is None or state.state == "queued":
        number += 1
        started = Attempt(
            number=number, started=time.time(), host=os.uname().nodename, argv=[], slurm_job=job_id
        )
        write_json(folder.attempt(number), started)
    done = {
        "kind": "done",
        "end_reason": "refused",
        "message": error.message,
        "hint": error.hint,
        "exit_code": error.exit_code,
    }
    ended = State(
        state="ended", attempt=number, slurm_job=job_id, end_reason="refused", done=done,
        ended=time.time(), stop_cause=None if error.code == node_check.SILENT else "user",
    )  # fmt: skip
    write_json(folder.state, ended)


class _Node:
    def __init__(self, folder: JobFolder, job_id: int, submission: Submission) -> None:
        self.folder, self.job_id, self.submission = folder, job_id, submission
        self.plan = msgspec.convert(submission.plan, Plan)
        self.warning = folder.requests / TIME_LIMIT
        self._is_ended = False
        """Whether Slurm ends the job."""
        self._keeper: subprocess.Popen[bytes] | None = None

    def run(self) -> int:
        signal.signal(signal.SIGTERM, self._on_term)
        results = _list_results(self.folder)
        attempt, self._keeper = self._start()
        print(f"Attempt {attempt.number}, from {attempt.checkpoint or 'the start'}.", flush=True)
        while self._is_running(self._keeper):
            if self.warning.exists():
                self._pass_on_warning(attempt.number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._keeper.wait(POLL_S)
        reason, cause = read_end(self.folder, attempt.number)
        print(f"It ended: {reason}.", flush=True)
        if cause == "time_limit" and reason == "stopped":
            return self._continue(attempt.number, has_saved=_list_results(self.folder) != results)
        may_continue = reason not in GOOD_END_REASONS and cause != "user"
        if self._is_ended and may_continue and client.is_preempted(self.job_id):
            # It made room at once; Slurm would only queue a job that it had to kill.
            return self._continue(attempt.number, has_saved=True)
        if not self._is_ended:  # else Slurm may start the job again
            node_secrets.remove(self.folder)
        return 0 if reason in (*GOOD_END_REASONS, "stopped") else 1

    def _is_running(self, keeper: subprocess.Popen[bytes]) -> bool:
        """Return whether the keeper is alive, or was killed and its command goes on."""
        if keeper.poll() is None:
            return True
        state = self.folder.read_state()
        is_open = state is not None and state.state != "ended" and state.slurm_job == self.job_id
        if not is_open or state is None or not identity.is_alive(state.command):
            return False
        time.sleep(POLL_S)
        return True

    def _start(self) -> tuple[Attempt, subprocess.Popen[bytes]]:
        """Start the next attempt; wait for the lock, which the last one may just leave."""
        submission = self.submission
        is_first = _is_first_start(self.folder)
        environment = command.build_environment(
            self.plan, {**os.environ, **node_secrets.read(self.folder)}, trains=True
        )
        environment |= self._describe_nodes()
        end = time.monotonic() + LOCK_S
        while True:
            try:
                return launch.start_keeper(
                    self.folder,
                    command.build_argv(self.folder.path),
                    environment=environment,
                    find_start=lambda: checkpoint_rotation.choose_beginning(
                        self.folder,
                        from_start=is_first and submission.from_start,
                        say=lambda subject: None,
                    ),
                    inputs=submission.inputs if is_first else None,
                    plan=submission.plan,
                    changes=submission.changes if is_first else None,
                    slurm_job=self.job_id,
                )
            except AlreadyRunning:
                if time.monotonic() >= end:
                    raise
                time.sleep(POLL_S)

    def _describe_nodes(self) -> dict[str, str]:
        """Return the variables by which the processes of several nodes find each other."""
        if self.plan.nodes == 1:
            return {}
        hosts = client.list_hosts(os.environ["SLURM_JOB_NODELIST"])
        node_check.require_equal_nodes(self.folder, sys.executable, self.submission.token, hosts)
        return {
            rank_agent.NODES: str(self.plan.nodes),
            rank_agent.HEAD: f"{hosts[0]}:{find_port(self.job_id)}",
        }

    def _pass_on_warning(self, attempt: int) -> None:
        """Ask the run to save and stop, because the job's time is nearly over."""
        with contextlib.suppress(OSError):
            if requests.read_pending(self.folder, "stop", attempt) is None:
                requests.send(self.folder, "stop", attempt, "time_limit")
            self.warning.unlink()

    def _continue(self, attempt: int, *, has_saved: bool) -> int:
        """Queue the next attempt, unless this one saved nothing or the plan does not want it."""
        if not self.plan.slurm.requeue:
            node_secrets.remove(self.folder)
            return 0
        if not has_saved:
            message = "The time limit of its Slurm job came before anything was saved."
            advice = "Raise slurm.time in its plan, or lower recipe.save_steps, then resume it."
            with contextlib.suppress(OSError):
                writer = EventWriter(self.folder.events, attempt)
                writer.write_finding("time_limit", message, "warning", action=advice)
                writer.close()
            print(f"{message} {advice}")
            node_secrets.remove(self.folder)
            return 0
        state = State(
            state="queued", attempt=attempt + 1, started=time.time(), slurm_job=self.job_id
        )
        write_json(self.folder.state, state)
        return allocation.REQUEUE

    def _on_term(self, *_: object) -> None:
        """Let the run save: Slurm sends the signal before it ends the job's processes."""
        self._is_ended = True
        if self._keeper is not None:
            with contextlib.suppress(ProcessLookupError):
                self._keeper.terminate()


def find_port(job_id: int) -> int:
    """Return a port of this node that nothing listens on; each job begins at one of its own.

    Jobs of other users may share the node. Raises FtwizardError if none is free.
    """
    for step in range(PORT_TRIES):
        port = FIRST_PORT + (job_id + step * PORT_STRIDE) % PORTS
        with contextlib.suppress(OSError), socket.socket() as tried:
            tried.bind(("", port))
            return port
    raise FtwizardError(
        f"No port of {os.uname().nodename} is free among those that were tried from {FIRST_PORT} on.",
        "See what listens there: ss -tlnp",
    )


def read_end(folder: JobFolder, attempt: int) -> tuple[str, StopCause | None]:
    """Return why an attempt ended, ``lost`` without a record, and what asked it to stop."""
    state = folder.read_state()
    own = state if state is not None and state.attempt == attempt else None
    done = read_done_event(folder, attempt) or (own.done if own else None) or {}
    reason = str(done.get("end_reason") or (own.end_reason if own else None) or "lost")
    return reason, done.get("stop_cause") or (own.stop_cause if own else None)


def _is_first_start(folder: JobFolder) -> bool:
    """Return whether no attempt of this submission started yet."""
    state = folder.read_state()
    if state is None or state.state != "queued":
        return False
    return os.environ.get("SLURM_RESTART_COUNT", "0") == "0"


def _list_results(folder: JobFolder) -> dict[str, int]:
    """Return what the run has saved so far: names, with their times of change."""
    paths: list[Path] = [folder.path / name for name in _RESULTS]
    for name in _RESULT_FOLDERS:
        with contextlib.suppress(OSError):
            paths += (folder.path / name).iterdir()
    results = {}
    for path in paths:
        with contextlib.suppress(OSError):
            results[str(path.relative_to(folder.path))] = path.stat().st_mtime_ns
    return results
