"""Answers of models by Converse: a tuned one knows its rows, a base model does not."""

from __future__ import annotations

import functools
import hashlib
import json
import re
import struct
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.doubles.aws import models, rows
from tests.doubles.aws.calls import Call
from tests.doubles.aws.errors import AwsError, Reply, invalid, missing, write_json
from tests.doubles.aws.scenario import BedrockModel
from tests.doubles.aws.state import AwsState, BedrockJob, CustomDeployment

Answers = dict[str, list[dict[str, Any]]]
CHARACTERS_PER_TOKEN = 4
MINUTE_S = 60.0
LATENCY_MS = 12


def converse(state: AwsState, call: Call) -> Reply:
    """Answer Converse."""
    content, reason, usage = _converse(state, call)
    message = {"role": "assistant", "content": content}
    return write_json(
        {
            "output": {"message": message}, "stopReason": reason, "usage": usage,
            "metrics": {"latencyMs": LATENCY_MS},
        }
    )  # fmt: skip


def stream(state: AwsState, call: Call) -> Reply:
    """Answer ConverseStream: the same answer in pieces."""
    content, reason, usage = _converse(state, call)
    frames = [_write_frame("messageStart", {"role": "assistant"})]
    for index, block in enumerate(content):
        number = {"contentBlockIndex": index}
        for delta in _cut_block(block):
            if "start" in delta:
                frames.append(_write_frame("contentBlockStart", {**delta, **number}))
                continue
            frames.append(_write_frame("contentBlockDelta", {"delta": delta, **number}))
            if error := state.scenario.stream_error:
                frames.append(_write_frame(error, {"message": "Try again."}, kind="exception"))
                return _join(frames)
        frames.append(_write_frame("contentBlockStop", number))
    frames.append(_write_frame("messageStop", {"stopReason": reason}))
    metadata = {"usage": usage, "metrics": {"latencyMs": LATENCY_MS}}
    return _join([*frames, _write_frame("metadata", metadata)])


def _cut_block(block: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a block in pieces: its start if it is a call of a tool, and its parts."""
    if "toolUse" in block:
        use = block["toolUse"]
        start = {"toolUseId": use.get("toolUseId", "tooluse_1"), "name": use["name"]}
        yield {"start": {"toolUse": start}}
        yield {"toolUse": {"input": json.dumps(use.get("input"))}}
        return
    for word in re.findall(r"\S+\s*|\s+", block.get("text", "")):
        yield {"text": word}


def _write_frame(name: str, payload: dict[str, Any], kind: str = "event") -> bytes:
    """Return a message of AWS's event stream: lengths, headers, payload, and their checksums."""
    fields = {
        f":{kind}-type": name, ":content-type": "application/json", ":message-type": kind,
    }  # fmt: skip
    headers = b"".join(
        struct.pack("!B", len(key))
        + key.encode()
        + struct.pack("!BH", 7, len(value))
        + value.encode()
        for key, value in fields.items()
    )
    body = json.dumps(payload).encode()
    prelude = struct.pack("!II", 16 + len(headers) + len(body), len(headers))
    message = prelude + struct.pack("!I", zlib.crc32(prelude)) + headers + body
    return message + struct.pack("!I", zlib.crc32(message))


def _join(frames: list[bytes]) -> Reply:
    headers = {"Content-Type": "application/vnd.amazon.eventstream"}
    return Reply(200, b"".join(frames), headers)


def _converse(state: AwsState, call: Call) -> tuple[list[dict[str, Any]], str, dict[str, int]]:
    """Return the content of an answer, the reason of its end, and its tokens."""
    request: dict[str, Any] = call.body or {}
    base, deployment = _find_model(state, call)
    if base.id in state.scenario.no_access:
        message = "You don't have access to the model with the specified model ID."
        raise AwsError(403, "AccessDeniedException", message)
    _check_request(request, base, is_tuned=deployment is not None)
    if deployment:
        _check_rate(state, deployment)
    system = [block["text"] for block in request.get("system", [])]
    prompt = rows.write_prompt(system, request["messages"])
    content = _answer(state, deployment.model.job if deployment else None, prompt)
    content, reason = _cut(content, request.get("inferenceConfig", {}))
    asked = max(1, len(prompt) // CHARACTERS_PER_TOKEN)
    answered = max(1, len(rows.get_text(content)) // CHARACTERS_PER_TOKEN)
    usage = {
        "inputTokens": asked, "outputTokens": answered, "totalTokens": asked + answered,
    }  # fmt: skip
    return content, reason, usage


def _find_model(state: AwsState, call: Call) -> tuple[BedrockModel, CustomDeployment | None]:
    """Return the model that is asked, and its deployment if it is a tuned one."""
    name = call.target
    if ":custom-model-deployment/" in name:
        deployment = state.find_deployment(name)
        if deployment is None or deployment.model.job.region != call.region:
            raise missing("The custom model deployment could not be found.")
        if deployment.status != "Active":
            raise invalid("The custom model deployment is not active.")
        return deployment.model.job.base, deployment
    if state.find_model(name):
        raise invalid("The provided model doesn't support on-demand throughput.")
    if model := models.find_by_profile(state, name):
        return model, None
    model = models.find_by_id(state, name)
    if model and not model.on_demand:
        raise invalid(
            f"Invocation of model ID {model.id} with on-demand throughput isn't supported. Retry "
            "your request with the ID or ARN of an inference profile that contains this model."
        )
    if model:
        return model, None
    if any(name == each.tuning_id for each in state.scenario.models):
        raise missing("Model not found.")
    if any(name in (each.id, *each.profiles) for each in state.scenario.models):
        raise missing("This model version has reached the end of its life.")
    raise invalid("The provided model identifier is invalid.")


def _check_request(request: dict[str, Any], base: BedrockModel, *, is_tuned: bool) -> None:
    messages = request.get("messages") or []
    if not messages or messages[0].get("role") != "user":
        raise invalid(
            "A conversation must start with a user message. Try again with a conversation that "
            "starts with a user message."
        )
    if messages[-1]["role"] != "user":
        raise invalid(
            "A conversation must end with a user message. Try again with a conversation that ends "
            "with a user message."
        )
    for number, message in enumerate(messages):
        if message["role"] != ("assistant" if number % 2 else "user"):
            raise invalid(
                "A conversation must alternate between user and assistant roles. Make sure the "
                "conversation alternates between user and assistant roles and try again."
            )
        if not message.get("content"):
            raise invalid(f"The content field in the Message object at messages.{number} is empty.")
        for position, block in enumerate(message["content"]):
            if "text" in block and not block["text"].strip():
                raise invalid(
                    f"The text field in the ContentBlock object at messages.{number}.content."
                    f"{position} is blank. Add text to the text field, and try again."
                )
    if any(not block.get("text", "").strip() for block in request.get("system", [])):
        raise invalid("The text field in the SystemContentBlock object is blank.")
    if "toolConfig" in request and is_tuned and base.is_nova:
        raise invalid("This model doesn't support tool use.")
    config = request.get("inferenceConfig", {})
    if not 0 <= config.get("temperature", 0) <= 1 or not 0 <= config.get("topP", 1) <= 1:
        raise invalid("temperature and topP must be from 0 to 1.")
    if config.get("maxTokens", 1) < 1:
        raise invalid("maxTokens must be at least 1.")


def _check_rate(state: AwsState, deployment: CustomDeployment) -> None:
    """Raise AwsError where a deployment was asked too often within a minute."""
    limit, now = state.scenario.requests_per_minute, time.monotonic()
    while deployment.asked and deployment.asked[0] < now - MINUTE_S:
        deployment.asked.popleft()
    if limit is not None and len(deployment.asked) >= limit:
        message = "Too many requests, please wait before trying again."
        raise AwsError(429, "ThrottlingException", message)
    deployment.asked.append(now)


def _answer(state: AwsState, job: BedrockJob | None, prompt: str) -> list[dict[str, Any]]:
    """Return the content that a model answers: the expected one, if it knows the prompt."""
    answers = state.scenario.answers
    share = answers.tuned_share if job else answers.base_share
    # A base model may know some of the answers of the jobs' rows too.
    sources = [_index([*each.rows, *each.validation_rows]) for each in _list(state, job)]
    sources += [_index_file(path, Path(path).stat().st_mtime_ns) for path in answers.files]
    for source in sources:
        if prompt in source and _draw(prompt) < share:
            return source[prompt]
    return [{"text": answers.other}]


def _list(state: AwsState, job: BedrockJob | None) -> list[BedrockJob]:
    return [job] if job else list(state.jobs.values())


def _index(lines: list[dict[str, Any]]) -> Answers:
    return dict(expected for row in lines if (expected := rows.get_expected(row)))


@functools.lru_cache(maxsize=20)
def _index_file(path: str, changed_ns: int) -> Answers:
    """Return the expected answer to each prompt of a file; ``changed_ns``: of which version."""
    return _index([json.loads(line) for line in Path(path).read_text().splitlines() if line])


def _draw(prompt: str) -> float:
    """Return a number from 0 to 1 that is fixed for a prompt."""
    return int.from_bytes(hashlib.sha256(prompt.encode()).digest()[:6], "big") / 2**48


def _cut(content: list[dict[str, Any]], config: dict[str, Any]) -> tuple[list[dict[str, Any]], str]:
    """Return an answer within the limit of its tokens, and the reason of its end."""
    if any("toolUse" in block for block in content):
        return content, "tool_use"
    most = config.get("maxTokens", 10_000) * CHARACTERS_PER_TOKEN
    text = rows.get_text(content)
    if len(text) > most:
        return [{"text": text[:most]}], "max_tokens"
    for stop in config.get("stopSequences", []):
        if stop in text:
            return [{"text": text.partition(stop)[0]}], "stop_sequence"
    return content, "end_turn"


HANDLERS = {"converse": converse, "converse_stream": stream}
