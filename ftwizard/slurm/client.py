"""Calls of Slurm's commands: without a shell, bounded in time, in the C locale."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from ftwizard.errors import FtwizardError
from ftwizard.slurm import submit_errors
from ftwizard.slurm.job_states import SlurmJob, parse_job, parse_queue
from ftwizard.slurm.submit_errors import TIMEOUT, describe_silence, summarize
from ftwizard.text import make_visible

ASK_S = 4.0
"""Time for an answer of Slurm; on a healthy cluster it takes some milliseconds."""
SUBMIT_S = 60.0
"""Time for a submission: sites check jobs in scripts of their own."""
CACHE_S = 4.0
"""Age up to which an answer is used again: several views must not load the controller."""
FAILED_CACHE_S = 20.0
"""Time without another question after Slurm did not answer."""
_FORMAT = "%A|%T|%S|%D|%N|%r"
_TESTED = re.compile(
    r"Job \d+ to start at (\d+) using (\d+) processors? on nodes (\S+)(?: in partition (\S+))?"
)
_JOB_ID = re.compile(r"(\d+)(?:;\S*)?")
_CLUSTER_VARIABLE = "SLURM_CONF"


class Placement(msgspec.Struct, frozen=True, kw_only=True):
    """Slurm's answer to a submission that was only tested."""

    expected_start: float
    """Unix seconds."""
    processors: int
    nodes: str
    """In Slurm's notation: ``node[1-2]``."""
    partition: str | None
    exceeded_limit: str | None = None
    """Time limit of the partition, as Slurm writes it, where the job asks for more: it never starts."""


class JobPreview(msgspec.Struct, frozen=True, kw_only=True):
    """The document of ``ftwizard slurm --json`` for a plan."""

    script: str
    placement: Placement | None
    """When and where Slurm would start it now; None if its answer was not understood."""


class _Queue:
    """The user's jobs, as Slurm answered last."""

    def __init__(self) -> None:
        self.jobs: dict[int, SlurmJob] | None = None
        self.asked_at: float | None = None

    def is_fresh(self) -> bool:
        if self.asked_at is None:
            return False
        limit_s = FAILED_CACHE_S if self.jobs is None else CACHE_S
        return time.monotonic() - self.asked_at < limit_s


_queue = _Queue()


def is_installed() -> bool:
    """Return whether jobs can be submitted from this machine."""
    return shutil.which("sbatch") is not None


def require_installed() -> None:
    """Raise FtwizardError on a machine without Slurm's commands."""
    if not is_installed():
        raise FtwizardError(
            "This machine has no Slurm: its command sbatch was not found.",
            "Start the run on a login node of the cluster, or remove where.scheduler from the plan to "
            "train on this machine.",
        )


def submit(script: Path, environment: Mapping[str, str], folder: Path) -> int:
    """Submit a batch script; return the id of its job.

    It is sent once. ``environment`` is what the job starts with, ``folder`` where. Raises
    FtwizardError with Slurm's reason for a refusal.
    """
    try:
        done = _run(["sbatch", "--parsable", str(script)], SUBMIT_S, environment, folder)
        forget()
        match = _JOB_ID.fullmatch(done.stdout.strip())
        if done.returncode or match is None:
            raise submit_errors.explain(done.stderr or done.stdout, list_partitions)
    except FtwizardError as error:
        if error.code == TIMEOUT:
            error.hint = (
                f"It may have submitted the job all the same: squeue --me --name={folder.name}   "
                "Cancel that one before you start again: scancel JOB"
            )
        raise
    return int(match[1])


def test_submission(script: Path, environment: Mapping[str, str]) -> Placement | None:
    """Ask Slurm when and where a script's job would start; None if its answer is not understood.

    Nothing is submitted. Raises FtwizardError with Slurm's reason for a refusal.
    """
    done = _run(["sbatch", "--test-only", str(script)], SUBMIT_S, environment)
    if done.returncode:
        raise submit_errors.explain(done.stderr or done.stdout, list_partitions)
    return parse_placement(done.stderr + done.stdout)


def parse_placement(text: str) -> Placement | None:
    """Read the answer of ``sbatch --test-only``, whose times are Unix seconds."""
    match = _TESTED.search(text)
    if match is None:
        return None
    return Placement(
        expected_start=float(match[1]),
        processors=int(match[2]),
        nodes=match[3],
        partition=match[4],
    )


def find_job(job_id: int) -> SlurmJob | None:
    """Return a job of this user as Slurm's queue has it; None if it has none.

    Raises FtwizardError if Slurm does not answer. An answer is used again for some seconds.
    """
    if not _queue.is_fresh():
        _queue.jobs, _queue.asked_at = None, time.monotonic()
        done = _run(["squeue", "--me", "--noheader", "--states=all", f"--format={_FORMAT}"], ASK_S)
        if done.returncode:
            raise describe_silence(summarize(done.stderr))
        _queue.jobs = parse_queue(done.stdout)
        _queue.asked_at = time.monotonic()
    if _queue.jobs is None:
        raise describe_silence("")
    return _queue.jobs.get(job_id)


def read_job(job_id: int) -> SlurmJob | None:
    """Return a job with its exit status; None once Slurm has forgotten it, or does not answer."""
    try:
        done = _run(["scontrol", "--oneliner", "show", "job", str(job_id)], ASK_S)
    except FtwizardError:
        return None
    return parse_job(done.stdout) if done.returncode == 0 else None


def list_hosts(nodes: str) -> list[str]:
    """Return the names in Slurm's notation of nodes: ``node[1-2]``; raise FtwizardError if it fails."""
    done = _run(["scontrol", "show", "hostnames", nodes], ASK_S)
    if done.returncode or not done.stdout.split():
        raise describe_silence(summarize(done.stderr))
    return done.stdout.split()


class StepOutput(NamedTuple):
    """What a step on several nodes printed."""

    text: str
    errors: str


def ask_nodes(nodes: int, argv: Sequence[str], timeout_s: float) -> StepOutput:
    """Run a command once on each node of this process's allocation; return what they printed.

    Where not all end within ``timeout_s``, it is what the others printed. Raises FtwizardError if
    the step cannot be started here.
    """
    try:
        step = subprocess.Popen(
            [*_list_step_words(nodes), *argv],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=build_step_environment(os.environ),
            text=True,
            errors="replace",
        )
    except OSError as error:
        raise describe_silence(f"srun: {error.strerror}") from None
    for limit_s, end in ((timeout_s, step.terminate), (ASK_S, step.kill)):
        try:
            return StepOutput(*step.communicate(timeout=limit_s))
        except subprocess.TimeoutExpired:
            end()  # at the first signal, srun ends the tasks on the nodes
    return StepOutput(*step.communicate())


def build_step_argv(nodes: int) -> list[str]:
    """Return the command that starts another one once on each node of this process's allocation."""
    return [*_list_step_words(nodes), "--kill-on-bad-exit=1", "--wait=60"]


def _list_step_words(nodes: int) -> list[str]:
    return [
        "srun",
        "--overlap",
        f"--nodes={nodes}",
        f"--ntasks={nodes}",
        "--ntasks-per-node=1",
    ]


def build_step_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment for a step of all nodes, without the options of the step around it."""
    kept = (
        "SLURM_CONF",
        "SLURM_JOB_ID",
        "SLURM_JOBID",
        "SLURM_JOB_NODELIST",
        "SLURM_GPUS_PER_NODE",
    )
    return {
        name: value
        for name, value in environment.items()
        if name in kept or not name.startswith("SLURM_")
    }


def is_preempted(job_id: int) -> bool:
    """Return whether Slurm is ending a job to make room for another."""
    try:
        done = _run(["scontrol", "--oneliner", "show", "job", str(job_id)], ASK_S)
    except FtwizardError:
        return False
    return re.search(r"\sPreemptTime=\d", done.stdout) is not None


def cancel(job_id: int) -> None:
    """Cancel a job; its processes get SIGTERM, then SIGKILL. Raises FtwizardError if Slurm refuses.

    A job that has ended is not an error.
    """
    done = _run(["scancel", str(job_id)], ASK_S)
    forget()
    if done.returncode and "Invalid job id" not in done.stderr:
        raise FtwizardError(
            f"Slurm did not cancel job {job_id}: {make_visible(done.stderr.strip(), 200)}.",
            f"Try it yourself: scancel {job_id}",
        )


def list_partitions() -> list[str]:
    """Return the partitions of the cluster; none if Slurm does not answer."""
    try:
        done = _run(["sinfo", "--noheader", "--format=%R"], ASK_S)
    except FtwizardError:
        return []
    return sorted(set(done.stdout.split())) if done.returncode == 0 else []


def ask(*argv: str) -> str:
    """Return what one of Slurm's commands prints; raise FtwizardError if it does not answer."""
    done = _run(list(argv), ASK_S)
    if done.returncode:
        raise describe_silence(summarize(done.stderr))
    return done.stdout


def get_user() -> str:
    """Return the name of the user as Slurm knows it, else the number."""
    number = os.getuid()
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def forget() -> None:
    """Ask Slurm again, the next time that a job is looked up."""
    _queue.asked_at = None


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without what a surrounding job or the user's habits tell Slurm.

    Variables of an outer job would become options of a new one, and filters of ``squeue`` hide jobs.
    """
    prefixes = ("SLURM_", "SRUN_", "SQUEUE_", "SINFO_", "SCANCEL_", "SLURMD_")
    return {
        name: value
        for name, value in environment.items()
        if name == _CLUSTER_VARIABLE or not name.startswith(prefixes)
    }


def _run(
    argv: list[str],
    timeout_s: float,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    variables = clean_environment(os.environ if environment is None else environment)
    variables |= {"SLURM_TIME_FORMAT": "%s"}
    if environment is None:
        variables["LC_ALL"] = "C"
    try:
        return subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            env=variables,
            cwd=folder,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise describe_silence(f"{argv[0]} took longer than {timeout_s:g} s", TIMEOUT) from None
    except OSError as error:
        raise describe_silence(f"{argv[0]}: {error.strerror}") from None
