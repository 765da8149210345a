"""Files of a run's evaluation: ``eval/evaluation.json`` and ``eval/baseline.json``."""

from __future__ import annotations

import msgspec

from ftwizard.jobs.folder import JobFolder, read_json
from ftwizard.runs.evaluation import Evaluation, SetResult
from ftwizard.runs.ship_verdict import Headroom


class Baseline(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``eval/baseline.json``: the scores of the base arms, before the first step."""

    sets: dict[str, SetResult]
    headroom: Headroom | None = None
    """None without a scored item of the target set."""


def read_evaluation(folder: JobFolder) -> Evaluation | None:
    """Read the evaluation of a run or of its job; None if there is none, or it is unreadable."""
    return read_json(folder.evaluation, Evaluation)


def read_baseline(folder: JobFolder) -> Baseline | None:
    """Read the scores from before the first step; None if there are none, or they are unreadable."""
    return read_json(folder.baseline, Baseline)
