"""Scores of answers; JSON schemas inferred from answers, and validation against them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftwizard.data.conversation import to_conversation
from ftwizard.data.example import Example
from ftwizard.data.reader import ParsedRow
from ftwizard.evaluate.compare import (
    RowLoss,
    derive_comparison,
    infer_json_schema,
    is_valid,
    score_rows,
    summarize_scores,
)
from ftwizard.evaluate.items import ScorerName
from ftwizard.evaluate.set_files import make_item
from ftwizard.jobs.folder import JobFolder
from ftwizard.plan.schema import Data, Files, Model, Plan
from ftwizard.runs.evaluation import ItemAnswer, ItemScore
from ftwizard.runs.result import read_answers
from ftwizard.runs.verdict import RewardSpan
from ftwizard.train.dataset import SavedTestSet
from ftwizard.train.generate import without_thinking

ANSWERS = [
    json.dumps({"team": team, "priority": priority, "refund": refund})
    for team in ("billing", "shipping")
    for priority in ("low", "high")
    for refund in (True, False)
]


def test_schema_accepts_the_sample_answers() -> None:
    schema = infer_json_schema(ANSWERS)
    assert schema
    assert all(is_valid(schema, answer) for answer in ANSWERS)


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "The team is billing.",
        "{}",
        "[]",
        "3",
        '{"team": "billing", "priority": "low"}',
        '{"team": "billing", "priority": "low", "refund": "yes"}',
        '{"team": "sales", "priority": "low", "refund": true}',
        '{"team": "billing", "priority": "low", "refund": true, "note": 1}',
        '```json\n{"team": "billing", "priority": "low", "refund": true}\n```',
        '{"team": "billing", "priority": "low", "refund": true',
        "[" * 100_000,
    ],
)
def test_schema_rejects_invalid_answers(answer: str) -> None:
    schema = infer_json_schema(ANSWERS)
    assert schema
    assert not is_valid(schema, answer)


def test_leading_thinking_blocks_are_removed() -> None:
    assert without_thinking("<think>\n\n</think>\n\n{}") == "{}"
    assert without_thinking(" <think>a\nb</think> x <think>y</think>") == "x <think>y</think>"
    assert without_thinking("{} <think>") == "{} <think>"


def test_no_schema_unless_all_answers_are_objects() -> None:
    assert infer_json_schema([]) is None
    assert infer_json_schema([*ANSWERS, "plain words"]) is None
    assert infer_json_schema(["[1]", "[2]"]) is None


def test_schema_allows_free_text_and_optional_keys() -> None:
    answers = [
        json.dumps({"id": n, "text": f"words {n}", **({"x": 1} if n else {})}) for n in range(9)
    ]
    schema = infer_json_schema(answers)
    assert schema
    assert is_valid(schema, '{"id": 99, "text": "others"}')
    assert is_valid(schema, '{"id": 99, "text": "others", "x": 2}')
    assert not is_valid(schema, '{"id": 99}')


_values = st.none() | st.booleans() | st.integers() | st.text(max_size=5)


@given(st.lists(st.dictionaries(st.sampled_from("abcd"), _values), min_size=1, max_size=12))
def test_inferred_schema_always_accepts_its_sources(objects: list[dict[str, object]]) -> None:
    answers = [json.dumps(value) for value in objects]
    schema = infer_json_schema(answers)
    assert schema
    assert all(is_valid(schema, answer) for answer in answers)


def answers(*texts: str) -> list[ItemAnswer]:
    return [ItemAnswer(item="i", text=text) for text in texts]


def make_row(line: int, answer: str) -> ParsedRow:
    messages = [{"role": "user", "content": "q"}, {"role": "assistant", "content": answer}]
    example = Example(kind="chat", messages=messages)
    return ParsedRow(line=line, example=example, conversation=to_conversation(example))


def test_free_text_is_scored_by_chrf_and_loss() -> None:
    """The chrF values are those of sacrebleu's command line."""
    rows = [make_row(1, "the cat sat on the mat"), make_row(2, "so did the dog")]
    losses = {1: RowLoss(6.0, 3)}
    same, other = score_rows("text", answers("the cat sat on the mat", ""), rows, losses)
    assert same.match and same.chrf == 100.0 and same.loss == 2.0 and same.fields is None
    assert not other.match and other.chrf == 0.0
    assert other.loss is None, "its answer was truncated"
    near, _ = score_rows("text", answers("the cat sat on mat", "x"), rows, losses)
    assert near.chrf == pytest.approx(66.93, abs=0.01)
    summary = summarize_scores(["the cat sat on the mat", ""], rows, None, [same, other], losses)
    assert (summary.loss, summary.chrf, summary.exact, summary.match) == (2.0, 50.0, 0.5, 0.5)
    assert summary.length_ratio == pytest.approx(22 / 36)


RULES: dict[ScorerName, dict[str, Any]] = {
    "prefers": {"answers": ["yes", "no"]}, "wanted": {"answers": ["yes"], "label": True},
    "rewards": {"rewards": []}, "normalized": {},
}  # fmt: skip


@pytest.mark.parametrize(
    ("scorer", "fields"),
    [
        ("prefers", {"rejected": "no", "prefers_chosen": [False, True]}),
        ("wanted", {"label": True}),
        ("rewards", {"rewards": [pytest.approx(-1), pytest.approx(3)]}),
        ("normalized", {}),
    ],
)
def test_answers_are_kept_with_what_the_run_was_trained_for(
    scorer: ScorerName, fields: dict[str, Any], tmp_path: Path
) -> None:
    folder = JobFolder(tmp_path)
    folder.evaluations.mkdir()
    row = make_row(4, "yes")
    item = make_item("target", row.conversation.prompt, scorer, ["yes"], RULES[scorer], line=4)
    answers = {
        arm: [ItemAnswer(item=item.id, text=arm, logps=logps, score=ItemScore(value=share))]
        for arm, logps, share in (("base", [-3.0, -2.0], 0.0), ("tuned", [-2.0, -3.0], 1.0))
    }
    plan = Plan(model=Model(name="m"), data=Data(files=Files(train="rows.jsonl")))
    saved = SavedTestSet(rows=[row], answers=["yes"])
    span = RewardSpan(low=-1.0, high=3.0)
    derive_comparison(folder, plan, saved, [item], answers, span)
    (pair,) = read_answers(folder)
    assert (pair.base, pair.tuned) == ("base", "tuned")
    kept = {
        name: getattr(pair, name) for name in ("rejected", "prefers_chosen", "label", "rewards")
    }
    assert kept == {"rejected": "", "prefers_chosen": [], "label": None, "rewards": []} | fields


def test_json_is_scored_by_fields() -> None:
    rows = [make_row(1, '{"a": 1, "b": 2}')]
    (score,) = score_rows("json", answers('{"b": 2, "a": 1}'), rows, {})
    assert score.match and score.fields == 1.0 and score.chrf is None
    summary = summarize_scores(['{"b": 2, "a": 1}'], rows, None, [score], {})
    assert summary.exact == 0.0 and summary.match == 1.0 and summary.loss is None
    assert summary.length_ratio is None
