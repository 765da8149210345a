"""Chat completions translated to Bedrock's Converse, and back."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import boto3
import httpx2
from botocore import exceptions
from botocore.config import Config

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

CONNECT_S = 10.0
THROTTLED_S = 15.0
"""Wait after a refusal that names none: a tuned model may answer no more than 4 requests a minute."""
MAX_TEMPERATURE = 1.0
"""Highest that Converse takes; chat completions go to 2."""
_ARN = re.compile(r"arn:aws[a-z-]*:bedrock:([a-z0-9-]+):")
_FINISH = {
    "end_turn": "stop", "stop_sequence": "stop", "tool_use": "tool_calls", "max_tokens": "length",
    "model_context_window_exceeded": "length", "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter", "malformed_model_output": "stop",
    "malformed_tool_use": "stop",
}  # fmt: skip
_STATUS = {
    "ThrottlingException": 429, "TooManyRequestsException": 429, "ServiceQuotaExceededException": 429,
    "ModelNotReadyException": 429, "AccessDeniedException": 403, "AccessDenied": 403,
    "ResourceNotFoundException": 404, "ValidationException": 400, "ModelTimeoutException": 408,
    "ServiceUnavailableException": 503, "InternalServerException": 500, "ModelErrorException": 502,
    "ModelStreamErrorException": 502,
}  # fmt: skip
_CREDENTIAL_CODES = frozenset(
    (
        "UnrecognizedClientException", "InvalidSignatureException", "ExpiredToken",
        "ExpiredTokenException", "InvalidClientTokenId", "SignatureDoesNotMatch", "InvalidAccessKeyId",
        "InvalidToken", "MissingAuthenticationToken", "MissingAuthenticationTokenException",
        "RequestExpired", "RequestTimeTooSkewed", "TokenRefreshRequired",
    )
)  # fmt: skip
_CREDENTIAL_ERRORS = (
    exceptions.NoCredentialsError, exceptions.PartialCredentialsError, exceptions.NoAuthTokenError,
    exceptions.CredentialRetrievalError, exceptions.TokenRetrievalError, exceptions.SSOError,
    exceptions.LoginError, exceptions.MetadataRetrievalError, exceptions.UnknownCredentialError,
    exceptions.RefreshWithMFAUnsupportedError,
)  # fmt: skip


class ConverseService:
    """The models of a region of Bedrock."""

    def __init__(self, region: str, timeout_s: float) -> None:
        """Connect with the credentials that boto3 finds; nothing is sent.

        Raises FtwizardError for a profile or a region that cannot be used.
        """
        self._region = region
        self._config = Config(
            connect_timeout=CONNECT_S,
            read_timeout=timeout_s,
            # A refusal is repeated above, where its wait is known.
            retries={"mode": "standard", "total_max_attempts": 1},
            # A bearer token in the environment would replace the credentials.
            signature_version="v4",
        )
        self._clients: dict[str, Any] = {}
        self._lock = threading.Lock()
        """A session is not for several threads at once; its clients are."""
        try:
            self._session = boto3.Session()
            self._connect("")
        except (exceptions.BotoCoreError, ValueError) as error:
            raise FtwizardError(
                f"Amazon Bedrock cannot be asked: {make_visible(str(error), 200).rstrip('.')}.",
                "Check AWS_PROFILE, and the region in the plan.",
            ) from None

    def _connect(self, model: str) -> Any:
        """Return the client of a model's region: that of a deployment is in its name."""
        match = _ARN.match(model)
        region = match[1] if match else self._region
        with self._lock:
            if region not in self._clients:
                self._clients[region] = self._session.client(
                    "bedrock-runtime", region_name=region, config=self._config
                )
            return self._clients[region]

    def answer(self, body: Body) -> dict[str, Any]:
        """Return the chat completion of a request."""
        model = str(body["model"])
        return to_completion(self._connect(model).converse(**to_converse(body)), model)

    def stream(self, body: Body) -> Iterator[dict[str, Any]]:
        """Yield the chunks of the chat completion of a request."""
        model = str(body["model"])
        events = self._connect(model).converse_stream(**to_converse(body))["stream"]
        try:
            yield from to_chunks(events, model)
        finally:
            events.close()

    def explain(self, error: Exception) -> Exception:
        """Return the error of a call as a SdkRefusal, or as an error of httpx2 where no reply came."""
        return explain(error)


def to_converse(body: Body) -> dict[str, Any]:
    """Return the arguments of ``converse`` for a request; raise SdkRefusal for what cannot be sent."""
    system, messages = [], list[dict[str, Any]]()
    for message in read_messages(body):
        if message["role"] in SYSTEM:
            if (text := read_text(message)).strip():  # a blank text is refused
                system.append({"text": text})
            continue
        role = "assistant" if message["role"] == "assistant" else "user"
        content = _to_content(message)
        if messages and messages[-1]["role"] == role:  # roles must alternate
            messages[-1]["content"] += content
        else:
            messages.append({"role": role, "content": content})
    temperature = body.get("temperature")
    limits = {
        "maxTokens": get_limit(body),
        "temperature": None if temperature is None else min(temperature, MAX_TEMPERATURE),
        "topP": body.get("top_p"), "stopSequences": get_stops(body) or None,
    }  # fmt: skip
    call: dict[str, Any] = {"modelId": body["model"], "messages": messages}
    if system:
        call["system"] = system
    if config := {name: value for name, value in limits.items() if value is not None}:
        call["inferenceConfig"] = config
    if tools := body.get("tools"):
        call["toolConfig"] = {"tools": [_to_tool(tool["function"]) for tool in tools]}
    return call


def _to_content(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    if message["role"] == "tool":
        result = {
            "toolUseId": message.get("tool_call_id", ""),
            "content": [{"text": read_text(message)}],
        }
        return [{"toolResult": result}]
    content: list[dict[str, Any]] = []
    for part in read_parts(message):
        if isinstance(part, ImageData):
            kind = part.mime.removeprefix("image/")
            kind = "jpeg" if kind == "jpg" else kind
            content.append({"image": {"format": kind, "source": {"bytes": part.data}}})
        elif part.strip() or not message.get("tool_calls"):
            content.append({"text": part})
    for call in message.get("tool_calls") or ():
        function = call["function"]
        use = {
            "toolUseId": call.get("id", ""), "name": function["name"],
            "input": _read_arguments(function.get("arguments")),
        }  # fmt: skip
        content.append({"toolUse": use})
    return content


def _read_arguments(arguments: Any) -> Any:
    if not isinstance(arguments, str):
        return arguments or {}
    try:
        return json.loads(arguments or "{}")
    except ValueError:
        raise SdkRefusal(400, "The arguments of a tool call are not JSON.") from None


def _to_tool(function: Mapping[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = {"name": function["name"]}
    if description := function.get("description"):
        spec["description"] = description
    schema = function.get("parameters") or {"type": "object", "properties": {}}
    return {"toolSpec": {**spec, "inputSchema": {"json": schema}}}


def to_completion(reply: Mapping[str, Any], model: str) -> dict[str, Any]:
    """Return an answer of ``converse`` as a chat completion."""
    texts, thoughts, calls = [], [], []
    for block in reply["output"]["message"].get("content") or ():
        if "text" in block:
            texts.append(block["text"])
        elif "reasoningContent" in block:
            reasoning = block["reasoningContent"].get("reasoningText") or {}
            thoughts.append(reasoning.get("text") or "")
        elif "toolUse" in block:
            calls.append(_to_tool_call(block["toolUse"]))
    message: dict[str, Any] = {"content": "".join(texts) if texts or not calls else None}
    if any(thoughts):
        message["reasoning_content"] = "".join(thoughts)
    if calls:
        message["tool_calls"] = calls
    finish = _FINISH.get(reply.get("stopReason", ""), "stop")
    return make_completion(model, message, finish, _read_usage(reply.get("usage")))


def _to_tool_call(use: Mapping[str, Any]) -> dict[str, Any]:
    function = {"name": use["name"], "arguments": json.dumps(use.get("input") or {})}
    return {"id": use.get("toolUseId", ""), "type": "function", "function": function}


def _read_usage(usage: Mapping[str, Any] | None) -> Usage:
    usage = usage or {}
    return Usage(int(usage.get("inputTokens") or 0), int(usage.get("outputTokens") or 0))


def to_chunks(events: Iterable[Mapping[str, Any]], model: str) -> Iterator[dict[str, Any]]:
    """Yield the events of ``converse_stream`` as chunks of a chat completion."""
    for event in events:
        if block := event.get("contentBlockDelta"):
            delta = block["delta"]
            if "text" in delta:
                yield make_chunk(model, {"content": delta["text"]})
            elif thought := (delta.get("reasoningContent") or {}).get("text"):
                yield make_chunk(model, {"reasoning_content": thought})
        elif stop := event.get("messageStop"):
            yield make_chunk(model, {}, _FINISH.get(stop.get("stopReason", ""), "stop"))
        elif metadata := event.get("metadata"):
            yield make_chunk(model, {}, usage=_read_usage(metadata.get("usage")))


def explain(error: Exception) -> Exception:
    """Return an error of boto3 as a SdkRefusal, or as an error of httpx2 where no reply came."""
    if isinstance(error, exceptions.ClientError):
        return _explain_reply(error.response)
    if isinstance(error, _CREDENTIAL_ERRORS):
        login = PLATFORMS["bedrock"].login
        return SdkRefusal(401, f"{str(error).rstrip('.')}. Log in again: {login}", "credentials")
    if isinstance(error, exceptions.ReadTimeoutError):
        return httpx2.ReadTimeout(str(error))
    if isinstance(error, exceptions.ConnectTimeoutError):
        return httpx2.ConnectTimeout(str(error))
    if isinstance(error, exceptions.ConnectionError | exceptions.HTTPClientError):
        return httpx2.ConnectError(str(error))
    if isinstance(error, exceptions.BotoCoreError):  # such as parameters that no model has
        return SdkRefusal(400, str(error), type(error).__name__)
    return error


def _explain_reply(response: Mapping[str, Any]) -> SdkRefusal:
    code = str((response.get("Error") or {}).get("Code") or "")
    message = str((response.get("Error") or {}).get("Message") or code)
    code = code[:1].upper() + code[1:]  # in a stream they begin with a small letter
    reply = response.get("ResponseMetadata") or {}
    status = 401 if code in _CREDENTIAL_CODES else _STATUS.get(code)
    if status is None:
        status = int(reply.get("HTTPStatusCode") or 0)
        status = status if status >= 400 else 502
    if status != 429:
        return SdkRefusal(status, message, code)
    if "per day" in message.lower():  # "Too many tokens per day, please wait before trying again."
        return SdkRefusal(429, message, "insufficient_quota")
    wait = (reply.get("HTTPHeaders") or {}).get("retry-after", "")
    return SdkRefusal(429, message, code, float(wait) if wait.isdecimal() else THROTTLED_S)
