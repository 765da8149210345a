"""Tool parameter schemas: conversion between JSON Schema and Vertex AI's dialect."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ftwizard.data.example import RowProblem
from ftwizard.data.privacy.quote import quote

_VERTEX = frozenset(("STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT", "NULL"))
_MAX_DEPTH = 50
Fields = dict[str, Any]


def to_vertex_schema(schema: Fields, name: str) -> Fields:
    """Convert a JSON Schema to Vertex AI's form: types in capitals, null as ``nullable``.

    ``name`` is the function's. Raises RowProblem for a parameter with several types.
    """

    def to_vertex_type(fields: Fields) -> Fields:
        types = fields["type"] if isinstance(fields["type"], list) else [fields["type"]]
        non_null = [kind for kind in types if kind != "null"]
        if len(non_null) != 1 or not isinstance(non_null[0], str):
            raise RowProblem(
                "tool_schema",
                f"a parameter of “{quote(name, 40)}” allows several types, which Vertex AI does "
                "not support",
                "use one type per parameter, or anyOf",
            )
        return {"type": non_null[0].upper()} | ({"nullable": True} if len(types) > 1 else {})

    return _rewrite(schema, to_vertex_type, name)


def to_json_schema(schema: Fields, name: str) -> Fields:
    """Convert Vertex AI's schema to a JSON Schema; a JSON Schema stays as it is.

    ``name`` is the function's. Raises RowProblem if it is nested too deeply.
    """

    def to_json_type(fields: Fields) -> Fields:
        kind = fields["type"]
        if not _is_vertex(kind):
            return {"type": kind}
        return {"type": [kind.lower(), "null"] if fields.get("nullable") is True else kind.lower()}

    drop = "nullable" if _is_vertex(schema.get("type")) else None
    return _rewrite(schema, to_json_type, name, drop=drop)


def _is_vertex(kind: Any) -> bool:
    return isinstance(kind, str) and kind in _VERTEX


def _rewrite(
    schema: Fields, convert_type: Callable[[Fields], Fields], name: str, drop: str | None = None
) -> Fields:
    """Return a schema with every ``type`` in it converted and the key ``drop`` removed."""

    def rewrite(value: Any, depth: int) -> Any:
        if not isinstance(value, dict):
            return value
        if depth > _MAX_DEPTH:
            problem = f"the parameters of “{quote(name, 40)}” are nested too deeply"
            raise RowProblem("nesting", problem, "flatten them")
        result: Fields = {}
        for key, inner in value.items():
            if key == "type":
                result |= convert_type(value)
            elif key in ("properties", "$defs") and isinstance(inner, dict):
                result[key] = {str(k): rewrite(v, depth + 1) for k, v in inner.items()}
            elif key in ("anyOf", "oneOf", "allOf") and isinstance(inner, list):
                result[key] = [rewrite(schema, depth + 1) for schema in inner]
            elif key in ("items", "additionalProperties"):
                result[key] = rewrite(inner, depth + 1)
            elif key != drop:
                result[key] = inner
        return result

    rewritten: Fields = rewrite(schema, 0)
    return rewritten
