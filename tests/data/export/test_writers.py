"""Writers of each target's format, with every loss reported."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given

from ftwizard.data.example import Example, Message, RowProblem
from ftwizard.data.export import list_formats, write
from ftwizard.data.findings import RowFinding
from ftwizard.data.format_names import Format
from ftwizard.data.platforms import all_targets, get_target, severities
from ftwizard.text import make_visible
from tests.helpers.any_rows import EXAMPLES

ASKED: Message = {"role": "user", "content": "What is 2 + 2?"}
ANSWER: Message = {"role": "assistant", "content": "4"}
PNG = "data:image/png;base64,iVBORw0KGgo="
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}]
CALL = {
    "id": "c1",
    "type": "function",
    "function": {"name": "weather", "arguments": {"city": "Rome"}},
}
WITH_TOOLS: list[Message] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Rome?"},
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "c1", "content": '{"sky": "clear"}'},
    {"role": "assistant", "content": "Clear."},
]


def chat(*messages: Message, **more: Any) -> Example:
    return Example(kind="chat", messages=list(messages), **more)


def write_row(example: Example, name: str, format: Format | None = None) -> dict[str, Any]:
    row, _ = write(example, get_target(name), format)
    again: dict[str, Any] = json.loads(json.dumps(row))
    return again


def list_losses(example: Example, name: str) -> list[str]:
    return [loss.code for loss in write(example, get_target(name))[1]]


def get_problem(example: Example, name: str, format: Format | None = None) -> RowProblem:
    with pytest.raises(RowProblem) as caught:
        write(example, get_target(name), format)
    return caught.value


@pytest.mark.parametrize(
    "name", ["openai-sft", "foundry-sft", "together-sft", "vertex-open", "trl-sft"]
)
def test_chat_targets_use_openai_messages(name: str) -> None:
    assert write_row(chat(ASKED, ANSWER), name) == {"messages": [ASKED, ANSWER]}
    assert list_losses(chat(ASKED, ANSWER), name) == []


def test_arguments_are_text_for_openai_and_objects_for_trl() -> None:
    example = chat(*WITH_TOOLS, tools=TOOLS)
    hosted, local = write_row(example, "openai-sft"), write_row(example, "trl-sft")
    assert hosted["messages"][2]["tool_calls"][0]["function"]["arguments"] == '{"city":"Rome"}'
    assert hosted["messages"][2]["content"] is None
    assert local["messages"][2]["tool_calls"][0]["function"]["arguments"] == {"city": "Rome"}
    assert local["messages"][2]["content"] == ""  # chat templates concatenate it with text
    assert hosted["tools"] == local["tools"] == TOOLS
    back = chat(*local["messages"], tools=local["tools"])
    assert write_row(back, "openai-sft") == hosted


def test_calls_without_ids_get_ids_that_results_refer_to() -> None:
    calls = [{"function": {"name": name, "arguments": "{}"}} for name in ("a", "b")]
    example = chat(
        ASKED,
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "tool", "name": "b", "content": "of b"},
        {"role": "tool", "content": "of a"},
        ANSWER,
    )
    messages = write_row(example, "openai-sft")["messages"]
    assert [call["id"] for call in messages[1]["tool_calls"]] == ["call_1", "call_2"]
    assert [m["tool_call_id"] for m in messages[2:4]] == ["call_2", "call_1"]


def test_tool_result_without_a_call_is_rejected() -> None:
    for name in ("openai-sft", "vertex-gemini", "bedrock-nova"):
        assert (
            get_problem(chat(ASKED, {"role": "tool", "content": "x"}, ANSWER), name).code
            == "tool_orphan"
        )


def test_legacy_function_calls_are_written_as_tool_calls() -> None:
    example = chat(
        ASKED,
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "function", "name": "f", "content": "1"},
        ANSWER,
        extra={"functions": [{"name": "f", "parameters": SCHEMA}]},
    )
    row, notes = write(example, get_target("openai-sft"))
    assert [note.code for note in notes] == ["deprecated"]
    assert row["messages"][1]["tool_calls"][0]["function"] == {"name": "f", "arguments": "{}"}
    assert row["messages"][2] == {"role": "tool", "content": "1", "tool_call_id": "call_1"}
    assert row["tools"] == [{"type": "function", "function": {"name": "f", "parameters": SCHEMA}}]


def test_converse_puts_tool_results_into_user_messages() -> None:
    example = chat(*WITH_TOOLS[:4], {"role": "user", "content": "And?"}, WITH_TOOLS[4], tools=TOOLS)
    row = write_row(example, "bedrock-nova")
    assert row["schemaVersion"] == "bedrock-conversation-2024"
    assert row["system"] == [{"text": "Be brief."}]
    assert [m["role"] for m in row["messages"]] == ["user", "assistant", "user", "assistant"]
    assert row["messages"][1]["content"] == [
        {"toolUse": {"toolUseId": "c1", "name": "weather", "input": {"city": "Rome"}}}
    ]
    assert row["messages"][2]["content"] == [
        {"toolResult": {"toolUseId": "c1", "content": [{"text": '{"sky": "clear"}'}]}},
        {"text": "And?"},
    ]
    assert row["toolConfig"] == {
        "tools": [{"toolSpec": {"name": "weather", "inputSchema": {"json": SCHEMA}}}]
    }


def test_vertex_rows_use_contents_and_function_declarations() -> None:
    row = write_row(chat(*WITH_TOOLS, tools=TOOLS), "vertex-gemini")
    assert row == {
        "systemInstruction": {"role": "system", "parts": [{"text": "Be brief."}]},
        "contents": [
            {"role": "user", "parts": [{"text": "Rome?"}]},
            {
                "role": "model",
                "parts": [{"functionCall": {"name": "weather", "args": {"city": "Rome"}}}],
            },
            {
                "role": "user",
                "parts": [{"functionResponse": {"name": "weather", "response": {"sky": "clear"}}}],
            },
            {"role": "model", "parts": [{"text": "Clear."}]},
        ],
        "tools": [
            {
                "functionDeclarations": [
                    {
                        "name": "weather",
                        "parameters": {
                            "type": "OBJECT",
                            "properties": {"city": {"type": "STRING"}},
                        },
                    }
                ]
            }
        ],
    }


def test_vertex_schemas_express_null_as_nullable() -> None:
    tools = [
        {
            "name": "f",
            "parameters": {"type": "object", "properties": {"a": {"type": ["integer", "null"]}}},
        }
    ]
    row = write_row(chat(ASKED, ANSWER, tools=tools), "vertex-gemini")
    parameters = row["tools"][0]["functionDeclarations"][0]["parameters"]
    assert parameters["properties"]["a"] == {"type": "INTEGER", "nullable": True}
    tools[0]["parameters"]["properties"]["a"]["type"] = ["integer", "string"]  # type: ignore[index]
    assert get_problem(chat(ASKED, ANSWER, tools=tools), "vertex-gemini").code == "tool_schema"


def test_claude_and_llama_rows_hold_only_text() -> None:
    example = chat({"role": "system", "content": "Be brief."}, ASKED, ANSWER)
    assert write_row(example, "bedrock-claude") == {
        "system": "Be brief.",
        "messages": [ASKED, ANSWER],
    }
    assert write_row(example, "bedrock-llama")["system"] == [{"text": "Be brief."}]
    assert write_row(chat(ASKED, ANSWER), "bedrock-llama", "prompt-completion") == {
        "prompt": "What is 2 + 2?",
        "completion": "4",
    }
    assert get_problem(example, "bedrock-llama", "prompt-completion").code == "many_turns"
    for name in ("bedrock-claude", "bedrock-llama"):
        assert get_problem(chat(*WITH_TOOLS, tools=TOOLS), name).code == "tools_unsupported"
        assert list_losses(chat(ASKED, ANSWER, tools=TOOLS), name) == ["unused_tools"]


def test_late_system_message_is_rejected_by_bedrock_and_vertex() -> None:
    late = chat(ASKED, {"role": "system", "content": "Now in French."}, ANSWER)
    for name in ("bedrock-nova", "bedrock-claude", "vertex-gemini"):
        assert get_problem(late, name).code == "system_position"
    assert list_losses(late, "openai-sft") == []


def test_developer_role_becomes_system_where_unsupported() -> None:
    example = chat({"role": "developer", "content": "Be brief."}, ASKED, ANSWER)
    assert write_row(example, "openai-sft")["messages"][0]["role"] == "developer"
    assert write_row(example, "together-sft")["messages"][0]["role"] == "system"
    assert list_losses(example, "together-sft") == ["developer_role"]
    assert write_row(example, "vertex-gemini")["systemInstruction"]["parts"] == [
        {"text": "Be brief."}
    ]


def test_zero_weight_is_a_loss_where_weights_are_ignored() -> None:
    example = chat(ASKED, {**ANSWER, "weight": 0}, ASKED, {**ANSWER, "weight": 1})
    for name in ("openai-sft", "together-sft", "trl-sft"):
        assert [m.get("weight") for m in write_row(example, name)["messages"]] == [None, 0, None, 1]
        assert list_losses(example, name) == []
    for name in ("bedrock-nova", "bedrock-claude", "vertex-gemini", "vertex-open"):
        assert list_losses(example, name) == ["weight_unused"]
        assert list_losses(chat(ASKED, {**ANSWER, "weight": 1}), name) == []


def test_reasoning_is_written_only_where_it_is_trained_on() -> None:
    example = chat(ASKED, {**ANSWER, "reasoning_content": "2 and 2."})
    assert write_row(example, "together-sft")["messages"][1]["reasoning_content"] == "2 and 2."
    assert write_row(example, "trl-sft")["messages"][1]["reasoning_content"] == "2 and 2."
    assert write_row(example, "bedrock-nova")["messages"][1]["content"] == [
        {"reasoningContent": {"reasoningText": {"text": "2 and 2."}}},
        {"text": "4"},
    ]
    for name in ("openai-sft", "vertex-gemini", "bedrock-claude"):
        assert list_losses(example, name) == ["reasoning_unused"]


def test_unsupported_fields_are_dropped_and_reported() -> None:
    example = chat(
        {**ASKED, "name": "Ann"},
        {**ANSWER, "mood": "calm", "refusal": None},
        extra={"id": 7, "none": None, "parallel_tool_calls": False},
    )
    row, notes = write(example, get_target("openai-sft"))
    assert row == {"messages": [{**ASKED, "name": "Ann"}, ANSWER], "parallel_tool_calls": False}
    assert [note.code for note in notes] == ["extra_keys"]
    assert "“id”, “mood”:" in notes[0].message
    (note,) = write(chat(ASKED, {**ANSWER, "refusal": [None]}), get_target("openai-sft"))[1]
    assert note.code == "extra_keys" and "“refusal”" in note.message
    text = write(example, get_target("together-sft"))[1][0].message
    assert "“id”, “parallel_tool_calls”, “name”, “mood”:" in text


@pytest.mark.parametrize(
    ("url", "taken"),
    [
        (PNG, {"openai-sft", "foundry-sft", "together-sft", "vertex-gemini"}),
        ("https://a.example/cat.png?x=1", {"openai-sft", "foundry-sft", "vertex-gemini"}),
        ("s3://bucket/cat.jpg", {"bedrock-nova", "bedrock-llama"}),
        ("gs://bucket/cat.webp", {"vertex-gemini"}),
        ("pictures/cat.png", set()),
        ("C:\\cat.png", set()),
    ],
)
def test_images_are_written_only_where_their_url_is_supported(url: str, taken: set[str]) -> None:
    image = {"type": "image_url", "image_url": {"url": url}}
    example = chat({"role": "user", "content": [{"type": "text", "text": "What?"}, image]}, ANSWER)
    for name, item in all_targets().items():
        if "chat" not in item.kinds:
            continue
        if name in taken:
            assert url.removeprefix("data:image/png;base64,") in json.dumps(
                write_row(example, name)
            )
            continue
        assert get_problem(example, name).code in ("image_url", "images_unsupported")


def test_together_rows_with_images_use_content_parts() -> None:
    image = {"type": "image_url", "image_url": {"url": PNG}}
    example = chat({"role": "user", "content": [image]}, ANSWER)
    messages = write_row(example, "together-sft")["messages"]
    assert messages[1]["content"] == [{"type": "text", "text": "4"}]
    assert write_row(example, "openai-sft")["messages"][1]["content"] == "4"
    parts = chat(
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        ANSWER,
    )
    assert write_row(parts, "together-sft")["messages"][0]["content"] == "ab"


def test_images_use_the_notation_of_each_platform() -> None:
    def row(url: str, name: str) -> dict[str, Any]:
        image = {"type": "image_url", "image_url": {"url": url}}
        return write_row(chat({"role": "user", "content": [image]}, ANSWER), name)

    assert row(PNG, "vertex-gemini")["contents"][0]["parts"] == [
        {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}}
    ]
    assert row("gs://b/cat.jpg", "vertex-gemini")["contents"][0]["parts"] == [
        {"fileData": {"mimeType": "image/jpeg", "fileUri": "gs://b/cat.jpg"}}
    ]
    assert row("s3://b/cat.jpg", "bedrock-nova")["messages"][0]["content"] == [
        {"image": {"format": "jpeg", "source": {"s3Location": {"uri": "s3://b/cat.jpg"}}}}
    ]


def test_preference_pairs_use_the_format_of_each_target() -> None:
    pair = Example(
        kind="preference", messages=[ASKED], chosen=[ANSWER], rejected=[{**ANSWER, "content": "5"}]
    )
    assert write_row(pair, "trl-dpo") == {
        "prompt": [ASKED], "chosen": [ANSWER], "rejected": [{**ANSWER, "content": "5"}],
    }  # fmt: skip
    for name in ("openai-dpo", "foundry-dpo", "together-dpo"):
        assert write_row(pair, name) == {
            "input": {"messages": [ASKED]},
            "preferred_output": [ANSWER],
            "non_preferred_output": [{**ANSWER, "content": "5"}],
        }
    longer = Example(
        kind="preference", messages=[ASKED], chosen=[ANSWER, ASKED, ANSWER], rejected=[ANSWER]
    )
    assert get_problem(longer, "openai-dpo").code == "one_answer"
    assert len(write_row(longer, "trl-dpo")["chosen"]) == 3


def test_labeled_answers_prompts_text_and_tokens_are_written() -> None:
    labelled = Example(kind="labelled", messages=[ASKED, ANSWER], label=False)
    assert write_row(labelled, "trl-kto") == {
        "prompt": [ASKED],
        "completion": [ANSWER],
        "label": False,
    }
    prompt = Example(kind="prompt", messages=[ASKED], extra={"reference_answer": 4})
    for name in ("openai-rft", "foundry-rft", "bedrock-rft"):
        assert write_row(prompt, name) == {"messages": [ASKED], "reference_answer": 4}
        assert list_losses(prompt, name) == []
    text = Example(kind="text", text="Once.", extra={"id": 1})
    for name in ("trl-sft", "together-sft"):
        assert write_row(text, name) == {"text": "Once."}
        assert list_losses(text, name) == ["extra_keys"]
    tokens = Example(kind="tokens", tokens={"input_ids": [1, 2], "labels": [-100, 2]})
    assert write_row(tokens, "trl-sft") == tokens.tokens


def test_rows_of_another_kind_are_rejected() -> None:
    pair = Example(kind="preference", messages=[ASKED], chosen=[ANSWER], rejected=[ANSWER])
    for name, item in all_targets().items():
        if "preference" not in item.kinds:
            assert get_problem(pair, name).code == "wrong_kind"
    assert get_problem(chat(ASKED, ANSWER), "openai-rft").code == "wrong_kind"
    assert "a prompt without an answer" in get_problem(chat(ASKED, ANSWER), "openai-rft").message


def test_every_target_writes_every_kind_it_supports() -> None:
    examples = {
        "chat": chat(ASKED, ANSWER),
        "prompt": Example(kind="prompt", messages=[ASKED]),
        "preference": Example(
            kind="preference", messages=[ASKED], chosen=[ANSWER], rejected=[ANSWER]
        ),
        "labelled": Example(kind="labelled", messages=[ASKED, ANSWER], label=True),
        "text": Example(kind="text", text="Once."),
        "tokens": Example(kind="tokens", tokens={"input_ids": [1]}),
    }
    for name, item in all_targets().items():
        for kind in item.kinds:
            assert write_row(examples[kind], name)
        for format in list_formats(item):
            assert write_row(examples["chat"], name, format)


@given(EXAMPLES)
def test_arbitrary_rows_are_written_or_rejected_with_a_code(example: Example) -> None:
    for target in all_targets().values():
        formats: list[Format | None] = [*list_formats(target)]
        for format in formats or [None]:
            try:
                row, notes = write(example, target, format)
            except RowProblem as problem:
                notes = [RowFinding(problem.code, problem.message, problem.fix)]
            else:
                json.dumps(row)
            for code, message, fix in notes:
                assert code in severities()
                assert message and fix
                assert message == make_visible(message)
