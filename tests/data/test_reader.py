"""Reading rows with their line numbers, and splitting them by prompt."""

from __future__ import annotations

import json
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftwizard.data import formats, reader
from ftwizard.data.conversation import Conversation
from ftwizard.data.conversation import to_conversation as conversation_of
from ftwizard.data.example import RowProblem
from ftwizard.data.split import split
from ftwizard.errors import FtwizardError
from tests.paths import FIXTURES

TOOL_USE = FIXTURES / "tool_use.jsonl"


def conversation(row: Any) -> Conversation:
    return conversation_of(formats.to_example(row, "openai-chat"))


def row_of(row: Any, line: int = 1) -> reader.ParsedRow:
    example = formats.to_example(row, "openai-chat")
    return reader.ParsedRow(line=line, example=example, conversation=conversation_of(example))


def chat(user: str = "Hi", answer: str = "Hello", **more: Any) -> dict[str, Any]:
    return {
        "messages": [
            {"role": "user", "content": user},
            {"role": "assistant", "content": answer},
        ],
        **more,
    }


def calls(tool_calls: Any) -> dict[str, Any]:
    row = chat()
    row["messages"][1]["tool_calls"] = tool_calls
    return row


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_top_level_system_becomes_the_first_message() -> None:
    table = reader.read_table(TOOL_USE)
    assert len(table.rows) == 96 and not table.problems
    for row in table.rows:
        assert [m["role"] for m in row.conversation.messages] == ["system", "user", "assistant"]
    system = table.rows[0].conversation.messages[0]["content"]
    assert system == "You are a bot that can handle different requests with tools."


def test_bad_rows_do_not_affect_good_rows(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    good = json.dumps(chat())
    path.write_text(f"{good}\nnot json\n\n{good[:20]}\n[]\n{{}}\n{good}\n")
    table = reader.read_table(path)
    assert [row.line for row in table.rows] == [1, 7]
    assert [(p.line, p.code) for p in table.problems] == [
        (2, "invalid_json"),
        (4, "invalid_json"),
        (5, "not_object"),
        (6, "missing_messages"),
    ]
    with pytest.raises(FtwizardError) as error:
        reader.get_usable_rows(table, skip_bad=False)
    assert "4 of 6 rows" in error.value.message and "line 2" in error.value.message
    assert "skip-bad-rows" in error.value.hint
    assert len(reader.get_usable_rows(table, skip_bad=True)) == 2


def test_file_of_only_bad_rows_is_rejected_despite_skip_bad(tmp_path: Path) -> None:
    table = reader.read_table(write(tmp_path / "rows.jsonl", 3, []))
    with pytest.raises(FtwizardError, match="2 of 2 rows"):
        reader.get_usable_rows(table, skip_bad=True)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b" \n\n ", "is empty"),
        (b"[]", "has no rows"),
    ],
)
def test_file_without_rows_is_rejected(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(data)
    with pytest.raises(FtwizardError) as error:
        reader.read_table(path)
    assert message in error.value.message


def test_missing_file_folder_and_device_are_rejected(tmp_path: Path) -> None:
    for path, message in (
        (tmp_path / "none.jsonl", "does not exist"),
        (tmp_path, "is a folder"),
        (Path("/dev/zero"), "not a file"),
    ):
        with pytest.raises(FtwizardError, match=message):
            reader.read_table(path)


def test_reader_accepts_json_arrays_and_byte_order_marks(tmp_path: Path) -> None:
    array = tmp_path / "rows.json"
    array.write_text(json.dumps([chat("a"), chat("b")], indent=1))
    assert [row.line for row in reader.read_table(array).rows] == [2, 14]
    marked = tmp_path / "marked.jsonl"
    marked.write_bytes(b"\xef\xbb\xbf" + json.dumps(chat()).encode() + b"\r\n")
    assert len(reader.read_table(marked).rows) == 1


def test_deeply_nested_row_becomes_a_problem(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a":' * 100_000 + "1" + "}" * 100_000 + "\n" + json.dumps(chat()) + "\n")
    table = reader.read_table(path)
    assert len(table.rows) == 1 and table.problems[0].line == 1


@pytest.mark.parametrize(
    ("row", "code"),
    [
        (3, "not_object"),
        ({"text": "x"}, "missing_messages"),
        ({"messages": []}, "messages_empty"),
        ({"messages": {"role": "user"}}, "messages_type"),
        ({"messages": ["hi"]}, "message_type"),
        ({"messages": [{"role": "human", "content": "x"}]}, "unknown_role"),
        ({"messages": [{"role": None, "content": "x"}]}, "role_type"),
        ({"messages": [{"content": "x"}]}, "missing_role"),
        ({"messages": [{"role": "user", "content": 3}]}, "content_type"),
        ({"messages": [{"role": "user"}]}, "missing_content"),
        ({"messages": [{"role": "assistant", "content": None}]}, "missing_content"),
        ({"messages": [{"role": "user", "content": []}]}, "content_parts"),
        ({"messages": [{"role": "user", "content": ["x"]}]}, "content_parts"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "content_parts"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "content_parts"),
        ({"messages": [{"role": "user", "content": "x"}]}, "no_assistant"),
        (chat(answer="  "), "empty_assistant"),
        (calls("f"), "tool_call"),
        (calls([5]), "tool_call"),
        (calls([{"function": {"name": 3}}]), "tool_call"),
        (calls([{"function": {"name": "f", "arguments": "{"}}]), "tool_arguments"),
        (calls([{"function": {"name": "f", "arguments": [1]}}]), "tool_arguments"),
        (chat(system=3), "system_type"),
        (chat(tools="{"), "tools"),
        (chat(tools={"a": 1}), "tools"),
        (
            {"system": "a", "messages": [{"role": "system", "content": "b"}, *chat()["messages"]]},
            "system_conflict",
        ),
        (
            {"messages": [{"role": "user", "content": "x"},
                          {"role": "assistant", "content": "y", "weight": "1"}]},
            "weight",
        ),
    ],
)  # fmt: skip
def test_each_row_problem_has_its_code(row: Any, code: str) -> None:
    with pytest.raises(RowProblem) as problem:
        conversation(row)
    assert problem.value.code == code
    assert problem.value.message and problem.value.fix


def test_content_parts_tools_and_calls_are_converted() -> None:
    call = {"type": "function", "function": {"name": "f", "arguments": '{"x": [1]}'}}
    result = conversation({
        "tools": json.dumps([{"type": "function", "function": {"name": "f"}}]),
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "content": "6", "tool_call_id": "1"},
            {"role": "assistant", "content": "Six."},
        ],
    })  # fmt: skip
    assert result.tools and result.tools[0]["function"]["name"] == "f"
    assert result.messages[0]["content"] == "ab"
    (called,) = result.messages[1]["tool_calls"]
    assert called["function"] == {"name": "f", "arguments": {"x": [1]}}, (
        "arguments are decoded, not left as JSON text"
    )
    assert (result.answer, len(result.prompt)) == ("Six.", 3)


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda i: st.lists(i, max_size=3)
    | st.dictionaries(st.sampled_from(["messages", "role", "content", "system", "tools", "weight"]), i),
    max_leaves=12,
))  # fmt: skip
def test_arbitrary_rows_never_crash_the_reader(row: Any) -> None:
    try:
        result = conversation(row)
    except RowProblem:
        return
    assert result.answer is not None


_rows = st.lists(st.tuples(st.integers(0, 15), st.integers(0, 9)), min_size=12, max_size=60)


@given(_rows, st.integers(), st.floats(0.05, 0.25), st.floats(0.05, 0.25))
def test_split_keeps_all_rows_and_groups_prompts(
    pairs: list[tuple[int, int]], seed: int, validation: float, test: float
) -> None:
    rows = [row_of(chat(f"prompt {p}", f"answer {a}"), n) for n, (p, a) in enumerate(pairs, 1)]
    try:
        parts = split(rows, validation=validation, test=test, seed=seed)
    except FtwizardError:
        assert len({p for p, _ in pairs}) < 12
        return
    lines = [[r.line for r in part] for part in (parts.train, parts.validation, parts.test)]
    assert sorted(chain.from_iterable(lines)) == list(range(1, len(rows) + 1))
    assert all(part == sorted(part) for part in lines)
    assert parts.validation and parts.test
    prompts = [
        {r.conversation.messages[0]["content"] for r in part}
        for part in (parts.train, parts.validation, parts.test)
    ]
    assert not (prompts[0] & prompts[1] or prompts[0] & prompts[2] or prompts[1] & prompts[2])
    again = split(rows, validation=validation, test=test, seed=seed)
    assert [r.line for r in again.train] == lines[0]


@given(st.integers())
def test_large_group_with_one_prompt_stays_in_training(seed: int) -> None:
    prompts = ["same"] * 60 + [f"prompt {n}" for n in range(50)]
    rows = [row_of(chat(p, f"answer {n}"), n) for n, p in enumerate(prompts, 1)]
    parts = split(rows, validation=0.1, test=0.1, seed=seed)
    assert len(parts.validation) == len(parts.test) == 11
    assert len(parts.train) == 88


def test_split_rejects_too_few_rows() -> None:
    rows = [row_of(chat())] * 3
    with pytest.raises(FtwizardError, match="Too few"):
        split(rows, validation=0.1, test=0.1, seed=1)
