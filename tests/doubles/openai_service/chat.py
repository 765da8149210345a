"""Chat completions and moderation: models that know rows, and models that do not."""

from __future__ import annotations

import functools
import hashlib
import json
from pathlib import Path
from typing import Any

from tests.doubles.openai_service.errors import ServiceError
from tests.doubles.openai_service.rows import (
    BOM,
    count_tokens,
    get_expected,
    get_text,
    write_prompt,
)
from tests.doubles.openai_service.state import ServiceState
from tests.doubles.openai_service.training import Job

CATEGORIES = (
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/intent",
    "self-harm/instructions",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
)


def complete(state: ServiceState, body: dict[str, Any]) -> dict[str, Any]:
    """Return a completion; raise ServiceError if the model does not exist, or an option is wrong."""
    name = body["model"]
    job, base = _find(state, name)
    model = state.find_model(job.model if job else base)
    if model is not None and model.reasons:
        _check_reasoning_options(body)
    messages = body["messages"]
    answer = _answer(state, job, messages)
    text = answer.get("content")
    calls = answer.get("tool_calls")
    limit = body.get("max_completion_tokens") or body.get("max_tokens")
    tokens = count_tokens(get_text(answer))
    finish = "tool_calls" if calls else "stop"
    if limit is not None and tokens > limit and text:
        # A token has at least one character: the text that is left has no more tokens than these.
        text, finish, tokens = text[:limit], "length", limit
    message = {"role": "assistant", "content": text, "refusal": None}
    if calls:
        message["tool_calls"] = calls
    prompt = sum(3 + count_tokens(m["role"]) + count_tokens(get_text(m)) for m in messages) + 3
    count = body.get("n") or 1
    return {
        "id": state.make_id("chatcmpl-"),
        "object": "chat.completion",
        "created": state.now(),
        "model": job.tuned_name if job else base,
        "choices": [
            {"index": index, "message": message, "logprobs": None, "finish_reason": finish}
            for index in range(count)
        ],
        "usage": {
            "prompt_tokens": prompt,
            "completion_tokens": tokens * count,
            "total_tokens": prompt + tokens * count,
        },
    }


def split(completion: dict[str, Any], with_usage: bool) -> list[dict[str, Any]]:
    """Return a completion as the chunks of a stream."""
    head = {key: completion[key] for key in ("id", "created", "model")}
    head["object"] = "chat.completion.chunk"
    choice = completion["choices"][0]
    message = choice["message"]
    text = message["content"] or ""
    size = max(1, -(-len(text) // 4))
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    deltas += [{"content": text[at : at + size]} for at in range(0, len(text), size)]
    if calls := message.get("tool_calls"):
        deltas.append({"tool_calls": [{"index": n, **call} for n, call in enumerate(calls)]})
    chunks: list[dict[str, Any]] = [
        {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
        for delta in deltas
    ]
    end = {"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]}
    chunks.append({**head, "choices": [end]})
    if with_usage:
        chunks.append({**head, "choices": [], "usage": completion["usage"]})
    return chunks


def _find(state: ServiceState, name: str) -> tuple[Job | None, str]:
    """Return the job of a tuned model, and the name of the model that is asked."""
    if state.foundry:
        deployment = state.deployments.get(name)
        if deployment is None:
            raise ServiceError(
                404,
                "The API deployment for this resource does not exist. If you created the deployment "
                "within the last 5 minutes, please wait a moment and try again.",
                code="DeploymentNotFound",
            )
        name = deployment
    job = state.find_tuned(name)
    model = None if job else state.find_model(name)
    if job is None and model is None:
        raise ServiceError(
            404,
            f"The model `{name}` does not exist or you do not have access to it.",
            code="model_not_found",
        )
    return job, model.id if model else name


def _check_reasoning_options(body: dict[str, Any]) -> None:
    if body.get("max_tokens") is not None:
        raise ServiceError(
            400,
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
            "'max_completion_tokens' instead.",
            param="max_tokens",
            code="unsupported_parameter",
        )
    if body.get("temperature") not in (None, 1):
        raise ServiceError(
            400,
            "Unsupported value: 'temperature' does not support "
            f"{body['temperature']} with this model. Only the default (1) value is supported.",
            param="temperature",
            code="unsupported_value",
        )


def _answer(state: ServiceState, job: Job | None, messages: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the message of a model: the expected one, if it knows the prompt."""
    answers = state.scenario.answers
    prompt = write_prompt(messages)
    share = answers.tuned_share if job else answers.base_share
    # A base model may know some of the answers of the jobs' rows too.
    sources = [_index_job(each) for each in ([job] if job else state.jobs.values())]
    sources += [_index_file(path, Path(path).stat().st_mtime_ns) for path in answers.files]
    for source in sources:
        if prompt in source and _draw(prompt) < share:
            return source[prompt]
    return {"role": "assistant", "content": answers.other}


def _index_job(job: Job) -> dict[str, dict[str, Any]]:
    if job.answers is None:
        job.answers = _index([*job.validation_rows, *job.rows])
    return job.answers


@functools.lru_cache(maxsize=20)
def _index_file(path: str, changed_ns: int) -> dict[str, dict[str, Any]]:
    """Return the expected message of each prompt of a file; ``changed_ns``: of which version."""
    lines = Path(path).read_bytes().removeprefix(BOM).splitlines()
    return _index([json.loads(line) for line in lines if line.strip()])


def _index(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return dict(expected for row in rows if (expected := get_expected(row)))


def _draw(prompt: str) -> float:
    """Return a number from 0 to 1 that is fixed for a prompt."""
    return int.from_bytes(hashlib.sha256(prompt.encode()).digest()[:6], "big") / 2**48


def moderate(state: ServiceState, body: dict[str, Any]) -> dict[str, Any]:
    """Return the judgment of each input."""
    source = body["input"]
    texts = [source] if isinstance(source, str) else source
    results = []
    for text in texts:
        content = text if isinstance(text, str) else str(text.get("text", ""))
        is_flagged = any(word in content.lower() for word in state.scenario.flagged)
        score = 0.97 if is_flagged else 0.0001
        results.append(
            {
                "flagged": is_flagged,
                "categories": {name: is_flagged and name == "violence" for name in CATEGORIES},
                "category_scores": {
                    name: score if name == "violence" else 0.0001 for name in CATEGORIES
                },
                "category_applied_input_types": {name: ["text"] for name in CATEGORIES},
            }
        )
    return {
        "id": state.make_id("modr-"),
        "model": body.get("model") or "omni-moderation-latest",
        "results": results,
    }
