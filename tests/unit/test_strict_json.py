"""What lenient JSON readers take in silence is a problem with its code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftwizard.data import read, strict_json
from ftwizard.data.conversation import RowProblem

PAIR = {"prompt": "a", "completion": "b"}
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@pytest.mark.parametrize(
    ("text", "code", "says"),
    [
        ('{"a": 1, "a": 2}', "duplicate_key", "“a” twice"),
        ('{"b": [{"role": "x", "role": "y"}]}', "duplicate_key", "“role” twice"),
        ('{"a": 1, "\\u0061": 2}', "duplicate_key", "“a” twice"),
        ('{"a\\u001b[2J": 1, "a\\u001b[2J": 2}', "duplicate_key", "a␛[2J"),
        ('{"a": NaN}', "invalid_json", "NaN is no number"),
        ('{"a": [1, -Infinity]}', "invalid_json", "Infinity is no number"),
        ('{"a": "\\ud83d"}', "lone_surrogate", "cut in two"),
        ('{"a": "\\ud83d and more"}', "lone_surrogate", "cut in two"),
        ('{"a": "\\udc00 x"}', "lone_surrogate", "cut in two"),
        ("{'a': None}", "invalid_json", "Python"),
        ('{"a": True}', "invalid_json", "Python"),
        ('{"a": 1}{"a": 2}', "extra_data", "more follows"),
        ('{"a": "b', "invalid_json", "breaks off"),
        ('{"a": 1e999}', "invalid_json", "not JSON"),
        ('{"a": 1,}', "invalid_json", "trailing comma"),
        ("hello", "invalid_json", "“hello” is not JSON"),
        ('{"a":' * 100_000, "nesting", "too deeply"),
    ],
)
def test_each_has_its_code(text: str, code: str, says: str) -> None:
    with pytest.raises(RowProblem) as found:
        strict_json.decode(text)
    assert (found.value.code, says in found.value.message) == (code, True), found.value.message


@given(VALUES, st.booleans())
def test_honest_json_is_read_as_it_is(value: Any, ascii: bool) -> None:
    assert strict_json.decode(json.dumps(value, ensure_ascii=ascii)) == value
    assert list(strict_json.elements(json.dumps([value, 1], indent=1))) == [value, 1]


@given(VALUES, st.text())
def test_a_key_that_stands_twice_is_found_anywhere(value: Any, key: str) -> None:
    name, inner = json.dumps(key), json.dumps(value)
    with pytest.raises(RowProblem, match="twice"):
        strict_json.decode(f"[{inner}, {{{name}: {inner}, {name} : {inner}}}]")


def test_text_that_looks_like_keys_is_text() -> None:
    row = {"a": 'he wrote {"a": 1, "a": 2}', "b": "“x”: y"}
    assert strict_json.decode(json.dumps(row)) == row


def test_of_an_array_only_the_row_with_the_key_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    good = json.dumps(PAIR)
    path.write_text(f'[{good}, {{"prompt": "a", "prompt": "c", "completion": "b"}},\n {good} ]\n')
    table = read.read(path)
    assert [row.line for row in table.rows] == [1, 3]
    assert [(one.line, one.code) for one in table.problems] == [(2, "duplicate_key")]
