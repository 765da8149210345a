"""What an evaluation is of: a folder, its plan, its base model and its test set."""

from __future__ import annotations

from typing import NamedTuple

from ftwizard.data.reader import ParsedRow
from ftwizard.errors import FtwizardError
from ftwizard.evaluate.arms import Arm
from ftwizard.hardware.machine import is_installed
from ftwizard.jobs.folder import JobFolder
from ftwizard.jobs.worker import Worker
from ftwizard.plan.schema import Plan
from ftwizard.runs.evaluation import ItemAnswer
from ftwizard.runs.evaluation_plan import MAX_ITEMS_CPU, MAX_ITEMS_ENDPOINT, MAX_ITEMS_GPU
from ftwizard.train import dataset

Answers = dict[str, list[ItemAnswer]]
"""By the name of the arm."""


class EvaluationSubject(NamedTuple):
    """What is evaluated, and where its files are."""

    folder: JobFolder
    """Its ``eval/`` has the items and answers."""
    plan: Plan
    base: Arm | None
    """The base model; None: there is nothing to compare with."""
    test_set: dataset.SavedTestSet
    """Of the run."""
    uses_endpoints: bool = False
    """Whether all models are asked over the network: then nothing is computed here, and answers may
    be billed."""
    requests_per_minute: float | None = None
    """What the platform of the tuned models allows for all of them, where that is few and known."""
    parent: Arm | None = None
    """The weights of an earlier run that this one started from."""
    parent_id: str = ""
    scorer_changed: bool = False
    """Whether how the answers are compared was changed after training."""

    @property
    def max_items(self) -> int:
        """Return how many items of each set are asked at most, however few a minute."""
        if limit := self.plan.evaluate.max_items:
            return limit
        if self.uses_endpoints:
            return MAX_ITEMS_ENDPOINT
        return MAX_ITEMS_GPU if has_gpu() else MAX_ITEMS_CPU

    @property
    def is_thrifty(self) -> bool:
        """Return whether answers are slow or cost money, so that fewer are asked for."""
        return self.uses_endpoints or not has_gpu()


def add_parent(subject: EvaluationSubject, run: JobFolder) -> EvaluationSubject:
    """Return the subject with the run that ``run`` started from, where it continues its weights.

    A run that begins where its parent began (step 0) has other weights in ``origin``, or none.
    """
    parent = run.read_job().parent
    origin = JobFolder(run.link).origin  # its path stays valid where the folder is moved meanwhile
    if parent is None or not parent.step or not origin.is_dir():
        return subject
    if subject.base is None or subject.uses_endpoints:
        return subject
    base = subject.base.model
    if subject.plan.recipe.method == "full":
        arm = Arm(name="parent", model=str(origin), tokenizer=base)
    else:
        arm = Arm(name="parent", model=base, adapter=str(origin), tokenizer=base)
    return subject._replace(parent=arm, parent_id=parent.id)


def read_training_rows(
    worker: Worker, subject: EvaluationSubject
) -> tuple[list[ParsedRow], list[ParsedRow]]:
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
    """Return whether models can be computed on a GPU here; False without torch."""
    if not is_installed("torch"):
        return False
    import torch

    return torch.cuda.is_available()
