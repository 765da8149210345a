"""Checks of pretokenized rows."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftwizard.data import formats
from ftwizard.data.checks import tokens
from ftwizard.data.example import RowProblem
from ftwizard.data.platforms import get_target


def codes(**columns: Any) -> list[str]:
    try:
        row = formats.to_example(columns, "pretokenized")
    except RowProblem as problem:
        return [problem.code]
    return [result.code for result in tokens.check(row, get_target("trl-sft"))]


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"input_ids": [1, 2, 3]}, []),
        ({"input_ids": [1, 2, 3], "labels": [-100, 2, 3], "attention_mask": [1, 1, 1]}, []),
        ({"input_ids": [1, 2, 3], "completion_mask": [0, 1, 1]}, []),
        ({}, ["tokens_type"]),
        ({"input_ids": []}, ["tokens_type"]),
        ({"input_ids": "1 2 3"}, ["tokens_type"]),
        ({"input_ids": [1, 2.0]}, ["tokens_type"]),
        ({"input_ids": [1, True]}, ["tokens_type"]),
        ({"input_ids": [1, None]}, ["tokens_type"]),
        ({"input_ids": [1, -1]}, ["tokens_type"]),
        ({"input_ids": [1, 2**31]}, ["tokens_type"]),
        ({"input_ids": [1, 2], "labels": "x"}, ["tokens_type"]),
        ({"input_ids": [1, 2], "labels": [-1, 2]}, ["tokens_type"]),
        ({"input_ids": [1, 2], "attention_mask": [1, 2]}, ["tokens_type"]),
        ({"input_ids": [1, 2], "labels": [1]}, ["tokens_length"]),
        ({"input_ids": [1, 2], "attention_mask": [1, 1, 1]}, ["tokens_length"]),
        ({"input_ids": [1, 2], "labels": [-100, -100]}, ["tokens_nothing_to_train"]),
        ({"input_ids": [1, 2], "labels": [1, -100]}, ["tokens_nothing_to_train"]),
        ({"input_ids": [1, 2], "completion_mask": [0, 0]}, ["tokens_nothing_to_train"]),
        ({"input_ids": [5, 6, 7, 8], "labels": [6, 7, 8, -100]}, ["tokens_shifted"]),
        ({"input_ids": [5, 6, 7, 8], "labels": [-100, 7, 8, 9]}, ["tokens_shifted"]),
        ({"input_ids": [5, 6, 7, 8], "labels": [-100, 9, 9, 9]}, []),
    ],
)
def test_problems_of_pretokenized_rows_are_reported(
    columns: dict[str, Any], expected: list[str]
) -> None:
    assert codes(**columns) == expected


@given(st.lists(st.integers(0, 200_000), min_size=2, max_size=50), st.data())
def test_row_with_some_trainable_tokens_has_no_findings(
    ids: list[int], data: st.DataObject
) -> None:
    masked = data.draw(st.integers(1, len(ids) - 1))
    labels = [-100] * masked + ids[masked:]
    assert codes(input_ids=ids, labels=labels, attention_mask=[1] * len(ids)) == []
