"""The training in several processes, as the run's command starts and ends it.

The command itself prepares the rows before and merges and evaluates after; the processes only train.
So no process waits in a collective while another evaluates for an hour, and the GPUs are free then.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from ftwizard.errors import FtwizardError
from ftwizard.hardware import machine
from ftwizard.jobs import launch, requests
from ftwizard.jobs.folder import JobFolder, read_json
from ftwizard.jobs.worker import EarlyEnd, Stopped, Worker
from ftwizard.plan import plan_file
from ftwizard.runs.describe import describe_begin
from ftwizard.slurm import client
from ftwizard.text import make_visible
from ftwizard.train import rank_agent, rank_records
from ftwizard.train.rank_records import AgentRecord, RankFailure, RankOutcome

POLL_S = 0.2
MAX_END_S = 20.0
"""Time for the processes of all nodes to end after one failed; then what is waited for is reported."""


def fit(worker: Worker, inputs: Any, started: Callable[[], None]) -> tuple[str, str]:
    """Train in the plan's processes; return the end reason and a message.

    ``inputs``: what each of them gets, a ``TrainingInputs`` or, of a probe, a ``ProbeTask``. ``started`` is called once they start. Raises what ended the training otherwise: EarlyEnd,
    FtwizardError, or Stopped.
    """
    worker.phase("loading", what="processes")
    folder = worker.folder
    rank_records.begin(folder, inputs)
    _free_gpu()
    memory = os.memfd_create("ftwizard-ranks")
    oom_kills = machine.count_oom_kills()
    worker.events.sync()
    worker.saves_itself = worker.delegates = True
    try:
        agent = _start_agent(folder, memory)
        started()
        status = _wait(worker, agent)
    finally:
        worker.delegates = False
        rank_records.remove_inputs(folder)
    outcome = rank_records.read_outcome(folder, memory)
    os.close(memory)
    worker.events.continue_after(outcome.unwritten if outcome else b"")
    if outcome is None or _was_ended(folder, outcome):
        # TERM has no effect here either: Slurm sends it where a node failed, which must be recorded.
        raise _explain(folder, status, is_oom=_rose(oom_kills, machine.count_oom_kills()))
    worker.saves_itself = False
    return _conclude(outcome)


def _free_gpu() -> None:
    """Return what the answers of the base model used of the GPU."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def build_agent_argv(folder: JobFolder) -> list[str]:
    """Return the command that starts a machine's processes."""
    return [*launch.get_python_command(), "-m", "ftwizard", "_ranks", str(folder.path)]


def _start_agent(folder: JobFolder, memory: int) -> subprocess.Popen[bytes]:
    """Start the agent, or those of all nodes of a Slurm job, in a session of its own.

    Signals to this command's group are not for it.
    """
    argv, environment = build_agent_argv(folder), dict(os.environ)
    environment[rank_records.MEMORY] = f"/proc/{os.getpid()}/fd/{memory}"
    nodes = int(os.environ.get(rank_agent.NODES, "1"))
    if nodes > 1:
        argv = [*client.build_step_argv(nodes), *argv]
        environment = client.build_step_environment(environment)
    else:
        environment[rank_records.STARTER] = str(os.getpid())
    return subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, cwd=folder.path, env=environment, start_new_session=True
    )


def _wait(worker: Worker, agent: subprocess.Popen[bytes]) -> int:
    """Wait for the agent; return its exit status. TERM becomes a request, which it obeys at a step."""
    is_forwarded = is_reported = False
    failed_at: float | None = None
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return agent.wait(POLL_S)
        now = time.monotonic()
        if failed_at is None and rank_records.has_failure(worker.folder):
            failed_at = now
        if failed_at is not None and now - failed_at > MAX_END_S and not is_reported:
            _report_wait(worker)
            is_reported = True
        if worker.is_terminated and not is_forwarded:
            with contextlib.suppress(OSError):
                if requests.read_pending(worker.folder, "stop", worker.attempt) is None:
                    requests.send(worker.folder, "stop", worker.attempt, "signal")
                is_forwarded = True


def _report_wait(worker: Worker) -> None:
    """Report that one node's processes failed, and those of another do not end.

    Slurm waits for a node that is down until it declares it so, which takes minutes.
    """
    failures = rank_records.read_failures(worker.folder)
    cause = f" Rank {failures[0].rank} on {failures[0].host} failed." if failures else ""
    names = ", ".join(_list_silent_nodes(worker.folder)) or "another node"
    plan = plan_file.read_recorded(worker.folder)
    next_step = "queues the job again" if plan is None or plan.slurm.requeue else "ends the job"
    worker.events.write_finding(
        "nodes_lost",
        f"The training has ended, but {names} does not answer.{cause}",
        "warning",
        action=f"If the node is down, Slurm {next_step} once it notices. To end it now: "
        f"ftwizard stop {worker.folder.id} --kill",
        actions=["stop"],
    )


def _list_silent_nodes(folder: JobFolder) -> list[str]:
    """Return the nodes of a training that failed whose agent has not recorded how; of one machine, none."""
    if int(os.environ.get(rank_agent.NODES, "1")) == 1:
        return []
    try:
        hosts = client.list_hosts(os.environ.get("SLURM_JOB_NODELIST", ""))
    except FtwizardError:
        return []
    return [
        make_visible(host, 60)
        for node, host in enumerate(hosts)
        if not rank_records.get_agent_record(folder, node).exists()
    ]


def _explain_silence(nodes: list[str], cause: str) -> EarlyEnd:
    """Return the end for nodes that left nothing; ``cause``: the error that this was for others."""
    job_id = os.environ.get("SLURM_JOB_ID", "")
    job = client.read_job(int(job_id)) if job_id.isdigit() else None
    names, verb = (
        ", ".join(nodes),
        "failed" if job and job.failed_node in nodes else "does not answer",
    )
    return EarlyEnd("lost", f"{names} {verb}. {cause}")


def _was_ended(folder: JobFolder, outcome: RankOutcome) -> bool:
    """Return whether the first process was stopped only because another had failed: the agent's TERM
    may reach it before it notices by itself."""
    if outcome.is_trained or outcome.end_reason != "stopped":
        return False
    failures = rank_records.read_failures(folder)
    return any(failure.t <= outcome.t for failure in failures) or bool(_find_kills(folder))


def _find_kills(folder: JobFolder) -> list[tuple[AgentRecord, RankFailure]]:
    """Return the processes that a signal ended, other than the TERM with which an agent ends them."""
    return [
        (record, failure)
        for record in _read_agent_records(folder)
        for failure in record.failures
        if failure.exit_code < 0 and failure.exit_code != -signal.SIGTERM
    ]


def _read_agent_records(folder: JobFolder) -> list[AgentRecord]:
    records = [read_json(path, AgentRecord) for path in folder.ranks.glob("agent-*.json")]
    return sorted((record for record in records if record), key=lambda record: record.t)


def _conclude(outcome: RankOutcome) -> tuple[str, str]:
    """Return how the training ended, or raise what ended it."""
    if outcome.is_trained:
        return outcome.end_reason, outcome.message
    if outcome.end_reason == "stopped":
        raise Stopped
    if outcome.is_refused:
        raise FtwizardError(outcome.message, outcome.hint, outcome.exit_code)
    raise EarlyEnd(outcome.end_reason, outcome.message, outcome.hint)


def _explain(folder: JobFolder, status: int, *, is_oom: bool) -> Exception:
    """Return the error of processes that failed: the first cause, with its rank.

    A process that was killed leaves nothing; the others then fail because it is gone. So a kill
    counts before errors, and of these the first.
    """
    known, killed = _read_agent_records(folder), _find_kills(folder)
    errors = rank_records.read_failures(folder)
    if killed and not any(error.end_reason != "crashed" for error in errors):
        return _explain_kill(folder, *killed[0], is_oom=is_oom)
    silent = _list_silent_nodes(folder) if known or errors else []
    if silent and all(error.end_reason == "crashed" for error in errors):
        return _explain_silence(silent, str(_explain_error(folder, errors[0])) if errors else "")
    if errors:
        return _explain_error(folder, errors[0])
    if messages := [record.message for record in known if record.message]:
        return EarlyEnd("crashed", f"The processes could not be started: {messages[0]}")
    if status == -signal.SIGKILL:
        reason = "out_of_memory" if is_oom else "killed"
        return EarlyEnd(reason, "The agent that starts the processes was killed (SIGKILL).")
    return EarlyEnd("crashed", f"The processes ended with exit status {status} and left no reason.")


def _explain_kill(
    folder: JobFolder, record: AgentRecord, failure: RankFailure, *, is_oom: bool
) -> EarlyEnd:
    number = -failure.exit_code
    with contextlib.suppress(ValueError):
        name = signal.Signals(number).name
        text = f"Rank {failure.rank} on {record.host} was killed by {name}."
        if number == signal.SIGKILL:
            return EarlyEnd("out_of_memory" if is_oom else "killed", text)
        log = rank_records.get_log(folder, failure.rank)
        return EarlyEnd("crashed", text, f"See the end of {log}")
    return EarlyEnd("crashed", f"Rank {failure.rank} ended by signal {number}.")


def _explain_error(folder: JobFolder, error: RankOutcome) -> Exception:
    text = f"Rank {error.rank} on {error.host}: {error.message}"
    if error.is_refused:
        return FtwizardError(text, error.hint, error.exit_code)
    hint = error.hint
    if error.end_reason == "crashed":
        log = rank_records.get_log(folder, error.rank)
        hint = f"See the end of {log}. {describe_begin(folder)}: ftwizard resume {folder.id}"
    return EarlyEnd(error.end_reason, text, hint)


def _rose(before: int | None, now: int | None) -> bool:
    return before is not None and now is not None and now > before
