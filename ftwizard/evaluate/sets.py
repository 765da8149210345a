"""Sets of items: packaged ones, files of the user, and the test set of a run."""

from __future__ import annotations

import functools
import itertools
import re
from collections import Counter
from collections.abc import Callable, Sequence
from importlib.resources import as_file, files
from pathlib import Path

import msgspec

from ftwizard.errors import FtwizardError
from ftwizard.evaluate import lm_eval_tasks, set_files
from ftwizard.evaluate.items import Item
from ftwizard.rewards import answer_kinds
from ftwizard.runs.evaluation_plan import PackagedSet, SetCheck, SetProblem
from ftwizard.train import dataset
from ftwizard.train.dataset import SavedTestSet

RESERVED_NAMES = ("target", "general", "safety", "train")
"""Sets that are not files of the user."""


@functools.cache
def read_packaged(name: PackagedSet) -> list[Item]:
    """Read a packaged set. Its prompts were written for this project."""
    with as_file(files("ftwizard").joinpath("assets", "evaluation", f"{name}.jsonl")) as path:
        return set_files.read_items(path, name)


def read_files(
    names: Sequence[str], look: Callable[[], None] = lambda: None, *, needs_target: bool = False
) -> list[Item]:
    """Read files of items, each as a set with the name of its file, and tasks of lm-eval.

    A second file of the same name, and one with the name of a packaged set, gets a number: scores of
    different sets are never mixed. ``needs_target``: there is no test set, so the first file is the
    target: what the model is to be good at. ``look`` is called while lm-eval builds its prompts, and may raise
    Stopped. Raises FtwizardError for a file or a task that cannot be used.
    """
    items: list[Item] = []
    taken = set(RESERVED_NAMES)
    for name in names:
        if lm_eval_tasks.is_task(name):
            items += lm_eval_tasks.make_items(name, lambda done, total: look())
            continue
        stem = re.sub(r"\.(?:jsonl|json|csv|tsv)$", "", Path(name).stem)
        numbered = (f"{stem}-{n}" for n in itertools.count(2))
        set_name = next(text for text in itertools.chain([stem], numbered) if text not in taken)
        if needs_target:
            set_name, needs_target = "target", False
        taken.add(set_name)
        items += set_files.read_items(Path(name), set_name)
    return items


def check_files(names: Sequence[str]) -> None:
    """Raise FtwizardError for a file that cannot be used, and for a task without lm-eval."""
    if any(map(lm_eval_tasks.is_task, names)):
        lm_eval_tasks.require_installed()
    read_files([name for name in names if not lm_eval_tasks.is_task(name)])


def inspect(name: str) -> SetCheck:
    """Read one set of the user, and report its items and all that is wrong with it."""
    try:
        if lm_eval_tasks.is_task(name):
            lm_eval_tasks.require_installed()
            return SetCheck(file=name)
        scorers = Counter(item.scorer for item in set_files.read_items(Path(name), "own"))
    except FtwizardError as error:
        problems = msgspec.convert(error.document.get("problems", []), list[SetProblem])
        message = "" if problems else error.message
        return SetCheck(file=name, error=message, hint=error.hint, problems=problems)
    return SetCheck(file=name, items=scorers.total(), scorers=dict(scorers.most_common()))


def make_target_items(saved: SavedTestSet) -> list[Item]:
    """Return the test set of a run as items, scored by the kind of its rows' answers.

    A row without such an answer is left out.
    """
    rows = dataset.list_answered(saved.rows)
    kind = saved.kind or answer_kinds.recognize(rows)
    return [
        set_files.make_row_item("target", row, kind)
        for row in rows
        if answer_kinds.has_answer(kind, row)
    ]
