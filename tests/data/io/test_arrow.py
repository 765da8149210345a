"""Arrow columns written as JSON lines, or an error that names the column."""

from __future__ import annotations

import datetime
import decimal
import json
import math
from typing import Any

import hypothesis
import hypothesis.strategies as st
import pyarrow as pa
import pytest

from ftwizard.data.io import arrow
from ftwizard.errors import FtwizardError


def rows(table: Any) -> list[Any]:
    parts = list(arrow.to_json_lines([table]))
    result = [json.loads(line) for _, text in parts for line in text.splitlines()]
    assert sum(count for count, _ in parts) == table.num_rows == len(result)
    return result


def test_unusual_column_types_become_json() -> None:
    when = datetime.datetime(2024, 5, 6, 7, 8, 9, tzinfo=datetime.UTC)
    table = pa.table({
        "text": ["a\nb\u2028\x1b[2J"],
        "when": pa.array([when], pa.timestamp("us", "UTC")),
        "ns": pa.array([1_700_000_000_000_000_001], pa.timestamp("ns")),
        "day": [datetime.date(2024, 5, 6)],
        "took": [datetime.timedelta(seconds=3)],
        "price": [decimal.Decimal("1.50")],
        "nan": [math.nan],
        "half": pa.array([0.5], pa.float16()),
        "raw": [b"\x00\xff"],
        "nested": [{"bytes": b"\x00", "path": None}],
        "map": pa.array([[("k", {"a": 1, "b": None})]], pa.map_(
            pa.string(), pa.struct([("a", pa.int64()), ("b", pa.int64())])
        )),
        "word": pa.array(["x"]).dictionary_encode(),
        "big": pa.array([2**64 - 1], pa.uint64()),
        "vector": pa.array([[1.0, 2.0]], pa.list_(pa.float32(), 2)),
    })  # fmt: skip
    (row,) = rows(table)
    assert row["text"] == "a\nb\u2028\x1b[2J"
    assert row["when"] == "2024-05-06T07:08:09Z" and row["ns"].startswith("2023-11-14T22:13:20")
    assert row["day"] == "2024-05-06" and row["took"] == "PT3S"
    assert row["price"] == "1.50" and row["nan"] is None and row["half"] == 0.5
    assert row["raw"] == "AP8=" and row["nested"] == {"bytes": "AA=="}
    assert row["map"] == {"k": {"a": 1}} and row["word"] == "x"
    assert row["big"] == 2**64 - 1 and row["vector"] == [1.0, 2.0]


def test_null_nested_fields_are_omitted() -> None:
    calls = [{"function": {"name": "f", "arguments": {"x": 1}}}]
    table = pa.Table.from_pylist([
        {"messages": [{"role": "user", "content": "hi"},
                      {"role": "assistant", "content": None, "tool_calls": calls}], "system": None},
        {"messages": [{"role": "assistant", "content": "yes", "weight": 0, "tool_calls": [
            {"function": {"name": "g", "arguments": {"y": 2}}}]}], "system": "s"},
    ])  # fmt: skip
    first, second = rows(table)
    assert first == {
        "messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "tool_calls": calls}],
        "system": None,
    }
    assert second["messages"][0]["tool_calls"][0]["function"]["arguments"] == {"y": 2}


def test_json_columns_are_decoded() -> None:
    text = ['{"a": null,\n "b": [1]}', "not json", None]
    column = pa.ExtensionArray.from_storage(pa.json_(), pa.array(text))
    assert [r["tools"] for r in rows(pa.table({"tools": column}))] == [
        {"a": None, "b": [1]}, "not json", None
    ]  # fmt: skip


@pytest.mark.parametrize(
    "column",
    [
        pa.array([None, 2**62], pa.timestamp("s")),
        pa.Array.from_buffers(
            pa.string(),
            2,
            [None, pa.py_buffer(b"\0\0\0\0\1\0\0\0\2\0\0\0"), pa.py_buffer(b"a\xff")],
        ),
    ],
    ids=["year out of range", "text that is not UTF-8"],
)
def test_error_names_row_and_column_of_an_unsupported_value(column: Any) -> None:
    good = pa.table({"a": ["x"], "b\x1b": ["y"]})
    table = pa.table({"a": ["x", "x"], "b\x1b": column})
    with pytest.raises(FtwizardError, match=r"Row 3, column b␛: its value cannot") as error:
        list(arrow.to_json_lines([good, table]))
    assert "without that column" in error.value.hint


def test_find_media_columns_searches_nested_features() -> None:
    import datasets

    features = datasets.Features({
        "text": datasets.Value("string"), "label": datasets.ClassLabel(names=["a"]),
        "tools": datasets.Json() if hasattr(datasets, "Json") else datasets.Value("string"),
        "image": datasets.Image(), "list": datasets.List({"sound": datasets.Audio()}),
        "messages": [{"role": datasets.Value("string")}],
    })  # fmt: skip
    assert arrow.find_media_columns(features) == ["image", "list"]
    assert arrow.find_media_columns(None) == []


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.text()
    | st.binary() | st.datetimes() | st.dates() | st.timedeltas(
        datetime.timedelta(-100), datetime.timedelta(100)
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@hypothesis.given(st.lists(st.dictionaries(st.text(), _VALUES, max_size=4), max_size=4))
def test_arbitrary_tables_never_crash(listed: list[dict[str, Any]]) -> None:
    try:
        table = pa.Table.from_pylist(listed)
    except (pa.ArrowException, OverflowError, ValueError, TypeError, AttributeError):
        hypothesis.reject()
    try:
        rows(table)
    except FtwizardError as error:
        assert "cannot be written as JSON" in error.message
