"""Kinds of answers, and which answers are right."""

from __future__ import annotations

import pytest

from ftwizard.runs.answer_kind import AnswerKind, find_kind, is_match, score_fields

STORY = "The login page rejects your password because the account was locked after five attempts."


@pytest.mark.parametrize(
    ("expected", "kind"),
    [
        (["billing", "shipping", "billing"], "short"),
        (["12, 3, 140", "Paris", "12 + 27 = 39."], "short"),
        ([STORY, "Second, " + STORY, "Third: " + STORY], "text"),
        (["yes", "no", STORY + " 1", STORY + " 2"], "text"),
        ([STORY, STORY + " B"] * 6, "short"),
        ([STORY], "text"),
        (["def f():\n    return 1", "x = 2\nprint(x)"], "text"),
        (["今日はとても良い天気ですから、みんなで公園に行って一緒に遊びましょう。そのあとで晩ご飯を食べに行きませんか。楽しみですね。"], "text"),
        (["良い天気"], "short"),
    ],
)  # fmt: skip
def test_kind_follows_the_expected_answers(expected: list[str], kind: AnswerKind) -> None:
    assert find_kind(expected, is_json=False) == kind


def test_json_objects_are_json() -> None:
    assert find_kind(['{"a": 1}'], is_json=True) == "json"


@pytest.mark.parametrize(
    ("kind", "answer", "expected", "right"),
    [
        ("json", '{"b":2, "a":1}', '{"a": 1, "b": 2}', True),
        ("json", '{"a": 1}', '{"a": 1, "b": 2}', False),
        ("json", "The team is billing.", '{"a": 1}', False),
        ("json", "", '{"a": 1}', False),
        ("json", "[" * 100_000, '{"a": 1}', False),
        ("short", " Billing.\n", "billing", True),
        ("short", "billing team", "billing", False),
        ("short", "", "billing", False),
        ("short", "-", "+", False),
        ("short", "?", "!", False),
        ("short", "1.5", "15", False),
    ],
)
def test_right_answers(kind: AnswerKind, answer: str, expected: str, right: bool) -> None:
    assert is_match(kind, answer, expected) is right


@pytest.mark.parametrize(
    ("answer", "score"),
    [
        ('{"team": "a", "priority": "low"}', 1.0),
        ('{"team": "a", "priority": "high"}', 0.5),
        ('{"team": "a"}', 0.5),
        ('{"team": "a", "priority": "low", "note": null, "x": 1}', 0.5),
        ('["a"]', 0.0),
        ("nothing", 0.0),
    ],
)
def test_fields_count_missing_and_extra_ones_as_wrong(answer: str, score: float) -> None:
    assert score_fields(answer, '{"team": "a", "priority": "low"}') == score
