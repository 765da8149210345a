"""Properties of the row readers on arbitrary rows: no loss and no crash."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftwizard.data import formats
from ftwizard.data.checks import row_checker
from ftwizard.data.conversation import to_conversation
from ftwizard.data.example import ROLES, RowProblem
from ftwizard.data.format_names import Format
from ftwizard.data.platforms import get_target, severities
from tests.helpers.format_rows import ANSWER, DIALECTS, read

FORMATS = get_args(Format)


REPLACED_NAMES = (
    "human",
    "gpt",
    "model",
    "function_call",
    "observation",
    "tool_use",
    "tool_result",
    "bedrock-conversation-2024",
)
"""Role and part names that an ``Example`` replaces with its own."""


def texts(value: Any) -> Iterator[str]:
    """Yield every text in a row, with JSON text decoded and image placeholders removed."""
    if isinstance(value, str) and value[:1] in ("[", "{"):
        value = json.loads(value)
    if isinstance(value, str):
        if value not in REPLACED_NAMES:
            yield value.replace("<image>", "").strip()
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from texts(item)


@pytest.mark.parametrize(("format", "row"), DIALECTS)
def test_every_dialect_is_read_without_changing_the_row(format: Format, row: Any) -> None:
    before = copy.deepcopy(row)
    result = read(format, row)
    assert row == before
    for message in result.turns:
        assert message["role"] in ROLES
        assert isinstance(message["content"], str | list | None)
    kept = str(msgspec.to_builtins(result))
    for text in texts(row):
        assert all(word in kept for word in text.split())


def nested(kind: type) -> Any:
    deep: Any = "x"
    for _ in range(5_000):
        deep = [deep] if kind is list else {"content": deep}
    return deep


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("kind", [list, dict])
def test_deep_nesting_never_crashes_the_readers(format: Format, kind: type) -> None:
    turns = [
        {"role": "user", "content": [{"type": "x", "toolResult": {"content": nested(kind)}}]}
        for _ in range(2)
    ]
    row = {
        "chosen": [turns[0], ANSWER], "rejected": [turns[1], ANSWER], "messages": turns[:1],
        "contents": [{"role": "user", "parts": [{"functionResponse": {"response": nested(kind)}}]}],
        "label": True, "text": nested(kind), "input_ids": nested(kind), "tools": nested(kind),
    }  # fmt: skip
    formats.match_formats(row)
    try:
        result = read(format, row)
    except RowProblem as problem:
        assert severities()[problem.code] == "error"
        assert (problem.code == "nesting") is (
            format in ("preference", "vertex", "bedrock-converse")
        )
    else:
        assert result.kind


_KEYS = sorted({
    key
    for _, row in DIALECTS
    for key in json.dumps(row).replace("\\", "").split('"')
    if key.replace("_", "").isalnum()
})  # fmt: skip
_anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4)
    | st.sampled_from(["user", "assistant", "model", "human", "<image>", "{", "[]", "\ud800"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(_KEYS) | st.text(max_size=3), inner, max_size=4),
    max_leaves=8,
)  # fmt: skip


def iter_paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from iter_paths(item, (*path, key))


def replace_at(row: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    changed = copy.copy(row)
    changed[path[0]] = replace_at(row[path[0]], path[1:], value)
    return changed


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_arbitrary_values_are_read_or_raise_row_problems(data: st.DataObject) -> None:
    _, row = data.draw(st.sampled_from(DIALECTS))
    row = replace_at(row, data.draw(st.sampled_from(list(iter_paths(row)))), data.draw(_anything))
    if isinstance(row, dict) and data.draw(st.booleans()):
        row = {**row, data.draw(st.sampled_from(_KEYS)): data.draw(_anything)}
    looks = formats.match_formats(row)
    for format in {data.draw(st.sampled_from(FORMATS)), *looks.holds}:
        try:
            result = read(format, row)
        except RowProblem as problem:
            assert severities()[problem.code] == "error"
            continue
        for message in result.turns:
            assert message["role"] in ROLES
            content = message["content"]
            assert isinstance(content, str | list | None)
            for part in content if isinstance(content, list) else []:
                assert isinstance(part["type"], str)
                assert part["type"] != "text" or isinstance(part["text"], str)
        assert result.kind == "tokens" or result.kind == "text" or result.turns
        row_checker.check_row(result, get_target("together-sft"))
        try:
            assert to_conversation(result).answer is not None
        except RowProblem as problem:
            assert severities()[problem.code] == "error"


@given(st.data())
def test_unknown_fields_of_a_row_are_kept(data: st.DataObject) -> None:
    format, row = data.draw(st.sampled_from([d for d in DIALECTS if isinstance(d[1], dict)]))
    more = data.draw(st.dictionaries(st.from_regex(r"\Ax_[a-z]{1,5}\Z"), _anything, max_size=3))
    result = read(format, {**row, **more})
    assert {key: result.extra[key] for key in more} == more
    assert read(format, row).extra == {k: v for k, v in result.extra.items() if k not in more}
