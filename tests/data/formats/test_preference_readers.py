"""Readers for preference pairs, labeled answers and prompts."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ftwizard.data.example import Example
from tests.helpers.format_rows import (
    ALPACA,
    ANSWER,
    CHAT,
    PAIR,
    PICTURE,
    REFUSED,
    SPOKEN,
    TOOLS,
    USER,
    WEATHER,
    read,
    summarize,
)


def pair_of(example: Example) -> tuple[Any, Any, Any]:
    assert example.kind == "preference"
    return summarize(example.messages), summarize(example.chosen), summarize(example.rejected)


YES, NO = ("assistant", "Yo"), ("assistant", "No")


@pytest.mark.parametrize(
    ("row", "extra"),
    [
        ({"prompt": "Hi", "chosen": "Yo", "rejected": "No", "score": 1}, {"score": 1}),
        ({"prompt": [USER], "chosen": [ANSWER], "rejected": [REFUSED]}, {}),
        ({"prompt": "Hi", "chosen": [ANSWER], "rejected": REFUSED}, {}),
        ({"chosen": [USER, ANSWER], "rejected": [USER, REFUSED]}, {}),
        ({"prompt": "Hi", "chosen": [USER, ANSWER], "rejected": [USER, REFUSED]}, {}),
        ({"prompt": [USER], "chosen": [USER, ANSWER], "rejected": [USER, REFUSED]}, {}),
        (
            {"prompt": "?", "chosen": [USER, ANSWER], "rejected": [USER, REFUSED]},
            {"prompt": "?"},
        ),
        ({"chosen_messages": [USER, ANSWER], "rejected_messages": [USER, REFUSED]}, {}),
        (
            {
                "conversations": SPOKEN[:1],
                "chosen": SPOKEN[1],
                "rejected": {"from": "gpt", "value": "No"},
            },
            {},
        ),
        ({"messages": [USER], "chosen": "Yo", "rejected": "No"}, {}),
        ({"instruction": "Hi", "input": "", "output": ["Yo", "No"]}, {}),
        ({"instruction": "Hi", "chosen": "Yo", "rejected": "No"}, {}),
        ({"question": "Hi", "chosen": "Yo", "rejected": "No", "id": 3}, {"id": 3}),
        ({**CHAT, "rejected_response": "No"}, {}),
        ({"query": "Hi", "response": "Yo", "rejected_response": "No"}, {}),
    ],
)
def test_every_preference_notation_is_read_as_a_pair(
    row: dict[str, Any], extra: dict[str, Any]
) -> None:
    result = read("preference", row)
    assert pair_of(result) == ([("user", "Hi")], [YES], [NO])
    assert result.extra == extra


def test_shared_opening_of_both_texts_becomes_the_prompt() -> None:
    result = read("preference", {"chosen": "The sky is blue.", "rejected": "The sky is green."})
    assert pair_of(result) == (
        [("user", "The sky is")],
        [("assistant", " blue.")],
        [("assistant", " green.")],
    )
    head = "\n\nHuman: Hi\n\nAssistant:"
    result = read("preference", {"chosen": f"{head} I say Yo", "rejected": f"{head} I say No"})
    assert summarize(result.messages) == [("user", head)]
    assert summarize(result.chosen) == [("assistant", " I say Yo")]
    result = read("preference", {"chosen": "Yo", "rejected": "No"})
    assert pair_of(result) == ([], [YES], [NO])
    result = read("preference", {"chosen": "Yo there", "rejected": "Yo there"})
    assert pair_of(result) == ([], [("assistant", "Yo there")], [("assistant", "Yo there")])


def test_shared_opening_messages_become_the_prompt() -> None:
    result = read(
        "preference",
        {"chosen": [USER, ANSWER, USER, ANSWER], "rejected": [USER, REFUSED, ANSWER]},
    )
    assert (len(result.messages), len(result.chosen), len(result.rejected)) == (1, 3, 2)


def test_identical_conversations_keep_one_answer_each() -> None:
    result = read("preference", {"chosen": [USER, ANSWER], "rejected": [USER, ANSWER]})
    assert pair_of(result) == ([("user", "Hi")], [YES], [YES])


def test_preference_row_keeps_system_history_tools_and_images() -> None:
    result = read(
        "preference",
        {
            "system": "s",
            "history": [["a", "b"]],
            "prompt": "<image>Hi",
            "chosen": "Yo",
            "rejected": "No",
            "images": ["a.png"],
            "tools": json.dumps([WEATHER]),
        },
    )
    assert [m["role"] for m in result.messages] == ["system", "user", "assistant", "user"]
    assert result.messages[-1]["content"] == [PICTURE, {"type": "text", "text": "Hi"}]
    assert (result.tools, result.extra) == (TOOLS, {})


def test_openai_preference_row_is_read_as_a_pair() -> None:
    arguments = {"messages": [USER], "tools": TOOLS, "parallel_tool_calls": True, "x": 1}
    row = {
        "input": arguments,
        "preferred_output": [ANSWER],
        "non_preferred_output": [REFUSED],
        "y": 2,
    }
    result = read("openai-preference", row)
    assert pair_of(result) == ([("user", "Hi")], [YES], [NO])
    assert result.tools == TOOLS
    assert result.extra == {"parallel_tool_calls": True, "input": {"x": 1}, "y": 2}


@pytest.mark.parametrize(
    "row",
    [
        {**PAIR, "label": False},
        {"prompt": [USER], "completion": [ANSWER], "label": False},
        {**CHAT, "label": False},
        {**ALPACA, "kto_tag": False},
        {"conversations": SPOKEN, "kto_tag": False},
    ],
)
def test_every_kto_notation_is_read_as_a_labeled_answer(row: dict[str, Any]) -> None:
    result = read("kto", {**row, "id": 1})
    assert summarize(result.messages) == [("user", "Hi"), ("assistant", "Yo")]
    assert (result.kind, result.label, result.extra) == ("labelled", False, {"id": 1})


@pytest.mark.parametrize("asked", [{"prompt": "Hi"}, {"prompt": [USER]}, {"messages": [USER]}])
def test_prompts_keep_fields_for_the_grader(asked: dict[str, Any]) -> None:
    result = read("prompt", {**asked, "answer": "4", "label": True})
    assert (result.kind, summarize(result.messages)) == ("prompt", [("user", "Hi")])
    assert result.extra == {"answer": "4", "label": True}
