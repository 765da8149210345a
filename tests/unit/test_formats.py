"""Formats are told apart by the keys of all rows, and every one of them becomes conversations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftwizard.data import formats, read
from ftwizard.data.conversation import Conversation, RowProblem
from ftwizard.data.format_names import Format
from ftwizard.errors import FtwizardError

FIXTURES = Path(__file__).parents[1] / "data" / "formats"
CHAT = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo"}]}
ALPACA = {"instruction": "Hi", "input": "", "output": "Yo"}
PAIR = {"prompt": "Hi", "completion": "Yo"}
EXAMPLES: dict[Format, dict[str, Any]] = {
    "messages": CHAT,
    "alpaca": ALPACA,
    "prompt-completion": PAIR,
}


def said(conversation: Conversation) -> list[tuple[str, str]]:
    return [(m["role"], m["content"]) for m in conversation.messages]


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_alpaca_becomes_conversations() -> None:
    table = read.read(FIXTURES / "alpaca.jsonl")
    assert table.format == "alpaca"
    assert [said(row.conversation) for row in table.rows] == [
        [("user", "Reverse the words.\n\nhello world"), ("assistant", "world hello")],
        [("user", "Name a colour."), ("assistant", "Blue.")],
        [
            ("system", "You name colours."),
            ("user", "Name a colour."),
            ("assistant", "Blue."),
            ("user", "And another?"),
            ("assistant", "Green."),
        ],
    ]
    assert all(m.get("weight", 1) == 1 for m in table.rows[2].conversation.messages)
    assert [(p.line, p.code) for p in table.problems] == [
        (4, "empty_assistant"),
        (5, "mixed_formats"),
    ]
    assert "looks like prompt and completion, not Alpaca" in table.problems[1].message


def test_prompt_and_completion_become_conversations() -> None:
    table = read.read(FIXTURES / "prompt_completion.jsonl")
    assert table.format == "prompt-completion"
    texts, chat = (row.conversation for row in table.rows)
    assert said(texts) == [("user", "The sky is"), ("assistant", " blue.")]
    assert [m.get("weight", 1) for m in chat.messages] == [1, 0, 1, 1], "only the completion"
    assert (chat.answer, len(chat.prompt)) == ("3", 3)
    assert [(p.line, p.code) for p in table.problems] == [(3, "mixed_formats")]


def test_a_format_that_is_not_read_is_named_with_its_keys() -> None:
    with pytest.raises(FtwizardError) as error:
        read.read(FIXTURES / "sharegpt.jsonl")
    assert "ShareGPT" in error.value.message and "conversations, messages" in error.value.message
    assert all(name in error.value.hint for name in formats.NAMES)


def test_nothing_that_is_known(tmp_path: Path) -> None:
    with pytest.raises(FtwizardError) as error:
        read.read(write(tmp_path / "rows.jsonl", [{"frage\x1b[2J": "?"}, {}]))
    assert "no format that is known; their keys: frage␛[2J" in error.value.message


def test_a_format_that_is_demanded_is_not_guessed(tmp_path: Path) -> None:
    both = {**CHAT, "prompt": "Hi", "completion": "Yo"}
    path = write(tmp_path / "rows.jsonl", [PAIR, PAIR, both])
    assert read.read(path).format == "prompt-completion"
    assert [p.line for p in read.read(path).problems] == [3]
    table = read.read(path, "messages")
    assert (table.format, [row.line for row in table.rows]) == ("messages", [3])
    assert {p.code for p in table.problems} == {"mixed_formats"}


@pytest.mark.parametrize(
    ("row", "name"),
    [
        ({**CHAT, "label": False}, "KTO"),
        ({**PAIR, "label": True}, "KTO"),
        ({"instruction": "x", "output": ["a", "b"]}, "preference"),
        ({"prompt": "x", "chosen": "a", "rejected": "b"}, "preference"),
        ({**CHAT, "images": ["a.png"]}, "pictures"),
        ({"instruction": "x", "context": "", "response": "y"}, "Dolly"),
        ({"input_ids": [1], "messages": []}, "tokens"),
        ({"text": "x"}, "plain text"),
    ],
)
def test_rows_that_only_look_right_are_not_trained_on(row: Any, name: str, tmp_path: Path) -> None:
    """What a KTO row rejects, for one, would be learnt as an answer."""
    assert name in str(formats.recognised(row))
    table = read.read(write(tmp_path / "rows.jsonl", [CHAT, CHAT, row]))
    assert [(p.line, p.code) for p in table.problems] == [(3, "mixed_formats")]


def test_an_empty_list_of_pictures_is_no_picture() -> None:
    assert formats.recognised({**CHAT, "images": []}) == "messages"


@pytest.mark.parametrize(
    ("format", "row", "code"),
    [
        ("alpaca", {"output": "x"}, "missing_instruction"),
        ("alpaca", {**ALPACA, "instruction": " "}, "empty_prompt"),
        ("alpaca", {"instruction": "x"}, "no_assistant"),
        ("alpaca", {**ALPACA, "output": " \n"}, "empty_assistant"),
        ("alpaca", {**ALPACA, "output": 3}, "content_type"),
        ("alpaca", {**ALPACA, "input": ["x"]}, "content_type"),
        ("alpaca", {**ALPACA, "system": 3}, "system_type"),
        ("alpaca", {**ALPACA, "history": [["a"]]}, "history"),
        ("alpaca", {**ALPACA, "history": "a"}, "history"),
        ("prompt-completion", {"completion": "x"}, "missing_prompt"),
        ("prompt-completion", {"prompt": "x"}, "no_assistant"),
        ("prompt-completion", {**PAIR, "prompt": " "}, "empty_prompt"),
        ("prompt-completion", {**PAIR, "completion": ""}, "empty_assistant"),
        ("prompt-completion", {**PAIR, "completion": []}, "content_type"),
        ("prompt-completion", {"prompt": [], "completion": []}, "empty_prompt"),
        (
            "prompt-completion",
            {"prompt": CHAT["messages"], "completion": CHAT["messages"][:1]},
            "no_assistant",
        ),
        ("prompt-completion", 3, "not_object"),
        ("alpaca", [], "not_object"),
    ],
)
def test_each_problem_has_its_code(format: Format, row: Any, code: str) -> None:
    with pytest.raises(RowProblem) as problem:
        formats.conversation(row, format)
    assert problem.value.code == code
    assert problem.value.message and problem.value.fix


@given(st.lists(st.sampled_from(list(EXAMPLES)), min_size=1, max_size=30))
def test_the_majority_is_the_format_and_no_row_is_lost(kinds: list[Format]) -> None:
    rows = [EXAMPLES[kind] for kind in kinds]
    found = formats.of_rows(rows)
    assert kinds.count(found) == max(map(kinds.count, EXAMPLES))  # type: ignore[arg-type]
    for kind, row in zip(kinds, rows, strict=True):
        if kind != found:
            with pytest.raises(RowProblem):
                formats.check(row, found, exactly=True)  # type: ignore[arg-type]
        else:
            formats.check(row, kind, exactly=True)
            assert said(formats.conversation(row, kind)) == [("user", "Hi"), ("assistant", "Yo")]


_json = st.recursive(
    st.none() | st.booleans() | st.text(max_size=4),
    lambda i: st.lists(i, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["instruction", "input", "output", "system", "history", "prompt", "completion",
             "messages", "role", "content", "label", "text"]
        ),
        i,
    ),
    max_leaves=12,
)  # fmt: skip


@given(_json, st.sampled_from(list(EXAMPLES)))
def test_no_row_crashes_the_reading(row: Any, format: Format) -> None:
    formats.recognised(row)
    try:
        found = formats.conversation(row, format)
    except RowProblem:
        return
    assert found.answer.strip() or found.messages
