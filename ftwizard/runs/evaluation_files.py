"""Files of a run's evaluations: ``eval/evaluation.json``, ``eval/baseline.json``, and those of its jobs."""

from __future__ import annotations

import contextlib
from typing import NamedTuple

import msgspec

from ftwizard.errors import FtwizardError
from ftwizard.jobs.folder import JobFolder, read_json
from ftwizard.jobs.status import Status, observe
from ftwizard.runs.evaluation import Evaluation, SetResult
from ftwizard.runs.evaluation_job import Candidate, EvaluationRequest, EvaluationResult
from ftwizard.runs.result import TrainResult, read_merged, read_trained
from ftwizard.runs.ship_verdict import Headroom
from ftwizard.runs.verdict import Verdict


class Baseline(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``eval/baseline.json``: the scores of the base arms, before the first step."""

    sets: dict[str, SetResult]
    headroom: Headroom | None = None
    """None without a scored item of the target set."""


class Judgment(NamedTuple):
    """A finished evaluation of a run's weights, apart from the run's own."""

    folder: JobFolder
    result: EvaluationResult
    is_current: bool
    """Whether the run was not trained further since."""

    @property
    def best(self) -> Candidate:
        return next(c for c in self.result.candidates if c.name == self.result.best)


class NewestEvaluation(NamedTuple):
    """An evaluation of a run's model, and the folder with its items: the run's, or a job's."""

    folder: JobFolder
    evaluation: Evaluation
    scale: float = 1.0
    """Strength of the adapter that was judged."""


def read_evaluation(folder: JobFolder) -> Evaluation | None:
    """Read the evaluation of a run or of its job; None if there is none, or it is unreadable."""
    return read_json(folder.evaluation, Evaluation)


def read_baseline(folder: JobFolder) -> Baseline | None:
    """Read the scores from before the first step; None if there are none, or they are unreadable."""
    return read_json(folder.baseline, Baseline)


def find_newest(folder: JobFolder, *, merged: bool = True) -> NewestEvaluation | None:
    """Return the newest evaluation of a run's model, which may be one with other items; None without.

    That is the merged model, where it was judged at the strength at which it was merged, or else the
    weights at full strength. ``merged``: False for these in any case.
    """
    model = read_merged(folder) if merged else None
    scale = model.scale if model else 1.0
    if scale != 1.0 and (weaker := _find_newest_at(folder, scale)):
        return weaker
    return _find_newest_at(folder, 1.0)


def _find_newest_at(folder: JobFolder, scale: float) -> NewestEvaluation | None:
    trained = read_trained(folder)
    for job in list_jobs(folder):
        request = _read_request(job)
        if request and request.is_result and scale == 1.0 and job.result.exists():
            break  # the run's own, which was written by this job
        judgment = _read_judgment(folder, job, request)
        if judgment and judgment.is_current and is_of_result(judgment.best, trained, scale):
            return NewestEvaluation(job, judgment.result.evaluation, scale)
    own = read_evaluation(folder) if scale == 1.0 else None
    return NewestEvaluation(folder, own) if own else None


def is_of_result(candidate: Candidate, trained: TrainResult | None, scale: float = 1.0) -> bool:
    """Return whether these are the run's resulting weights, at this strength of the adapter."""
    step = trained.step if trained else None
    return candidate.scale == scale and candidate.step in (None, step)


def read_helped(folder: JobFolder) -> Verdict | None:
    """Return whether a run's model is better than its base, by the newest evaluation; None if unknown."""
    newest = find_newest(folder)
    return newest.evaluation.target if newest else None


def list_judgments(folder: JobFolder) -> list[Judgment]:
    """List the evaluations of a run's weights that are not its own result's, the newest first."""
    jobs = ((job, _read_request(job)) for job in list_jobs(folder))
    judgments = (
        _read_judgment(folder, job, request)
        for job, request in jobs
        if request and not request.is_result
    )
    return [judgment for judgment in judgments if judgment]


def find_evaluation_job(folder: JobFolder) -> tuple[JobFolder, Status] | None:
    """Return the newest evaluation job of a run, and its state; None if there is none."""
    for job in list_jobs(folder):
        with contextlib.suppress(FtwizardError, OSError):
            return job, observe(job)
    return None


def list_jobs(folder: JobFolder) -> list[JobFolder]:
    """List the folders of evaluation jobs, the newest first."""
    numbers = {}
    for path in (folder.path / "jobs").glob("*-eval"):
        number = path.name.partition("-")[0]
        if number.isdigit():
            numbers[int(number)] = path
    return [JobFolder(numbers[number]) for number in sorted(numbers, reverse=True)]


def _read_judgment(
    folder: JobFolder, job: JobFolder, request: EvaluationRequest | None
) -> Judgment | None:
    result = read_json(job.result, EvaluationResult) if request else None
    if result is None or all(candidate.name != result.best for candidate in result.candidates):
        return None
    is_current = True
    with contextlib.suppress(FtwizardError, OSError):
        begun = folder.read_attempt(folder.newest_attempt()).started
        is_current = job.read_job().created >= begun
    return Judgment(job, result, is_current)


def _read_request(job: JobFolder) -> EvaluationRequest | None:
    with contextlib.suppress(FtwizardError, OSError, ValueError):
        return msgspec.convert(job.read_job().inputs, EvaluationRequest)
    return None
