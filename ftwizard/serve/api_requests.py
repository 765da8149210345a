"""Requests of OpenAI's API: what each engine honors, and the refusal of all else.

An engine that ignored a parameter would answer another question than it was asked.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from ftwizard.data.conversation import convert_messages
from ftwizard.data.example import Message, RowProblem
from ftwizard.data.formats.chat import parse_messages
from ftwizard.runs.served_model import Engine
from ftwizard.text import make_visible

_Tokens = Annotated[int, Meta(ge=1)]
_Penalty = Annotated[float, Meta(ge=-2, le=2)]

_OF_ACCOUNTS = frozenset((
    "metadata", "prompt_cache_key", "prompt_cache_retention", "safety_identifier", "service_tier",
    "store", "user",
))  # fmt: skip
"""Parameters of OpenAI's platform that change no answer."""
_UNSUPPORTED = ("best_of", "echo", "n", "suffix")
_LLAMA = frozenset((
    "frequency_penalty", "logit_bias", "logprobs", "parallel_tool_calls", "presence_penalty",
    "response_format", "stop", "tool_choice", "top_logprobs",
))  # fmt: skip
"""Parameters that transformers would ignore, or take for something else."""
_DEFAULTS = {
    "best_of": 1, "echo": False, "frequency_penalty": 0, "logit_bias": {}, "logprobs": False, "n": 1,
    "presence_penalty": 0, "response_format": {"type": "text"}, "stop": [], "suffix": "",
    "tool_choice": "auto", "tools": [],
}  # fmt: skip
"""Values that ask for nothing."""


class ApiError(Exception):
    """A refusal in the form of OpenAI's API."""

    def __init__(
        self, message: str, param: str | None = None, code: str | None = None, status: int = 400
    ) -> None:
        super().__init__(message)
        self.status = status
        kind = "invalid_request_error" if status < 500 else "server_error"
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": code}}


class _JsonSchema(msgspec.Struct, frozen=True):
    name: str
    schema: dict[str, Any]


class _TextFormat(msgspec.Struct, frozen=True, tag_field="type", tag="text"):
    pass


class _JsonFormat(msgspec.Struct, frozen=True, tag_field="type", tag="json_object"):
    pass


class _SchemaFormat(msgspec.Struct, frozen=True, tag_field="type", tag="json_schema"):
    json_schema: _JsonSchema


class _Function(msgspec.Struct, frozen=True):
    name: str
    parameters: dict[str, Any] | None = None


class _Tool(msgspec.Struct, frozen=True):
    type: Literal["function"]
    function: _Function


class _Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The parameters of both paths."""

    model: str
    frequency_penalty: _Penalty | None = None
    logit_bias: dict[str, Annotated[float, Meta(ge=-100, le=100)]] | None = None
    max_tokens: _Tokens | None = None
    n: Annotated[int, Meta(ge=1, le=128)] | None = None
    presence_penalty: _Penalty | None = None
    seed: Annotated[int, Meta(ge=0, lt=2**32)] | None = None
    stop: str | list[str] | None = None
    stream: bool | None = None
    stream_options: dict[str, bool] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None


class _ChatRequest(_Request, frozen=True, kw_only=True):
    messages: Annotated[list[dict[str, Any]], Meta(min_length=1)]
    chat_template_kwargs: dict[str, Any] | None = None
    logprobs: bool | None = None
    max_completion_tokens: _Tokens | None = None
    parallel_tool_calls: bool | None = None
    response_format: _TextFormat | _JsonFormat | _SchemaFormat | None = None
    tool_choice: Literal["none", "auto", "required"] | None = None
    tools: list[_Tool] | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None


class _TextRequest(_Request, frozen=True, kw_only=True):
    prompt: Annotated[str, Meta(min_length=1)]
    best_of: int | None = None
    echo: bool | None = None
    logprobs: Annotated[int, Meta(ge=1, le=5)] | None = None
    suffix: str | None = None


REQUESTS = {"/v1/chat/completions": _ChatRequest, "/v1/completions": _TextRequest}


def read_request(data: bytes, path: str, engine: Engine, model: str) -> dict[str, Any]:
    """Return the parameters that an engine gets for a request at ``path``; raise ApiError."""
    try:
        body = msgspec.json.decode(data, type=dict[str, Any])
        body = {
            name: value
            for name, value in body.items()
            if value is not None and name not in _OF_ACCOUNTS
        }
        msgspec.convert(body, REQUESTS[path])
    except msgspec.ValidationError as error:
        raise ApiError(*_explain(str(error))) from None
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        raise ApiError("The body is not valid JSON.") from None
    if body["model"] != model:
        message = f"The model {make_visible(body['model'], 100)} does not exist; this is {model}."
        raise ApiError(message, "model", "model_not_found", 404)
    if messages := body.get("messages"):
        # llama.cpp puts line breaks between parts, training puts nothing there.
        body["messages"] = [
            {**message, "content": turn["content"]} if "content" in message else message
            for message, turn in zip(messages, to_prompt(messages), strict=True)
        ]
    body = {name: value for name, value in body.items() if _DEFAULTS.get(name) != value}
    for name in body:
        _require_honored(name, engine)
    return body


def to_prompt(messages: list[Message]) -> list[Message]:
    """Return messages as training gives them to the chat template; raise ApiError."""
    try:
        return convert_messages(parse_messages(messages))
    except RowProblem as problem:
        text = f"{problem.message[:1].upper()}{problem.message[1:]}: {problem.fix}."
        raise ApiError(text, "messages", "invalid_value") from None


def _require_honored(name: str, engine: Engine) -> None:
    is_llamas = name in _LLAMA
    if name not in _UNSUPPORTED and (engine == "llama.cpp" or not is_llamas):
        return
    hint = "leave it out"
    if is_llamas:
        hint += ", or serve a GGUF file of the model with llama.cpp, which does"
    message = f"This server ({engine}) does not support {name}: {hint}."
    raise ApiError(message, name, "unsupported_parameter")


def _explain(reason: str) -> tuple[str, str | None, str]:
    """Return the message, parameter and code of a reason of msgspec."""
    match = re.search(r"\$\.(\w+)", reason) or re.search(r"field `(.{1,100}?)`", reason)
    code = "unknown_parameter" if "unknown field" in reason else "invalid_value"
    return f"{make_visible(reason, 200)}.", match[1] if match else None, code
