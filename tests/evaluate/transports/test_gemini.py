"""Chat completions translated to ``generate_content`` and back, and its errors as statuses."""

from __future__ import annotations

import base64
from typing import Any

import httpx2
import pytest
from google.auth import exceptions
from google.genai import errors, types

from ftwizard.evaluate.transports.gemini import (
    explain,
    to_chunks,
    to_completion,
    to_generate_content,
)
from ftwizard.evaluate.transports.transport import SdkRefusal

MODEL = "gemini-3.5-flash"


def make_body(*messages: dict[str, Any], **options: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": list(messages), **options}


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def make_reply(**fields: Any) -> types.GenerateContentResponse:
    return types.GenerateContentResponse.model_validate(fields)


def test_messages_are_contents_and_options_a_config() -> None:
    body = make_body(
        {"role": "system", "content": "Be brief."}, {"role": "developer", "content": "In French."},
        user("One"), user("Two"), {"role": "assistant", "content": "Three"},
        temperature=0, max_completion_tokens=20, seed=1, stop=["END"],
    )  # fmt: skip
    call = to_generate_content(body)
    call["config"] = call["config"].model_dump(exclude_none=True, mode="json")
    assert call == {
        "model": MODEL,
        "contents": [
            {"role": "user", "parts": [{"text": "One"}, {"text": "Two"}]},
            {"role": "model", "parts": [{"text": "Three"}]},
        ],
        "config": {
            "system_instruction": "Be brief.\n\nIn French.", "max_output_tokens": 20,
            "stop_sequences": ["END"], "thinking_config": {"thinking_level": "MINIMAL"},
            "temperature": 0, "seed": 1,
        },
    }  # fmt: skip
    config = to_generate_content(make_body(user("Hi")), thinks_least=False)["config"]
    assert config == types.GenerateContentConfig()


def test_images_are_sent_as_bytes() -> None:
    url = "data:image/png;base64," + base64.b64encode(b"pixels").decode()
    part = {"type": "image_url", "image_url": {"url": url}}
    (content,) = to_generate_content(make_body(user([part])))["contents"]
    assert content["parts"] == [{"inline_data": {"mime_type": "image/png", "data": b"pixels"}}]


@pytest.mark.parametrize(
    "body",
    [
        make_body(user("Hi"), tools=[{"type": "function", "function": {"name": "f"}}]),
        make_body(user("Hi"), {"role": "tool", "content": "x", "tool_call_id": "c"}),
        make_body(user("Hi"), {"role": "assistant", "content": None, "tool_calls": [{}]}),
        make_body(user("Hi"), stop=list("abcdef")),
    ],
)
def test_what_cannot_be_sent_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(SdkRefusal) as caught:
        to_generate_content(body)
    assert caught.value.status == 400


def test_an_answer_is_a_completion() -> None:
    parts = [{"text": "Hm.", "thought": True}, {"text": "Four"}, {"text": "."}]
    reply = make_reply(
        candidates=[{"content": {"role": "model", "parts": parts}, "finishReason": "STOP"}],
        usageMetadata={"promptTokenCount": 5, "candidatesTokenCount": 3, "thoughtsTokenCount": 4},
    )
    completion = to_completion(reply, MODEL)
    (choice,) = completion["choices"]
    assert choice["message"]["content"] == "Four."
    assert choice["message"]["reasoning_content"] == "Hm." and choice["finish_reason"] == "stop"
    usage = completion["usage"]
    assert (usage["completion_tokens"], usage["total_tokens"]) == (7, 12)
    assert usage["completion_tokens_details"] == {"reasoning_tokens": 4}


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("STOP", "stop"), ("MAX_TOKENS", "length"), ("SAFETY", "content_filter"),
        ("RECITATION", "content_filter"), ("MALFORMED_FUNCTION_CALL", "stop"), ("OTHER", "stop"),
    ],
)  # fmt: skip
def test_the_end_has_the_words_of_completions(reason: str, finish: str) -> None:
    reply = make_reply(candidates=[{"finishReason": reason}])
    choice = to_completion(reply, MODEL)["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("", finish)
    chunks = list(to_chunks([reply], MODEL))
    assert chunks[0]["choices"][0]["finish_reason"] == finish


def test_a_blocked_prompt_has_no_answer() -> None:
    reply = make_reply(promptFeedback={"blockReason": "SAFETY"})
    choice = to_completion(reply, MODEL)["choices"][0]
    assert choice["finish_reason"] == "content_filter"


def test_a_stream_ends_with_its_usage() -> None:
    replies = [
        make_reply(candidates=[{"content": {"parts": [{"text": "One "}]}}]),
        make_reply(candidates=[{"content": {"parts": [{"text": "two"}]}}]),
        make_reply(
            candidates=[{"finishReason": "MAX_TOKENS"}],
            usageMetadata={"promptTokenCount": 5, "candidatesTokenCount": 2},
        ),
    ]
    *texts, end, usage = to_chunks(replies, MODEL)
    assert [chunk["choices"][0]["delta"]["content"] for chunk in texts] == ["One ", "two"]
    assert end["choices"][0]["finish_reason"] == "length"
    assert usage["choices"] == [] and usage["usage"]["completion_tokens"] == 2


def make_error(code: int, status: str, *details: Any, **headers: str) -> errors.APIError:
    document = {"error": {"code": code, "status": status, "message": "No.", "details": [*details]}}
    response = httpx2.Response(code, json=document, headers=headers)
    return errors.APIError(code, document, response)


def make_auth_error(name: str, *texts: Any, **fields: Any) -> Exception:
    error: Exception = getattr(exceptions, name)(*texts, **fields)
    return error


DELAY = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "12.5s"}


@pytest.mark.parametrize(
    ("error", "status", "pause"),
    [
        (make_error(429, "RESOURCE_EXHAUSTED"), 429, None),
        (make_error(429, "RESOURCE_EXHAUSTED", DELAY), 429, 12.5),
        (make_error(429, "RESOURCE_EXHAUSTED", **{"retry-after": "7"}), 429, 7.0),
        (make_error(403, "PERMISSION_DENIED"), 403, None),
        (make_error(404, "NOT_FOUND"), 404, None),
        (make_error(400, "INVALID_ARGUMENT"), 400, None),
        (make_error(503, "UNAVAILABLE"), 503, None),
        (make_auth_error("RefreshError", "invalid_grant: Bad Request", {}), 401, None),
        (make_auth_error("ReauthFailError", "Reauthentication is needed."), 401, None),
        (make_auth_error("RefreshError", "busy", retryable=True), 503, None),
    ],
)
def test_errors_are_statuses(error: Exception, status: int, pause: float | None) -> None:
    refusal = explain(error)
    assert isinstance(refusal, SdkRefusal)
    assert (refusal.status, refusal.retry_after_s) == (status, pause)
    if status == 401:
        assert "gcloud auth application-default login" in refusal.message


def test_lost_replies_are_errors_of_the_transport() -> None:
    assert isinstance(explain(make_auth_error("TransportError", "x")), httpx2.ConnectError)
    timeout = httpx2.ReadTimeout("late")
    assert explain(timeout) is timeout
