"""Submissions of runs to Slurm: the batch script in the run's folder, and the job of it."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from ftwizard import __version__, credentials, locations
from ftwizard.errors import FtwizardError
from ftwizard.jobs import launch, node_secrets
from ftwizard.jobs.allocation import Submission
from ftwizard.jobs.folder import Attempt, JobFolder, write_json, write_whole
from ftwizard.plan.changes import Changes
from ftwizard.plan.schema import Plan
from ftwizard.slurm import client, cluster
from ftwizard.slurm.client import JobPreview
from ftwizard.text import make_visible
from ftwizard.train import command, slurm_script
from ftwizard.train.slurm_script import ScriptContext

EXPORTED = ("FTWIZARD_HOME", "FTWIZARD_CACHE", "FTWIZARD_CONFIG", "HF_HOME", "HF_HUB_CACHE")
"""Variables that the script repeats, so that it works the same when it is submitted by hand."""


def submit(
    folder: JobFolder,
    plan: Plan,
    inputs: Mapping[str, Any] | None = None,
    differences: Changes | None = None,
    *,
    from_start: bool = False,
) -> Attempt:
    """Submit the job of a run; return the attempt that it will be.

    Raises FtwizardError with Slurm's reason if it refuses the job; then nothing was queued.
    """
    client.require_installed()
    token = secrets.token_hex(8)
    submission = Submission(
        version=__version__,
        token=token,
        plan=msgspec.to_builtins(plan),
        inputs=dict(inputs or {}),
        changes=dict(differences or {}),
        from_start=from_start,
    )
    script = render(plan, folder.path, token)
    check_syntax(script)

    def send() -> int:
        write_whole(folder.token, token.encode())
        write_json(folder.submission, submission)
        write_whole(folder.script, script.encode())
        node_secrets.save(folder, os.environ, command.list_needed_secrets(plan))
        try:
            return client.submit(folder.script, build_environment(), folder.path)
        except BaseException:
            node_secrets.remove(folder)
            raise

    state = launch.queue(folder, send)
    return Attempt(
        number=state.attempt,
        started=state.started or 0.0,
        host="",
        argv=[],
        changes=submission.changes,
        slurm_job=state.slurm_job,
    )


def test(plan: Plan, run_id: str) -> JobPreview:
    """Return the script of a plan, and when Slurm would start it; nothing is submitted or kept.

    Raises FtwizardError with Slurm's reason if it would refuse the job; its document has the script.
    """
    client.require_installed()
    script = render(plan, locations.runs_folder() / run_id, "0" * 16)
    check_syntax(script)
    with tempfile.TemporaryDirectory(prefix="ftwizard-") as name:
        path = Path(name) / "job.sbatch"
        path.write_text(script)
        try:
            placement = client.test_submission(path, build_environment())
        except FtwizardError as error:
            error.document = {"script": script}
            raise
    if placement and placement.partition:
        limit = cluster.find_exceeded_limit(placement.partition, plan.slurm.time)
        placement = msgspec.structs.replace(placement, exceeded_limit=limit)
    return JobPreview(script=script, placement=placement)


def render(plan: Plan, folder: Path, token: str) -> str:
    """Return the script of a plan for a run's folder."""
    variables = {name: os.environ[name] for name in EXPORTED if os.environ.get(name)}
    path = launch.with_import_path({}).get("PYTHONPATH")
    return slurm_script.render(
        plan,
        ScriptContext(
            folder=folder.absolute(),
            python=sys.executable,
            token=token,
            variables=variables | ({"PYTHONPATH": path} if path else {}),
            version=__version__,
        ),
    )


def check_syntax(script: str) -> None:
    """Raise FtwizardError if the lines of the plan's prelude break the script."""
    try:
        done = subprocess.run(
            ["bash", "-n"], input=script, capture_output=True, text=True, check=False, timeout=20
        )
    except (OSError, subprocess.TimeoutExpired):
        return  # it runs on a node, with the bash there
    if done.returncode or done.stderr:
        reason = make_visible(done.stderr.strip().splitlines()[0] if done.stderr else "", 200)
        raise FtwizardError(
            f"slurm.prelude is not complete shell: {reason}.",
            "Close its quotes, blocks and here-documents.",
        )


def build_environment() -> dict[str, str]:
    """Return the environment that the job starts with: this one, without secrets and GPUs."""
    variables = client.clean_environment(credentials.without_secrets(os.environ))
    variables.pop("CUDA_VISIBLE_DEVICES", None)
    return variables
