"""What is said of the objective that rows are for."""

from __future__ import annotations

from typing import Any

import pytest

from ftwizard.screens.draft import objectives
from ftwizard.screens.draft.drafts import Draft
from tests.helpers.machines import make_machine
from tests.screens.wizard.data.reports import example, report


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ({}, "without an answer"),
        ({"answer": "4"}, ", and rewards get the column answer"),
        ({"answer": "4", "level": 1}, ", and rewards get the columns answer and level"),
        ({"a": 1, "b": 2, "c": 3, "d": 4}, ", and rewards get the columns a, b, c and 1 more"),
        ({"\x1b[2J": 1}, ", and rewards get the column ␛[2J"),
    ],
)
def test_the_columns_of_prompts_are_for_rewards(extra: dict[str, Any], words: str) -> None:
    ask = [{"role": "user", "content": "What is 2 + 2?"}]
    row = {"line": 1, "example": example("", kind="prompt", messages=ask, extra=extra)}
    checked = report("sums.jsonl", target="trl-grpo", format="prompt", preview=[row])
    draft = Draft(make_machine(extras=("local",))).with_recipe(objective="grpo")
    prefix, _, described = objectives.describe(draft, checked).partition(": the rows are prompts")
    assert prefix and described.strip() == words
