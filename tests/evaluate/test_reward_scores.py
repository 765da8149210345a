"""Scores of answers by the reward functions of a plan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ftwizard.evaluate import reward_scores
from ftwizard.evaluate.arms import Arm
from ftwizard.evaluate.items import Item
from ftwizard.evaluate.results import make_evaluation
from ftwizard.evaluate.run import asking
from ftwizard.evaluate.run.subject import EvaluationSubject
from ftwizard.evaluate.set_files import make_item
from ftwizard.evaluate.thinking import check_finished
from ftwizard.jobs.events import EventWriter
from ftwizard.jobs.folder import JobFolder
from ftwizard.plan.schema import Data, Files, Gate, Model, Plan
from ftwizard.rewards.reward import Reward
from ftwizard.runs import verdict
from ftwizard.runs.evaluation import Evaluation, ItemAnswer, ItemScore
from ftwizard.train.dataset import SavedTestSet
from tests.helpers.jobs import events

REWARDS = st.floats(-1e3, 1e3)


def make_items(count: int) -> list[Item]:
    return [
        Item(id=f"p{n}", set="target", messages=[{"role": "user", "content": f"q{n}"}], scorer="rewards")
        for n in range(count)
    ]  # fmt: skip


def score(items: list[Item], rewards: list[float]) -> list[ItemAnswer]:
    return [
        ItemAnswer(item=item.id, text="a", score=ItemScore(value=reward))
        for item, reward in zip(items, rewards, strict=True)
    ]


def judge(base: list[float], tuned: list[float]) -> Evaluation:
    items = make_items(len(base))
    answers = {"base": score(items, base), "tuned": score(items, tuned)}
    answers, span = reward_scores.rescale(items, answers)
    return make_evaluation(items, answers, [], Gate(), span=span)


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


class RecordingWorker:
    """A worker of which only the events are needed."""

    def __init__(self, folder: JobFolder) -> None:
        self.events = EventWriter(folder.events, 1)


def test_answers_left_unscored_are_scored_once_the_file_is_back(tmp_path: Path) -> None:
    """The base model's answers are kept with the run, and are not asked again."""
    folder = JobFolder(tmp_path / "run")
    folder.evaluations.mkdir(parents=True)
    file = tmp_path / "own.py"
    reward = Reward(function=f"{file}:short")
    item = make_item(
        "target", [{"role": "user", "content": "Hi"}], "rewards", [],
        {"rewards": [msgspec.to_builtins(reward)], "columns": {}}, line=1,
    )  # fmt: skip
    thought = replace(item, id="thought")
    other = ItemAnswer(item="other", text="No", score=ItemScore(value=0.0, passed=False))
    lines = [
        ItemAnswer(item=item.id, text="Hello"),
        ItemAnswer(item=thought.id, text="<think>Well", tokens=2),
        other,
    ]
    worker: Any = RecordingWorker(folder)
    plan = Plan(data=Data(files=Files(train="rows.jsonl")), model=Model(name="tiny"))
    base = Arm(name="base", model="not-asked")
    subject = EvaluationSubject(folder, plan, base, SavedTestSet(rows=[]))

    def ask_again() -> list[ItemAnswer]:
        return asking.ask_base_arm(worker, subject, base, [item, thought])[base.name]

    unscored, _ = reward_scores.score_all([item, thought], list(map(check_finished, lines)))
    asking.write_answers(folder, "base", unscored)
    still = ask_again()
    assert still[0].score and still[0].score.value is None and "own.py" in still[0].score.note
    assert [event["code"] for event in events(folder)] == ["reward_failed"], "said again"

    file.write_text(
        "def short(completions, **kwargs):\n"
        "    return [1 / len(c[0]['content']) for c in completions]\n"
    )
    scored = ask_again()
    assert scored[0].score == ItemScore(value=0.2)
    assert scored[1].score and "only thinking" in scored[1].score.note, "there is nothing to score"
    assert scored[2] == other
    assert asking.read_answers(folder, "base") == scored, "kept"
    file.unlink()
    assert ask_again() == scored, "what has a score is not scored again"


def test_rewards_of_any_size_are_compared_not_cut() -> None:
    base = [5.0 + n % 3 for n in range(40)]
    evaluation = judge(base, [reward + 3 for reward in base])
    assert evaluation.target and evaluation.target.outcome == "helped"
    assert "the mean reward is 8.97, 5.97 with the base model" in verdict.describe(
        evaluation.target
    )
    arms = evaluation.sets["target"].arms
    assert arms["tuned"].metric == "reward (0 to 10)"
    assert arms["tuned"].score == pytest.approx(0.897, abs=1e-3)

    first = evaluation.sets["target"].fixed[0]
    assert first.rewards == pytest.approx([5, 8]) and not first.rejected, "not shares of a span"

    lowered = judge([-reward for reward in base], [-reward - 3 for reward in base])
    assert lowered.target and lowered.target.outcome == "worse"
    assert "the mean reward is −8.97, −5.97 with" in verdict.describe(lowered.target)


def test_equal_rewards_without_a_known_limit_do_not_suffice() -> None:
    """Rewards of 0–1 that are all 1 leave nothing to gain; the greatest of others may be above."""
    at_limit, beyond = judge([1.0] * 100, [1.0] * 100), judge([5.0] * 100, [5.0] * 100)
    assert at_limit.target and at_limit.target.outcome == "base_suffices"
    assert beyond.target and beyond.target.outcome not in ("base_suffices", "helped", "worse")
    assert at_limit.sets["target"].span is None and beyond.sets["target"].span


@given(st.lists(REWARDS, min_size=1, max_size=8), st.lists(REWARDS, min_size=1, max_size=8))
def test_shares_keep_the_order_of_rewards(base: list[float], tuned: list[float]) -> None:
    items = make_items(max(len(base), len(tuned)))
    answers = {"base": score(items[: len(base)], base), "tuned": score(items[: len(tuned)], tuned)}
    scaled, span = reward_scores.rescale(items, answers)
    values = [a.score.value for lines in scaled.values() for a in lines if a.score]
    assert all(value is not None and 0 <= value <= 1 for value in values)
    assert (span is None) == all(0 <= reward <= 1 for reward in base + tuned)
    if span is None:
        assert values == base + tuned
    else:
        for reward, value in zip(base + tuned, values, strict=True):
            assert value is not None
            assert span.to_reward(value) == pytest.approx(reward, rel=1e-9, abs=1e-9)


def test_a_weight_below_zero_gives_scores_below_zero() -> None:
    rewards = [
        Reward(function="length_limit", weight=-1.0, options={"max": 40, "unit": "characters"})
    ]
    item = make_item(
        "target", [{"role": "user", "content": "Hi"}], "rewards", [],
        {"rewards": [msgspec.to_builtins(reward) for reward in rewards], "columns": {}}, line=1,
    )  # fmt: skip
    (scored,), problem = reward_scores.score_all([item], [ItemAnswer(item=item.id, text="short")])
    assert not problem and scored.score and scored.score.value == -1.0
