"""The schema that answers share, and what fits it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftwizard.evaluate.compare import infer_json_schema, is_valid
from ftwizard.train.generate import without_thinking

ANSWERS = [
    json.dumps({"team": team, "priority": priority, "refund": refund})
    for team in ("billing", "shipping")
    for priority in ("low", "high")
    for refund in (True, False)
]


def test_every_answer_fits_its_own_schema() -> None:
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
def test_what_does_not_fit(answer: str) -> None:
    schema = infer_json_schema(ANSWERS)
    assert schema
    assert not is_valid(schema, answer)


def test_thinking_before_an_answer_is_not_the_answer() -> None:
    assert without_thinking("<think>\n\n</think>\n\n{}") == "{}"
    assert without_thinking(" <think>a\nb</think> x <think>y</think>") == "x <think>y</think>"
    assert without_thinking("{} <think>") == "{} <think>"


def test_answers_that_are_not_all_objects_have_no_schema() -> None:
    assert infer_json_schema([]) is None
    assert infer_json_schema([*ANSWERS, "plain words"]) is None
    assert infer_json_schema(["[1]", "[2]"]) is None


def test_free_text_and_optional_keys_stay_free() -> None:
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
def test_what_the_schema_was_made_from_always_fits(objects: list[dict[str, object]]) -> None:
    answers = [json.dumps(value) for value in objects]
    schema = infer_json_schema(answers)
    assert schema
    assert all(is_valid(schema, answer) for answer in answers)
