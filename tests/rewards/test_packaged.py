"""Packaged reward functions, and the checks of their options."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftwizard.errors import FtwizardError
from ftwizard.rewards.packaged import PACKAGED, check_options

SCHEMA = {"type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}}}
CASES: list[tuple[str, dict[str, Any], str, str, float | None]] = [
    ("exact_answer", {}, " Paris\n", "Paris", 1),
    ("exact_answer", {}, "paris.", "Paris", 0),
    ("exact_answer", {"ignore_case": True}, "paris.", "Paris", 1),
    ("exact_answer", {}, "<think>Rome?</think>Paris", "Paris", 1),
    ("exact_answer", {}, "Paris", " ", None),
    ("numeric_answer", {}, "So \\boxed{1,234} is right", "1234", 1),
    ("numeric_answer", {}, "2 + 3 is 5\n#### 5", "2 + 3 = 5\n#### 5", 1),
    ("numeric_answer", {}, "You asked for 7, so it is 9, not 7.", "9", 1),
    ("numeric_answer", {}, "the answer is 8", "9", 0),
    ("numeric_answer", {}, "", "9", 0),
    ("numeric_answer", {"tolerance": "5%"}, "102", "100", 1),
    ("numeric_answer", {}, "9", "nine lives? no number at all: none", 1),
    ("numeric_answer", {}, "9", "no number", None),
    ("choice_letter", {}, "The answer is (B).", "B", 1),
    ("choice_letter", {}, "A or B", "B", 0),
    ("choice_letter", {"choices": ["red", "blue"]}, "blue", "B", 1),
    ("choice_letter", {}, "B", "not a letter at all", None),
    ("json_fields", {}, '{"a": 1, "b": 3}', '{"a": 1, "b": 2}', 0.5),
    ("json_fields", {}, "no JSON", '{"a": 1}', 0),
    ("json_fields", {"lenient": True}, 'Here:\n```json\n{"a": 1}\n```', '{"a": 1}', 1),
    ("json_fields", {}, "{}", "not JSON", None),
    ("json_valid", {}, "[1]", "", 1),
    ("json_valid", {}, "NaN", "", 0),
    ("json_valid", {"schema": SCHEMA}, '{"a": 1}', "", 1),
    ("json_valid", {"schema": SCHEMA}, '{"a": "1"}', "", 0),
    ("regex_format", {"pattern": "<think>.*</think>.+"}, "<think>\nx</think>y", "", 1),
    ("regex_format", {"pattern": "<think>.*</think>.+"}, "a <think>x</think>y", "", 0),
    ("length_limit", {"max": 3}, "one two three", "", 1),
    ("length_limit", {"max": 4}, "one two three four five", "", 0.75),
    ("length_limit", {"max": 2}, "one two three four five", "", 0),
    ("length_limit", {"max": 3}, "", "", 0),
    ("length_limit", {"max": 9, "min": 4}, "one", "", 0.25),
    ("length_limit", {"max": 3, "unit": "characters"}, " abc ", "", 1),
]


@pytest.mark.parametrize(("name", "options", "completion", "reference", "reward"), CASES)
def test_a_completion_gets_the_documented_reward(
    name: str, options: dict[str, Any], completion: str, reference: str, reward: float | None
) -> None:
    check_options(name, options)

    assert PACKAGED[name].score(completion, reference, "What is 7 of it?", options) == reward


def test_every_function_is_tested() -> None:
    assert {case[0] for case in CASES} == set(PACKAGED)


@given(st.text(max_size=200), st.text(max_size=50))
def test_any_text_gets_a_reward_from_0_to_1_or_none(completion: str, reference: str) -> None:
    required: dict[str, dict[str, Any]] = {
        "regex_format": {"pattern": "(a+)+b"},
        "length_limit": {"max": 5},
    }
    for name, packaged in PACKAGED.items():
        reward = packaged.score(completion, reference, "", required.get(name, {}))
        assert reward is None or 0 <= reward <= 1


def test_a_pattern_that_backtracks_without_end_gives_no_reward() -> None:
    options = {"pattern": "(a|aa)+b(?=(a|aa)+$)"}

    assert PACKAGED["regex_format"].score("a" * 5000 + "b!", "", "", options) == 0


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("numeric_anser", {}, "not a reward function"),
        ("numeric_answer", {"tolerence": 1}, "no option “tolerence”"),
        ("numeric_answer", {"tolerance": "much"}, "a share such as 1%"),
        ("exact_answer", {"ignore_case": 1}, "true or false"),
        ("choice_letter", {"choices": ["one"]}, "2 to 26 texts"),
        ("json_valid", {"schema": {"type": "thing"}}, "schema is invalid"),
        ("regex_format", {}, "needs the option pattern"),
        ("regex_format", {"pattern": "("}, "not a regular expression"),
        ("length_limit", {}, "needs the option max"),
        ("length_limit", {"max": 0}, "whole number"),
        ("length_limit", {"max": 2, "min": 3}, "min is above max"),
        ("length_limit", {"max": 2, "unit": "tokens"}, "words or characters"),
    ],
)
def test_options_that_cannot_be_used_are_named(
    name: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(FtwizardError) as caught:
        check_options(name, options)

    assert message in caught.value.message
    assert caught.value.hint
