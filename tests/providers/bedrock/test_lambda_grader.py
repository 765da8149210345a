"""The grader as a Lambda function: its settings, its answers, and a trial that tells right from wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ftwizard.errors import DECLINED, FtwizardError
from ftwizard.plan.schema import RiskName
from ftwizard.providers.base import ProviderError
from ftwizard.providers.bedrock import lambda_grader
from tests.doubles.aws import EAST, WEST, AwsFunction
from tests.providers.bedrock.conftest import Serve, World
from tests.providers.bedrock.plans import GRADER, make_plan

GOOD = """
def lambda_handler(event, context):
    scores = []
    for row in event:
        right = row["metadata"]["reference_answer"] == row["messages"][-1]["content"]
        assert row["reference_answer"] == row["metadata"]["reference_answer"]
        scores.append({"id": row["id"], "aggregate_reward_score": float(right)})
    return scores
"""
RETURNS = """
def lambda_handler(event, context):
    return [{{"id": row["id"], "aggregate_reward_score": {score}}} for row in event]{rest}
"""
Start = Callable[..., World]


@pytest.fixture
def start(serve: Serve, tmp_path: Path) -> Start:
    def run(source: str, **settings: Any) -> World:
        path = tmp_path / "function.py"
        path.write_text(source)
        function = AwsFunction(path=str(path), **{"timeout_s": 300, **settings})
        return serve(functions={"score": function})

    return run


def write_prompts(folder: Path, count: int = 12) -> Path:
    path = folder / "prompts.jsonl"
    rows = (
        {"messages": [{"role": "user", "content": f"{n} + 1?"}], "reference_answer": str(n + 1)}
        for n in range(count)
    )
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def grade(world: World, folder: Path, *allow: RiskName) -> list[str]:
    plan = msgspec.structs.replace(make_plan(), allow=allow)
    return lambda_grader.try_function(
        world.platform, plan, GRADER, EAST, write_prompts(folder)
    ).cautions


def test_a_grader_that_tells_right_from_wrong_has_no_cautions(start: Start, tmp_path: Path) -> None:
    world = start(GOOD)
    assert lambda_grader.check_function(world.platform, GRADER, EAST) == []
    assert grade(world, tmp_path) == []
    events = [event for _, event in world.service.control.list_invocations()]
    assert [len(event) for event in events] == [10, 10]
    assert events[0][0]["messages"][-1] == {"role": "assistant", "content": "1"}


@pytest.mark.parametrize(
    ("score", "words"), [(1, "All answers scored 1"), (0, "All 10 right answers scored 0")]
)
def test_the_same_score_for_all_is_refused_unless_allowed(
    start: Start, tmp_path: Path, score: int, words: str
) -> None:
    world = start(RETURNS.format(score=score, rest=""))
    with pytest.raises(FtwizardError, match=words) as failure:
        grade(world, tmp_path)
    assert failure.value.exit_code == DECLINED and "--allow weak-grader" in failure.value.hint
    (caution,) = grade(world, tmp_path, "weak-grader")
    assert words in caution


@pytest.mark.parametrize(
    ("score", "rest", "part"),
    [("float('nan')", "", "not a number"), ("'1'", "", "not a number"), ("True", "", "not a number"),
     ("1", "[1:]", "9 scores for 10 samples"), ("1", "[::-1]", "without the id"),
     ("1", " and {'scores': 1}", "not a list"), ("1/0", "", "ZeroDivisionError")],
)  # fmt: skip
def test_answers_that_are_no_scores(
    start: Start, tmp_path: Path, score: str, rest: str, part: str
) -> None:
    with pytest.raises(ProviderError) as failure:
        grade(start(RETURNS.format(score=score, rest=rest)), tmp_path)
    assert failure.value.kind == "rejected" and part in failure.value.message
    assert failure.value.hint


def test_a_short_time_limit_is_a_caution(start: Start) -> None:
    world = start(GOOD, timeout_s=3)
    (caution,) = lambda_grader.check_function(world.platform, GRADER, EAST)
    assert "ends after 3 s" in caution and "--timeout 300" in caution


def test_a_function_that_is_not_there(world: World) -> None:
    with pytest.raises(ProviderError) as failure:
        lambda_grader.check_function(world.platform, GRADER, EAST)
    assert failure.value.code == "no_grader" and "ftwizard grader lambda" in failure.value.hint
    with pytest.raises(ProviderError) as failure:
        lambda_grader.check_function(world.platform, GRADER, WEST)
    assert failure.value.code == "grader_region"


def test_a_function_that_may_not_be_looked_at_is_a_caution(serve: Serve) -> None:
    world = serve(denied=("lambda:GetFunctionConfiguration",))
    (caution,) = lambda_grader.check_function(world.platform, GRADER, EAST)
    assert "was not checked" in caution


def test_rows_that_do_not_fit_a_call_are_left_out(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lambda_grader, "MAX_BYTES", 600)
    world = start(GOOD)
    assert grade(world, tmp_path) == []
    assert len(world.service.control.list_invocations()[0][1]) < 10
