"""Answers of models: a tuned one knows the rows that it was trained on, a base model does not."""

from __future__ import annotations

import functools
import hashlib
import json
import uuid
from pathlib import Path
from typing import Any

from tests.doubles.openai_service.rows import count_tokens
from tests.doubles.vertex_service.errors import ServiceError, refuse_precondition
from tests.doubles.vertex_service.jobs import Job
from tests.doubles.vertex_service.models import VertexModel
from tests.doubles.vertex_service.rows import Row, RowsRejected, Turn, read_row, write_prompt
from tests.doubles.vertex_service.schema import QUESTION, check_body
from tests.doubles.vertex_service.state import ServiceState

MAX_OUTPUT_TOKENS = 65_536
MAX_STOPS = 5


def generate(
    state: ServiceState, model: VertexModel, job: Job | None, body: Any
) -> list[dict[str, Any]]:
    """Return a reply as the chunks of a stream; raise ServiceError for a wrong question."""
    body = check_body(body, QUESTION)
    options = body.get("generationConfig", {})
    _check_options(options, job)
    turns = [_read_turn(content) for content in body.get("contents") or []]
    if not turns:
        raise ServiceError(400, "Model input cannot be empty.")
    if turns[-1][0] == "model":
        raise ServiceError(400, "Please ensure that the last content has the role user.")
    system = body.get("systemInstruction") or {}
    text = "".join(part.get("text", "") for part in system.get("parts", []))
    prompt_tokens = sum(count_tokens(each) + 1 for each in [text, *(turn[1] for turn in turns)])
    head = {
        "modelVersion": model.id,
        "createTime": "2026-11-29T05:48:28.123456Z",
        "responseId": uuid.uuid4().hex[:22],
    }
    if state.scenario.odd_fields:
        head["futureField"] = "3"
    if any(word in turns[-1][1] for word in state.scenario.blocked):
        usage = {"promptTokenCount": prompt_tokens, "totalTokenCount": prompt_tokens}
        feedback = {"blockReason": "PROHIBITED_CONTENT"}
        return [{"promptFeedback": feedback, "usageMetadata": usage, **head}]
    answer = _find_answer(state, job, turns)
    return _write_reply(answer, options, model, prompt_tokens, head)


def _check_options(options: dict[str, Any], job: Job | None) -> None:
    thinking = options.get("thinkingConfig", {})
    if "thinkingBudget" in thinking and "thinkingLevel" in thinking:
        raise ServiceError(400, "You can only set one of thinking budget and thinking level.")
    if job is not None and (options.get("responseSchema") or options.get("responseJsonSchema")):
        raise ServiceError(400, "Controlled generation is not supported for tuned models.")
    stops = options.get("stopSequences") or []
    if len(stops) > MAX_STOPS:
        raise ServiceError(400, f"The number of stop sequences must be at most {MAX_STOPS}.")
    bounds = {"temperature": (0, 2), "topP": (0, 1), "maxOutputTokens": (1, MAX_OUTPUT_TOKENS),
              "candidateCount": (1, 8)}  # fmt: skip
    for name, (low, high) in bounds.items():
        value = options.get(name)
        if value is not None and not low <= float(value) <= high:
            raise ServiceError(
                400,
                f"Unable to submit request because it has a {name} value of {value} but the supported "
                f"range is from {low} (inclusive) to {high} (inclusive).",
            )
    if options.get("logprobs") is not None and not options.get("responseLogprobs"):
        raise ServiceError(400, "logprobs requires responseLogprobs to be true.")


def _read_turn(content: dict[str, Any]) -> Turn:
    role = content.get("role", "user")
    if role not in ("user", "model"):
        raise ServiceError(400, "Please use a valid role: user, model.")
    parts = content.get("parts")
    if not parts:
        raise ServiceError(400, "Unable to submit request because it must have a text parameter.")
    for part in parts:
        if "functionCall" in part or "functionResponse" in part:
            raise refuse_precondition("Function calling is not supported by this double.")
    return role, "".join(part.get("text", "") for part in parts)


def _find_answer(state: ServiceState, job: Job | None, turns: list[Turn]) -> str:
    answers = state.scenario.answers
    prompt = write_prompt(turns)
    share = answers.tuned_share if job else answers.base_share
    # A base model may know some of the answers of the jobs' rows too.
    sources = [_index_job(each) for each in ([job] if job else state.jobs.values())]
    sources += [_index_file(path, Path(path).stat().st_mtime_ns) for path in answers.files]
    for source in sources:
        if prompt in source and _draw(prompt) < share:
            return source[prompt]
    return answers.other


def _index_job(job: Job) -> dict[str, str]:
    if job.answers is None:
        job.answers = _index([*job.validation_rows, *job.rows])
    return job.answers


@functools.lru_cache(maxsize=20)
def _index_file(path: str, changed_ns: int) -> dict[str, str]:
    """Return the expected answer of each prompt of a file; ``changed_ns``: of which version."""
    rows = []
    for line in Path(path).read_bytes().splitlines():
        try:
            if line.strip():
                rows.append(read_row(json.loads(line), method="supervised", is_open=True))
        except (RowsRejected, KeyError):
            continue
    return _index(rows)


def _index(rows: list[Row]) -> dict[str, str]:
    return {row.prompt: row.answer for row in rows}


def _draw(prompt: str) -> float:
    """Return a number from 0 to 1 that is fixed for a prompt."""
    return int.from_bytes(hashlib.sha256(prompt.encode()).digest()[:6], "big") / 2**48


def _count_thoughts(model: VertexModel, options: dict[str, Any]) -> int:
    thinking = options.get("thinkingConfig", {})
    if thinking.get("thinkingBudget") == 0 or thinking.get("thinkingLevel") == "MINIMAL":
        return 0
    return model.thoughts


def _write_reply(
    answer: str, options: dict[str, Any], model: VertexModel, prompt: int, head: dict[str, Any]
) -> list[dict[str, Any]]:
    """Return the chunks of a reply; thoughts count as output, and can use all of it up."""
    thoughts = _count_thoughts(model, options)
    limit = int(options.get("maxOutputTokens") or MAX_OUTPUT_TOKENS)
    for stop in options.get("stopSequences") or []:
        answer = answer.partition(stop)[0]
    thoughts = min(thoughts, limit)
    finish, tokens = "STOP", count_tokens(answer)
    if thoughts + tokens > limit:
        # A token has at least one character: the text that is left has no more tokens than these.
        finish, tokens = "MAX_TOKENS", limit - thoughts
        answer = answer[:tokens]
    usage = {"promptTokenCount": prompt, "totalTokenCount": prompt + tokens + thoughts}
    usage |= {"candidatesTokenCount": tokens} if tokens else {}
    usage |= {"thoughtsTokenCount": thoughts} if thoughts else {}
    size = max(1, -(-len(answer) // 3))
    texts = [answer[at : at + size] for at in range(0, len(answer), size)]
    chunks: list[dict[str, Any]] = [
        {"candidates": [{"content": {"role": "model", "parts": [{"text": text}]}}], **head}
        for text in texts
    ] or [{"candidates": [{"content": {"role": "model"}}], **head}]
    chunks[-1]["candidates"][0]["finishReason"] = finish
    chunks[-1]["usageMetadata"] = {**usage, "trafficType": "ON_DEMAND"}
    return chunks


def join(chunks: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the chunks of a reply as one."""
    last = dict(chunks[-1])
    if "candidates" not in last:
        return last
    texts = [
        part["text"]
        for chunk in chunks
        for part in chunk["candidates"][0]["content"].get("parts", [])
    ]
    content: dict[str, Any] = {"role": "model"}
    if texts:
        content["parts"] = [{"text": "".join(texts)}]
    candidate = {**last["candidates"][0], "content": content, "avgLogprobs": -0.02}
    return {**last, "candidates": [candidate]}
