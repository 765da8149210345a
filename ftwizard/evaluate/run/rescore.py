"""Answers of a run that are scored in another way after its training: nothing is asked again."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from ftwizard.errors import FtwizardError
from ftwizard.evaluate import reward_scores, set_files
from ftwizard.evaluate.failures.inputs import TRAIN
from ftwizard.evaluate.items import Item
from ftwizard.evaluate.run.asking import score_answer
from ftwizard.evaluate.run.subject import Answers
from ftwizard.rewards import answer_kinds
from ftwizard.train import dataset
from ftwizard.train.dataset import SavedTestSet


def change_scorer(items: Sequence[Item], test_set: SavedTestSet) -> list[Item]:
    """Return the items with the scorer that the test set names; rows without such an answer are left out.

    Ids and prompts stay, and with them the answers. Raises FtwizardError if no test row is left.
    """
    kind = test_set.kind
    assert kind is not None
    rows = {
        (name, row.line): row
        for name, part in (("target", test_set.rows), (TRAIN, test_set.trained))
        for row in dataset.list_answered(part)
    }
    changed: list[Item] = []
    for item in items:
        row = rows.get((item.set, item.line or 0))
        if row is None:
            changed.append(item)
        elif row.messages == item.messages and answer_kinds.has_answer(kind, row):
            new = set_files.make_row_item(item.set, row, kind)
            changed.append(replace(new, id=item.id, max_tokens=item.max_tokens))
    if not any(item.set == "target" for item in changed):
        raise FtwizardError(
            f"No item of this run can be scored by {kind.scorer}: its prompts ask for something else.",
            "Choose another scorer, or start a run with evaluate.scorer in its plan.",
        )
    return changed


def score_again(items: Sequence[Item], answers: Answers) -> Answers:
    """Return the answers of the test rows, scored by the items; those to items left out are dropped."""
    by_id = {item.id: item for item in items}
    scored: Answers = {}
    for arm, lines in answers.items():
        cleared = [
            replace(answer, score=None)
            if item.set in ("target", TRAIN) and (answer.text or answer.ended)
            else answer
            for answer in lines
            if (item := by_id.get(answer.item))
        ]
        rewarded, problem = reward_scores.score_all(items, cleared)
        if problem:
            raise FtwizardError(f"The answers could not be scored. {problem}")
        scored[arm] = [
            answer if answer.score else score_answer(by_id[answer.item], answer)
            for answer in rewarded
        ]
    return scored
