"""Chat completions translated to Converse and back, and its errors as statuses."""

from __future__ import annotations

import base64
from typing import Any

import httpx2
import pytest
from botocore import exceptions

from ftwizard.evaluate.transports import converse
from ftwizard.evaluate.transports.converse import explain, to_chunks, to_completion, to_converse
from ftwizard.evaluate.transports.transport import SdkRefusal

ARN = "arn:aws:bedrock:us-east-1:123456789012:custom-model-deployment/abc123abc123"


def make_body(*messages: dict[str, Any], **options: Any) -> dict[str, Any]:
    return {"model": ARN, "messages": list(messages), **options}


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def test_system_and_limits_are_fields_of_their_own() -> None:
    body = make_body(
        {"role": "system", "content": "Be brief."}, {"role": "developer", "content": "In French."},
        user("Hi"), temperature=0, max_tokens=20, top_p=0.5, stop="END",
    )  # fmt: skip
    assert to_converse(body) == {
        "modelId": ARN,
        "system": [{"text": "Be brief."}, {"text": "In French."}],
        "messages": [{"role": "user", "content": [{"text": "Hi"}]}],
        "inferenceConfig": {
            "maxTokens": 20, "temperature": 0, "topP": 0.5, "stopSequences": ["END"],
        },
    }  # fmt: skip
    blank = {"role": "system", "content": " "}
    assert to_converse(make_body(blank, user("Hi"))).keys() == {"modelId", "messages"}
    assert to_converse(make_body(user("Hi"), temperature=2))["inferenceConfig"] == {
        "temperature": 1
    }


def test_neighbors_of_one_role_are_one_message() -> None:
    body = make_body(user("One"), user("Two"), {"role": "assistant", "content": "Three"})
    assert [(each["role"], len(each["content"])) for each in to_converse(body)["messages"]] == [
        ("user", 2), ("assistant", 1),
    ]  # fmt: skip


def test_tool_calls_and_their_results_are_blocks() -> None:
    call = {
        "id": "c1", "type": "function",
        "function": {"name": "look_up", "arguments": '{"city": "Bonn"}'},
    }  # fmt: skip
    tool = {
        "type": "function",
        "function": {"name": "look_up", "description": "", "parameters": {}},
    }
    body = make_body(
        user("Weather?"), {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "Rain"}, tools=[tool],
    )  # fmt: skip
    request = to_converse(body)
    use = {"toolUseId": "c1", "name": "look_up", "input": {"city": "Bonn"}}
    result = {"toolUseId": "c1", "content": [{"text": "Rain"}]}
    assert request["messages"][1:] == [
        {"role": "assistant", "content": [{"toolUse": use}]},
        {"role": "user", "content": [{"toolResult": result}]},
    ]
    schema = {"json": {"type": "object", "properties": {}}}
    spec = {"name": "look_up", "inputSchema": schema}
    assert request["toolConfig"] == {"tools": [{"toolSpec": spec}]}
    call["function"] = {"name": "look_up", "arguments": "{"}
    with pytest.raises(SdkRefusal, match="not JSON"):
        to_converse(body)


def test_images_are_sent_as_bytes() -> None:
    url = "data:image/jpg;base64," + base64.b64encode(b"pixels").decode()
    part = {"type": "image_url", "image_url": {"url": url}}
    content = to_converse(make_body(user([{"type": "text", "text": "What?"}, part])))
    image = {"format": "jpeg", "source": {"bytes": b"pixels"}}
    assert content["messages"][0]["content"] == [{"text": "What?"}, {"image": image}]


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,%%%"}},
        {"type": "input_audio", "input_audio": {}},
    ],
)
def test_what_cannot_be_sent_is_refused(part: dict[str, Any]) -> None:
    with pytest.raises(SdkRefusal) as caught:
        to_converse(make_body(user([part])))
    assert caught.value.status == 400
    with pytest.raises(SdkRefusal):
        to_converse({"model": ARN, "messages": []})


def answer(*content: dict[str, Any], stop: str = "end_turn") -> dict[str, Any]:
    return {
        "output": {"message": {"role": "assistant", "content": list(content)}},
        "stopReason": stop, "usage": {"inputTokens": 5, "outputTokens": 7},
    }  # fmt: skip


def test_an_answer_is_a_completion() -> None:
    thought = {"reasoningContent": {"reasoningText": {"text": "Hm."}}}
    completion = to_completion(answer(thought, {"text": "Four"}, {"text": "."}), ARN)
    (choice,) = completion["choices"]
    assert choice["message"] == {
        "role": "assistant", "content": "Four.", "reasoning_content": "Hm.",
    }  # fmt: skip
    assert choice["finish_reason"] == "stop" and completion["model"] == ARN
    assert completion["usage"]["completion_tokens"] == 7
    assert completion["usage"]["total_tokens"] == 12
    use = {"toolUse": {"toolUseId": "c1", "name": "f", "input": {"a": 1}}}
    (choice,) = to_completion(answer(use, stop="tool_use"), ARN)["choices"]
    assert choice["message"]["content"] is None and choice["finish_reason"] == "tool_calls"
    assert choice["message"]["tool_calls"][0]["function"] == {"name": "f", "arguments": '{"a": 1}'}
    assert to_completion(answer(), ARN)["choices"][0]["message"]["content"] == ""


@pytest.mark.parametrize(
    ("stop", "finish"),
    [
        ("stop_sequence", "stop"), ("max_tokens", "length"), ("content_filtered", "content_filter"),
        ("guardrail_intervened", "content_filter"), ("model_context_window_exceeded", "length"),
        ("a_new_one", "stop"),
    ],
)  # fmt: skip
def test_the_end_has_the_words_of_completions(stop: str, finish: str) -> None:
    choice = to_completion(answer({"text": "x"}, stop=stop), ARN)["choices"][0]
    assert choice["finish_reason"] == finish
    *_, last = to_chunks([{"messageStop": {"stopReason": stop}}], ARN)
    assert last["choices"][0]["finish_reason"] == finish


def make_error(code: str, status: int, message: str = "No.", **headers: str) -> Exception:
    reply = {"HTTPStatusCode": status, "HTTPHeaders": headers}
    document: Any = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": reply}
    error: Exception = exceptions.ClientError(document, "Converse")
    return error


@pytest.mark.parametrize(
    ("error", "status", "pause"),
    [
        (make_error("ThrottlingException", 429), 429, converse.THROTTLED_S),
        (make_error("ThrottlingException", 429, **{"retry-after": "7"}), 429, 7.0),
        (make_error("throttlingException", 200), 429, converse.THROTTLED_S),
        (make_error("AccessDeniedException", 403), 403, None),
        (make_error("ExpiredTokenException", 403), 401, None),
        (make_error("ValidationException", 400), 400, None),
        (make_error("ResourceNotFoundException", 404), 404, None),
        (make_error("ModelTimeoutException", 408), 408, None),
        (make_error("ModelErrorException", 424), 502, None),
        (make_error("ServiceUnavailableException", 503), 503, None),
        (make_error("SomethingNew", 418), 418, None),
        (make_error("SomethingNew", 200), 502, None),
        (exceptions.NoCredentialsError(), 401, None),
        (exceptions.SSOTokenLoadError(error_msg="expired"), 401, None),
        (exceptions.ParamValidationError(report="bad"), 400, None),
    ],
)
def test_errors_are_statuses(error: Exception, status: int, pause: float | None) -> None:
    refusal = explain(error)
    assert isinstance(refusal, SdkRefusal)
    assert (refusal.status, refusal.retry_after_s) == (status, pause)


def test_a_limit_of_the_day_is_no_quota() -> None:
    message = "Too many tokens per day, please wait before trying again."
    refusal = explain(make_error("ThrottlingException", 429, message))
    assert isinstance(refusal, SdkRefusal) and refusal.code == "insufficient_quota"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (exceptions.ReadTimeoutError(endpoint_url="x"), httpx2.ReadTimeout),
        (exceptions.ConnectTimeoutError(endpoint_url="x"), httpx2.ConnectTimeout),
        (exceptions.EndpointConnectionError(endpoint_url="x"), httpx2.ConnectError),
        (exceptions.ConnectionClosedError(endpoint_url="x"), httpx2.ConnectError),
        (KeyError("output"), KeyError),
    ],
)
def test_lost_replies_are_errors_of_the_transport(error: Exception, kind: type) -> None:
    assert isinstance(explain(error), kind)
