"""Readers for Vertex AI, Bedrock, pretokenized and plain-text rows."""

from __future__ import annotations

from tests.helpers.format_rows import TOOLS, WEATHER, read, summarize


def test_vertex_row_is_read_as_messages() -> None:
    result = read(
        "vertex",
        {
            "systemInstruction": {"role": "system", "parts": [{"text": "s"}]},
            "contents": [
                {"role": "user", "parts": [
                    {"fileData": {"mimeType": "image/png", "fileUri": "gs://b/a.png"}},
                    {"inline_data": {"mime_type": "image/jpeg", "data": "QUJD"}},
                    {"fileData": {"mimeType": "video/mp4", "fileUri": "gs://b/v"}},
                    {"text": "Hi"},
                ]},
                {"role": "model", "parts": [
                    {"functionCall": {"name": "weather", "args": {"at": "x"}}}]},
                {"role": "user", "parts": [
                    {"functionResponse": {"name": "weather", "response": {"t": 4}}}]},
                {"role": "model", "parts": [{"text": "Yo"}, {"executableCode": {"code": "1"}}]},
            ],
            "tools": [{"functionDeclarations": [WEATHER]}, {"googleSearch": {}}],
            "labels": {"a": "b"},
        },
    )  # fmt: skip
    assert summarize(result.messages)[0] == ("system", "s")
    assert result.messages[1:] == [
        {"role": "user", "content": [
            {"type": "image_url", "image_url": {"url": "gs://b/a.png"}, "media_type": "image/png"},
            {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,QUJD"},
             "media_type": "image/jpeg"},
            {"type": "video", "video": "gs://b/v", "media_type": "video/mp4"},
            {"type": "text", "text": "Hi"},
        ]},
        {"role": "assistant", "content": None, "tool_calls": [
            {"type": "function", "function": {"name": "weather", "arguments": {"at": "x"}}}]},
        {"role": "tool", "name": "weather", "content": '{"t": 4}'},
        {"role": "assistant", "content": [
            {"type": "text", "text": "Yo"},
            {"type": "executableCode", "executableCode": {"code": "1"}},
        ]},
    ]  # fmt: skip
    assert result.tools == [*TOOLS, {"googleSearch": {}}]
    assert result.extra == {"labels": {"a": "b"}}


def test_bedrock_converse_row_is_read_as_messages() -> None:
    spec = {"name": "weather", "description": "…", "inputSchema": {"json": {"type": "object"}}}
    result = read(
        "bedrock-converse",
        {
            "schemaVersion": "bedrock-conversation-2024",
            "system": [{"text": "s"}],
            "messages": [
                {"role": "user", "content": [
                    {"image": {"format": "png", "source": {"s3Location": {
                        "uri": "s3://b/a.png", "bucketOwner": "1"}}}},
                    {"image": {"format": "png", "source": {"bytes": "QUJD"}}},
                    {"video": {"format": "mp4"}},
                    {"text": "Hi"},
                ]},
                {"role": "assistant", "content": [
                    {"text": "So"},
                    {"toolUse": {"toolUseId": "1", "name": "weather", "input": {"at": "x"}}},
                ]},
                {"role": "user", "content": [
                    {"toolResult": {"toolUseId": "1", "content": [{"json": {"t": 4}}],
                                    "status": "success"}},
                    {"text": "And?"},
                ]},
                {"role": "assistant", "content": [{"text": "Yo"}]},
            ],
            "toolConfig": {"tools": [{"toolSpec": spec}], "toolChoice": {"auto": {}}},
            "id": 1,
        },
    )  # fmt: skip
    call = {
        "id": "1",
        "type": "function",
        "function": {"name": "weather", "arguments": {"at": "x"}},
    }
    assert result.messages == [
        {"role": "system", "content": "s"},
        {"role": "user", "content": [
            {"type": "image_url", "image_url": {"url": "s3://b/a.png"}, "format": "png",
             "bucketOwner": "1"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"},
             "format": "png"},
            {"type": "video", "video": {"format": "mp4"}},
            {"type": "text", "text": "Hi"},
        ]},
        {"role": "assistant", "content": "So", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": '{"t": 4}', "status": "success"},
        {"role": "user", "content": "And?"},
        {"role": "assistant", "content": "Yo"},
    ]  # fmt: skip
    assert result.tools == TOOLS
    assert result.extra == {"id": 1, "toolConfig": {"toolChoice": {"auto": {}}}}


def test_unknown_schema_version_is_kept() -> None:
    row = {"messages": [{"role": "user", "content": [{"text": "Hi"}]}], "schemaVersion": "2030"}
    assert read("bedrock-converse", row).extra == {"schemaVersion": "2030"}


def test_bedrock_claude_row_is_read_as_messages() -> None:
    schema = {"name": "weather", "description": "…", "input_schema": {"type": "object"}}
    source = {"type": "base64", "media_type": "image/png", "data": "QUJD"}
    result = read(
        "bedrock-claude",
        {
            "system": [{"type": "text", "text": "s"}],
            "messages": [
                {"role": "user", "content": [
                    {"type": "image", "source": source}, {"type": "text", "text": "Hi"}]},
                {"role": "assistant", "content": [
                    {"type": "tool_use", "id": "1", "name": "weather", "input": {"at": "x"}}]},
                {"role": "user", "content": [
                    {"type": "tool_result", "tool_use_id": "1", "content": [
                        {"type": "text", "text": "4"}]}]},
                {"role": "assistant", "content": "Yo"},
            ],
            "tools": [schema],
            "id": 1,
        },
    )  # fmt: skip
    assert [m["role"] for m in result.messages] == [
        "system", "user", "assistant", "tool", "assistant",
    ]  # fmt: skip
    assert result.messages[1]["content"][0]["image_url"] == {"url": "data:image/png;base64,QUJD"}
    assert result.messages[2]["tool_calls"][0]["function"]["arguments"] == {"at": "x"}
    assert result.messages[3] == {"role": "tool", "tool_call_id": "1", "content": "4"}
    assert (result.tools, result.extra) == (TOOLS, {"id": 1})


def test_pretokenized_and_text_rows_keep_extra_fields() -> None:
    row = {"input_ids": [1, 2], "labels": [-100, 2], "attention_mask": [1, 1], "id": "a"}
    result = read("pretokenized", row)
    assert result.tokens == {key: row[key] for key in ("input_ids", "labels", "attention_mask")}
    assert (result.kind, result.extra) == ("tokens", {"id": "a"})
    result = read("text", {"text": " ", "url": "x"})
    assert (result.kind, result.text, result.extra) == ("text", " ", {"url": "x"})
