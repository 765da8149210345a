"""Validation of requests and responses by the official OpenAPI document's schemas.

Requests are checked more strictly than the document asks: a parameter that it does not name is a
violation, because the service rejects it.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any, Literal, cast

import msgspec
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from tests.doubles.openai_contract.extract import EXTRACT, PREFIX
from tests.doubles.openai_service.errors import ServiceError

Direction = Literal["request", "response"]
DISCRIMINATORS = ("type", "role")


class Violation(msgspec.Struct, frozen=True):
    """A request or response that does not follow the document."""

    route: str
    direction: Direction
    where: str
    """Path inside the document, query or body."""
    message: str


def _amend(schemas: dict[str, Any]) -> None:
    """Put right where the service's reference and its observed replies differ from the document."""
    graders = schemas["GraderMulti"]["properties"]["graders"]
    schemas["GraderMulti"]["properties"]["graders"] = {
        "type": "object",
        "additionalProperties": graders,
    }
    # The guide to reinforcement fine-tuning sends it for structured outputs.
    schemas["FineTuneReinforcementMethod"]["properties"]["response_format"] = {
        "$ref": f"{PREFIX}ResponseFormatJsonSchema"
    }
    # The reference shows a paused job, the enumeration has none.
    schemas["FineTuningJob"]["properties"]["status"]["enum"].append("paused")
    # Recorded jobs have null as the data of some events, and an empty error while there is none.
    schemas["FineTuningJobEvent"]["properties"]["data"] = {"type": ["object", "null"]}
    schemas["FineTuningJob"]["properties"]["error"]["anyOf"].append({"maxProperties": 0})


def _amend_for_foundry(schemas: dict[str, Any]) -> None:
    """Put in what Foundry's v1 endpoint has besides."""
    job = schemas["FineTuningJob"]["properties"]
    job["status"]["enum"].append("pending")
    job["hyperparameters"] = {"type": "object"}  # -1 for what the service will choose
    job["organization_id"] = {"type": ["string", "null"]}
    job["result_files"] = {"type": ["array", "null"], "items": {"type": "string"}}
    schemas["OpenAIFile"]["properties"]["status"]["enum"] += ["pending", "running", "deleted"]
    request = schemas["CreateFineTuningJobRequest"]["properties"]
    request["trainingType"] = {"type": ["string", "integer"]}
    schemas["Error"] = {
        "type": "object",
        "properties": {"code": {"type": "string"}, "message": {"type": "string"}},
        "required": ["code", "message"],
    }


def _amend_for_mantle(schemas: dict[str, Any]) -> None:
    """Leave what Bedrock's address documents: a job has a model, a file, and a Lambda function."""
    request = schemas["CreateFineTuningJobRequest"]["properties"]
    for name in list(request):
        if name not in ("model", "training_file", "method"):
            del request[name]
    text = {"type": "string", "pattern": r"^arn:aws[a-z-]*:lambda:[a-z0-9-]+:\d{12}:function:\S+$"}
    function = {"type": "object", "properties": {"function": text}, "required": ["function"]}
    schemas["FineTuneReinforcementMethod"]["properties"]["grader"] = {
        "type": "object",
        "properties": {"type": {"const": "lambda"}, "lambda": function},
        "required": ["type", "lambda"],
    }
    settings = {
        "n_epochs": {"type": "integer", "minimum": 1},
        "batch_size": {"type": "integer", "minimum": 1},
        "learning_rate_multiplier": {"type": "number", "exclusiveMinimum": 0},
    }
    schemas["FineTuneReinforcementMethod"]["properties"]["hyperparameters"] = {
        "type": "object",
        "properties": settings,
    }


def _close(schema: Any, open_names: frozenset[str], *, part: bool = False) -> Any:
    """Return a schema that takes no property without a name; ``part``: of an ``allOf``."""
    if isinstance(schema, list):
        return [_close(item, open_names) for item in schema]
    if not isinstance(schema, dict):
        return schema
    result = {
        key: {name: _close(value, open_names) for name, value in entry.items()}
        if key == "properties"
        else [_close(item, open_names, part=True) for item in entry]
        if key == "allOf"
        else _close(entry, open_names)
        for key, entry in schema.items()
    }
    if not part:
        if "allOf" in schema:
            result["unevaluatedProperties"] = False
        elif "properties" in schema:
            result.setdefault("additionalProperties", False)
    return result


def _find_parts(schema: Any) -> set[str]:
    """Return the names that an ``allOf`` refers to."""
    if isinstance(schema, list):
        return set().union(*(_find_parts(item) for item in schema))
    if not isinstance(schema, dict):
        return set()
    parts = {
        part["$ref"].removeprefix(PREFIX) for part in schema.get("allOf", ()) if "$ref" in part
    }
    return parts.union(*(_find_parts(item) for item in schema.values()))


class Contract:
    """The schemas of one service."""

    def __init__(self, foundry: bool, mantle: bool) -> None:
        document = json.loads(EXTRACT.read_text())
        self.routes: dict[str, Any] = document["routes"]
        schemas = document["schemas"]
        _amend(schemas)
        if foundry:
            _amend_for_foundry(schemas)
        if mantle:
            _amend_for_mantle(schemas)
        parts = frozenset(_find_parts(schemas))
        closed = {
            name: _close(schema, parts, part=name in parts) for name, schema in schemas.items()
        }
        self._open, self._closed = schemas, closed
        self._foundry = foundry
        self._validators: dict[tuple[str, bool], Draft202012Validator] = {}

    def find_request_errors(
        self, route: str, query: Mapping[str, Any], body: Any
    ) -> list[ValidationError]:
        """Return what is wrong with a request; ``body`` None: it has none."""
        entry = self.routes[route]
        query_schema = {
            "type": "object",
            "properties": entry["query"] | ({"api-version": {}} if self._foundry else {}),
            "additionalProperties": False,
        }
        errors = list(Draft202012Validator(query_schema).iter_errors(query))
        if "body" in entry:
            errors += self._get_validator(json.dumps(entry["body"]), True).iter_errors(body)
        elif body:
            errors.append(ValidationError("the route takes no body"))
        return [find_cause(error) for error in errors]

    def find_response_errors(self, route: str, status: int, document: Any) -> list[ValidationError]:
        """Return what is wrong with a response; ``document`` is the decoded body."""
        schema = {"$ref": f"{PREFIX}ErrorResponse"}
        if status < 400:
            schema = self.routes[route]["response"]
        validator = self._get_validator(json.dumps(schema), False)
        return [find_cause(error) for error in validator.iter_errors(document)]

    def find_chunk_errors(self, document: Any) -> list[ValidationError]:
        """Return what is wrong with a chunk of a streamed completion."""
        schema = {"$ref": f"{PREFIX}CreateChatCompletionStreamResponse"}
        validator = self._get_validator(json.dumps(schema), False)
        return [find_cause(error) for error in validator.iter_errors(document)]

    def _get_validator(self, schema: str, closed: bool) -> Draft202012Validator:
        validator = self._validators.get((schema, closed))
        if validator is None:
            schemas = self._closed if closed else self._open
            document = {**json.loads(schema), "components": {"schemas": schemas}}
            validator = self._validators[schema, closed] = Draft202012Validator(document)
        return validator


@functools.cache
def get_contract(foundry: bool, mantle: bool = False) -> Contract:
    """Return the contract of a service; all services of a kind share it."""
    return Contract(foundry, mantle)


def find_cause(error: ValidationError) -> ValidationError:
    """Return the error of the alternative that was meant, if alternatives are the cause."""
    while error.context:
        branches: dict[Any, list[ValidationError]] = {}
        for cause in error.context:
            branches.setdefault(cause.schema_path[0], []).append(cause)
        _, causes = min(branches.items(), key=lambda branch: _count_misfits(branch[1]))
        error = causes[0]
    return error


def _count_misfits(causes: list[ValidationError]) -> int:
    """Return how many errors say that an alternative was not meant at all."""
    misfits = 0
    for cause in causes:
        path = tuple(cause.relative_path)
        misfits += cause.validator == "type" and not path
        misfits += cause.validator == "enum" and path[-1:] in (("type",), ("role",), ())
        misfits += cause.validator == "required" and any(
            f"'{name}'" in cause.message for name in DISCRIMINATORS
        )
    return 10 * misfits + len(causes)


def format_path(error: ValidationError) -> str:
    """Return where an error is, as the service names parameters: ``messages[0].role``."""
    text = ""
    for part in error.absolute_path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


TYPES = {
    "string": "a string",
    "integer": "an integer",
    "number": "a decimal",
    "object": "an object",
    "array": "an array",
    "boolean": "a boolean",
    "null": "null",
}

BOUNDS = {
    "maximum": ("above maximum", "<="),
    "exclusiveMaximum": ("above maximum", "<"),
    "minimum": ("below minimum", ">="),
    "exclusiveMinimum": ("below minimum", ">"),
}
LENGTHS = {"maxLength": ("long", "maximum"), "minLength": ("short", "minimum")}


def _name_type(value: Any) -> str:
    names = {
        bool: "boolean",
        int: "integer",
        float: "number",
        str: "string",
        dict: "object",
        list: "array",
        type(None): "null",
    }
    return TYPES[names[type(value)]]


def make_rejection(error: ValidationError) -> ServiceError:
    """Return the service's own error for a request that is against the document."""
    where, value = format_path(error), cast(Any, error.instance)
    rule, limit = str(error.validator), cast(Any, error.validator_value)
    if rule == "required":
        where = _join(where, next(name for name in limit if name not in value))
        text, code = f"Missing required parameter: '{where}'.", "missing_required_parameter"
    elif rule in ("additionalProperties", "unevaluatedProperties"):
        allowed = cast(dict[str, Any], error.schema).get("properties", {})
        # One that an alternative has is no longer in these; the error's own words name the others.
        extra = next(name for name in value if name not in allowed and f"'{name}'" in error.message)
        where = _join(where, extra)
        text, code = f"Unknown parameter: '{where}'.", "unknown_parameter"
    elif rule == "enum":
        options = ", ".join(f"'{option}'" for option in limit)
        text, code = f"Invalid value: '{value}'. Supported values are: {options}.", "invalid_value"
    elif rule == "type":
        wanted = TYPES[limit if isinstance(limit, str) else limit[0]]
        text = (
            f"Invalid type for '{where}': expected {wanted}, but got {_name_type(value)} instead."
        )
        code = "invalid_type"
    elif rule in BOUNDS:
        side, sign = BOUNDS[rule]
        kind = "integer" if isinstance(value, int) else "decimal"
        text = f"Invalid '{where}': {kind} {side} value. "
        text += f"Expected a value {sign} {limit}, but got {value} instead."
        code = f"{kind}_{'above_max' if 'above' in side else 'below_min'}_value"
    elif rule in LENGTHS:
        side, name = LENGTHS[rule]
        text = (
            f"Invalid '{where}': string too {side}. Expected a string with {name} length {limit}, "
        )
        text += f"but got a string with length {len(value)} instead."
        code = f"string_{'above_max' if side == 'long' else 'below_min'}_length"
    else:
        text, code = f"Invalid '{where}': {error.message[:300]}", "invalid_value"
    return ServiceError(400, text, code=code, param=where or None)


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name
