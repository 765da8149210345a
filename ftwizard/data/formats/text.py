"""Rows of plain text."""

from __future__ import annotations

from typing import Any

from ftwizard.data.conversation import RowProblem
from ftwizard.data.example import Example
from ftwizard.data.formats import fields as of

_KNOWN = frozenset(("text",))


def example(row: Any) -> Example:
    """Read ``text``; raise RowProblem."""
    fields = of.as_object(row)
    if fields.get("text") is None:
        raise RowProblem("missing_text", f"no text ({of.keys_of(fields)})", "add it as text")
    return Example(kind="text", text=of.text(fields, "text"), extra=of.extra(fields, _KNOWN))
