"""The user's function that scores the test rows, before the training starts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from ftwizard.data.example import Example
from ftwizard.data.reader import ParsedRow
from ftwizard.plan.schema import Data, Evaluate, Files, Model, Plan
from ftwizard.rewards.reward import RewardError
from ftwizard.train import reward_check
from tests.helpers.rows import row

CALLS = "def score(completions, reference_answer, **columns):\n    return {}\n"


def make_plan(path: Path, result: str) -> Plan:
    path.write_text(CALLS.format(result))
    data, evaluate = Data(files=Files(train="t.jsonl")), Evaluate(scorer=f"{path}:score")
    return Plan(provider="local", data=data, model=Model(name="m"), evaluate=evaluate)


def make_example(answer: str) -> Example:
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": answer}]
    return Example(kind="chat", messages=turns)


def test_a_function_that_fails_on_the_test_rows_starts_no_run(tmp_path: Path) -> None:
    rows: Mapping[str, list[ParsedRow]] = {
        "train": [],
        "test": [row(n, make_example(f"{n}")) for n in (1, 2)],
    }
    good = make_plan(tmp_path / "good.py", "[1.0 for _ in completions]")
    reward_check.require_signal(good, rows)
    reward_check.require_signal(good, {"train": [], "test": []})
    bad = make_plan(tmp_path / "bad.py", "[said['text'] for said in completions]")
    with pytest.raises(RewardError, match=r"score \(bad\.py\)"):
        reward_check.require_signal(bad, rows)


def test_a_function_that_changes_during_a_run_is_named(tmp_path: Path) -> None:
    plan = make_plan(tmp_path / "own.py", "[1.0 for _ in completions]")
    before = reward_check.hash_functions(plan)
    assert reward_check.describe_changes(plan, before) is None
    make_plan(tmp_path / "own.py", "[0.0 for _ in completions]")
    assert "own.py changed" in (reward_check.describe_changes(plan, before) or "")
