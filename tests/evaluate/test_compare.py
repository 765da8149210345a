"""JSON schemas inferred from answers, and validation against them."""

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
