"""Chat completions translated to Google's ``generate_content``, and back."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

import google.auth
import google.auth.exceptions
import httpx2
from google import genai
from google.genai import errors, types

from ftwizard.errors import FtwizardError
from ftwizard.evaluate.transports.messages import (
    SYSTEM,
    ImageData,
    Usage,
    get_limit,
    get_stops,
    make_chunk,
    make_completion,
    read_messages,
    read_parts,
    read_text,
)
from ftwizard.evaluate.transports.transport import Body, SdkRefusal
from ftwizard.hosted_platforms import PLATFORMS
from ftwizard.text import make_visible

SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)
MAX_STOPS = 5
"""Stop sequences that Gemini takes."""
_ENDPOINT = re.compile(r"projects/[^/]+/locations/([a-z0-9-]+)/endpoints/[\w.-]+")
_FILTERED = frozenset(
    (
        "SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "LANGUAGE",
        "IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION", "IMAGE_OTHER",
    )
)  # fmt: skip
_Reply = TypeVar("_Reply")
_PAUSE = re.compile(r"(\d+(?:\.\d+)?)s")


class GeminiService:
    """The models of a project at Vertex AI."""

    def __init__(self, project: str, location: str, timeout_s: float) -> None:
        """Find the credentials, as Google's libraries do; nothing is sent.

        Raises FtwizardError if there are none.
        """
        self._project, self._location, self._timeout_s = project, location, timeout_s
        try:
            self._credentials, _ = google.auth.default(scopes=SCOPES)
        except google.auth.exceptions.DefaultCredentialsError as error:
            raise FtwizardError(
                f"Vertex AI cannot be asked: {make_visible(str(error), 200).rstrip('.')}.",
                f"Log in: {PLATFORMS['vertex'].login}",
            ) from None
        self._clients: dict[str, genai.Client] = {}
        self._lock = threading.Lock()
        self._without_thinking_level: set[str] = set()
        """Models that refuse the setting, as old ones do."""

    def answer(self, body: Body) -> dict[str, Any]:
        """Return the chat completion of a request."""
        model = str(body["model"])
        ask = self._connect(model).models.generate_content
        return to_completion(self._call(lambda call: ask(**call), body), model)

    def stream(self, body: Body) -> Iterator[dict[str, Any]]:
        """Yield the chunks of the chat completion of a request."""
        model = str(body["model"])
        ask = self._connect(model).models.generate_content_stream

        def begin(call: dict[str, Any]) -> Iterator[types.GenerateContentResponse]:
            replies = ask(**call)  # sent with the first reply
            first = next(replies, None)
            return iter(()) if first is None else _chain(first, replies)

        yield from to_chunks(self._call(begin, body), model)

    def _call(self, ask: Callable[[dict[str, Any]], _Reply], body: Body) -> _Reply:
        """Return a reply to a request; the level of thinking is left out where a model refuses it."""
        model = str(body["model"])
        thinks_least = model not in self._without_thinking_level
        try:
            return ask(to_generate_content(body, thinks_least=thinks_least))
        except errors.ClientError as error:
            is_refused = error.code == 400 and "thinking" in str(error.message).lower()
            if not is_refused or not thinks_least:
                raise
        self._without_thinking_level.add(model)
        return ask(to_generate_content(body, thinks_least=False))

    def _connect(self, model: str) -> genai.Client:
        """Return the client of a model's location: a tuned model's is in its name."""
        match = _ENDPOINT.fullmatch(model)
        location = match[1] if match else self._location
        with self._lock:
            if location not in self._clients:
                self._clients[location] = genai.Client(
                    # All of it, or the client drops what the environment has.
                    vertexai=True, project=self._project, location=location,
                    credentials=self._credentials,
                    http_options=types.HttpOptions(
                        timeout=round(self._timeout_s * 1000), api_version="v1beta1"
                    ),
                )  # fmt: skip
            return self._clients[location]

    def explain(self, error: Exception) -> Exception:
        """Return the error of a call as a SdkRefusal, or as an error of httpx2 where no reply came."""
        return explain(error)


def to_generate_content(body: Body, *, thinks_least: bool = True) -> dict[str, Any]:
    """Return the arguments of ``generate_content`` for a request.

    ``thinks_least``: ask for the lowest level of thinking, as tuned models are trained without.
    Raises SdkRefusal for what cannot be sent.
    """
    if body.get("tools"):
        raise SdkRefusal(400, "Tools are not sent to models at Vertex AI.")
    system, contents = [], list[dict[str, Any]]()
    for message in read_messages(body):
        if message["role"] in SYSTEM:
            system.append(read_text(message))
            continue
        role = "model" if message["role"] == "assistant" else "user"
        parts = _to_parts(message)
        if contents and contents[-1]["role"] == role:
            contents[-1]["parts"] += parts
        else:
            contents.append({"role": role, "parts": parts})
    stops = get_stops(body)
    if len(stops) > MAX_STOPS:
        raise SdkRefusal(400, f"Models at Vertex AI take {MAX_STOPS} stop sequences at most.")
    options = {
        "system_instruction": "\n\n".join(system) or None, "max_output_tokens": get_limit(body),
        "stop_sequences": stops or None,
        "thinking_config": {"thinking_level": "MINIMAL"} if thinks_least else None,
    }  # fmt: skip
    for name in ("temperature", "top_p", "seed", "presence_penalty", "frequency_penalty"):
        options[name] = body.get(name)
    config = {name: value for name, value in options.items() if value is not None}
    return {
        "model": body["model"],
        "contents": contents,
        "config": types.GenerateContentConfig.model_validate(config),
    }


def _to_parts(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    if message["role"] == "tool" or message.get("tool_calls"):
        raise SdkRefusal(400, "Tool calls are not sent to models at Vertex AI.")
    return [
        {"inline_data": {"mime_type": part.mime, "data": part.data}}
        if isinstance(part, ImageData)
        else {"text": part}
        for part in read_parts(message)
    ]


def to_completion(reply: types.GenerateContentResponse, model: str) -> dict[str, Any]:
    """Return an answer of ``generate_content`` as a chat completion."""
    text, thoughts = _read_texts(reply)
    message: dict[str, Any] = {"content": text}
    if thoughts:
        message["reasoning_content"] = thoughts
    return make_completion(model, message, _read_finish(reply) or "stop", _read_usage(reply))


def to_chunks(
    replies: Iterable[types.GenerateContentResponse], model: str
) -> Iterator[dict[str, Any]]:
    """Yield the parts of an answer as chunks of a chat completion."""
    finish, usage = "stop", Usage()
    for reply in replies:
        text, thoughts = _read_texts(reply)
        if thoughts:
            yield make_chunk(model, {"reasoning_content": thoughts})
        if text:
            yield make_chunk(model, {"content": text})
        finish = _read_finish(reply) or finish
        usage = _read_usage(reply) if reply.usage_metadata else usage
    yield make_chunk(model, {}, finish)
    yield make_chunk(model, {}, usage=usage)


def _read_texts(reply: types.GenerateContentResponse) -> tuple[str, str]:
    """Return the text and the thoughts of an answer, which may have neither."""
    content = reply.candidates[0].content if reply.candidates else None
    parts = (content.parts if content else None) or []
    texts = [part.text or "" for part in parts if not part.thought]
    thoughts = [part.text or "" for part in parts if part.thought]
    return "".join(texts), "".join(thoughts)


def _read_finish(reply: types.GenerateContentResponse) -> str | None:
    """Return why an answer ended, in the words of chat completions; None while it has not."""
    if not reply.candidates:
        feedback = reply.prompt_feedback
        return "content_filter" if feedback and feedback.block_reason else None
    reason = reply.candidates[0].finish_reason
    if reason is None:
        return None
    name = str(getattr(reason, "value", reason))
    if name == "MAX_TOKENS":
        return "length"
    return "content_filter" if name in _FILTERED else "stop"


def _read_usage(reply: types.GenerateContentResponse) -> Usage:
    counts = reply.usage_metadata
    if counts is None:
        return Usage()
    thoughts = counts.thoughts_token_count or 0
    answer = counts.candidates_token_count or 0
    return Usage(counts.prompt_token_count or 0, answer + thoughts, thoughts)


def explain(error: Exception) -> Exception:
    """Return an error of Google's libraries as a SdkRefusal, or as one of httpx2 where no reply came."""
    if isinstance(error, errors.APIError):
        code = error.code if isinstance(error.code, int) and error.code >= 400 else 502
        message = str(error.message or error.status or error)
        return SdkRefusal(code, message, str(error.status or ""), _read_pause(error))
    if isinstance(error, google.auth.exceptions.RefreshError):
        if error.retryable:
            return SdkRefusal(503, str(error))
        login = PLATFORMS["vertex"].login
        return SdkRefusal(401, f"{_first_line(error)}. Log in again: {login}", "credentials")
    if isinstance(error, google.auth.exceptions.GoogleAuthError):
        return httpx2.ConnectError(str(error))
    if isinstance(error, errors.UnknownApiResponseError):
        return SdkRefusal(502, "The reply is not JSON.")
    return error


def _first_line(error: google.auth.exceptions.RefreshError) -> str:
    text = str(error.args[0] if error.args else error)
    return (text.splitlines() or [""])[0].rstrip(".")


def _read_pause(error: errors.APIError) -> float | None:
    """Return the seconds that a refusal asks to wait: in its header, or in its details."""
    headers = getattr(error.response, "headers", None) or {}
    texts = [f"{headers.get('retry-after') or ''}s"]
    document = error.details if isinstance(error.details, dict) else {}
    inner = document.get("error", document)
    details = inner.get("details") if isinstance(inner, dict) else None
    for detail in details if isinstance(details, list) else ():
        if isinstance(detail, dict) and "retryDelay" in detail:
            texts.append(str(detail["retryDelay"]))
    matches = (_PAUSE.fullmatch(text) for text in texts)
    return next((float(match[1]) for match in matches if match), None)


def _chain(
    first: types.GenerateContentResponse, others: Iterator[types.GenerateContentResponse]
) -> Iterator[types.GenerateContentResponse]:
    yield first
    yield from others
