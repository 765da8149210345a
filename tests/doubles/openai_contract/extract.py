"""Extract of the official OpenAPI document: the routes that the double serves, without prose.

``python -m tests.doubles.openai_contract.extract openapi.json`` writes ``openapi_extract.json`` again,
from ``openapi.json`` of https://github.com/openai/openai-openapi.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

EXTRACT = Path(__file__).with_name("openapi_extract.json")
COMMIT = "f85dbe2"
ROUTES = {
    "/models": ("get",),
    "/models/{model}": ("get", "delete"),
    "/files": ("get", "post"),
    "/files/{file_id}": ("get", "delete"),
    "/files/{file_id}/content": ("get",),
    "/uploads": ("post",),
    "/uploads/{upload_id}/parts": ("post",),
    "/uploads/{upload_id}/complete": ("post",),
    "/uploads/{upload_id}/cancel": ("post",),
    "/fine_tuning/jobs": ("get", "post"),
    "/fine_tuning/jobs/{fine_tuning_job_id}": ("get",),
    "/fine_tuning/jobs/{fine_tuning_job_id}/cancel": ("post",),
    "/fine_tuning/jobs/{fine_tuning_job_id}/pause": ("post",),
    "/fine_tuning/jobs/{fine_tuning_job_id}/resume": ("post",),
    "/fine_tuning/jobs/{fine_tuning_job_id}/events": ("get",),
    "/fine_tuning/jobs/{fine_tuning_job_id}/checkpoints": ("get",),
    "/fine_tuning/alpha/graders/validate": ("post",),
    "/fine_tuning/alpha/graders/run": ("post",),
    "/chat/completions": ("post",),
    "/moderations": ("post",),
}
EXTRA_SCHEMAS = ("ErrorResponse", "CreateChatCompletionStreamResponse")
PROSE = {
    "default",
    "deprecated",
    "description",
    "discriminator",
    "example",
    "examples",
    "externalDocs",
    "title",
}
PREFIX = "#/components/schemas/"


def extract(document: dict[str, Any]) -> dict[str, Any]:
    """Return the routes and every schema that they reach, as JSON Schema 2020-12."""
    schemas = document["components"]["schemas"]
    routes = {
        f"{method.upper()} {path}": _extract_route(document["paths"][path][method])
        for path, methods in ROUTES.items()
        for method in methods
    }
    wanted: dict[str, Any] = {}
    todo = [*_find_names(routes), *EXTRA_SCHEMAS]
    while todo:
        name = todo.pop()
        if name not in wanted:
            wanted[name] = clean(schemas[name])
            todo += _find_names(wanted[name])
    return {"routes": routes, "schemas": dict(sorted(wanted.items()))}


def _extract_route(operation: dict[str, Any]) -> dict[str, Any]:
    route: dict[str, Any] = {"query": {}}
    for parameter in operation.get("parameters", ()):
        if parameter["in"] == "query":
            route["query"][parameter["name"]] = clean(parameter["schema"])
    if body := operation.get("requestBody"):
        ((kind, content),) = body["content"].items()
        route |= {"kind": kind, "body": clean(content["schema"])}
    content = operation["responses"]["200"]["content"]["application/json"]
    return route | {"response": clean(content["schema"])}


def clean(schema: Any, *, names: bool = False) -> Any:
    """Return a schema without prose; ``names``: its keys are names of properties, not keywords.

    The document is OpenAPI 3.1, but has ``nullable`` and a boolean ``exclusiveMinimum`` in places, as
    3.0 did.
    """
    if isinstance(schema, list):
        return [clean(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if names:
        return {key: clean(value) for key, value in schema.items()}
    result = {
        key: clean(value, names=key == "properties")
        for key, value in schema.items()
        if key not in PROSE and not key.startswith("x-") and key != "nullable"
    }
    if result.get("exclusiveMinimum") is True:
        result["exclusiveMinimum"] = result.pop("minimum")
    if not schema.get("nullable"):
        return result
    return {"anyOf": [result, {"type": "null"}]} if result else {}


def _find_names(schema: Any) -> list[str]:
    if isinstance(schema, list):
        return [name for part in schema for name in _find_names(part)]
    if not isinstance(schema, dict):
        return []
    reference = schema.get("$ref")
    here = [reference.removeprefix(PREFIX)] if isinstance(reference, str) else []
    return here + [name for part in schema.values() for name in _find_names(part)]


def write(document: dict[str, Any]) -> str:
    """Return an extract as text, with one line for each route and schema."""
    parts = []
    for part, entries in document.items():
        lines = [
            f"{json.dumps(name)}:{json.dumps(entry, separators=(',', ':'))}"
            for name, entry in entries.items()
        ]
        parts.append(f'"{part}":{{\n' + ",\n".join(lines) + "\n}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


if __name__ == "__main__":
    EXTRACT.write_text(write(extract(json.loads(Path(sys.argv[1]).read_text()))))
