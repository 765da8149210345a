"""Schemas of what tools take: JSON schemas, and Vertex AI's with types of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ftwizard.data.conversation import RowProblem
from ftwizard.data.quoted import quoted

_VERTEX = frozenset(("STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT", "NULL"))
_DEEPEST = 50
Fields = dict[str, Any]


def vertex_schema(schema: Fields, name: str) -> Fields:
    """Return a JSON schema as Vertex AI writes it: types in capitals, null as ``nullable``.

    ``name`` is the function's. Raises RowProblem for a place of several types.
    """

    def typed(fields: Fields) -> Fields:
        types = fields["type"] if isinstance(fields["type"], list) else [fields["type"]]
        named = [one for one in types if one != "null"]
        if len(named) != 1 or not isinstance(named[0], str):
            raise RowProblem(
                "tool_schema",
                f"the parameters of “{quoted(name, 40)}” allow several types in one place, which "
                "Vertex AI does not take",
                "write one type a parameter, or anyOf",
            )
        return {"type": named[0].upper()} | ({"nullable": True} if len(types) > 1 else {})

    return _rewritten(schema, typed, name)


def json_schema(schema: Fields, name: str) -> Fields:
    """Return Vertex AI's schema as a JSON schema; a JSON schema as it is.

    ``name`` is the function's. Raises RowProblem for one that is nested too deeply.
    """

    def typed(fields: Fields) -> Fields:
        kind = fields["type"]
        if not isinstance(kind, str) or kind not in _VERTEX:
            return {"type": kind}
        return {"type": [kind.lower(), "null"] if fields.get("nullable") is True else kind.lower()}

    return _rewritten(schema, typed, name, drop="nullable" if _is_vertex(schema) else None)


def _is_vertex(schema: Fields) -> bool:
    kind = schema.get("type")
    return isinstance(kind, str) and kind in _VERTEX


def _rewritten(
    schema: Fields, typed: Callable[[Fields], Fields], name: str, drop: str | None = None
) -> Fields:
    """Return a schema with the ``type`` of every place in it made anew by ``typed``."""

    def one(value: Any, depth: int) -> Any:
        if not isinstance(value, dict):
            return value
        if depth > _DEEPEST:
            raise RowProblem(
                "nesting",
                f"the parameters of “{quoted(name, 40)}” are nested too deeply",
                "flatten them",
            )
        made: Fields = {}
        for key, inner in value.items():
            if key == "type":
                made.update(typed(value))
            elif key in ("properties", "$defs") and isinstance(inner, dict):
                made[key] = {str(each): one(of, depth + 1) for each, of in inner.items()}
            elif key in ("anyOf", "oneOf", "allOf") and isinstance(inner, list):
                made[key] = [one(each, depth + 1) for each in inner]
            elif key in ("items", "additionalProperties"):
                made[key] = one(inner, depth + 1)
            elif key != drop:
                made[key] = inner
        return made

    found: Fields = one(schema, 0)
    return found
