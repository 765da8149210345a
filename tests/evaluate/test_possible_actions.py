"""The advice of an evaluation: only what changes something for this run."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ftwizard.evaluate import sets
from ftwizard.evaluate.results import make_evaluation
from ftwizard.evaluate.run import judgment
from ftwizard.plan.schema import Data, Files, Mix, Model, Plan, Recipe
from ftwizard.runs.evaluation import Action
from tests.evaluate.test_results import make_answers, make_items

ALL = len(sets.read_packaged("general"))
MORE = Action(kind="more_items", set="general", value=270)


def list_possible(actions: list[Action], recipe: Recipe, mix: float = 0.0, n: int = 5) -> Any:
    items = make_items(n, "general")
    answers = {name: make_answers(items, n) for name in ("base", "tuned")}
    plan = Plan(
        data=Data(files=Files(train="t.jsonl"), mix=Mix(share=mix)), model=Model(name="m"),
        recipe=recipe,
    )  # fmt: skip
    evaluation = make_evaluation(items, answers, [], plan.gate)
    evaluation = msgspec.structs.replace(evaluation, actions=actions)
    return list(judgment._list_possible(evaluation, plan, {"general": n}))


@pytest.mark.parametrize(
    ("action", "recipe", "mix"),
    [
        (Action(kind="scale"), Recipe(method="full"), 0.0),
        (Action(kind="epochs", value=1), Recipe(epochs=1), 0.0),
        (Action(kind="mix", value=0.1), Recipe(), 0.5),
    ],
)
def test_what_would_change_nothing_is_not_advised(
    action: Action, recipe: Recipe, mix: float
) -> None:
    assert list_possible([action], recipe, mix) == []
    assert list_possible([action], Recipe(method="lora", epochs=3)) == [action]


@pytest.mark.parametrize(("mix", "advised"), [(0.0, 0.1), (0.05, 0.1), (0.2, 0.4), (0.3, 0.5)])
def test_more_general_rows_are_advised_than_were_mixed_in(mix: float, advised: float) -> None:
    (action,) = list_possible([Action(kind="mix", value=0.1)], Recipe(), mix)
    assert action.value == advised


def test_no_more_items_are_advised_than_there_are() -> None:
    (more,) = list_possible([MORE], Recipe())
    assert more.value == ALL
    assert list_possible([MORE], Recipe(), n=ALL) == []


def test_the_set_that_needs_most_decides_how_many_items_are_advised() -> None:
    few = Action(kind="more_items", set="general", value=40)
    own = Action(kind="more_items", set="all", value=600)
    actions = list_possible([few, MORE, own], Recipe())
    assert [action.value for action in actions] == [600, ALL]
