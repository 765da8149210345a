"""What an evaluation is of: a folder, its plan, its base model and its test set."""

from __future__ import annotations

from typing import NamedTuple

from ftwizard.data.reader import ParsedRow
from ftwizard.errors import FtwizardError
from ftwizard.evaluate.arms import Arm
from ftwizard.jobs.folder import JobFolder
from ftwizard.jobs.worker import Worker
from ftwizard.plan.schema import Plan
from ftwizard.runs.evaluation import ItemAnswer
from ftwizard.train import dataset

Answers = dict[str, list[ItemAnswer]]
"""By the name of the arm."""


class Subject(NamedTuple):
    """What is evaluated, and where its files are."""

    folder: JobFolder
    """Its ``eval/`` has the items and answers."""
    plan: Plan
    base: Arm | None
    """The base model; None: there is nothing to compare with."""
    test_set: dataset.SavedTestSet
    """Of the run."""


def read_training_rows(worker: Worker, subject: Subject) -> tuple[list[ParsedRow], list[ParsedRow]]:
    """Return the rows that a run is trained on, and the general rows that were mixed in.

    None if they can no longer be read, and for a model that is not a run.
    """
    if worker.record.kind == "eval" and not worker.record.inputs.get("run"):
        return [], []
    try:
        parts = dataset.load_rows(subject.plan, subject.folder.read_job().hashes)
    except FtwizardError as error:
        worker.events.write_finding(
            "rows_changed",
            f"{error.message} Without the training rows, memorization cannot be judged.",
            "warning",
        )
        return [], []
    return list(parts["train"]), list(parts.get("mix", []))


def has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()
