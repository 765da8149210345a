"""Round trips through each target's format: the same meaning, except for reported losses."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftwizard.data import formats
from ftwizard.data.example import Example, Message, RowProblem
from ftwizard.data.export import choose_format, list_formats, write
from ftwizard.data.platforms import Target, all_targets

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=20)
PNG = "data:image/png;base64,iVBORw0KGgo="
NAMES = ("weather", "time")
SCHEMA = {
    "type": "object",
    "properties": {
        "type": {"type": "string", "enum": ["a", "b"]},
        "n": {"type": ["integer", "null"]},
        "l": {
            "type": "array",
            "items": {"type": "object", "properties": {"x": {"type": "number"}}},
        },
    },
    "required": ["type"],
}
TOOLS = [
    {"type": "function", "function": {"name": name, "description": "Tells.", "parameters": SCHEMA}}
    for name in NAMES
]
ARGUMENTS = st.dictionaries(TEXT, st.none() | st.booleans() | st.integers(-9, 9) | TEXT, max_size=2)


@st.composite
def tool_rounds(draw: st.DrawFn) -> list[Message]:
    """Draw an answer with tool calls, and the results of the tools."""
    count = draw(st.integers(1, 2))
    start = draw(st.integers(0, 99))
    calls = []
    for number in range(count):
        arguments: Any = draw(ARGUMENTS)
        if draw(st.booleans()):
            arguments = json.dumps(arguments)
        function = {"name": draw(st.sampled_from(NAMES)), "arguments": arguments}
        calls.append({"id": f"c{start + number}", "type": "function", "function": function})
    content = draw(st.none() | TEXT)
    results = [draw(TEXT | ARGUMENTS.map(json.dumps)) for _ in calls]
    return [
        {"role": "assistant", "content": content, "tool_calls": calls},
        *(
            {"role": "tool", "tool_call_id": call["id"], "content": result}
            for call, result in zip(calls, results, strict=True)
        ),
    ]


@st.composite
def chats(draw: st.DrawFn, images: bool = True) -> Example:
    """Draw a conversation, some with tools, images, weights and reasoning."""
    messages: list[Message] = []
    if draw(st.booleans()):
        role = draw(st.sampled_from(["system", "developer"]))
        messages.append({"role": role, "content": draw(TEXT)})
    with_tools = draw(st.booleans())
    for _ in range(draw(st.integers(1, 3))):
        content: Any = draw(TEXT)
        if images and draw(st.integers(0, 4)) == 0:
            url = draw(
                st.sampled_from([PNG, "s3://b/cat.png", "gs://b/cat.jpg", "https://a.b/c.webp"])
            )
            content = [
                {"type": "text", "text": content},
                {"type": "image_url", "image_url": {"url": url}},
            ]
        messages.append({"role": "user", "content": content})
        if with_tools and draw(st.booleans()):
            messages += draw(tool_rounds())
        answer: Message = {"role": "assistant", "content": draw(TEXT)}
        if draw(st.integers(0, 3)) == 0:
            answer["weight"] = draw(st.sampled_from([0, 1]))
        if draw(st.integers(0, 3)) == 0:
            answer["reasoning_content"] = draw(TEXT)
        messages.append(answer)
    return Example(kind="chat", messages=messages, tools=TOOLS if with_tools else None)


def meaning(example: Example, without: set[str]) -> Any:
    """Return the meaning of a row, independent of its notation."""
    text = [
        [_message_meaning(message, without) for message in messages]
        for messages in (example.messages, example.chosen, example.rejected)
    ]
    tools = [] if "unused_tools" in without else [tool["function"] for tool in example.tools or []]
    return text, example.label, tools, example.text, example.tokens


def _message_meaning(message: Message, without: set[str]) -> Any:
    role = message["role"]
    content = message["content"] or ""
    lone: list[Message] = [{"type": "text", "text": content}]
    parts: list[Message] = lone if isinstance(content, str) else content
    text = "".join(part["text"] for part in parts if part["type"] == "text")
    reasoning = message.get("reasoning_content") or "".join(
        part["reasoningContent"]["reasoningText"]["text"]
        for part in parts
        if part["type"] == "reasoningContent"
    )
    image_urls = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
    calls = []
    for call in message.get("tool_calls", []):
        arguments = call["function"]["arguments"]
        loaded = json.loads(arguments) if isinstance(arguments, str) else arguments
        calls.append((call["function"]["name"], loaded))
    return (
        "system" if role == "developer" and "developer_role" in without else role,
        _tool_result(text) if role == "tool" else text,
        image_urls,
        calls,
        message.get("weight", 1) if "weight_unused" not in without else 1,
        reasoning if "reasoning_unused" not in without else "",
    )


def _tool_result(text: str) -> Any:
    """Return the result of a tool. Vertex AI wraps text that is not an object in ``output``."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    if not isinstance(value, dict):
        return text
    return value["output"] if value.keys() == {"output"} else value


def check_round_trip(example: Example, target: Target) -> None:
    for format in list_formats(target) or [choose_format(example, target)]:
        try:
            row, notes = write(example, target, format)
        except RowProblem:
            continue
        format = choose_format(example, target, format)
        again = json.loads(json.dumps(row))
        assert format in formats.match_formats(again).fits
        read = formats.to_example(again, format)
        without = {note.code for note in notes}
        assert read.kind == example.kind
        assert meaning(read, without) == meaning(example, without)
        # Writing the row again gives the same row.
        assert write(read, target, format)[0] == row


@pytest.mark.parametrize(
    "name", [name for name, item in all_targets().items() if "chat" in item.kinds]
)
@given(st.data())
def test_conversations_survive_a_round_trip(name: str, data: st.DataObject) -> None:
    check_round_trip(data.draw(chats()), all_targets()[name])


@pytest.mark.parametrize(
    "name", [n for n, item in all_targets().items() if "preference" in item.kinds]
)
@given(prompt=chats(images=False), better=TEXT, worse=TEXT)
def test_preference_pairs_survive_a_round_trip(
    name: str, prompt: Example, better: str, worse: str
) -> None:
    pair = Example(
        kind="preference",
        messages=[{k: v for k, v in m.items() if k != "weight"} for m in prompt.messages[:-1]],
        chosen=[{"role": "assistant", "content": better}],
        rejected=[{"role": "assistant", "content": worse}],
        tools=prompt.tools,
    )
    check_round_trip(pair, all_targets()[name])


@given(chat=chats(images=False), label=st.booleans())
def test_labeled_answers_survive_a_round_trip(chat: Example, label: bool) -> None:
    messages = [{k: v for k, v in m.items() if k != "weight"} for m in chat.messages]
    example = Example(kind="labelled", messages=messages, tools=chat.tools, label=label)
    row, _ = write(example, all_targets()["trl-kto"])
    read = formats.to_example(json.loads(json.dumps(row)), "kto")
    # The reader sets the weight of earlier answers to 0.
    assert meaning(read, {"weight_unused"}) == meaning(example, {"weight_unused"})


@pytest.mark.parametrize("name", [n for n, item in all_targets().items() if "prompt" in item.kinds])
@given(chat=chats(images=False), reference=TEXT | ARGUMENTS)
def test_prompts_survive_a_round_trip(name: str, chat: Example, reference: Any) -> None:
    example = Example(
        kind="prompt",
        messages=[{k: v for k, v in m.items() if k != "weight"} for m in chat.messages[:-1]],
        tools=chat.tools,
        extra={"reference_answer": reference},
    )
    check_round_trip(example, all_targets()[name])
    row, _ = write(example, all_targets()[name])
    assert row["reference_answer"] == reference


@given(text=TEXT)
def test_text_and_tokens_survive_a_round_trip(text: str) -> None:
    for name in ("trl-sft", "together-sft"):
        row, _ = write(Example(kind="text", text=text), all_targets()[name])
        assert formats.to_example(row, "text") == Example(kind="text", text=text)
    tokens = {"input_ids": [ord(c) for c in text], "labels": [-100] * len(text)}
    row, _ = write(Example(kind="tokens", tokens=tokens), all_targets()["trl-sft"])
    assert formats.to_example(row, "pretokenized") == Example(kind="tokens", tokens=tokens)
