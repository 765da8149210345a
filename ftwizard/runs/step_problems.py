"""Problems that stand in the way of the next steps with a run's model, and what to do about each."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Literal, NamedTuple

from ftwizard.jobs.ending import GOOD_END_REASONS, describe_end_reason
from ftwizard.jobs.folder import JobFolder
from ftwizard.jobs.status import Status, observe
from ftwizard.models import weight_files
from ftwizard.runs import base_weights, describe
from ftwizard.runs.evaluation_files import find_evaluation_job
from ftwizard.runs.next_steps import Step
from ftwizard.runs.result import read_trained
from ftwizard.text import format_bytes, make_visible

MIN_FREE_BYTES = 100_000_000
"""Free disk space below which every step may fail."""


class Problem(NamedTuple):
    """What stands in the way of the next steps with a model, and what to do about it."""

    subject: Literal["ended", "eval", "base", "disk"]
    message: str
    hint: str = ""


def list_problems(folder: JobFolder, step: Step) -> list[Problem]:
    """List what stands in the way of ``step``, and why an evaluation is missing."""
    problems = []
    status, trained = observe(folder), read_trained(folder)
    if status.end_reason not in GOOD_END_REASONS:
        first, *others = (*describe.describe_next_step(folder, status), "")
        problems.append(Problem("ended", first, " ".join(filter(None, others))))
    judging = find_evaluation_job(folder)
    if judging and judging[1].state == "ended" and not judging[0].result.exists():
        problems.append(_describe_failed_evaluation(folder, judging[1]))
    if trained and not _has_weights(Path(trained.base)):
        source = base_weights.read_source(folder)
        hint = f"Restore that folder, then: {step.format_command(folder.id)}"
        if source and source.kind != "folder":
            hint = f"Download it again: ftwizard merge {folder.id} --base {source.name}"
        where = make_visible(trained.base, 300)
        message = f"The base model is gone: {where}. Evaluation, merge and proof need it."
        problems.append(Problem("base", message, make_visible(hint, 400)))
    free_bytes = shutil.disk_usage(folder.path).free
    if free_bytes < (step.size_bytes or MIN_FREE_BYTES):
        message = f"{format_bytes(free_bytes)} of disk space are free"
        if step.size_bytes:
            message += f"; the next step needs about {format_bytes(step.size_bytes)}"
        hint = "Free disk space, for example: ftwizard remove RUN --checkpoints"
        problems.append(Problem("disk", f"{message}.", hint))
    return problems


def _describe_failed_evaluation(folder: JobFolder, status: Status) -> Problem:
    reason = status.end_reason or "lost"
    message = f"The newest evaluation {describe_end_reason(reason)}"
    message += f": {make_visible(status.message, 600)}" if status.message else "."
    again = f"Evaluate again; answers so far are kept: ftwizard eval {make_visible(folder.id)}"
    return Problem("eval", message, make_visible(status.hint, 400) or again)


def _has_weights(base: Path) -> bool:
    paths = weight_files.list_files(base)
    return bool(paths) and all(path.exists() for path in paths)
