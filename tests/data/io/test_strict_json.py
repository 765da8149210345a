"""Strict JSON decoding: a code for each error that lenient readers accept."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftwizard.data import reader
from ftwizard.data.example import RowProblem
from ftwizard.data.io import strict_json

PAIR = {"prompt": "a", "completion": "b"}
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ('{"a": 1, "a": 2}', "duplicate_key", "duplicate key “a”"),
        ('{"b": [{"role": "x", "role": "y"}]}', "duplicate_key", "duplicate key “role”"),
        ('{"a": 1, "\\u0061": 2}', "duplicate_key", "duplicate key “a”"),
        ('{"a\\u001b[2J": 1, "a\\u001b[2J": 2}', "duplicate_key", "a␛[2J"),
        ('{"a": NaN}', "invalid_json", "NaN is not valid"),
        ('{"a": [1, -Infinity]}', "invalid_json", "Infinity is not valid"),
        ('{"a": "\\ud83d"}', "lone_surrogate", "lone surrogate"),
        ('{"a": "\\ud83d and more"}', "lone_surrogate", "lone surrogate"),
        ('{"a": "\\udc00 x"}', "lone_surrogate", "lone surrogate"),
        ("{'a': None}", "invalid_json", "Python"),
        ('{"a": True}', "invalid_json", "Python"),
        ('{"a": 1}{"a": 2}', "extra_data", "more data follows"),
        ('{"a": "b', "invalid_json", "truncated"),
        ('{"a": 1e999}', "number_range", "out of range"),
        ('{"a": 1,}', "invalid_json", "trailing comma"),
        ("hello", "invalid_json", "“hello” is not JSON"),
        ('{"a":' * 100_000, "nesting", "too deeply"),
    ],
)
def test_each_json_error_has_its_code(text: str, code: str, message: str) -> None:
    with pytest.raises(RowProblem) as result:
        strict_json.decode(text)
    assert (result.value.code, message in result.value.message) == (code, True), (
        result.value.message
    )


@pytest.mark.parametrize(
    ("data", "code", "message"),
    [
        (b'{"a": "\xff"}', "encoding", "0xFF"),
        (b'{"a": "\xc0\xaf"}', "encoding", "0xC0"),  # overlong
        (b'{"a": "\xe0\x80\xaf"}', "encoding", "0xE0"),
        (b'{"a": "\xed\xa0\xbd\xed\xb8\x80"}', "encoding", "0xED"),  # CESU
        (b'{"a": "\xf4\x90\x80\x80"}', "encoding", "0xF4"),  # beyond Unicode
        (b'{"\xe9": 1}', "encoding", "0xE9"),
        (b'{"a": "caf\xc3"}', "encoding", "0xC3"),
        (b"{\xa0}", "encoding", "0xA0"),
        (b'\xef\xbb\xbf{"a": 1}', "invalid_json", "byte-order mark"),
        (b'{"a": 1}\x00\x00', "invalid_json", "2 NUL bytes"),
        (b'{"a": 1},', "extra_data", "a comma follows"),
        (b'{"a": 1}\r{"a": 2}', "extra_data", "after a carriage return"),
        (b'{"a" : 1, "a" : 2}', "duplicate_key", "duplicate key “a”"),
        (b'{"a"\t:1,"b":{"a":1,"a"\r\n:2}}', "duplicate_key", "duplicate key “a”"),
        (b'{"a\\\\":1,"b":"\\":","a\\\\":2}', "duplicate_key", "duplicate key"),
        (b'{"a": [1e999], "b": 1.2.3}', "number_range", "out of range"),
        (b"[" * 100_000, "nesting", "too deeply"),
        (b"", "invalid_json", "truncated"),
    ],
)
def test_each_error_in_bytes_has_its_code(data: bytes, code: str, message: str) -> None:
    problem = strict_json.find_problem(data)
    assert problem is not None and (problem.code, message in problem.message) == (code, True), (
        problem
    )
    assert strict_json.find_problem(b'{"a": 1}') is None


@given(VALUES, st.booleans())
def test_valid_json_is_decoded_unchanged(value: Any, ascii: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii)
    assert strict_json.decode(text) == value
    assert strict_json.decode(text.encode()) == value


BLANKS = st.text(st.sampled_from(" \t\r\n"), max_size=2)
WORDS = st.sampled_from(['"a"', '"b"', '"\\u0061"', '"a\\\\"', '"\\":"', '"a\\":1"', '""', '": "'])


def spaced(*parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.tuples(*(item for part in parts for item in (BLANKS, part))).map("".join)


TEXTS = st.recursive(
    WORDS | st.sampled_from(["1", "-0.5e3", "null", "true", "NaN", "1e999", "{}", "[]"]),
    lambda inner: (
        st.lists(spaced(inner), max_size=3).map(lambda result: f"[{','.join(result)}]")
        | st.lists(spaced(WORDS, st.just(":"), inner), max_size=4).map(
            lambda result: "{" + ",".join(result) + "}"
        )
    ),
    max_leaves=12,
)


def decode_strictly(data: bytes) -> Any:
    """Decode ``data`` with the standard library; raise ValueError if it is not strict JSON."""

    def reject_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) < len(pairs):
            raise ValueError
        return dict(pairs)

    def reject_constant(text: str) -> Any:
        raise ValueError

    def parse_finite(text: str) -> float:
        if math.isinf(float(text)):
            raise ValueError
        return float(text)

    text = data.decode()
    value = json.loads(
        text,
        object_pairs_hook=reject_duplicates,
        parse_constant=reject_constant,
        parse_float=parse_finite,
    )
    json.dumps(value, ensure_ascii=False).encode()  # no lone surrogates
    return value


@given(TEXTS, st.integers(0, 400), st.binary(max_size=2), st.booleans())
def test_decode_matches_a_strict_reference_decoder(
    text: str, position: int, change: bytes, changed: bool
) -> None:
    data = text.encode()
    if changed:
        position %= len(data) + 1
        data = data[:position] + change + data[position + len(change) :]
    try:
        wanted = decode_strictly(data)
    except ValueError:
        with pytest.raises(RowProblem):
            strict_json.decode(data)
    else:
        assert strict_json.decode(data) == wanted


@given(VALUES, st.text())
def test_duplicate_key_is_rejected_at_any_position(value: Any, key: str) -> None:
    name, inner = json.dumps(key), json.dumps(value)
    with pytest.raises(RowProblem, match="duplicate key"):
        strict_json.decode(f"[{inner}, {{{name}: {inner}, {name} : {inner}}}]")


def test_text_that_looks_like_keys_is_accepted() -> None:
    row = {"a": 'he wrote {"a": 1, "a": 2}', "b": "“x”: y"}
    assert strict_json.decode(json.dumps(row)) == row


def test_duplicate_key_affects_only_its_row_of_an_array(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    good = json.dumps(PAIR)
    path.write_text(f'[{good}, {{"prompt": "a", "prompt": "c", "completion": "b"}},\n {good} ]\n')
    table = reader.read_table(path)
    assert [row.line for row in table.rows] == [1, 2]
    assert [(problem.line, problem.code) for problem in table.problems] == [(1, "duplicate_key")]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ('{"messages": [{"role": "assistant", "content": "x", "weight": 1e999}]}', "weight"),
        ('{"text": "a", "score": -1e400}', "number_range"),
        ('{"text": "a", "scores": [1e400]}', "number_range"),
    ],
)
def test_out_of_range_numbers_are_rejected(text: str, code: str) -> None:
    with pytest.raises(RowProblem) as raised:
        strict_json.decode(text)
    assert raised.value.code == code
