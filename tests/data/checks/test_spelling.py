"""Rows in a known format that a target rejects as they are, and that it takes once converted."""

from __future__ import annotations

from typing import Any

import pytest

from ftwizard.data import formats
from ftwizard.data.checks.row_checker import RowChecker
from ftwizard.data.export.convert import convert_row
from ftwizard.data.findings import RowFinding
from ftwizard.data.format_names import Format
from ftwizard.data.platforms import get_target

ASK = {"role": "user", "content": "Which one?"}
GOOD, BAD = ({"role": "assistant", "content": text} for text in ("This one.", "None."))
PIXEL = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAA"


def check(row: Any, format: Format, to: str) -> tuple[list[RowFinding], int]:
    """Return the errors of a row, and whether it is usable."""
    target = get_target(to)
    checker = RowChecker(format, target, exactly=True)
    checker.take(1, row)
    findings, _ = RowChecker(format, target, exactly=True).check_value(row)
    return [item for item in findings if target.severity(item.code) == "error"], checker.usable


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Which?", "chosen": "This.", "rejected": "None."},
        {"prompt": [ASK], "chosen": [GOOD], "rejected": [BAD]},
        {"chosen": [ASK, GOOD], "rejected": [ASK, BAD]},
        {"chosen": "Which? This.", "rejected": "Which? None."},
        {"prompt": "Which?", "chosen": "This.", "rejected": [BAD]},
        {"prompt": [ASK], "chosen": "This.", "rejected": "None."},
        {"prompt": "Which one?", "chosen": [ASK, GOOD], "rejected": [ASK, BAD]},
        {"question": "Which?", "chosen": "This.", "rejected": "None."},
        {"prompt": [ASK], "chosen": GOOD, "rejected": BAD},
        {"messages": [ASK, GOOD], "rejected_response": "None."},
    ],
)
def test_local_training_reads_every_spelling_of_pairs(row: dict[str, Any]) -> None:
    assert check(row, "preference", "trl-dpo") == ([], 1)
    converted = convert_row(formats.to_example(row, "preference"), get_target("trl-dpo")).line
    assert check(converted, "preference", "trl-dpo") == ([], 1)


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Which?", "completion": "This.", "label": True},
        {"messages": [ASK, GOOD], "label": True},
        {"prompt": "Which?", "completion": "This.", "kto_tag": True},
    ],
)
def test_local_training_reads_every_spelling_of_labeled_answers(row: dict[str, Any]) -> None:
    assert check(row, "kto", "trl-kto") == ([], 1)
    converted = convert_row(formats.to_example(row, "kto"), get_target("trl-kto")).line
    assert check(converted, "kto", "trl-kto") == ([], 1)


@pytest.mark.parametrize(
    "part",
    [
        {"type": "text", "value": "Which one?"},
        {"type": "input_text", "text": "Which one?"},
        {"type": "image", "image": PIXEL},
        {"type": "image", "url": PIXEL},
        {"type": "image", "image": {"url": PIXEL}},
    ],
)
def test_parts_of_other_libraries_are_read_and_converted(part: dict[str, Any]) -> None:
    row = {"messages": [{"role": "user", "content": [part]}, GOOD]}
    errors, usable = check(row, "openai-chat", "openai-sft")
    assert [item.code for item in errors] == ["needs_conversion"] and usable == 1
    line = convert_row(formats.to_example(row, "openai-chat"), get_target("openai-sft")).line
    assert (PIXEL if part["type"] == "image" else "Which one?").encode() in line
    assert check(line, "openai-chat", "openai-sft") == ([], 1)


def test_image_part_without_a_source_keeps_its_place() -> None:
    parts = [{"type": "image"}, {"type": "text", "text": "Which?"}]
    row = {
        "messages": [{"role": "user", "content": parts}, GOOD],
        "images": ["https://x.org/a.png"],
    }
    (picture, _) = formats.to_example(row, "openai-chat").messages[0]["content"]
    assert picture["image_url"]["url"] == "https://x.org/a.png"


@pytest.mark.parametrize("name", ["bedrock-claude", "openai-sft", "together-sft"])
def test_what_convert_resolves_is_no_finding_of_a_row_that_needs_it(name: str) -> None:
    turns = [{"from": "human", "value": "Which?"}, {"from": "gpt", "value": "This.", "id": 7}]
    row = {"id": 1, "category": "choice", "conversations": turns}
    errors, usable = check(row, "sharegpt", name)
    assert errors == [] and usable == 1
    convert_row(formats.to_example(row, "sharegpt"), get_target(name))


def test_calls_without_ids_are_usable_as_convert_writes_them() -> None:
    call = {"type": "function", "function": {"name": "f", "arguments": {}}}
    calling = {"role": "assistant", "content": None, "tool_calls": [call]}
    tools = [{"type": "function", "function": {"name": "f", "description": "Does f."}}]
    row = {"messages": [ASK, calling, {"role": "tool", "content": "4"}, GOOD], "tools": tools}
    errors, usable = check(row, "openai-chat", "openai-sft")
    assert {item.code for item in errors} == {"tool_call_id", "tool_arguments_form"} and usable == 1
    line = convert_row(formats.to_example(row, "openai-chat"), get_target("openai-sft")).line
    assert check(line, "openai-chat", "openai-sft") == ([], 1)


@pytest.mark.parametrize("name", ["Jöhn", "two words", "a" * 65, "ok_1-B"])
def test_openai_restricts_the_names_of_speakers(name: str) -> None:
    row = {"messages": [{**ASK, "name": name}, GOOD]}
    for to in ("openai-sft", "foundry-sft"):
        errors, usable = check(row, "openai-chat", to)
        assert [item.code for item in errors] == ["message_name"] * (name != "ok_1-B")
        assert usable == (name == "ok_1-B")
    assert check(row, "openai-chat", "together-sft") == check(row, "openai-chat", "trl-sft")
