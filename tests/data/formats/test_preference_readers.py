"""Preferences, labelled answers and prompts: what a row means."""

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


def pair_of(found: Example) -> tuple[Any, Any, Any]:
    assert found.kind == "preference"
    return summarize(found.messages), summarize(found.chosen), summarize(found.rejected)


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
def test_preferences(row: dict[str, Any], extra: dict[str, Any]) -> None:
    found = read("preference", row)
    assert pair_of(found) == ([("user", "Hi")], [YES], [NO])
    assert found.extra == extra


def test_a_prompt_that_both_texts_begin_with() -> None:
    found = read("preference", {"chosen": "The sky is blue.", "rejected": "The sky is green."})
    assert pair_of(found) == (
        [("user", "The sky is")],
        [("assistant", " blue.")],
        [("assistant", " green.")],
    )
    head = "\n\nHuman: Hi\n\nAssistant:"
    found = read("preference", {"chosen": f"{head} I say Yo", "rejected": f"{head} I say No"})
    assert summarize(found.messages) == [("user", head)]
    assert summarize(found.chosen) == [("assistant", " I say Yo")]
    found = read("preference", {"chosen": "Yo", "rejected": "No"})
    assert pair_of(found) == ([], [YES], [NO])
    found = read("preference", {"chosen": "Yo there", "rejected": "Yo there"})
    assert pair_of(found) == ([], [("assistant", "Yo there")], [("assistant", "Yo there")])


def test_conversations_that_part_at_an_answer_have_one_prompt() -> None:
    found = read(
        "preference",
        {"chosen": [USER, ANSWER, USER, ANSWER], "rejected": [USER, REFUSED, ANSWER]},
    )
    assert (len(found.messages), len(found.chosen), len(found.rejected)) == (1, 3, 2)


def test_whole_conversations_that_are_the_same_have_an_answer_each() -> None:
    found = read("preference", {"chosen": [USER, ANSWER], "rejected": [USER, ANSWER]})
    assert pair_of(found) == ([("user", "Hi")], [YES], [YES])


def test_preferences_with_system_history_tools_and_pictures() -> None:
    found = read(
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
    assert [m["role"] for m in found.messages] == ["system", "user", "assistant", "user"]
    assert found.messages[-1]["content"] == [PICTURE, {"type": "text", "text": "Hi"}]
    assert (found.tools, found.extra) == (TOOLS, {})


def test_preferences_of_openai() -> None:
    given = {"messages": [USER], "tools": TOOLS, "parallel_tool_calls": True, "x": 1}
    row = {"input": given, "preferred_output": [ANSWER], "non_preferred_output": [REFUSED], "y": 2}
    found = read("openai-preference", row)
    assert pair_of(found) == ([("user", "Hi")], [YES], [NO])
    assert found.tools == TOOLS
    assert found.extra == {"parallel_tool_calls": True, "input": {"x": 1}, "y": 2}


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
def test_labelled_answers(row: dict[str, Any]) -> None:
    found = read("kto", {**row, "id": 1})
    assert summarize(found.messages) == [("user", "Hi"), ("assistant", "Yo")]
    assert (found.kind, found.label, found.extra) == ("labelled", False, {"id": 1})


@pytest.mark.parametrize("asked", [{"prompt": "Hi"}, {"prompt": [USER]}, {"messages": [USER]}])
def test_prompts_keep_what_a_grader_reads(asked: dict[str, Any]) -> None:
    found = read("prompt", {**asked, "answer": "4", "label": True})
    assert (found.kind, summarize(found.messages)) == ("prompt", [("user", "Hi")])
    assert found.extra == {"answer": "4", "label": True}
