"""Scores of answers by the reward functions of a plan."""

from __future__ import annotations

from pathlib import Path

import msgspec

from ftwizard.evaluate import reward_scores
from ftwizard.evaluate.set_files import make_item
from ftwizard.rewards.reward import Reward
from ftwizard.runs.evaluation import ItemAnswer


def test_a_file_that_is_gone_leaves_answers_without_a_score(tmp_path: Path) -> None:
    """An evaluation is the last step of a run, whose weights exist: it must not end it."""
    reward = Reward(function=f"{tmp_path / 'gone.py'}:short")
    item = make_item(
        "target", [{"role": "user", "content": "Hi"}], "rewards", [],
        {"rewards": [msgspec.to_builtins(reward)], "columns": {}}, line=1,
    )  # fmt: skip
    answers = [ItemAnswer(item=item.id, text="Hello"), ItemAnswer(item="of-another-set", text="No")]
    scored, problem = reward_scores.score_all([item], answers)
    assert "does not exist" in problem and "gone.py" in problem
    assert scored[0].score and scored[0].score.value is None and scored[0].score.note == problem
    assert scored[1] == answers[1]
