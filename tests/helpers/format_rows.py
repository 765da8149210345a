"""Rows in each dialect of each format, and functions that read them."""

from __future__ import annotations

import json
from typing import Any

from ftwizard.data import formats
from ftwizard.data.example import Example, Message
from ftwizard.data.format_names import Format

USER = {"role": "user", "content": "Hi"}
ANSWER = {"role": "assistant", "content": "Yo"}
REFUSED = {"role": "assistant", "content": "No"}
PICTURE = {"type": "image_url", "image_url": {"url": "a.png"}}
CHAT: dict[str, Any] = {"messages": [USER, ANSWER]}
ALPACA = {"instruction": "Hi", "input": "", "output": "Yo"}
PAIR = {"prompt": "Hi", "completion": "Yo"}
WEATHER = {"name": "weather", "description": "…", "parameters": {"type": "object"}}
TOOLS = [{"type": "function", "function": WEATHER}]
CALL = {"id": "1", "type": "function", "function": {"name": "weather", "arguments": '{"at": "x"}'}}
SPOKEN = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Yo"}]
_CALLED = [
    USER,
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "1", "content": "4"},
    ANSWER,
]

DIALECTS: list[tuple[Format, Any]] = [
    ("openai-chat", CHAT),
    ("openai-chat", {"messages": [{"role": "system", "content": "s"}, USER, ANSWER], "id": 3}),
    ("openai-chat", {"messages": _CALLED, "tools": TOOLS, "parallel_tool_calls": False}),
    ("openai-chat", {"messages": _CALLED, "tools": json.dumps(TOOLS), "system": "s"}),
    ("openai-chat", {"messages": [USER, {**ANSWER, "weight": 0}, USER, ANSWER]}),
    ("openai-chat", {"messages": [
        {"role": "user", "content": [
            {"type": "text", "text": "Who?"},
            {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
        ]},
        ANSWER,
    ]}),
    ("openai-chat", {"messages": [{"role": "user", "content": "<image>Who?"}, ANSWER],
                     "images": ["a.png"]}),
    ("openai-chat", {"messages": [USER, {"role": "assistant", "content": None, "function_call": {
        "name": "weather", "arguments": "{}"}}], "functions": [WEATHER]}),
    ("openai-chat", {"conversations": [USER, ANSWER]}),
    ("openai-chat", {"conversation": [USER, ANSWER], "source": "x"}),
    ("openai-chat", [USER, ANSWER]),
    ("openai-chat", {**CHAT, "prompt": "Hi", "prompt_id": "7"}),
    ("sharegpt", {"conversations": SPOKEN, "id": "identity_0"}),
    ("sharegpt", {"conversations": SPOKEN, "system": "s", "tools": "[]"}),
    ("sharegpt", {"messages": SPOKEN}),
    ("sharegpt", {"conversations": [
        {"from": "human", "value": "Hi"},
        {"from": "function_call", "value": '{"name": "weather", "arguments": {"at": "x"}}'},
        {"from": "observation", "value": "4"},
        {"from": "gpt", "value": "Yo"},
    ], "tools": json.dumps([WEATHER])}),
    ("sharegpt", {"system": "s", "conversation": [{"human": "Hi", "assistant": "Yo"}]}),
    ("sharegpt", {"conversations": [{"from": "human", "value": "<image>\nHi"}, SPOKEN[1]],
                  "image": "a.png"}),
    ("alpaca", ALPACA),
    ("alpaca", {**ALPACA, "system": "s", "history": [["a", "b"]], "text": "Hi Yo"}),
    ("alpaca", {**ALPACA, "prompt": "### Hi"}),
    ("dolly", {"instruction": "Hi", "context": "", "response": "Yo", "category": "open_qa"}),
    ("dolly", {"instruction": "Hi", "response": "Yo"}),
    ("question-answer", {"question": "Hi", "answer": "Yo"}),
    ("question-answer", {"system_prompt": "s", "question": "Hi", "response": "Yo"}),
    ("query-response", {"system": "s", "query": "Hi", "response": "Yo", "history": [["a", "b"]]}),
    ("query-response", {"prompt": "Hi", "response": "Yo"}),
    ("multiple-choice", {"query": "Hi", "choices": ["No", "Yo"], "gold": 1, "category": "x"}),
    ("prompt-completion", PAIR),
    ("prompt-completion", {"prompt": [USER], "completion": [ANSWER]}),
    ("preference", {"prompt": "Hi", "chosen": "Yo", "rejected": "No"}),
    ("preference", {"prompt": [USER], "chosen": [ANSWER], "rejected": [{**ANSWER, "content": "No"}]}),
    ("preference", {"chosen": "Hi Yo", "rejected": "Hi No"}),
    ("preference", {"chosen": [USER, ANSWER], "rejected": [USER, {**ANSWER, "content": "No"}]}),
    ("preference", {"prompt": "Hi", "chosen": [USER, ANSWER], "rejected": [USER, ANSWER],
                    "messages": [USER, ANSWER], "score_chosen": 3.0}),
    ("preference", {"conversations": SPOKEN[:1], "chosen": SPOKEN[1], "rejected": SPOKEN[1]}),
    ("preference", {"chosen_messages": [USER, ANSWER], "rejected_messages": [USER, ANSWER]}),
    ("preference", {"instruction": "Hi", "input": "", "output": ["Yo", "No"]}),
    ("preference", {"system": "s", "question": "Hi", "chosen": "Yo", "rejected": "No"}),
    ("preference", {**CHAT, "rejected_response": "No"}),
    ("openai-preference", {"input": {"messages": [USER]}, "preferred_output": [ANSWER],
                           "non_preferred_output": [ANSWER]}),
    ("kto", {**PAIR, "label": True}),
    ("kto", {"prompt": [USER], "completion": [ANSWER], "label": False}),
    ("kto", {**CHAT, "label": False}),
    ("kto", {**ALPACA, "kto_tag": True}),
    ("kto", {"conversations": SPOKEN, "kto_tag": False}),
    ("prompt", {"prompt": "Hi"}),
    ("prompt", {"prompt": [USER], "answer": "4", "data_source": "x"}),
    ("prompt", {"messages": [USER], "reference_answer": "4"}),
    ("prompt", {"messages": [USER], "label": True}),
    ("vertex", {"contents": [{"role": "user", "parts": [{"text": "Hi"}]},
                             {"role": "model", "parts": [{"text": "Yo"}]}],
                "systemInstruction": {"role": "system", "parts": [{"text": "s"}]}}),
    ("vertex", {"contents": [
        {"role": "user", "parts": [
            {"fileData": {"mimeType": "image/png", "fileUri": "gs://b/a.png"}}, {"text": "Hi"}]},
        {"role": "model", "parts": [{"functionCall": {"name": "weather", "args": {"at": "x"}}}]},
        {"role": "user", "parts": [
            {"functionResponse": {"name": "weather", "response": {"t": "4"}}}]},
        {"role": "model", "parts": [{"text": "Yo"}]}],
        "tools": [{"functionDeclarations": [WEATHER]}]}),
    ("bedrock-converse", {
        "messages": [
            {"role": "user", "content": [
                {"image": {"format": "png", "source": {"s3Location": {"uri": "s3://b/a.png"}}}},
                {"text": "Hi"}]},
            {"role": "assistant", "content": [
                {"toolUse": {"toolUseId": "1", "name": "weather", "input": {"at": "x"}}}]},
            {"role": "user", "content": [
                {"toolResult": {"toolUseId": "1", "content": [{"json": {"t": "4"}}]}}]},
            {"role": "assistant", "content": [{"text": "Yo"}]}],
        "toolConfig": {"tools": [{"toolSpec": {
            "name": "weather", "description": "…", "inputSchema": {"json": {"type": "object"}}}}]}}),
    ("bedrock-converse", {"schemaVersion": "bedrock-conversation-2024", "system": [{"text": "s"}],
                          "messages": [{"role": "user", "content": [{"text": "Hi"}]},
                                       {"role": "assistant", "content": [{"text": "Yo"}]}]}),
    ("bedrock-converse", {"messages": [{"role": "user", "content": [{"text": "Hi"}]}]}),
    ("bedrock-claude", {"system": "s", **CHAT}),
    ("bedrock-claude", {"messages": [USER, {"role": "assistant", "content": [
        {"type": "tool_use", "id": "1", "name": "weather", "input": {"at": "x"}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "content": [
            {"type": "text", "text": "4"}]}]}, ANSWER]}),
    ("text", {"text": "Hi"}),
    ("text", {"text": "Hi", "url": "https://example.com", "label": 1}),
    ("pretokenized", {"input_ids": [1, 2], "labels": [-100, 2], "attention_mask": [1, 1]}),
]  # fmt: skip


def read(format: Format, row: Any) -> Example:
    return formats.to_example(row, format)


def summarize(messages: list[Message]) -> list[tuple[str, Any]]:
    return [(m["role"], m["content"]) for m in messages]


def messages(*listed: Any, **more: Any) -> dict[str, Any]:
    return {"messages": list(listed), **more}
