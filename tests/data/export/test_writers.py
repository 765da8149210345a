"""A row's meaning is written as each target wants it; what it cannot carry is said, never lost."""

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


def written(example: Example, name: str, format: Format | None = None) -> dict[str, Any]:
    row, _ = write(example, get_target(name), format)
    again: dict[str, Any] = json.loads(json.dumps(row))
    return again


def lost(example: Example, name: str) -> list[str]:
    return [loss.code for loss in write(example, get_target(name))[1]]


def refusal(example: Example, name: str, format: Format | None = None) -> RowProblem:
    with pytest.raises(RowProblem) as caught:
        write(example, get_target(name), format)
    return caught.value


@pytest.mark.parametrize(
    "name", ["openai-sft", "foundry-sft", "together-sft", "vertex-open", "trl-sft"]
)
def test_chat_rows_are_openai_s(name: str) -> None:
    assert written(chat(ASKED, ANSWER), name) == {"messages": [ASKED, ANSWER]}
    assert lost(chat(ASKED, ANSWER), name) == []


def test_arguments_are_text_for_openai_and_an_object_for_trl() -> None:
    example = chat(*WITH_TOOLS, tools=TOOLS)
    hosted, local = written(example, "openai-sft"), written(example, "trl-sft")
    assert hosted["messages"][2]["tool_calls"][0]["function"]["arguments"] == '{"city":"Rome"}'
    assert hosted["messages"][2]["content"] is None
    assert local["messages"][2]["tool_calls"][0]["function"]["arguments"] == {"city": "Rome"}
    assert local["messages"][2]["content"] == ""  # templates join it with other text
    assert hosted["tools"] == local["tools"] == TOOLS
    back = chat(*local["messages"], tools=local["tools"])
    assert written(back, "openai-sft") == hosted


def test_calls_without_an_id_get_one_that_their_answers_name() -> None:
    calls = [{"function": {"name": name, "arguments": "{}"}} for name in ("a", "b")]
    example = chat(
        ASKED,
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "tool", "name": "b", "content": "of b"},
        {"role": "tool", "content": "of a"},
        ANSWER,
    )
    messages = written(example, "openai-sft")["messages"]
    assert [call["id"] for call in messages[1]["tool_calls"]] == ["call_1", "call_2"]
    assert [m["tool_call_id"] for m in messages[2:4]] == ["call_2", "call_1"]


def test_an_answer_that_no_call_waits_for_is_refused() -> None:
    for name in ("openai-sft", "vertex-gemini", "bedrock-nova"):
        assert (
            refusal(chat(ASKED, {"role": "tool", "content": "x"}, ANSWER), name).code
            == "tool_orphan"
        )


def test_function_calls_of_the_older_form_are_tool_calls() -> None:
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


def test_converse_puts_what_tools_answer_into_the_user_s_turn() -> None:
    example = chat(*WITH_TOOLS[:4], {"role": "user", "content": "And?"}, WITH_TOOLS[4], tools=TOOLS)
    row = written(example, "bedrock-nova")
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


def test_vertex_rows_are_contents() -> None:
    row = written(chat(*WITH_TOOLS, tools=TOOLS), "vertex-gemini")
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


def test_vertex_schemas_know_null_only_as_a_flag() -> None:
    tools = [
        {
            "name": "f",
            "parameters": {"type": "object", "properties": {"a": {"type": ["integer", "null"]}}},
        }
    ]
    row = written(chat(ASKED, ANSWER, tools=tools), "vertex-gemini")
    parameters = row["tools"][0]["functionDeclarations"][0]["parameters"]
    assert parameters["properties"]["a"] == {"type": "INTEGER", "nullable": True}
    tools[0]["parameters"]["properties"]["a"]["type"] = ["integer", "string"]  # type: ignore[index]
    assert refusal(chat(ASKED, ANSWER, tools=tools), "vertex-gemini").code == "tool_schema"


def test_claude_and_llama_take_text_alone() -> None:
    example = chat({"role": "system", "content": "Be brief."}, ASKED, ANSWER)
    assert written(example, "bedrock-claude") == {
        "system": "Be brief.",
        "messages": [ASKED, ANSWER],
    }
    assert written(example, "bedrock-llama")["system"] == [{"text": "Be brief."}]
    assert written(chat(ASKED, ANSWER), "bedrock-llama", "prompt-completion") == {
        "prompt": "What is 2 + 2?",
        "completion": "4",
    }
    assert refusal(example, "bedrock-llama", "prompt-completion").code == "many_turns"
    for name in ("bedrock-claude", "bedrock-llama"):
        assert refusal(chat(*WITH_TOOLS, tools=TOOLS), name).code == "tools_unsupported"
        assert lost(chat(ASKED, ANSWER, tools=TOOLS), name) == ["unused_tools"]


def test_a_system_message_in_the_middle_has_no_place_beside_the_turns() -> None:
    late = chat(ASKED, {"role": "system", "content": "Now in French."}, ANSWER)
    for name in ("bedrock-nova", "bedrock-claude", "vertex-gemini"):
        assert refusal(late, name).code == "system_position"
    assert lost(late, "openai-sft") == []


def test_a_developer_is_the_system_where_none_is_known() -> None:
    example = chat({"role": "developer", "content": "Be brief."}, ASKED, ANSWER)
    assert written(example, "openai-sft")["messages"][0]["role"] == "developer"
    assert written(example, "together-sft")["messages"][0]["role"] == "system"
    assert lost(example, "together-sft") == ["developer_role"]
    assert written(example, "vertex-gemini")["systemInstruction"]["parts"] == [
        {"text": "Be brief."}
    ]


def test_what_is_not_to_be_learnt_is_said_where_weights_are_ignored() -> None:
    example = chat(ASKED, {**ANSWER, "weight": 0}, ASKED, {**ANSWER, "weight": 1})
    for name in ("openai-sft", "together-sft", "trl-sft"):
        assert [m.get("weight") for m in written(example, name)["messages"]] == [None, 0, None, 1]
        assert lost(example, name) == []
    for name in ("bedrock-nova", "bedrock-claude", "vertex-gemini", "vertex-open"):
        assert lost(example, name) == ["weight_unused"]
        assert lost(chat(ASKED, {**ANSWER, "weight": 1}), name) == []


def test_reasoning_goes_where_it_is_trained_on() -> None:
    example = chat(ASKED, {**ANSWER, "reasoning_content": "2 and 2."})
    assert written(example, "together-sft")["messages"][1]["reasoning_content"] == "2 and 2."
    assert written(example, "trl-sft")["messages"][1]["reasoning_content"] == "2 and 2."
    assert written(example, "bedrock-nova")["messages"][1]["content"] == [
        {"reasoningContent": {"reasoningText": {"text": "2 and 2."}}},
        {"text": "4"},
    ]
    for name in ("openai-sft", "vertex-gemini", "bedrock-claude"):
        assert lost(example, name) == ["reasoning_unused"]


def test_fields_that_nothing_there_reads_are_left_out_and_said() -> None:
    example = chat(
        {**ASKED, "name": "Ann"},
        {**ANSWER, "mood": "calm", "refusal": None},
        extra={"id": 7, "none": None, "parallel_tool_calls": False},
    )
    row, notes = write(example, get_target("openai-sft"))
    assert row == {"messages": [{**ASKED, "name": "Ann"}, ANSWER], "parallel_tool_calls": False}
    assert [note.code for note in notes] == ["extra_keys"]
    assert "“id”, “mood”:" in notes[0].message
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
def test_pictures_go_where_their_address_is_read(url: str, taken: set[str]) -> None:
    picture = {"type": "image_url", "image_url": {"url": url}}
    example = chat(
        {"role": "user", "content": [{"type": "text", "text": "What?"}, picture]}, ANSWER
    )
    for name, item in all_targets().items():
        if "chat" not in item.kinds:
            continue
        if name in taken:
            assert url.removeprefix("data:image/png;base64,") in json.dumps(written(example, name))
            continue
        assert refusal(example, name).code in ("image_url", "images_unsupported")


def test_a_row_with_a_picture_is_all_parts_for_together() -> None:
    picture = {"type": "image_url", "image_url": {"url": PNG}}
    example = chat({"role": "user", "content": [picture]}, ANSWER)
    messages = written(example, "together-sft")["messages"]
    assert messages[1]["content"] == [{"type": "text", "text": "4"}]
    assert written(example, "openai-sft")["messages"][1]["content"] == "4"
    parts = chat(
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        ANSWER,
    )
    assert written(parts, "together-sft")["messages"][0]["content"] == "ab"


def test_pictures_are_written_as_each_platform_names_them() -> None:
    def row(url: str, name: str) -> dict[str, Any]:
        picture = {"type": "image_url", "image_url": {"url": url}}
        return written(chat({"role": "user", "content": [picture]}, ANSWER), name)

    assert row(PNG, "vertex-gemini")["contents"][0]["parts"] == [
        {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}}
    ]
    assert row("gs://b/cat.jpg", "vertex-gemini")["contents"][0]["parts"] == [
        {"fileData": {"mimeType": "image/jpeg", "fileUri": "gs://b/cat.jpg"}}
    ]
    assert row("s3://b/cat.jpg", "bedrock-nova")["messages"][0]["content"] == [
        {"image": {"format": "jpeg", "source": {"s3Location": {"uri": "s3://b/cat.jpg"}}}}
    ]


def test_preferences() -> None:
    pair = Example(
        kind="preference", messages=[ASKED], chosen=[ANSWER], rejected=[{**ANSWER, "content": "5"}]
    )
    assert written(pair, "trl-dpo") == {
        "prompt": [ASKED], "chosen": [ANSWER], "rejected": [{**ANSWER, "content": "5"}],
    }  # fmt: skip
    for name in ("openai-dpo", "foundry-dpo", "together-dpo"):
        assert written(pair, name) == {
            "input": {"messages": [ASKED]},
            "preferred_output": [ANSWER],
            "non_preferred_output": [{**ANSWER, "content": "5"}],
        }
    longer = Example(
        kind="preference", messages=[ASKED], chosen=[ANSWER, ASKED, ANSWER], rejected=[ANSWER]
    )
    assert refusal(longer, "openai-dpo").code == "one_answer"
    assert len(written(longer, "trl-dpo")["chosen"]) == 3


def test_labelled_answers_prompts_text_and_tokens() -> None:
    labelled = Example(kind="labelled", messages=[ASKED, ANSWER], label=False)
    assert written(labelled, "trl-kto") == {
        "prompt": [ASKED],
        "completion": [ANSWER],
        "label": False,
    }
    prompt = Example(kind="prompt", messages=[ASKED], extra={"reference_answer": 4})
    for name in ("openai-rft", "foundry-rft", "bedrock-rft"):
        assert written(prompt, name) == {"messages": [ASKED], "reference_answer": 4}
        assert lost(prompt, name) == []
    text = Example(kind="text", text="Once.", extra={"id": 1})
    for name in ("trl-sft", "together-sft"):
        assert written(text, name) == {"text": "Once."}
        assert lost(text, name) == ["extra_keys"]
    tokens = Example(kind="tokens", tokens={"input_ids": [1, 2], "labels": [-100, 2]})
    assert written(tokens, "trl-sft") == tokens.tokens


def test_rows_of_another_kind_are_refused_never_made_over() -> None:
    pair = Example(kind="preference", messages=[ASKED], chosen=[ANSWER], rejected=[ANSWER])
    for name, item in all_targets().items():
        if "preference" not in item.kinds:
            assert refusal(pair, name).code == "wrong_kind"
    assert refusal(chat(ASKED, ANSWER), "openai-rft").code == "wrong_kind"
    assert "a prompt without an answer" in refusal(chat(ASKED, ANSWER), "openai-rft").message


def test_every_target_has_a_format_for_all_that_it_takes() -> None:
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
            assert written(examples[kind], name)
        for format in list_formats(item):
            assert written(examples["chat"], name, format)


@given(EXAMPLES)
def test_whatever_a_row_holds_it_is_written_or_refused_with_a_code(example: Example) -> None:
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
