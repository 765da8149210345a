"""Requests of OpenAI's API: what each engine honors, and the refusal of all else.

An engine that ignored a parameter would answer another question than it was asked.
"""

from __future__ import annotations

import tomllib
from importlib.resources import files
from typing import Any

import msgspec
from jsonschema import Draft4Validator, Draft202012Validator
from jsonschema.exceptions import best_match
from jsonschema.validators import extend

from ftwizard.data.conversation import convert_messages
from ftwizard.data.example import Message, RowProblem
from ftwizard.data.formats.chat import parse_messages
from ftwizard.runs.served_model import Engine
from ftwizard.text import make_visible

_TABLE = tomllib.loads(
    files("ftwizard").joinpath("assets/serve/openai_parameters.toml").read_text("utf-8")
)
_Validator = extend(Draft202012Validator, type_checker=Draft4Validator.TYPE_CHECKER)  # type: ignore[no-untyped-call]
"""In draft 4, 1.0 is not an integer; no engine takes it for one."""


class ApiError(Exception):
    """A refusal in the form of OpenAI's API."""

    def __init__(
        self, message: str, param: str | None = None, code: str | None = None, status: int = 400
    ) -> None:
        super().__init__(message)
        self.status = status
        kind = "invalid_request_error" if status < 500 else "server_error"
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": code}}


class _Parameter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    schema: dict[str, Any]
    required: bool = False
    nothing: Any = None
    """Value that asks for nothing."""
    engines: frozenset[Engine] = frozenset(("transformers", "llama.cpp"))
    """Those that honor it."""

    def check(self, name: str, value: Any) -> None:
        """Raise ApiError for a value that is missing, which is None, or not valid."""
        if value is None:
            problem = "it is required" if self.required else ""
        else:
            error = best_match(_Validator(self.schema).iter_errors(value))
            problem = make_visible(error.message, 200) if error else ""
        if problem:
            raise ApiError(f"Parameter {name}: {problem}.", name, "invalid_value")

    def require_honored(self, name: str, engine: Engine) -> None:
        """Raise ApiError for a parameter that an engine does not honor."""
        if engine not in self.engines:
            other = ", or serve a GGUF file of the model with llama.cpp, which does"
            raise ApiError(
                f"This server ({engine}) does not support {name}: leave it out{other if self.engines else ''}.",
                name,
                "unsupported_parameter",
            )


REQUESTS = {
    path: msgspec.convert(_TABLE["both"] | _TABLE[kind], dict[str, _Parameter])
    for path, kind in (("/v1/chat/completions", "chat"), ("/v1/completions", "text"))
}
"""Parameters by path."""


def read_request(data: bytes, path: str, engine: Engine, model: str) -> dict[str, Any]:
    """Return the parameters that an engine gets for a request at ``path``; raise ApiError."""
    try:
        body = msgspec.json.decode(data, type=dict[str, Any])
    except msgspec.ValidationError:
        raise ApiError("The body is not a JSON object.", code="invalid_value") from None
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        raise ApiError("The body is not valid JSON.") from None
    body = {
        name: value
        for name, value in body.items()
        if value is not None and name not in _TABLE["ignored"]
    }
    parameters = REQUESTS[path]
    for name in body.keys() - parameters:
        shown = make_visible(name, 100)
        raise ApiError(f"The parameter {shown} is unknown.", shown, "unknown_parameter")
    for name, parameter in parameters.items():
        parameter.check(name, body.get(name))
    if body["model"] != model:
        message = f"The model {make_visible(body['model'], 100)} does not exist; this is {model}."
        raise ApiError(message, "model", "model_not_found", 404)
    if messages := body.get("messages"):
        # llama.cpp puts line breaks between parts, training puts nothing there.
        body["messages"] = [
            {**message, "content": turn["content"]} if "content" in message else message
            for message, turn in zip(messages, to_prompt(messages), strict=True)
        ]
    body = {name: value for name, value in body.items() if parameters[name].nothing != value}
    for name in body:
        parameters[name].require_honored(name, engine)
    if engine == "transformers" and body.get("temperature", "top_p" in body):
        # A temperature samples, also where the model's settings do not.
        body["generation_config"] = '{"do_sample": true}'
    return body


def to_prompt(messages: list[Message]) -> list[Message]:
    """Return messages as training gives them to the chat template; raise ApiError."""
    try:
        return convert_messages(parse_messages(messages))
    except RowProblem as problem:
        text = f"{problem.message[:1].upper()}{problem.message[1:]}: {problem.fix}."
        raise ApiError(text, "messages", "invalid_value") from None
