"""One answer to which rows local training can use: of check, convert, fix, mask and train."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ftwizard.data import reader
from ftwizard.data.checks import row_checker, run
from ftwizard.data.checks.run import CheckOptions
from ftwizard.data.export.convert import convert_file
from ftwizard.data.platforms import get_target
from ftwizard.data.repair.repair import repair

CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
THOUGHT = {"type": "thinking", "thinking": "Hm.", "signature": "x"}


def talk(*contents: Any, **more: Any) -> dict[str, Any]:
    """Return a row of user and assistant in turn; a dict replaces fields of its message."""
    messages = []
    for number, content in enumerate(contents):
        message = {"role": "assistant" if number % 2 else "user", "content": content}
        messages.append(message | content if isinstance(content, dict) else message)
    return {"messages": messages, **more}


def text(value: str) -> dict[str, Any]:
    return {"type": "text", "text": value}


ODD: dict[str, dict[str, Any]] = {
    "plain": talk("a", "b"),
    "one empty answer of six": talk(*"ab", *"cd", "e", "", *"gh", *"ij", *"kl"),
    "all answers empty": talk("a", "", "b", " "),
    "a muted empty answer": talk("a", {"content": "", "weight": 0}, "c", "d"),
    "all muted": talk("a", {"content": "b", "weight": 0}),
    "an empty prompt": talk("", "b"),
    "one empty prompt of two": talk("a", "b", "", "d"),
    "an invisible answer": talk("a", "\u200b"),
    "thought and text": talk("a", [THOUGHT, text("b")]),
    "only a thought": talk("a", [THOUGHT]),
    "only a thought in the first of two": talk("a", [THOUGHT], "c", "d"),
    "a thought of Vertex": talk("a", [{"text": "Hm.", "thought": True}, text("b")]),
    "reasoning as a field": talk("a", {"content": "b", "reasoning_content": "Hm."}),
    "an image": talk([text("a"), {"type": "image_url", "image_url": {"url": "data:,"}}], "b"),
    "a video": talk([text("a"), {"type": "video", "video": "x.mp4"}], "b"),
    "a part without a type": talk([{"value": 1}], "b"),
    "a cache point": talk([text("a"), {"type": "cachePoint"}], "b"),
    "a refusal as a part": talk("a", [{"type": "refusal", "refusal": "No."}]),
    "a refusal as a field": talk("a", {"content": None, "refusal": "No."}),
    "a refusal as a list": talk("a", {"content": None, "refusal": [None]}),
    "a refusal as a list next to text": talk("a", {"content": "b", "refusal": [None]}),
    "audio as text": talk("a", {"content": None, "audio": "a.wav"}),
    "no content": talk("a", {"content": None}),
    "a number as content": talk("a", 7),
    "no answer": talk("a"),
    "no question": {"messages": [{"role": "assistant", "content": "b"}]},
    "a question last": talk("a", "b", "c"),
    "only a system prompt": {"messages": [{"role": "system", "content": "s"}]},
    "an unknown role": talk({"role": "alien", "content": "a"}, "b"),
    "a weight of 2": talk("a", {"content": "b", "weight": 2}),
    "a weight of true": talk("a", {"content": "b", "weight": True}),
    "a weight as text": talk("a", {"content": "b", "weight": "one"}),
    "a call": talk("a", {"content": None, "tool_calls": [CALL]}),
    "a call as text": talk("a", {"content": None, "tool_calls": "f()"}),
    "a call without a name": talk("a", {"content": None, "tool_calls": [{"function": {}}]}),
    "a call with broken arguments": talk(
        "a", {"content": None, "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}
    ),
    "a call with a list as arguments": talk(
        "a", {"content": None, "tool_calls": [{"function": {"name": "f", "arguments": "[]"}}]}
    ),
    "a call by the user": talk({"content": "a", "tool_calls": [CALL]}, "b"),
    "a legacy call": talk(
        "a", {"content": None, "function_call": {"name": "f", "arguments": "{}"}}
    ),
    "a legacy call as text": talk("a", {"content": None, "function_call": "f()"}),
    "a result without a call": talk("a", "b", {"role": "tool", "content": "r"}, "d"),
    "tools without a name": talk("a", "b", tools=[{"type": "function", "function": {}}]),
    "tools as text": talk("a", "b", tools='[{"name": "f"}]'),
    "tools as a word": talk("a", "b", tools="f"),
    "an image that is missing": talk("a", "b", images=["a.png"]),
    "another format": {"prompt": "a", "completion": "b"},
    "a list": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}],  # type: ignore[dict-item]
    "no messages": {"messages": []},
}


@pytest.mark.parametrize("name", ODD)
def test_every_command_uses_the_same_rows(name: str, tmp_path: Path) -> None:
    """The odd row is between two good ones, so that the format is clear."""
    rows = [talk("one", "1"), ODD[name], talk("two", "2"), talk("three", "3"), talk("four", "4")]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    checked = run.check_files(file, CheckOptions(target="trl-sft", count="no", near=False)).usable
    target = get_target("trl-sft")
    converted = convert_file(file, tmp_path / "converted.jsonl", target)
    trained = reader.read_table(file, convert=row_checker.to_trained)
    assert (converted.rows_out, len(trained.rows)) == (checked, checked), [
        *(item.message for item in converted.left_out), *(bad.message for bad in trained.problems),
    ]  # fmt: skip
    fixed = repair(file, tmp_path / "fixed.jsonl", target)
    assert fixed.rows_out >= checked
    again = run.check_files(Path(fixed.out), CheckOptions(target="trl-sft", count="no", near=False))
    assert again.usable == again.rows == fixed.rows_out
    written = run.check_files(Path(converted.out), CheckOptions(target="trl-sft", count="no"))
    assert written.usable == written.rows == converted.rows_out


def test_thoughts_are_not_part_of_the_answer() -> None:
    row = {
        "messages": [
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": [THOUGHT, text("b")]},
        ]
    }
    from ftwizard.data.formats import to_example

    assert row_checker.to_trained(to_example(row, "openai-chat")).messages[1]["content"] == "b"
