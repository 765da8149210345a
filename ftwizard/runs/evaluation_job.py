"""The documents of an evaluation's job: what it was asked for, and its result."""

from __future__ import annotations

from typing import Any

import msgspec

from ftwizard.jobs.folder import JobResult
from ftwizard.runs.evaluation import Evaluation
from ftwizard.runs.verdict import ShipVerdict


class EvaluationRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The inputs of the job: models to evaluate, one after the other, against the same base.

    Arms are plain values here: ``evaluate.arms.Arm`` is above this package.
    """

    run: str | None = None
    """Folder of the run that trained them."""
    base: dict[str, Any] | None = None
    candidates: list[dict[str, Any]]
    steps: dict[str, int] = {}
    """Step of the weights by the name of the candidate; missing: not of a run here."""
    is_result: bool = False
    """Whether this is the run's result on the run's sets: then its folder gets the evaluation."""


class Candidate(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One of several models that were evaluated, such as a checkpoint or a weaker adapter."""

    name: str
    verdict: ShipVerdict
    scores: dict[str, float]
    """By the name of the set, 0–1."""
    step: int | None = None
    scale: float = 1.0


class EvaluationResult(JobResult, frozen=True, kw_only=True, omit_defaults=True):
    """``result.json`` of the job."""

    evaluation: Evaluation
    """Of the best candidate."""
    best: str
    candidates: list[Candidate]
